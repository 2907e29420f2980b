"""Where a schema flags values of its events: as personal (`pii`), or as of some `categories`.

A flag counts wherever JSON Schema lets a subschema apply to a value. Which branch of an `anyOf` or `if` an event
takes is not asked: what any of them flags is flagged. So a schema can be explained before there is an event, and
nothing in an event can talk its way out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from referencing.exceptions import Unresolvable

from jupyter_otel_telemetry.jsondata import json_pointer
from jupyter_otel_telemetry.references import REFERENCE_KEYWORDS, SchemaDocuments
from jupyter_otel_telemetry.schema import are_categories
from jupyter_otel_telemetry.validation import matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from referencing._core import Resolver  # which has no public name

__all__ = ["Location", "SchemaFlags", "mentions_flags", "read_flags"]

Numbers = frozenset[int]

MAX_LINKS: Final = 500_000
"""Everything is flagged of a schema so tangled that more subschemas apply at its places, all counted."""
_MAX_KEPT_LOCATIONS: Final = 10_000
_NONE: Final[Numbers] = frozenset()
_NO_NAMES: Final[frozenset[str]] = frozenset()


@dataclass(slots=True)
class Subschema:
    """What one subschema says of the values it applies to, and which subschemas apply to what lies below them.

    Subschemas are known by their number. `where` is a URI reference to this one. `additional` is None where no
    keyword says that properties which are not described may stand there. `unevaluated` does not speak of the names
    in `evaluated`, `rest` not of the items before `rest_begins`.
    """

    number: int
    where: str
    pii: bool = False
    categories: frozenset[str] = frozenset()
    types: tuple[str, ...] = ()
    in_place: set[int] = field(default_factory=set)
    conjoined: set[int] = field(default_factory=set)
    of_the_whole: set[int] = field(default_factory=set)
    properties: dict[str, Numbers] = field(default_factory=dict)
    patterns: dict[str, Numbers] = field(default_factory=dict)
    additional: Numbers | None = None
    unevaluated: Numbers = _NONE
    evaluated: frozenset[str] = frozenset()
    forbids_others: bool = False
    required: frozenset[str] = _NO_NAMES
    prefix: list[Numbers] = field(default_factory=list)
    rest: Numbers = _NONE
    rest_begins: int = 0
    every_item: Numbers = _NONE

    @property
    def describes_items(self) -> bool:
        return bool(self.prefix or self.rest or self.every_item)

    @property
    def describes_properties(self) -> bool:
        return bool(
            self.properties or self.patterns or self.unevaluated or self.forbids_others or self.additional is not None
        )

    def below(self) -> Iterator[Numbers]:
        """Yield what applies to anything below a value."""
        yield from self.properties.values()
        yield from self.patterns.values()
        yield from self.prefix
        yield from (self.additional or _NONE, self.unevaluated, self.rest, self.every_item)

    def of_property(self, name: str) -> Numbers:
        """Return what applies to a property of this name."""
        found = [self.properties[name]] if name in self.properties else []
        found += [numbers for pattern, numbers in self.patterns.items() if matches(pattern, name)]
        return _NONE.union(*found) if found else self.of_other(name)

    def of_other(self, name: str | None) -> Numbers:
        """Return what applies to a property that neither `properties` nor `patternProperties` describe."""
        unevaluated = _NONE if name in self.evaluated else self.unevaluated
        return (self.additional or _NONE) | unevaluated

    def of_item(self, index: int) -> Numbers:
        """Return what applies to the item at an index.

        Of a value that could be an object or an array, what is said of an object is meant of each item of an array,
        too: paths pass arrays unseen, and nobody gets round a flag by a pair of brackets.
        """
        if not self.describes_items and self.describes_properties and (not self.types or "array" in self.types):
            return frozenset({self.number})
        found = self.prefix[index] if index < len(self.prefix) else _NONE
        return found | self.every_item | (self.rest if index >= self.rest_begins else _NONE)


class SchemaFlags:
    """The flags of one schema, as plain data that can be pickled; `root` is where to begin."""

    def __init__(self, subschemas: list[Subschema], root: Numbers) -> None:
        self.subschemas = subschemas
        self._root = root
        self._live = _leading_to_flags(subschemas)
        self._locations: dict[Numbers, Location] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return SchemaFlags, (self.subschemas, self._root)

    @property
    def root(self) -> Location:
        """The location of whole events."""
        return self.location(self._root)

    def location(self, numbers: Numbers) -> Location:
        """Return where these subschemas apply together."""
        found = self._locations.get(numbers)
        if found is None:
            found = Location(self, numbers, is_plain=numbers.isdisjoint(self._live))
            if len(self._locations) < _MAX_KEPT_LOCATIONS:
                self._locations[numbers] = found
        return found


class Location:
    """A place in events, known by the subschemas that apply there; `is_plain`: nothing there or below is flagged."""

    def __init__(self, flags: SchemaFlags, numbers: Numbers, *, is_plain: bool) -> None:
        self._flags = flags
        self.numbers = numbers
        self.is_plain = is_plain
        self._subschemas = [flags.subschemas[number] for number in sorted(numbers)]
        self._properties: dict[str, Location] = {}

    @cached_property
    def pii(self) -> str | None:
        """Where the schema says `pii: true` of this place, as a URI reference; None: nowhere."""
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
        """What is said of the items of arrays here: of each at the beginning that differs, then of all others."""
        if not self._may_be("array") or (self._has_properties and not self._has_items):
            return []
        count = max((max(len(s.prefix), s.rest_begins) for s in self._subschemas), default=0)
        return [self.of_item(index) for index in range(count + 1)]

    def of_property(self, name: str) -> Location:
        """Return the place of a property."""
        found = self._properties.get(name)
        if found is None:
            found = self._flags.location(_NONE.union(*(s.of_property(name) for s in self._subschemas)))
            if name in self.names:  # others are a stranger's, and without number
                self._properties[name] = found
        return found

    def matching(self, pattern: str) -> Location:
        """Return the place of properties that match one pattern."""
        numbers = (s.patterns[pattern] if pattern in s.patterns else s.of_other(None) for s in self._subschemas)
        return self._flags.location(_NONE.union(*numbers))

    def other(self) -> Location:
        """Return the place of properties that match neither a name nor a pattern."""
        return self._flags.location(_NONE.union(*(s.of_other(None) for s in self._subschemas)))

    def of_item(self, index: int) -> Location:
        """Return the place of an item of an array."""
        return self._flags.location(_NONE.union(*(s.of_item(index) for s in self._subschemas)))

    def reaches(self, path: str) -> bool:
        """Tell whether the schema lets anything stand at a dotted path, which passes arrays unseen."""
        return any(
            place.knows(name) and (not rest or place.of_property(name).reaches(rest))
            for place in self._through_arrays()
            for name, rest in _first_steps(path)
        )

    def paths(self) -> Iterator[str]:
        """Yield the dotted paths of all properties that the schema names; recursive ones once."""
        return self._paths("", frozenset())

    def _paths(self, prefix: str, above: frozenset[Numbers]) -> Iterator[str]:
        if self.numbers in above:
            return
        for place in self._through_arrays():
            for name in place.names:
                yield prefix + name
                yield from place.of_property(name)._paths(f"{prefix}{name}.", above | {self.numbers})  # noqa: SLF001

    def _through_arrays(self) -> Iterable[Location]:
        """Return this place and those of the items of arrays here, of their items, and so on."""
        found = {self.numbers: self}
        waiting = [self]
        while waiting:
            for item in waiting.pop().items:
                if item.numbers not in found:
                    found[item.numbers] = item
                    waiting.append(item)
        return found.values()

    def knows(self, name: str) -> bool:
        """Tell whether the schema says that objects here may have a property of this name."""
        if not self._may_be("object"):
            return False
        if not (self._has_properties or self._has_items):
            return True
        return any(
            name in s.properties
            or name in s.required
            or s.additional is not None
            or any(matches(pattern, name) for pattern in s.patterns)
            for s in self._subschemas
        )

    @cached_property
    def _has_properties(self) -> bool:
        return any(subschema.describes_properties for subschema in self._subschemas)

    @cached_property
    def _has_items(self) -> bool:
        return any(subschema.describes_items for subschema in self._subschemas)

    def _may_be(self, kind: str) -> bool:
        typed = [subschema.types for subschema in self._subschemas if subschema.types]
        return not typed or any(kind in types for types in typed)


def _first_steps(path: str) -> Iterator[tuple[str, str]]:
    """Yield every way to take a first name off a dotted path: names may hold dots themselves."""
    yield path, ""
    for index, character in enumerate(path):
        if character == ".":
            yield path[:index], path[index + 1 :]


def _leading_to_flags(subschemas: list[Subschema]) -> Numbers:
    """Return the subschemas that are flagged, or below which one is."""
    above: list[set[int]] = [set() for _ in subschemas]
    for number, subschema in enumerate(subschemas):
        for numbers in subschema.below():
            for below in numbers:
                above[below].add(number)
    flagged = [number for number, subschema in enumerate(subschemas) if subschema.pii or subschema.categories]
    return _reached(flagged, lambda number: above[number])


def mentions_flags(value: Any) -> bool:
    """Tell whether a schema could flag anything: whether the name of an annotation stands anywhere in it."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if "pii" in found or "categories" in found:
                return True
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
    return False


def read_flags(documents: SchemaDocuments) -> SchemaFlags:
    """Read the flags of a schema whose references have been checked."""
    try:
        return _Reader(documents).read()
    except _TooTangledError:
        return SchemaFlags([Subschema(0, "#, which is too tangled to be read", pii=True)], frozenset({0}))


class _TooTangledError(Exception):
    """More subschemas apply than anybody should have to follow."""


class _Reader:
    """Gives a number to every subschema that can apply to an event, and notes what it says."""

    def __init__(self, documents: SchemaDocuments) -> None:
        self.documents = documents
        self._numbers: dict[int, int] = {}
        self._subschemas: list[Subschema] = []
        self._waiting: list[tuple[Subschema, _Keywords]] = []
        # Only there does `items` leave out what `prefixItems` describes; earlier drafts do not know the latter.
        self._prefix_counts = documents.are_all_2020_12

    def read(self) -> SchemaFlags:
        root = self.numbers_of(self.documents.root, self.documents.resolver(), "#")
        while self._waiting:
            subschema, keywords = self._waiting.pop()
            _read_annotations(subschema, keywords.schema)
            _read_in_place(subschema, keywords)
            self._read_references(subschema, keywords)
            _read_object(subschema, keywords)
            _read_array(subschema, keywords, prefix_counts=self._prefix_counts)
        _note_evaluated(self._subschemas)
        _flag_wholes(self._subschemas)
        applying = _close(self._subschemas)
        return SchemaFlags(self._subschemas, _NONE.union(*(applying[number] for number in root)))

    def numbers_of(self, schema: Any, resolver: Resolver[Any], where: str) -> Numbers:
        """Return the number of a subschema, in a set that is empty for a boolean, which flags nothing.

        `resolver` is that of what the subschema itself holds.
        """
        if not isinstance(schema, dict):
            return _NONE
        number = self._numbers.setdefault(id(schema), len(self._subschemas))
        if number == len(self._subschemas):
            self._subschemas.append(Subschema(number, where))
            self._waiting.append((self._subschemas[-1], _Keywords(self, schema, resolver, where)))
        return frozenset({number})

    def _read_references(self, subschema: Subschema, keywords: _Keywords) -> None:
        for keyword, reference in keywords.schema.items():
            if keyword not in REFERENCE_KEYWORDS or not isinstance(reference, str):
                continue
            for target, resolver in self._targets(subschema, keyword, reference, keywords.resolver):
                numbers = self.numbers_of(target, resolver, reference)
                subschema.in_place |= numbers
                if keyword == "$ref":
                    subschema.conjoined |= numbers

    def _targets(
        self, subschema: Subschema, keyword: str, reference: str, resolver: Resolver[Any]
    ) -> Iterator[tuple[Any, Resolver[Any]]]:
        try:
            found = resolver.lookup(reference)
        except (Unresolvable, AttributeError, TypeError, ValueError):
            # In a place that the draft does not take for a schema, where nobody has looked.
            subschema.pii = True
        else:
            yield found.contents, found.resolver
        if keyword != "$ref":  # it may mean another place, depending on the way that led here
            yield from self.documents.dynamic_targets(keyword, reference)


class _Keywords:
    """The keywords of one subschema, as numbers of the subschemas that they hold."""

    def __init__(self, reader: _Reader, schema: dict[str, Any], resolver: Resolver[Any], where: str) -> None:
        self._reader = reader
        self.schema = schema
        self.resolver = resolver
        self._where = where

    def single(self, *keywords: str) -> Numbers:
        return _NONE.union(*(self._numbers(self.schema.get(keyword), keyword) for keyword in keywords))

    def listed(self, *keywords: str) -> list[Numbers]:
        return [
            self._numbers(item, keyword, str(index))
            for keyword in keywords
            if isinstance(items := self.schema.get(keyword), list)
            for index, item in enumerate(items)
        ]

    def named(self, *keywords: str) -> dict[str, Numbers]:
        return {
            name: self._numbers(item, keyword, name)
            for keyword in keywords
            if isinstance(items := self.schema.get(keyword), dict)
            for name, item in items.items()
        }

    def _numbers(self, schema: Any, *steps: str) -> Numbers:
        if not isinstance(schema, dict):
            return _NONE
        entered = self._reader.documents.entered(schema, self.resolver)
        return self._reader.numbers_of(schema, entered, self._where + json_pointer(steps))


def _read_annotations(subschema: Subschema, schema: dict[str, Any]) -> None:
    categories = schema.get("categories", [])
    if are_categories(categories):
        subschema.categories = frozenset(categories)
    # What is no annotation, where registration could not see it, is taken for the strongest one.
    subschema.pii = schema.get("pii", False) is not False or not are_categories(categories)
    types = schema.get("type", [])
    subschema.types = (types,) if isinstance(types, str) else tuple(types if isinstance(types, list) else ())


def _read_in_place(subschema: Subschema, keywords: _Keywords) -> None:
    """Read what applies to the same value."""
    subschema.conjoined |= _NONE.union(*keywords.listed("allOf"))
    subschema.in_place |= subschema.conjoined | keywords.single("not", "if", "then", "else")
    subschema.in_place |= _NONE.union(*keywords.listed("anyOf", "oneOf"))
    subschema.in_place |= _NONE.union(*keywords.named("dependencies", "dependentSchemas").values())
    # The names of a value, and what its text holds, are the value.
    subschema.of_the_whole |= keywords.single("propertyNames", "contentSchema")


def _read_object(subschema: Subschema, keywords: _Keywords) -> None:
    subschema.properties = keywords.named("properties")
    subschema.patterns = keywords.named("patternProperties")
    subschema.unevaluated = keywords.single("unevaluatedProperties")
    others = [keywords.schema.get(keyword) for keyword in ("additionalProperties", "unevaluatedProperties")]
    subschema.forbids_others = False in others
    required = keywords.schema.get("required")
    subschema.required = frozenset(filter(_is_text, required if isinstance(required, list) else ()))
    if any(isinstance(schema, dict) or schema is True for schema in others):
        subschema.additional = keywords.single("additionalProperties")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _read_array(subschema: Subschema, keywords: _Keywords, *, prefix_counts: bool) -> None:
    by_name, by_items = keywords.listed("prefixItems"), keywords.listed("items")
    subschema.prefix = [one | other for one, other in zip_longest(by_name, by_items, fillvalue=_NONE)]
    subschema.rest = keywords.single("items", "additionalItems", "unevaluatedItems")
    subschema.rest_begins = len(by_items) or (len(by_name) if prefix_counts else 0)
    subschema.every_item = keywords.single("contains")


def _close(subschemas: list[Subschema]) -> list[Numbers]:
    """Complete all numbers: where a subschema applies, those that it holds in place do, and those that they hold.

    Returns:
        Per subschema, what applies where it does.

    """
    applying: list[Numbers] = []
    links = 0
    for number in range(len(subschemas)):
        applying.append(_reached({number}, lambda number: subschemas[number].in_place))
        links += len(applying[-1])
        if links > MAX_LINKS:
            raise _TooTangledError

    def closed(numbers: Numbers) -> Numbers:
        return _NONE.union(*(applying[number] for number in numbers))

    for subschema in subschemas:
        subschema.properties = {name: closed(numbers) for name, numbers in subschema.properties.items()}
        subschema.patterns = {pattern: closed(numbers) for pattern, numbers in subschema.patterns.items()}
        subschema.prefix = [closed(numbers) for numbers in subschema.prefix]
        subschema.additional = None if subschema.additional is None else closed(subschema.additional)
        subschema.unevaluated, subschema.rest = closed(subschema.unevaluated), closed(subschema.rest)
        subschema.every_item = closed(subschema.every_item)
    return applying


def _note_evaluated(subschemas: list[Subschema]) -> None:
    """Note which names `unevaluatedProperties` certainly does not speak of."""
    for subschema in subschemas:
        if subschema.unevaluated:
            conjoined = _reached(subschema.conjoined, lambda number: subschemas[number].conjoined)
            subschema.evaluated = _NO_NAMES.union(*(subschemas[number].properties for number in conjoined))


def _flag_wholes(subschemas: list[Subschema]) -> None:
    """Let a value have the flags of its names, and of what its text holds."""

    def held(number: int) -> set[int]:
        subschema = subschemas[number]
        return subschema.in_place.union(subschema.of_the_whole, *subschema.below())

    for subschema in subschemas:
        flagged = [subschemas[number] for number in _reached(subschema.of_the_whole, held)]
        subschema.pii |= any(found.pii for found in flagged)
        subschema.categories = subschema.categories.union(*(found.categories for found in flagged))


def _reached(numbers: Iterable[int], step: Callable[[int], Iterable[int]]) -> Numbers:
    found = set(numbers)
    waiting = list(found)
    while waiting:
        further = set(step(waiting.pop())) - found
        found |= further
        waiting += further
    return frozenset(found)
