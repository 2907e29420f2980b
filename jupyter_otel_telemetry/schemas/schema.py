"""One checked schema: what it says of itself, and what its OpenTelemetry annotations mean."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jupyter_otel_telemetry.jsondata import NotJSONError, is_mapping, json_copy, json_pointer

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

    from jupyter_otel_telemetry.schemas.flags import SchemaFlags

__all__ = [
    "EventType",
    "PropertyNames",
    "Schema",
    "Severity",
    "are_categories",
    "parse_schema",
    "validator_class",
    "version_text",
    "walk",
]

DEFAULT_DIALECT: Final = "http://json-schema.org/draft-07/schema#"

RESERVED_ATTRIBUTES = ("jupyter.", "log.record.", "otel.", "event.name", "exception.")
"""Beginnings of attribute names that this package, or OpenTelemetry's logging handler, sets itself."""

_ATTRIBUTE_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
LOG_RECORD_NAMES = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})

PropertyNames = Mapping[str, tuple[str | None, "PropertyNames"]]
"""Per property: the attribute it goes out as (None: the usual one), and the same for what lies below it."""


class Severity(NamedTuple):
    """An OpenTelemetry severity, and the Python logging level that stands for it.

    `level` is the one that OpenTelemetry's logging handlers translate back to `number`: 20 for INFO, 21 for INFO2.
    They know none for TRACE (5 to 8 here), which only `OTLPHandler` sends as such. `level_name` is Python's own
    where it has one (WARNING), else OpenTelemetry's (INFO2).
    """

    number: int
    text: str
    level: int
    level_name: str


def _severity_of(number: int, text: str) -> Severity:
    group, step = divmod(number - 1, 4)
    level = group * 10 + step if group else 5 + step
    name = str(logging.getLevelName(level))
    return Severity(number, text, level, text if name.startswith("Level ") else name)


SEVERITIES: Final = {
    text: _severity_of(group * 4 + step, text)
    for group, name in enumerate(("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"))
    for step in range(1, 5)
    for text in [name if step == 1 else f"{name}{step}"]
}
"""OpenTelemetry's severities by their short names.
https://opentelemetry.io/docs/specs/otel/logs/data-model/#displaying-severity"""


@dataclass(frozen=True, eq=False)
class EventType:
    """What all events of one schema have in common when they leave.

    `version` is as registered, number or text. `title` begins the body. `properties` are the top-level ones that the
    schema names, `names` those that go out under another attribute name than the usual one. `flags` is None where
    nothing is flagged as personal or of a category.
    """

    id: str
    version: Any
    title: str
    event_name: str
    severity: Severity
    properties: tuple[str, ...] = ()
    names: PropertyNames = field(default_factory=dict)
    flags: SchemaFlags | None = None
    version_text: str = field(init=False)
    _made: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "version_text", version_text(self.version))
        object.__setattr__(self, "_made", uuid.uuid4().hex)

    def __reduce__(self) -> tuple[Any, ...]:
        return _event_type, (self._made, vars(self).copy())


_unpickled: dict[str, EventType] = {}
_MAX_UNPICKLED: Final = 256


def _event_type(made: str, fields: dict[str, Any]) -> EventType:
    """Return the same object for all records of a schema that come from another process: much is compiled of it."""
    found = _unpickled.get(made)
    if found is None:
        found = object.__new__(EventType)
        vars(found).update(fields)
        if len(_unpickled) >= _MAX_UNPICKLED:
            _unpickled.clear()
        _unpickled[made] = found
    return found


@dataclass(frozen=True, eq=False)
class Schema:
    """A schema that passed every check at registration. `document` is our own copy: do not change it."""

    id: str
    version: str
    document: dict[str, Any]
    event_type: EventType

    @property
    def key(self) -> tuple[str, str]:
        """The id and the version as text, which together name the schema."""
        return self.id, self.version

    @cached_property
    def references(self) -> list[str]:
        """The URIs of other documents that its `$ref`s name; a jsonschema.SchemaError if one is broken."""
        # Imported late, as jsonschema is: see _known_dialects.
        from jupyter_otel_telemetry.schemas.references import external_references  # noqa: PLC0415

        return external_references(self.document)


def parse_schema(schema: Any) -> Schema:
    """Check a schema and understand its annotations.

    Raises:
        ValueError: it is no mapping of JSON, lacks `$id` or `version`, names an unknown `$schema`, has a property
            that begins with `__`, or annotates something wrongly under `otel`, `pii` or `categories`.
        jsonschema.SchemaError: it is no valid JSON Schema of its draft.

    """
    if not is_mapping(schema):
        raise ValueError(f"a schema must be a mapping, not {type(schema).__name__}")
    try:
        document = json_copy(schema)
    except NotJSONError as error:
        schema_id = schema.get("$id") if isinstance(schema, dict) else None
        name = f"schema {schema_id!r}" if type(schema_id) is str else "the schema"
        raise ValueError(f"{name} is not JSON: {error}") from None
    schema_id = _schema_id(document)
    version = _version(document, schema_id)
    where = f"schema {schema_id!r} version {version}"
    _check_against_metaschema(document, where)
    _check_property_names(document, where)
    _check_flags(document, where)
    otel = _annotation(document, where, ("event_name", "severity"))
    return Schema(
        id=schema_id,
        version=version,
        document=document,
        event_type=EventType(
            id=schema_id,
            version=document["version"],
            title=_title(document, schema_id),
            event_name=otel.get("event_name", schema_id),
            severity=_severity(otel.get("severity", "INFO"), where),
            properties=tuple(document.get("properties", ())),
            names=_property_names(document, where),
        ),
    )


def version_text(version: Any) -> str:
    """Text of a version, by which versions are compared: `1` and `"1"` are the same."""
    return version if type(version) is str else str(version)


def _schema_id(document: dict[str, Any]) -> str:
    schema_id = document.get("$id")
    if isinstance(schema_id, str) and schema_id:
        return schema_id
    problem = "lacks $id" if schema_id is None else f"has the $id {schema_id!r}"
    name = document.get("title", "without title")
    raise ValueError(f"the schema ({name}) {problem}; give it a $id, a URI that is its name for ever")


def _version(document: dict[str, Any], schema_id: str) -> str:
    version = document.get("version")
    if isinstance(version, (str, int, float)) and not isinstance(version, bool) and version != "":
        return version_text(version)
    problem = "lacks a version" if version is None else f"has the version {version!r}"
    raise ValueError(f'schema {schema_id!r} {problem}; give it one, a number or text, such as "1"')


def _title(document: dict[str, Any], schema_id: str) -> str:
    title = document.get("title")
    if isinstance(title, str) and title.strip():
        return " ".join(title.split())
    return last_segment(schema_id)


def last_segment(schema_id: str) -> str:
    """Return the last part of an id's path, and the part before it where the last is only a version, as `v1`."""
    parts = [part for part in re.split(r"[/#:]", schema_id) if part]
    if not parts:
        return schema_id
    return "/".join(parts[-2:] if re.fullmatch(r"v?[0-9.]+", parts[-1]) else parts[-1:])


def validator_class(document: Mapping[str, Any]) -> type[Validator]:
    """Return jsonschema's validator class for the draft that `$schema` names; without it, draft 7.

    Raises:
        ValueError: `$schema` names no draft from 4 to 2020-12.

    """
    dialect = document.get("$schema", DEFAULT_DIALECT)
    found = _known_dialects().get(dialect.rstrip("#")) if isinstance(dialect, str) else None
    if found is None:
        known = ", ".join(_known_dialects())
        raise ValueError(f"schema {document.get('$id')!r} names the unknown $schema {dialect!r}; use one of {known}")
    return found


@cache
def _known_dialects() -> dict[str, type[Validator]]:
    import jsonschema  # noqa: PLC0415 - costs half of this package's import time, and is needed here first

    classes: list[Any] = [
        jsonschema.Draft4Validator,
        jsonschema.Draft6Validator,
        jsonschema.Draft7Validator,
        jsonschema.Draft201909Validator,
        jsonschema.Draft202012Validator,
    ]
    return {(cls.META_SCHEMA.get("$id") or cls.META_SCHEMA["id"]).rstrip("#"): cls for cls in classes}


def _check_against_metaschema(document: dict[str, Any], where: str) -> None:
    import jsonschema  # noqa: PLC0415 - see _known_dialects

    cls = validator_class(document)
    try:
        cls.check_schema(document)
    except jsonschema.SchemaError as error:
        place = json_pointer(list(error.absolute_path))
        raise jsonschema.SchemaError(  # one line; the original, in the cause, shows the whole metaschema
            f"{where} is no valid JSON Schema: at {place}, {error.message}",
            validator=error.validator,
            validator_value=error.validator_value,
            path=error.absolute_path,
            schema=error.schema,
            schema_path=error.absolute_schema_path,
        ) from error


# What the keywords of all drafts hold. https://json-schema.org/draft/2020-12/json-schema-core, section 10.
_HOLD_SCHEMA = frozenset(
    "additionalItems additionalProperties contains contentSchema else if items not propertyNames then "
    "unevaluatedItems unevaluatedProperties".split()
)
_HOLD_LIST = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_HOLD_MAPPING = frozenset(
    {"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"}
)

Path = tuple[str | int, ...]


def walk(schema: Any, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield every subschema that is an object, with the path to it, the schema itself first."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for keyword, value in schema.items():
        if keyword in _HOLD_SCHEMA and isinstance(value, dict):
            yield from walk(value, (*path, keyword))
        elif keyword in _HOLD_LIST and isinstance(value, list):
            for index, item in enumerate(value):
                yield from walk(item, (*path, keyword, index))
        elif keyword in _HOLD_MAPPING and isinstance(value, dict):
            for name, item in value.items():
                yield from walk(item, (*path, keyword, name))


def _check_property_names(document: dict[str, Any], where: str) -> None:
    """Refuse top-level properties that would be mistaken for the envelope of an event."""
    for name in document.get("properties", {}):
        if name.startswith("__"):
            raise ValueError(f"{where} has a property {name!r}; names that begin with __ are reserved, rename it")


def _check_flags(document: dict[str, Any], where: str) -> None:
    """Refuse what is meant to flag something, but says so in a way that nobody would understand."""
    for path, subschema in walk(document):
        place = f"{where} at {json_pointer(path)}"
        if not isinstance(subschema.get("pii", False), bool):
            raise ValueError(f"{place}: pii must be true or false, not {subschema['pii']!r}")  # noqa: TRY004
        if not are_categories(subschema.get("categories", [])):
            text = 'categories must be a list of texts, such as ["category.jupyter.org/user-identifier"]'
            raise ValueError(f"{place}: {text}, not {subschema['categories']!r}")


def are_categories(value: Any) -> bool:
    """Tell whether this can stand under `categories`."""
    return isinstance(value, list) and all(isinstance(category, str) and category for category in value)


def _annotation(subschema: Mapping[str, Any], where: str, allowed: tuple[str, ...]) -> dict[str, Any]:
    """Return what stands under `otel`: texts under allowed names only."""
    otel = subschema.get("otel", {})
    if not isinstance(otel, dict):
        raise ValueError(f"{where}: otel must be a mapping, not {otel!r}")  # noqa: TRY004
    for name, value in otel.items():
        if name not in allowed:
            close = get_close_matches(name, allowed, 1)
            hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(allowed)}"
            raise ValueError(f"{where}: unknown annotation otel.{name}; {hint}")
        if not isinstance(value, str) or not value:
            raise ValueError(f"{where}: otel.{name} must be a text, not {value!r}")
    return otel


def _severity(name: str, where: str) -> Severity:
    if name in SEVERITIES:
        return SEVERITIES[name]
    close = {"WARNING": "WARN", "CRITICAL": "FATAL"}.get(name.upper(), name.upper())
    guess = get_close_matches(close, SEVERITIES, 1)
    hint = f"did you mean {guess[0]}?" if guess else "use TRACE, DEBUG, INFO, WARN, ERROR or FATAL"
    raise ValueError(f"{where}: unknown otel.severity {name!r}; {hint}")


def _property_names(document: dict[str, Any], where: str) -> PropertyNames:
    """Read every `otel.attribute`, and refuse those that stand where they could have no effect."""
    taken: dict[str, str] = {}
    for path, subschema in walk(document):
        if not path or "otel" not in subschema:
            continue
        place = f"{where} at {json_pointer(path)}"
        if any(keyword != "properties" for keyword in path[::2]):
            raise ValueError(f"{place}: otel has no effect here; only properties, also nested ones, can have it")
        name = _annotation(subschema, place, ("attribute",)).get("attribute")
        if name is not None:
            _check_attribute_name(name, place, taken)
            taken[name] = json_pointer(path)
    return _names_below(document)


def _names_below(subschema: Any) -> PropertyNames:
    properties = subschema.get("properties", {}) if isinstance(subschema, dict) else {}
    names: dict[str, tuple[str | None, PropertyNames]] = {}
    for name, below in properties.items():
        attribute = below.get("otel", {}).get("attribute") if isinstance(below, dict) else None
        deeper = _names_below(below)
        if attribute or deeper:
            names[name] = (attribute, deeper)
    return names


def _check_attribute_name(name: str, place: str, taken: Mapping[str, str]) -> None:
    problem = None
    if not _ATTRIBUTE_NAME.fullmatch(name):
        problem = "is no attribute name; write lower-case words joined by dots, such as user.name"
    elif name.startswith(RESERVED_ATTRIBUTES) or name in LOG_RECORD_NAMES:
        problem = "is reserved; choose another name"
    else:
        for other, owner in taken.items():
            if f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}."):
                # https://opentelemetry.io/docs/specs/semconv/general/naming/: no name is another's namespace.
                problem = f"clashes with {other!r} of {owner}; choose another name"
    if problem:
        raise ValueError(f"{place}: otel.attribute {name!r} {problem}")
