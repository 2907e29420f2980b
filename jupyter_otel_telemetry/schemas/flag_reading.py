"""Reads the flags of a schema: numbers every subschema that can apply to an event, and notes its rules."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from referencing.exceptions import Unresolvable

from jupyter_otel_telemetry.jsondata import json_pointer
from jupyter_otel_telemetry.schemas.annotations import are_categories
from jupyter_otel_telemetry.schemas.flags import SchemaFlags
from jupyter_otel_telemetry.schemas.keywords import REFERENCES
from jupyter_otel_telemetry.schemas.subschema import NO_NUMBERS, Numbers, Subschema, reached

if TYPE_CHECKING:
    from collections.abc import Callable

    from referencing._core import Resolver  # which has no public name

    from jupyter_otel_telemetry.schemas.references import SchemaDocuments

__all__ = ["mentions_flags", "read_flags", "read_subschemas"]

MAX_LINKS: Final = 300_000
"""Everything is flagged of a schema so tangled that more subschemas apply at its places, all counted."""


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


def read_subschemas(documents: SchemaDocuments) -> tuple[list[Subschema], Numbers]:
    """Read a schema whose references have been checked: its subschemas by number, and the number of the root."""
    return _Reader(documents).read()


def read_flags(subschemas: list[Subschema], root: Numbers) -> SchemaFlags:
    """Complete the result of `read_subschemas` to the flags of a schema."""
    try:
        _flag_wholes(subschemas)
        _note_evaluated(subschemas)
        applying = _close(subschemas)
    except _TooTangledError:
        return SchemaFlags([Subschema(0, "#, which is too tangled to be read", pii=True)], frozenset({0}))
    return SchemaFlags(subschemas, NO_NUMBERS.union(*(applying[number] for number in root)))


class _TooTangledError(Exception):
    """More subschemas apply than anybody should have to follow."""


class _Reader:
    """Numbers every subschema that can apply to an event, and notes its rules."""

    def __init__(self, documents: SchemaDocuments) -> None:
        self.documents = documents
        self._numbers: dict[int, int] = {}
        self._subschemas: list[Subschema] = []
        self._waiting: list[_Keywords] = []
        # Only there does `items` leave out the items of `prefixItems`; earlier drafts do not know the latter.
        self._prefix_counts = documents.are_all_2020_12

    def read(self) -> tuple[list[Subschema], Numbers]:
        root = self.numbers_of(self.documents.root, self.documents.resolver(), "#")
        while self._waiting:
            keywords = self._waiting.pop()
            for keyword, value in keywords.schema.items():
                if (read := _READERS.get(keyword)) is not None:
                    read(keywords, keyword, value)
            _read_annotations(keywords.subschema, keywords.schema)
            _arrange_items(keywords, prefix_counts=self._prefix_counts)
        return self._subschemas, root

    def numbers_of(self, schema: Any, resolver: Resolver[Any], where: str) -> Numbers:
        """Return the number of a subschema, in a set that is empty for one that says nothing, as a boolean.

        `resolver` is that of the content of the subschema.
        """
        if not schema or not isinstance(schema, dict):
            return NO_NUMBERS
        number = self._numbers.setdefault(id(schema), len(self._subschemas))
        if number == len(self._subschemas):
            self._subschemas.append(Subschema(number, where))
            self._waiting.append(_Keywords(self, self._subschemas[-1], schema, resolver))
        return frozenset({number})


class _Keywords:
    """The keywords of one subschema, as numbers of the subschemas that they hold."""

    def __init__(
        self, reader: _Reader, subschema: Subschema, schema: dict[str, Any], resolver: Resolver[Any]
    ) -> None:
        self._reader = reader
        self.subschema = subschema
        self.schema = schema
        self.resolver = resolver
        self.by_index: dict[str, list[Numbers]] = {}

    def numbers(self, schema: Any, *steps: str) -> Numbers:
        if not schema or not isinstance(schema, dict):
            return NO_NUMBERS
        entered = self._reader.documents.entered(schema, self.resolver)
        return self._reader.numbers_of(schema, entered, self.subschema.where + json_pointer(steps))

    def listed(self, keyword: str, items: Any) -> list[Numbers]:
        if not isinstance(items, list):
            return []
        return [self.numbers(item, keyword, str(index)) for index, item in enumerate(items)]

    def named(self, keyword: str, items: Any) -> dict[str, Numbers]:
        if not isinstance(items, dict):
            return {}
        return {name: self.numbers(item, keyword, name) for name, item in items.items()}

    def target(self, reference: str) -> Numbers:
        """Return the targets of a reference that every event reaches."""
        try:
            found = self.resolver.lookup(reference)
        except (Unresolvable, AttributeError, TypeError, ValueError):
            if self._reader.documents.other_targets(reference, self.resolver) is None:
                # In a place that the draft does not take for a schema, where nobody has looked.
                self.subschema.pii = True
            return NO_NUMBERS
        return self._reader.numbers_of(found.contents, found.resolver, reference)

    def further_targets(self, keyword: str, reference: str) -> Numbers:
        """Return the possible targets of a reference: in other versions, or depending on the way that led here."""
        documents = self._reader.documents
        targets = documents.other_targets(reference, self.resolver) or []
        if keyword != "$ref":
            targets += documents.dynamic_targets(keyword, reference)
        return NO_NUMBERS.union(*(self._reader.numbers_of(*target, reference) for target in targets))


def _read_reference(keywords: _Keywords, keyword: str, reference: Any) -> None:
    if not isinstance(reference, str):
        return
    subschema = keywords.subschema
    certain, further = keywords.target(reference), keywords.further_targets(keyword, reference)
    subschema.in_place |= certain | further
    if keyword == "$ref":
        subschema.conjoined |= certain
    else:
        subschema.dynamic |= certain | further


def _read_branch(keywords: _Keywords, keyword: str, value: Any) -> None:
    keywords.subschema.in_place |= keywords.numbers(value, keyword)


def _read_branches(keywords: _Keywords, keyword: str, value: Any) -> None:
    numbers = NO_NUMBERS.union(*keywords.listed(keyword, value), *keywords.named(keyword, value).values())
    keywords.subschema.in_place |= numbers
    if keyword == "allOf":
        keywords.subschema.conjoined |= numbers


def _read_whole(keywords: _Keywords, keyword: str, value: Any) -> None:
    """Read the subschemas of the names of a value, or of the content of its text, as subschemas of the value."""
    keywords.subschema.of_the_whole |= keywords.numbers(value, keyword)


def _read_properties(keywords: _Keywords, keyword: str, value: Any) -> None:
    keywords.subschema.properties = keywords.named(keyword, value)


def _read_patterns(keywords: _Keywords, keyword: str, value: Any) -> None:
    keywords.subschema.patterns = keywords.named(keyword, value)


def _read_others(keywords: _Keywords, keyword: str, value: Any) -> None:
    subschema = keywords.subschema
    if value is False:
        subschema.forbids_others = True
    elif value is True or isinstance(value, dict):
        numbers = keywords.numbers(value, keyword)
        if keyword == "unevaluatedProperties":
            subschema.unevaluated = numbers
            numbers = NO_NUMBERS
        subschema.additional = numbers | (subschema.additional or NO_NUMBERS)


def _read_required(keywords: _Keywords, _keyword: str, value: Any) -> None:
    names = value if isinstance(value, list) else ()
    keywords.subschema.required = frozenset(name for name in names if isinstance(name, str))


def _read_items(keywords: _Keywords, keyword: str, value: Any) -> None:
    keywords.by_index[keyword] = keywords.listed(keyword, value)
    keywords.subschema.rest |= keywords.numbers(value, keyword)


def _read_contains(keywords: _Keywords, keyword: str, value: Any) -> None:
    keywords.subschema.every_item = keywords.numbers(value, keyword)


def _read_type(keywords: _Keywords, _keyword: str, value: Any) -> None:
    keywords.subschema.types = (value,) if isinstance(value, str) else tuple(value if isinstance(value, list) else ())


_READERS: Final[dict[str, Callable[[_Keywords, str, Any], None]]] = {
    **dict.fromkeys(REFERENCES, _read_reference),
    **dict.fromkeys(("not", "if", "then", "else"), _read_branch),
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "dependencies", "dependentSchemas"), _read_branches),
    **dict.fromkeys(("propertyNames", "contentSchema"), _read_whole),
    **dict.fromkeys(("additionalProperties", "unevaluatedProperties"), _read_others),
    **dict.fromkeys(("prefixItems", "items", "additionalItems", "unevaluatedItems"), _read_items),
    "properties": _read_properties,
    "patternProperties": _read_patterns,
    "required": _read_required,
    "contains": _read_contains,
    "type": _read_type,
}


def _read_annotations(subschema: Subschema, schema: dict[str, Any]) -> None:
    if "pii" not in schema and "categories" not in schema:
        return
    categories = schema.get("categories", [])
    if are_categories(categories):
        subschema.categories = frozenset(categories)
    # An invalid annotation that registration could not see counts as the strongest one.
    subschema.pii |= schema.get("pii", False) is not False or not are_categories(categories)


def _arrange_items(keywords: _Keywords, *, prefix_counts: bool) -> None:
    if keywords.by_index:
        by_name, by_items = keywords.by_index.get("prefixItems", []), keywords.by_index.get("items", [])
        prefix = [one | other for one, other in zip_longest(by_name, by_items, fillvalue=NO_NUMBERS)]
        keywords.subschema.prefix = prefix
        keywords.subschema.rest_begins = len(by_items) or (len(by_name) if prefix_counts else 0)


def _close(subschemas: list[Subschema]) -> list[Numbers]:
    """Complete all numbers: where a subschema applies, those that it holds in place do, and those that they hold.

    Returns:
        Per subschema, the subschemas that apply to the same value.

    """
    applying: list[Numbers] = []
    links = 0
    for number in range(len(subschemas)):
        alone = not subschemas[number].in_place
        applying.append(
            frozenset({number}) if alone else reached({number}, lambda number: subschemas[number].in_place)
        )
        links += len(applying[-1])
        if links > MAX_LINKS + len(subschemas):
            raise _TooTangledError

    def closed(numbers: Numbers) -> Numbers:
        return NO_NUMBERS.union(*(applying[number] for number in numbers)) if numbers else numbers

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
    links = 0
    for subschema in subschemas:
        if subschema.unevaluated:
            conjoined = reached(subschema.conjoined, lambda number: subschemas[number].conjoined)
            links += len(conjoined) + sum(len(subschemas[number].properties) for number in conjoined)
            if links > MAX_LINKS:
                raise _TooTangledError
            subschema.evaluated = frozenset[str]().union(*(subschemas[number].properties for number in conjoined))


def _flag_wholes(subschemas: list[Subschema]) -> None:
    """Give a value the flags of its names, and of the content of its text."""
    wholes = [subschema for subschema in subschemas if subschema.of_the_whole]
    if not wholes:
        return
    above: list[list[int]] = [[] for _ in subschemas]
    flagged: dict[str | None, list[int]] = {}
    for subschema in subschemas:
        for number in subschema.held():
            above[number].append(subschema.number)
        for flag in (*subschema.categories, *([None] if subschema.pii else [])):
            flagged.setdefault(flag, []).append(subschema.number)
    if len(flagged) * len(subschemas) > MAX_LINKS * 10:
        raise _TooTangledError
    for flag, numbers in flagged.items():
        leading = reached(numbers, above.__getitem__)
        for subschema in wholes:
            if leading.isdisjoint(subschema.of_the_whole):
                continue
            subschema.pii |= flag is None
            subschema.categories |= frozenset() if flag is None else {flag}
