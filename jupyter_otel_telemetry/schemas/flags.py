"""Where a schema flags values of its events: as personal (`pii`), or as of some `categories`.

A flag counts wherever JSON Schema lets a subschema apply to a value. Which branch of an `anyOf` or `if` an event
takes does not matter: a flag in any of them counts. So a schema can be explained before there is an event, and
nothing in an event can talk its way out.
"""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import jsonschema

from jupyter_otel_telemetry.jsondata import first_steps
from jupyter_otel_telemetry.schemas.engine import Matcher, Preselection
from jupyter_otel_telemetry.schemas.subschema import NO_NUMBERS, Numbers, Subschema, reached

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MAX_TRIALS", "Location", "SchemaFlags"]

_MAX_KEPT_LOCATIONS: Final = 10_000
_FEW_PATTERNS: Final = 16
MAX_TRIALS: Final = 300_000
"""Trials of a pattern on a name for one event: about a third of a second where each pattern needs backtracking."""
_OTHER_THAN_ARRAYS: Final = ("object", "string", "number", "integer", "boolean", "null")


class _Trials(threading.local):
    """Trials of a pattern on a name that this thread may still make."""

    left: float = math.inf


class SchemaFlags:
    """The flags of one schema, as plain data that can be pickled; `root` is where to begin."""

    def __init__(self, subschemas: list[Subschema], root: Numbers) -> None:
        self.subschemas = subschemas
        self._root = root
        self._live = _leading_to_flags(subschemas)
        self._locations: dict[tuple[Numbers, Numbers], Location] = {}
        self._matchers: dict[str, Matcher | None] = {}
        self._preselections: dict[int, Preselection] = {}
        self._trials = _Trials()
        self.has_patterns = any(subschema.patterns for subschema in subschemas)

    def __reduce__(self) -> tuple[Any, ...]:
        return SchemaFlags, (self.subschemas, self._root)

    @property
    def root(self) -> Location:
        """The location of whole events."""
        return self.location(self._root)

    def location(self, numbers: Numbers, around: Numbers = NO_NUMBERS) -> Location:
        """Return where these subschemas apply together, in an array to which those `around` apply."""
        key = numbers, around & self._live
        found = self._locations.get(key)
        if found is None:
            found = Location(self, *key, is_plain=not key[1] and numbers.isdisjoint(self._live))
            if len(self._locations) < _MAX_KEPT_LOCATIONS:
                self._locations[key] = found
        return found

    @contextmanager
    def bounded_trials(self) -> Iterator[None]:
        """Try at most `MAX_TRIALS` patterns in this thread; properties that come after them are `undecided`."""
        before, self._trials.left = self._trials.left, min(self._trials.left, MAX_TRIALS)
        try:
            yield
        finally:
            self._trials.left = before

    @property
    def are_trials_spent(self) -> bool:
        """Whether no pattern may be tried any more."""
        return self._trials.left <= 0

    def matching(self, subschema: Subschema, name: str) -> Iterator[tuple[str, bool | None]]:
        """Yield the patterns of a subschema that a name matches (True) or may match (None)."""
        self._trials.left -= len(subschema.patterns)
        patterns: Iterable[str] = subschema.patterns
        if len(subschema.patterns) > _FEW_PATTERNS:
            preselection = self._preselections.get(subschema.number)
            if preselection is None:
                preselection = self._preselections[subschema.number] = Preselection(list(patterns))
            patterns = preselection.candidates(name)
        for pattern in patterns:
            if (answer := self.matches(pattern, name)) is not False:
                yield pattern, answer

    def matches(self, pattern: str, name: str) -> bool | None:
        """Tell whether a name matches a pattern, or None if that cannot be found out."""
        try:
            matcher = self._matchers[pattern]
        except KeyError:
            try:
                matcher = Matcher(pattern)
            except jsonschema.SchemaError:
                matcher = None
            self._matchers[pattern] = matcher
        return None if matcher is None else matcher.matches(name)


class Location:
    """A place in events, known by the subschemas that apply there; `is_plain`: nothing there or below is flagged.

    Those `around` apply to the array in which the place is. They describe the items of an array that comes instead
    of an item: nobody gets round a flag by two pairs of brackets either.
    """

    def __init__(self, flags: SchemaFlags, numbers: Numbers, around: Numbers, *, is_plain: bool) -> None:
        self._flags = flags
        self.numbers = numbers
        self.around = around
        self.is_plain = is_plain
        self._subschemas = [flags.subschemas[number] for number in sorted(numbers)]
        self._around = [flags.subschemas[number] for number in sorted(around - numbers)]
        self._properties: dict[str, Location] = {}
        self._item_places: dict[int, Location] = {}

    @property
    def flags(self) -> SchemaFlags:
        """The flags of the whole schema."""
        return self._flags

    @property
    def key(self) -> tuple[Numbers, Numbers]:
        """The key that identifies the place."""
        return self.numbers, self.around

    @cached_property
    def unwrapped(self) -> Location:
        """The place of a value that comes without the brackets of the array described here: it stands for an item."""
        if self._items_of_any_depth <= self.numbers:
            return self
        return self._flags.location(self.numbers | self._items_of_any_depth)

    @property
    def may_lack_brackets(self) -> bool:
        """Whether something else may come instead of the array described here."""
        return self.unwrapped is not self and any(map(self._may_be, _OTHER_THAN_ARRAYS))

    @cached_property
    def _items_of_any_depth(self) -> Numbers:
        subschemas = self._flags.subschemas
        below = NO_NUMBERS.union(*(subschema.of_items for subschema in self._subschemas))
        return reached(below, lambda number: subschemas[number].of_items)

    @cached_property
    def pii(self) -> str | None:
        """Where the schema says `pii: true` of this place, as a URI reference, or None if nowhere."""
        return next((subschema.where for subschema in self._subschemas if subschema.pii), None)

    @cached_property
    def categories(self) -> dict[str, str]:
        """The categories of this place, each with where the schema says so."""
        return {
            category: subschema.where
            for subschema in reversed(self._subschemas)
            for category in sorted(subschema.categories)
        }

    @cached_property
    def names(self) -> dict[str, None]:
        """The properties that the schema names here, in its order."""
        return dict.fromkeys(name for subschema in self._subschemas for name in subschema.properties)

    @cached_property
    def patterns(self) -> dict[str, None]:
        """The patterns by which the schema describes further properties here, in its order."""
        return dict.fromkeys(pattern for subschema in self._subschemas for pattern in subschema.patterns)

    @cached_property
    def takes_others(self) -> bool:
        """Whether objects here may have properties that match neither `names` nor `patterns`."""
        return self._may_be("object") and not any(subschema.forbids_others for subschema in self._subschemas)

    @cached_property
    def items(self) -> list[Location]:
        """The places of the items of arrays here: those at the beginning that differ, then that of all others."""
        if not self._may_be("array") or (self.describes_properties and not self.describes_items):
            return []
        return [self.of_item(index) for index in range(self._last_index + 1)]

    @cached_property
    def _last_index(self) -> int:
        """The index from which on all items are alike."""
        described = (*self._subschemas, *self._around)
        return max((max(len(s.prefix), s.rest_begins) for s in described), default=0)

    def of_property(self, name: str) -> Location:
        """Return the place of a property."""
        found = self._properties.get(name)
        if found is None and self.patterns and self._flags.are_trials_spent:
            return self.undecided
        if found is None:
            matching = self._flags.matching
            found = self._below(s.of_property(name, matching(s, name)) for s in self._subschemas)
            if name in self.names:  # others are untrusted, and without number
                self._properties[name] = found
        return found

    @cached_property
    def undecided(self) -> Location:
        """The place of properties whose names are not tried: whatever is flagged for any name is flagged here."""
        numbers: list[Numbers] = []
        for subschema in self._subschemas:
            numbers += (*subschema.properties.values(), *subschema.patterns.values(), subschema.of_other(None))
        return self._below(numbers)

    def matching(self, pattern: str) -> Location:
        """Return the place of properties that match one pattern."""
        return self._below(
            s.patterns[pattern] if pattern in s.patterns else s.of_other(None) for s in self._subschemas
        )

    def other(self) -> Location:
        """Return the place of properties that match neither a name nor a pattern."""
        return self._below(s.of_other(None) for s in self._subschemas)

    def _below(self, numbers: Iterable[Numbers]) -> Location:
        """Return the place of a property. In an object that comes instead of an array, each stands for an item."""
        return self._flags.location(self._items_of_any_depth.union(*numbers))

    def of_item(self, index: int) -> Location:
        """Return the place of an item of an array."""
        index = min(index, self._last_index)
        found = self._item_places.get(index)
        if found is None:
            described = [*self._subschemas, *self._around]
            numbers = NO_NUMBERS.union(*(s.of_item(index) for s in described))
            around = frozenset(s.number for s in described if s.describes_items)
            found = self._item_places[index] = self._flags.location(numbers, around)
        return found

    def reaches(self, path: str) -> bool:
        """Tell whether the schema lets anything stand at a dotted path, which passes arrays unseen."""
        return any(
            place.knows(name) and (not rest or place.of_property(name).reaches(rest))
            for place in self._through_arrays()
            for name, rest in first_steps(path)
        )

    def paths(self) -> Iterator[str]:
        """Yield the dotted paths of all properties that the schema names; recursive ones once."""
        return self._paths("", frozenset())

    def _paths(self, prefix: str, above: frozenset[Any]) -> Iterator[str]:
        if self.key in above:
            return
        for place in self._through_arrays():
            for name in place.names:
                yield prefix + name
                yield from place.of_property(name)._paths(f"{prefix}{name}.", above | {self.key})  # noqa: SLF001

    def _through_arrays(self) -> Iterable[Location]:
        """Return this place and those of the items of arrays here, of their items, and so on."""
        found = {self.key: self}
        waiting = [self]
        while waiting:
            for item in waiting.pop().items:
                if item.key not in found:
                    found[item.key] = item
                    waiting.append(item)
        return found.values()

    def knows(self, name: str) -> bool:
        """Tell whether the schema says that objects here may have a property of this name."""
        if not self._may_be("object"):
            return False
        if not (self.describes_properties or self.describes_items):
            return True
        return any(
            name in s.properties
            or name in s.required
            or s.additional is not None
            or any(self._flags.matches(pattern, name) for pattern in s.patterns)
            for s in self._subschemas
        )

    @cached_property
    def describes_properties(self) -> bool:
        """Whether the schema says anything of the properties of objects here."""
        return any(subschema.describes_properties for subschema in self._subschemas)

    @cached_property
    def describes_items(self) -> bool:
        """Whether the schema says anything of the items of arrays here."""
        return any(subschema.describes_items for subschema in self._subschemas)

    def _may_be(self, kind: str) -> bool:
        typed = [subschema.types for subschema in self._subschemas if subschema.types]
        return not typed or any(kind in types for types in typed)


def _leading_to_flags(subschemas: list[Subschema]) -> Numbers:
    """Return the subschemas that are flagged, or below which one is."""
    above: list[set[int]] = [set() for _ in subschemas]
    for number, subschema in enumerate(subschemas):
        for numbers in subschema.below():
            for below in numbers:
                above[below].add(number)
    flagged = [number for number, subschema in enumerate(subschemas) if subschema.pii or subschema.categories]
    return reached(flagged, lambda number: above[number])
