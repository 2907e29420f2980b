"""The complement of a canonical schema, as a canonical schema without `not`, where one exists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.workshop.canonical import key

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["complement"]

_TYPES: Final = ("null", "boolean", "number", "string", "array", "object")


def complement(schema: Any) -> Any:
    """Return a schema that accepts exactly the values which `schema` refuses.

    `not` remains at keywords that have no complement of their own, such as `pattern`, `enum` and `items`.
    """
    if isinstance(schema, bool):
        return not schema
    parts: dict[str, Any] = {}
    for keyword, value in schema.items():
        found = _parts(keyword, value, schema)
        if found is None:
            return {"not": schema}
        parts |= {key(part): part for part in found}
    if key({"not": schema}) in parts:
        return {"not": schema}
    return {"anyOf": list(parts.values())} if parts else False


def _parts(keyword: str, value: Any, schema: dict[str, Any]) -> list[Any] | None:
    """Return schemas that together accept the values which one keyword refuses, or None if it is unknown."""
    if keyword in _COMPLEMENTS:
        return _COMPLEMENTS[keyword](value)
    if keyword in _ALONE:
        return [{"not": {keyword: value}}]
    if keyword in _GROUPS:
        return [{"not": {name: schema[name] for name in (keyword, *_GROUPS[keyword]) if name in schema}}]
    return [] if keyword in _DEPENDENT else None


def _other_types(value: Any) -> list[Any]:
    names = {value} if isinstance(value, str) else set(value)
    others = [name for name in _TYPES if name not in names]
    if "integer" in names and "number" in others:
        others.remove("number")
        return [{"type": others}, {"type": "number", "not": {"multipleOf": 1}}]
    return [{"type": others}] if others else []


_ALONE: Final = frozenset(
    "enum const pattern multipleOf uniqueItems propertyNames dependentRequired dependentSchemas "
    "patternProperties".split()
)
_GROUPS: Final = {
    "contains": ("minContains", "maxContains"),
    "if": ("then", "else"),
    "items": ("prefixItems",),
    "prefixItems": ("items",),
    "additionalProperties": ("properties", "patternProperties"),
}
"""Keywords whose meaning depends on others beside them."""
_DEPENDENT: Final = frozenset("minContains maxContains then else".split())
"""Keywords that mean nothing alone."""


def _below(kind: str, keyword: str, value: int) -> list[Any]:
    return [{"type": kind, keyword: value - 1}] if value > 0 else []


_COMPLEMENTS: Final[dict[str, Callable[[Any], list[Any]]]] = {
    "type": _other_types,
    "minimum": lambda value: [{"type": "number", "exclusiveMaximum": value}],
    "maximum": lambda value: [{"type": "number", "exclusiveMinimum": value}],
    "exclusiveMinimum": lambda value: [{"type": "number", "maximum": value}],
    "exclusiveMaximum": lambda value: [{"type": "number", "minimum": value}],
    "minLength": lambda value: _below("string", "maxLength", int(value)),
    "maxLength": lambda value: [{"type": "string", "minLength": int(value) + 1}],
    "minItems": lambda value: _below("array", "maxItems", int(value)),
    "maxItems": lambda value: [{"type": "array", "minItems": int(value) + 1}],
    "minProperties": lambda value: _below("object", "maxProperties", int(value)),
    "maxProperties": lambda value: [{"type": "object", "minProperties": int(value) + 1}],
    "required": lambda names: [{"type": "object", "properties": {name: False}} for name in names],
    "properties": lambda described: [
        {"type": "object", "required": [name], "properties": {name: complement(item)}}
        for name, item in described.items()
    ],
    "not": lambda value: [value],
    "allOf": lambda branches: [complement(item) for item in branches],
    "anyOf": lambda branches: [{"allOf": [complement(item) for item in branches]}],
}
"""For each keyword, schemas that together accept the values which it refuses."""
