"""One subschema of a schema: its flags, and the subschemas that apply to the same value or below it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["NO_NUMBERS", "Numbers", "Subschema", "reached"]

Numbers = frozenset[int]

NO_NUMBERS: Final[Numbers] = frozenset()
_NO_NAMES: Final[frozenset[str]] = frozenset()


@dataclass(slots=True)
class Subschema:
    """The flags of one subschema, and the subschemas that apply to the same value and to values below it.

    Subschemas are known by their number. `where` is a URI reference to this one. `additional` is None where no
    keyword says that properties which are not described may stand there. Those `dynamic` are in place for some events
    only. `unevaluated` does not speak of the names in `evaluated`, `rest` not of the items before `rest_begins`.
    """

    number: int
    where: str
    pii: bool = False
    categories: frozenset[str] = frozenset()
    types: tuple[str, ...] = ()
    in_place: set[int] = field(default_factory=set)
    conjoined: set[int] = field(default_factory=set)
    dynamic: set[int] = field(default_factory=set)
    of_the_whole: set[int] = field(default_factory=set)
    properties: dict[str, Numbers] = field(default_factory=dict)
    patterns: dict[str, Numbers] = field(default_factory=dict)
    additional: Numbers | None = None
    unevaluated: Numbers = NO_NUMBERS
    evaluated: frozenset[str] = frozenset()
    forbids_others: bool = False
    required: frozenset[str] = _NO_NAMES
    prefix: list[Numbers] = field(default_factory=list)
    rest: Numbers = NO_NUMBERS
    rest_begins: int = 0
    every_item: Numbers = NO_NUMBERS

    @property
    def describes_items(self) -> bool:
        """Whether it says anything of the items of arrays."""
        return bool(self.prefix or self.rest or self.every_item)

    @property
    def describes_properties(self) -> bool:
        """Whether it says anything of the properties of objects."""
        return bool(
            self.properties or self.patterns or self.unevaluated or self.forbids_others or self.additional is not None
        )

    def below(self) -> Iterator[Numbers]:
        """Yield the subschemas that apply below a value."""
        yield from self.properties.values()
        yield from self.patterns.values()
        yield from self.prefix
        yield from (self.additional or NO_NUMBERS, self.unevaluated, self.rest, self.every_item)

    def held(self) -> set[int]:
        """Return all that applies to a value or to anything below it."""
        return self.in_place.union(self.of_the_whole, *self.below())

    def of_property(self, name: str, matching: Iterable[tuple[str, bool | None]]) -> Numbers:
        """Return the subschemas of a property of this name, with the patterns it matches, or may match (None)."""
        found = [self.properties[name]] if name in self.properties else []
        is_described = bool(found)
        for pattern, answer in matching:
            found.append(self.patterns[pattern])
            is_described |= answer is True
        return NO_NUMBERS.union(*found) if is_described else NO_NUMBERS.union(self.of_other(name), *found)

    def of_other(self, name: str | None) -> Numbers:
        """Return the subschemas of a property that neither `properties` nor `patternProperties` describe."""
        unevaluated = NO_NUMBERS if name in self.evaluated else self.unevaluated
        return (self.additional or NO_NUMBERS) | unevaluated

    def of_item(self, index: int) -> Numbers:
        """Return the subschemas of the item at an index.

        Rules for an object apply to each item of an array, too: paths pass arrays unseen, and nobody gets
        round a flag by a pair of brackets.
        """
        found = self.prefix[index] if index < len(self.prefix) else NO_NUMBERS
        itself = frozenset({self.number}) if self.describes_properties else NO_NUMBERS
        return found | itself | self.every_item | (self.rest if index >= self.rest_begins else NO_NUMBERS)

    @property
    def of_items(self) -> Numbers:
        """All that applies to an item at any index."""
        return self.rest.union(self.every_item, *self.prefix)


def reached(numbers: Iterable[int], step: Callable[[int], Iterable[int]]) -> Numbers:
    """Return the numbers that one gets to from some, step by step, those included."""
    found = set(numbers)
    waiting = list(found)
    while waiting:
        further = set(step(waiting.pop())) - found
        found |= further
        waiting += further
    return frozenset(found)
