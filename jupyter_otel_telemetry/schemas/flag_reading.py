"""Reads what a schema flags: gives a number to every subschema that can apply to an event, and notes what it says."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from referencing.exceptions import Unresolvable

from jupyter_otel_telemetry.jsondata import json_pointer
from jupyter_otel_telemetry.schemas.flags import NO_NUMBERS, Numbers, SchemaFlags, Subschema, reached
from jupyter_otel_telemetry.schemas.references import REFERENCE_KEYWORDS, SchemaDocuments
from jupyter_otel_telemetry.schemas.schema import are_categories

if TYPE_CHECKING:
    from collections.abc import Iterator

    from referencing._core import Resolver  # which has no public name

__all__ = ["mentions_flags", "read_flags"]

MAX_LINKS: Final = 500_000
"""Everything is flagged of a schema so tangled that more subschemas apply at its places, all counted."""
_NO_NAMES: Final[frozenset[str]] = frozenset()


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
        return SchemaFlags(self._subschemas, NO_NUMBERS.union(*(applying[number] for number in root)))

    def numbers_of(self, schema: Any, resolver: Resolver[Any], where: str) -> Numbers:
        """Return the number of a subschema, in a set that is empty for a boolean, which flags nothing.

        `resolver` is that of what the subschema itself holds.
        """
        if not isinstance(schema, dict):
            return NO_NUMBERS
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
        return NO_NUMBERS.union(*(self._numbers(self.schema.get(keyword), keyword) for keyword in keywords))

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
            return NO_NUMBERS
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
    subschema.conjoined |= NO_NUMBERS.union(*keywords.listed("allOf"))
    subschema.in_place |= subschema.conjoined | keywords.single("not", "if", "then", "else")
    subschema.in_place |= NO_NUMBERS.union(*keywords.listed("anyOf", "oneOf"))
    subschema.in_place |= NO_NUMBERS.union(*keywords.named("dependencies", "dependentSchemas").values())
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
    subschema.prefix = [one | other for one, other in zip_longest(by_name, by_items, fillvalue=NO_NUMBERS)]
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
        applying.append(reached({number}, lambda number: subschemas[number].in_place))
        links += len(applying[-1])
        if links > MAX_LINKS:
            raise _TooTangledError

    def closed(numbers: Numbers) -> Numbers:
        return NO_NUMBERS.union(*(applying[number] for number in numbers))

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
            conjoined = reached(subschema.conjoined, lambda number: subschemas[number].conjoined)
            subschema.evaluated = _NO_NAMES.union(*(subschemas[number].properties for number in conjoined))


def _flag_wholes(subschemas: list[Subschema]) -> None:
    """Let a value have the flags of its names, and of what its text holds."""

    def held(number: int) -> set[int]:
        subschema = subschemas[number]
        return subschema.in_place.union(subschema.of_the_whole, *subschema.below())

    for subschema in subschemas:
        flagged = [subschemas[number] for number in reached(subschema.of_the_whole, held)]
        subschema.pii |= any(found.pii for found in flagged)
        subschema.categories = subschema.categories.union(*(found.categories for found in flagged))
