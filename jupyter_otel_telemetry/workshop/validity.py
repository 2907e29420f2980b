"""Rules of `schema check` that find schemas which do not mean what they say."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.jsondata import short_repr
from jupyter_otel_telemetry.schemas.annotations import (
    annotation_problems,
    attribute_problems,
    flag_problems,
    severity_problem,
)
from jupyter_otel_telemetry.schemas.keywords import DATA, HOLD_LIST, HOLD_MAPPING, HOLD_SCHEMA, walk
from jupyter_otel_telemetry.schemas.metaschema import metaschema_problems
from jupyter_otel_telemetry.schemas.problems import Problem
from jupyter_otel_telemetry.schemas.spelling import ANNOTATIONS, is_one_edit_away, spelling_problems
from jupyter_otel_telemetry.workshop.drafts import INTRODUCED, draft_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_otel_telemetry.schemas.keywords import Path

__all__ = [
    "contradiction",
    "invalid_annotation",
    "invalid_example",
    "invalid_schema",
    "misspelt_keyword",
    "no_effect",
    "types_of",
    "unknown_required",
]

Document = dict[str, Any]


def invalid_schema(document: Document) -> Iterator[Problem]:
    """Yield each place in which a schema is not a valid JSON Schema of its draft."""
    try:
        yield from metaschema_problems(document)
    except (ValueError, RecursionError) as error:
        yield Problem(("$schema",) if "$schema" in document else (), str(error) or "nested too deeply to be checked")


def invalid_annotation(document: Document) -> Iterator[Problem]:
    """Yield each annotation with an invalid value, or in a place without effect."""
    yield from flag_problems(document)
    yield from spelling_problems(document)
    yield from attribute_problems(document)
    if "otel" in document:
        otel = document["otel"]
        problems = [*annotation_problems(otel, ("event_name", "severity"))]
        yield from (Problem(("otel",), text) for text in problems)
        name = otel.get("severity") if isinstance(otel, dict) else None
        if isinstance(name, str) and (problem := severity_problem(name)):
            yield Problem(("otel", "severity"), problem)


_ANNOTATIONS: Final = frozenset(
    "version pii categories otel personal-data personalData default description title examples example $comment "
    "readOnly writeOnly deprecated contentEncoding contentMediaType format".split()
)
_ASSERTIONS: Final = {
    "string": ("maxLength", "minLength", "pattern"),
    "array": (
        "items additionalItems prefixItems contains minContains maxContains minItems maxItems uniqueItems "
        "unevaluatedItems"
    ).split(),
    "object": (
        "properties patternProperties additionalProperties propertyNames required minProperties maxProperties "
        "dependencies dependentRequired dependentSchemas unevaluatedProperties"
    ).split(),
    "number": "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf".split(),
}
_CORE: Final = frozenset(
    "$schema $id id $ref $anchor $defs definitions $dynamicRef $dynamicAnchor $recursiveRef $recursiveAnchor "
    "$vocabulary type enum const contentSchema".split()
)
_KNOWN: Final = (
    _ANNOTATIONS
    | _CORE
    | HOLD_SCHEMA
    | HOLD_LIST
    | HOLD_MAPPING
    | DATA
    | {keyword for keywords in _ASSERTIONS.values() for keyword in keywords}
)
_ASSERTING: Final = (_KNOWN - _ANNOTATIONS - _CORE - DATA - {"definitions"}) | {"const", "enum", "type"}
_PLAIN: Final = {
    re.sub("[^a-z]", "", known.lower()): known for known in sorted(_KNOWN - {"$comment", "id", *ANNOTATIONS})
}
_MAX_UNKNOWN: Final = 1_000
"""Unknown keywords of one schema that are compared with the known ones."""


def misspelt_keyword(document: Document) -> Iterator[Problem]:
    """Yield each unknown keyword that is nearly a keyword of JSON Schema."""
    unknown = (
        (path, keyword)
        for path, subschema in walk(document)
        for keyword in subschema
        if keyword not in _KNOWN and not keyword.lower().startswith("x-")
    )
    for path, keyword in islice(unknown, _MAX_UNKNOWN):
        if meant := _meant_keyword(keyword):
            yield Problem((*path, keyword), f"did you mean {meant}? JSON Schema ignores {keyword!r}")


@lru_cache(maxsize=4096)
def _meant_keyword(keyword: str) -> str | None:
    plain = re.sub("[^a-z]", "", keyword.lower()) if len(keyword) <= 30 else ""
    if plain in _PLAIN:
        return _PLAIN[plain]
    if 3 <= len(plain) <= 6:
        close = [known for known in _PLAIN if len(known) >= 4 and is_one_edit_away(plain, known)]
    else:
        close = get_close_matches(plain, _PLAIN, 1, 0.84)
    return _PLAIN[close[0]] if close else None


def no_effect(document: Document) -> Iterator[Problem]:
    """Yield each keyword that has no effect in its place: of another draft or type, or beside `$ref`."""
    draft, draft_name = draft_of(document)
    for path, subschema in walk(document):
        for keyword in subschema:
            if INTRODUCED.get(keyword, 0) > draft:
                text = f"{keyword} has no effect in {draft_name}; add $schema of a newer draft"
                yield Problem((*path, keyword), text)
        if draft <= 7 and isinstance(subschema.get("$ref"), str):
            for keyword in sorted(subschema.keys() & _ASSERTING):
                text = f"{keyword} has no effect beside $ref in {draft_name}; write both into allOf"
                yield Problem((*path, keyword), text)
        else:
            yield from _of_another_type(path, subschema)


def _of_another_type(path: Path, subschema: Document) -> Iterator[Problem]:
    types = types_of(subschema)
    if types is None:
        return
    for kind, keywords in _ASSERTIONS.items():
        if kind not in types:
            for keyword in keywords:
                if keyword in subschema:
                    shown = " or ".join(sorted(types)) or "no type"
                    text = f"{keyword} is for the type {kind}, and the value is {shown}; remove it"
                    yield Problem((*path, keyword), text)


def types_of(subschema: Document) -> set[str] | None:
    """Return the types that `type` allows, integer as number, or None if it does not limit them."""
    wanted = subschema.get("type")
    names = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return {"number" if name == "integer" else name for name in names}


_BOUNDS: Final = (
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
    ("minContains", "maxContains"),
    ("minimum", "maximum"),
)
_STRICT_BOUNDS: Final = (
    ("exclusiveMinimum", "maximum"),
    ("minimum", "exclusiveMaximum"),
    ("exclusiveMinimum", "exclusiveMaximum"),
)


def contradiction(document: Document) -> Iterator[Problem]:
    """Yield keywords that no value can satisfy together."""
    for path, subschema in walk(document):
        for least, most in _BOUNDS:
            if _are_numbers(subschema, least, most) and subschema[least] > subschema[most]:
                yield Problem((*path, least), f"{least} {subschema[least]} is above {most} {subschema[most]}")
        for least, most in _STRICT_BOUNDS:
            if _are_numbers(subschema, least, most) and subschema[least] >= subschema[most]:
                text = f"{least} {subschema[least]} leaves no number below {most} {subschema[most]}"
                yield Problem((*path, least), text)
        yield from _impossible_values(path, subschema)
        yield from _forbidden_required(path, subschema)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_numbers(subschema: Document, *keywords: str) -> bool:
    return all(_is_number(subschema.get(keyword)) for keyword in keywords)


def _impossible_values(path: Path, subschema: Document) -> Iterator[Problem]:
    types = types_of(subschema)
    values = subschema.get("enum")
    if values == []:
        yield Problem((*path, "enum"), "enum is empty, so no value is valid; remove it or list values")
    if types is None or "$ref" in subschema:
        return
    wanted = subschema["type"]
    for index, value in enumerate(values if isinstance(values, list) else []):
        if not _has_type(value, wanted):
            text = f"{short_repr(value)} is not of the type {short_repr(wanted)}; correct one of them"
            yield Problem((*path, "enum", index), text)
    if "const" in subschema and not _has_type(subschema["const"], wanted):
        text = f"const {short_repr(subschema['const'])} is not of the type {short_repr(wanted)}; correct one of them"
        yield Problem((*path, "const"), text)


_PYTHON_TYPES: Final[dict[str, Any]] = {
    "array": list,
    "object": dict,
    "string": str,
    "boolean": bool,
    "null": type(None),
}


def _has_type(value: Any, wanted: Any) -> bool:
    for name in [wanted] if isinstance(wanted, str) else wanted:
        if name == "number" and _is_number(value):
            return True
        if name == "integer" and _is_number(value) and (isinstance(value, int) or value.is_integer()):
            return True
        if name in _PYTHON_TYPES and isinstance(value, _PYTHON_TYPES[name]):
            return True
    return False


def _forbidden_required(path: Path, subschema: Document) -> Iterator[Problem]:
    required, properties = _required(subschema), subschema.get("properties", {})
    if not isinstance(properties, dict):
        return
    is_closed = subschema.get("additionalProperties") is False and "patternProperties" not in subschema
    for index, name in required:
        if properties.get(name) is False or (is_closed and name not in properties):
            text = f"{name!r} is required and not allowed; {_hint(name, required, properties)}"
            yield Problem((*path, "required", index), text)
    most: Any = subschema.get("maxProperties")
    count = len({name for _, name in required})
    if _is_number(most) and count > most:
        yield Problem((*path, "maxProperties"), f"maxProperties {most} is below the {count} required properties")


def _required(subschema: Document) -> list[tuple[int, str]]:
    """Return the required names, each after its index."""
    required = subschema.get("required")
    return [item for item in enumerate(required) if isinstance(item[1], str)] if isinstance(required, list) else []


def _hint(name: str, required: list[tuple[int, str]], properties: Document) -> str:
    """Return the remedy for a required property that is not described."""
    others = properties.keys() - {other for _, other in required}
    close = get_close_matches(name, sorted(others)[:_MAX_COMPARED], 1)
    return f"did you mean {close[0]!r}?" if close else "describe it in properties"


_MAX_COMPARED: Final = 200
_CONDITIONAL: Final = frozenset("$ref allOf anyOf oneOf if then else not dependencies dependentSchemas".split())


def unknown_required(document: Document) -> Iterator[Problem]:
    """Yield each required property that is described nowhere."""
    for path, subschema in walk(document, frozenset({"required"})):
        properties = subschema.get("properties")
        is_open = subschema.get("additionalProperties") is not False  # else, a contradiction
        if not is_open or not isinstance(properties, dict) or not _CONDITIONAL.isdisjoint((*path, *subschema)):
            continue  # in a branch, the schema around it may describe the property
        required = _required(subschema)
        for index, name in required:
            if name not in properties:
                text = f"{name!r} is required, and not described; {_hint(name, required, properties)}"
                yield Problem((*path, "required", index), text)


def invalid_example(document: Document) -> Iterator[Problem]:
    """Yield each example or default that does not match its own schema, which must be a valid one."""
    from jupyter_otel_telemetry.schemas.engine import compile_schema, encodable  # see metaschema

    for path, subschema in walk(document, frozenset({"examples", "example", "default"})):
        values = _values(subschema)
        if not values or "$ref" in str(subschema):
            continue
        dialect = {"$schema": document["$schema"]} if "$schema" in document else {}
        is_valid = compile_schema(
            {key: item for key, item in subschema.items() if key not in {"$id", "id"}} | dialect
        )
        for place, value in values:
            if not is_valid(encodable(value)):
                yield Problem((*path, *place), "the value does not match its own schema; correct one of them")


def _values(subschema: Document) -> list[tuple[Path, Any]]:
    """Return the examples and the default of a subschema, each after its place."""
    examples = subschema.get("examples")
    found: list[tuple[Path, Any]] = []
    if isinstance(examples, list):
        found += [(("examples", index), value) for index, value in enumerate(examples)]
    return found + [((name,), subschema[name]) for name in ("example", "default") if name in subschema]
