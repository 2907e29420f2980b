"""The values of an event that a schema describes, each with all keywords that apply to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jupyter_otel_telemetry.names import EVENT_PREFIX
from jupyter_otel_telemetry.schemas.annotations import are_categories

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jupyter_otel_telemetry.schemas.keywords import Path

__all__ = ["Value", "event_values"]

_BRANCHES: Final = ("allOf", "anyOf", "oneOf")
_LIMITING: Final = frozenset(
    "type enum const $ref $dynamicRef allOf anyOf oneOf not if properties items prefixItems pattern format".split()
)
_TIMES: Final = frozenset({"date", "date-time", "duration", "time"})
"""Formats whose texts are not free: a person who reads the schema knows what they contain."""


class Value(NamedTuple):
    """A described value of an event.

    `name` is that of the property, or None for an item or a branch. `subschema` stands at `path`; `keywords` also
    has those of the subschemas of which it is a branch. `attribute` is the name of the property's attribute, or None
    below an array or a branch. `is_decided` tells whether a flag, true or false, applies. `is_personal` and
    `categories` are those of the flags that apply.
    """

    path: Path
    name: str | None
    subschema: dict[str, Any]
    keywords: dict[str, Any]
    attribute: str | None
    is_decided: bool = False
    is_personal: bool = False
    categories: frozenset[str] = frozenset()

    @property
    def is_free_text(self) -> bool:
        """Whether the value may be a text that the schema does not list."""
        if {"enum", "const", "$ref", *_BRANCHES} & self.keywords.keys() or self.keywords.get("format") in _TIMES:
            return False
        wanted = self.keywords.get("type")
        return wanted == "string" or (isinstance(wanted, list) and "string" in wanted) or self.is_untyped

    @property
    def is_untyped(self) -> bool:
        """Whether the value may be anything."""
        return not _LIMITING & self.keywords.keys()


def event_values(document: dict[str, Any]) -> Iterator[Value]:
    """Yield the values below the root of an event, except those that only `if`, `not` and `contains` mention."""
    waiting = [_flagged(Value((), None, document, document, ""))]
    while waiting:
        value = waiting.pop()
        if value.path:
            yield value
        waiting += reversed([*_below(value)])


def _below(value: Value) -> Iterator[Value]:
    own = value.subschema
    for name, subschema in _mapping(own.get("properties")):
        yield _child(value, ("properties", name), subschema, name=name, attribute=_attribute(value, name, subschema))
    for keyword in ("additionalProperties", "additionalItems", "items"):
        if isinstance(own.get(keyword), dict):
            yield _child(value, (keyword,), own[keyword])
    for pattern, subschema in _mapping(own.get("patternProperties")):
        yield _child(value, ("patternProperties", pattern), subschema)
    for keyword in ("items", "prefixItems"):
        for index, subschema in _list(own.get(keyword)):
            yield _child(value, (keyword, index), subschema)
    above = {name: item for name, item in value.keywords.items() if name not in _BRANCHES}
    for keyword in _BRANCHES:
        for index, subschema in _list(own.get(keyword)):
            yield _child(value, (keyword, index), subschema)._replace(keywords=above | subschema)


def _child(
    value: Value, place: Path, subschema: dict[str, Any], name: str | None = None, attribute: str | None = None
) -> Value:
    return _flagged(
        value._replace(
            path=(*value.path, *place), name=name, subschema=subschema, keywords=subschema, attribute=attribute
        )
    )


def _attribute(value: Value, name: str, subschema: dict[str, Any]) -> str | None:
    if value.attribute is None:
        return None
    otel = subschema.get("otel")
    own = otel.get("attribute") if isinstance(otel, dict) else None
    usual = f"{value.attribute}.{name}" if value.path else EVENT_PREFIX + name
    return own if isinstance(own, str) else usual


def _mapping(value: Any) -> Iterable[tuple[str, dict[str, Any]]]:
    return [item for item in value.items() if isinstance(item[1], dict)] if isinstance(value, dict) else ()


def _list(value: Any) -> Iterable[tuple[int, dict[str, Any]]]:
    return [item for item in enumerate(value) if isinstance(item[1], dict)] if isinstance(value, list) else ()


def _flagged(value: Value) -> Value:
    """Return a value with the flags of its subschema beside those from above."""
    pii, categories = value.subschema.get("pii"), value.subschema.get("categories")
    named = frozenset(categories or ()) if are_categories(categories) else frozenset()
    return value._replace(
        is_decided=value.is_decided or isinstance(pii, bool) or bool(categories),
        is_personal=value.is_personal or pii is True,
        categories=value.categories | named,
    )
