"""Schemas in one form that can be compared: draft 2020-12, references replaced by their targets, no annotations."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urldefrag, urljoin

from jupyter_otel_telemetry.schemas.keywords import REFERENCES
from jupyter_otel_telemetry.workshop.drafts import INTRODUCED, draft_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["IN_PLACE", "NotComparableError", "canonical", "closed", "key", "opened"]

Document = dict[str, Any]

IN_PLACE: Final = ("allOf", "anyOf")
"""Keywords whose subschemas apply to the same value."""

_VALUES: Final = ("additionalProperties", "contains", "items", "unevaluatedItems", "unevaluatedProperties")
_ONE: Final = frozenset({*_VALUES, "propertyNames", "not", "if", "then", "else"})
_LISTS: Final = frozenset({*IN_PLACE, "oneOf", "prefixItems"})
_MAPPINGS: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
_PLAIN: Final = frozenset(
    "type enum const minLength maxLength pattern minimum maximum exclusiveMinimum exclusiveMaximum multipleOf "
    "minItems maxItems uniqueItems minContains maxContains required minProperties maxProperties "
    "dependentRequired".split()
)
_MAX_NODES: Final = 20_000


def key(value: Any) -> str:
    """Return a text that is the same for the same JSON value: to Python, 1 equals true."""
    return json.dumps(value, sort_keys=True)


class NotComparableError(ValueError):
    """The schema has no form that can be compared; the message gives the reason."""


def canonical(document: Document, others: Mapping[str, Document] | None = None) -> Any:
    """Return a schema as draft 2020-12 without references and annotations.

    Args:
        document: a valid schema.
        others: the schemas to which a `$ref` may lead, by `$id`.

    Raises:
        NotComparableError: a reference leads nowhere, into itself, or is dynamic; or the result is too large.

    """
    root = _Canonical(document, others or {})
    return root.schema(document, ())


class _Canonical:
    """Converts one schema; `_nodes` counts the work."""

    def __init__(self, document: Document, others: Mapping[str, Document]) -> None:
        self._document = document
        self._others = others
        self._draft = draft_of(document).number
        self._nodes = 0

    def schema(self, subschema: Any, way: tuple[str, ...]) -> Any:
        """Convert a subschema; `way` has the references that led to it."""
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise NotComparableError(f"it has more than {_MAX_NODES} subschemas once references are replaced")
        if not isinstance(subschema, dict):
            return subschema
        if subschema is not self._document and isinstance(subschema.get("id" if self._draft == 4 else "$id"), str):
            raise NotComparableError("it embeds a schema with an id of its own")
        target = self._target(subschema, way)
        if target is not None and self._draft <= 7:
            return target
        found = self._keywords(subschema, way)
        if target is not None:
            found["allOf"] = [target, *found.get("allOf", ())]
        return found

    def _target(self, subschema: Document, way: tuple[str, ...]) -> Any:
        """Return the converted target of `$ref`, or None without one."""
        for keyword in REFERENCES[1:]:
            if keyword in subschema:
                raise NotComparableError(f"it has a {keyword}")
        reference = subschema.get("$ref")
        if not isinstance(reference, str):
            return None
        if reference in way:
            raise NotComparableError(f"the $ref {reference!r} leads into itself")
        url, fragment = urldefrag(urljoin(str(self._document.get("$id", "")), reference))
        is_own = reference.startswith("#") or url == urldefrag(str(self._document.get("$id", ""))).url
        found = self._document if is_own else self._others.get(url)
        if found is None:
            raise NotComparableError(f"the $ref {reference!r} leads to an unknown schema")
        if not is_own:
            target = _at(found, fragment, reference)
            return _Canonical(found, self._others).schema(target, (*way, reference))
        return self.schema(_at(found, fragment, reference), (*way, reference))

    def _keywords(self, subschema: Document, way: tuple[str, ...]) -> Document:
        found: Document = {}
        for keyword, value in subschema.items():
            if INTRODUCED.get(keyword, 0) > self._draft:
                continue
            if keyword in _ONE and not isinstance(value, list):
                found[keyword] = self.schema(value, way)
            elif keyword in _LISTS:
                found[keyword] = [self.schema(item, way) for item in value]
            elif keyword in _MAPPINGS:
                found[keyword] = {name: self.schema(item, way) for name, item in value.items()}
            elif keyword in _PLAIN:
                found[keyword] = value
        self._convert_items(subschema, found, way)
        self._convert_dependencies(subschema, found, way)
        _convert_bounds(found)
        if branches := found.pop("oneOf", None):
            found["allOf"] = [*found.get("allOf", ()), _exactly_one(branches)]
        if "if" not in found or not {"then", "else"} & found.keys():
            found = {keyword: value for keyword, value in found.items() if keyword not in {"if", "then", "else"}}
        return found

    def _convert_items(self, subschema: Document, found: Document, way: tuple[str, ...]) -> None:
        if isinstance(subschema.get("items"), list) and self._draft < 2020:
            found["prefixItems"] = [self.schema(item, way) for item in subschema["items"]]
            if "additionalItems" in subschema:
                found["items"] = self.schema(subschema["additionalItems"], way)

    def _convert_dependencies(self, subschema: Document, found: Document, way: tuple[str, ...]) -> None:
        dependencies = subschema.get("dependencies")
        if not dependencies:
            return
        if self._draft > 7:
            raise NotComparableError("it has dependencies, which its draft no longer defines")
        required = {name: item for name, item in dependencies.items() if isinstance(item, list)}
        schemas = {name: self.schema(item, way) for name, item in dependencies.items() if name not in required}
        found.update({"dependentRequired": required} if required else {})
        found.update({"dependentSchemas": schemas} if schemas else {})


def _convert_bounds(found: Document) -> None:
    """Replace the booleans that draft 4 has under `exclusiveMinimum` and `exclusiveMaximum`."""
    for inclusive, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(is_exclusive := found.get(exclusive), bool):
            del found[exclusive]
            if is_exclusive and inclusive in found:
                found[exclusive] = found.pop(inclusive)


def _exactly_one(branches: list[Any]) -> Any:
    """Return `oneOf` by `anyOf` and `not`."""
    return {
        "anyOf": [
            {"allOf": [branch, *({"not": other} for index, other in enumerate(branches) if index != chosen)]}
            for chosen, branch in enumerate(branches)
        ]
    }


def _at(document: Document, fragment: str, reference: str) -> Any:
    """Return what a JSON Pointer leads to."""
    value: Any = document
    try:
        for step in fragment.split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            value = value[int(name)] if isinstance(value, list) else value[name]
    except (KeyError, IndexError, TypeError, ValueError):
        value = None
    if not isinstance(value, (dict, bool)) or (fragment and not fragment.startswith("/")):
        raise NotComparableError(f"the $ref {reference!r} leads to no subschema")
    return value


def opened(schema: Any) -> Any:
    """Return a canonical schema that also accepts undescribed properties, as consumers do."""
    if not isinstance(schema, dict):
        return schema
    is_closing = {
        keyword for keyword in ("additionalProperties", "unevaluatedProperties") if schema.get(keyword) is False
    }
    kept = {keyword: value for keyword, value in schema.items() if keyword not in is_closing}
    return _mapped(kept, opened, opened)


def closed(schema: Any) -> Any:
    """Return a canonical schema of which events have described properties only, as producers make them."""
    found = _closed_below(schema)
    if _describes_properties(found):
        found.setdefault("unevaluatedProperties", False)
    return found


def _closed_below(schema: Any) -> Any:
    """Close the objects below a value, not the value itself, of which this may be a branch."""
    return _mapped(schema, closed, _closed_below) if isinstance(schema, dict) else schema


def _mapped(schema: Document, below: Callable[[Any], Any], branch: Callable[[Any], Any]) -> Document:
    """Return a copy with `below` applied to the subschemas of properties and items, and `branch` to branches."""
    found = dict(schema)
    for keyword, value in schema.items():
        if keyword in {"additionalProperties", "items"}:
            found[keyword] = below(value)
        elif keyword in {"properties", "patternProperties"}:
            found[keyword] = {name: below(item) for name, item in value.items()}
        elif keyword == "prefixItems":
            found[keyword] = [below(item) for item in value]
        elif keyword in IN_PLACE:
            found[keyword] = [branch(item) for item in value]
    return found


def _describes_properties(schema: Any) -> bool:
    """Tell whether a canonical schema, or one of its branches, names properties."""
    if not isinstance(schema, dict):
        return False
    branches = [item for keyword in IN_PLACE for item in schema.get(keyword, ())]
    return "properties" in schema or any(map(_describes_properties, branches))
