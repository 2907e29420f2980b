"""One checked schema, and the type of its events."""

from __future__ import annotations

import fnmatch
import math
import re
import uuid
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.jsondata import NotJSONError, is_mapping, json_copy, short_repr, version_text
from jupyter_otel_telemetry.schemas.annotations import (
    PropertyNames,
    Severity,
    annotation,
    check_text,
    flag_problems,
    property_names,
    severity,
)
from jupyter_otel_telemetry.schemas.keywords import MAX_DEPTH, depth
from jupyter_otel_telemetry.schemas.metaschema import check_against_metaschema
from jupyter_otel_telemetry.schemas.problems import refuse
from jupyter_otel_telemetry.schemas.spelling import spelling_problems

if TYPE_CHECKING:
    from jupyter_otel_telemetry.schemas.flags import SchemaFlags

__all__ = ["EventType", "Schema", "id_pattern", "last_segment", "parse_schema"]

_MAX_ID: Final = 2_048
"""Characters of an `$id`."""


@dataclass(frozen=True, eq=False)
class EventType:
    """The values that all events of one schema share when they leave.

    `version` is as registered, number or text. `title` begins the body. `properties` are the top-level ones that the
    schema names, `names` those that go out under another attribute name than the usual one. `flags` is None where
    nothing is flagged as personal or of a category, and no array is described.
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
    """A schema that passed every check at registration.

    `document` is our own copy: do not change it. `source` is the file or URL, None if a mapping was registered.
    """

    id: str
    version: str
    document: dict[str, Any]
    event_type: EventType
    source: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """The id and the version as text, which together name the schema."""
        return self.id, self.version

    @cached_property
    def references(self) -> list[str]:
        """The URIs of other documents that its `$ref`s name; a jsonschema.SchemaError if one is broken."""
        # Imported late, as jsonschema is: see metaschema._known_dialects.
        from jupyter_otel_telemetry.schemas.references import external_references

        return external_references(self.document)


def parse_schema(schema: Any) -> Schema:
    """Check a schema and understand its annotations.

    Raises:
        ValueError: the schema is not a mapping of JSON, lacks `$id` or `version`, names an unknown `$schema`, has a
            property that begins with `__`, or annotates something wrongly under `otel`, `pii` or `categories`.
        jsonschema.SchemaError: the schema is not a valid JSON Schema of its draft.

    """
    document = _document(schema)
    check_against_metaschema(document, _described(document))
    schema_id, version = _schema_id(document), _version(document)
    where = f"schema {schema_id!r} version {version}"
    _check_property_names(document, where)
    refuse(flag_problems(document), where)
    refuse(spelling_problems(document), where)
    otel = annotation(document, where, ("event_name", "severity"))
    return Schema(
        id=schema_id,
        version=version,
        document=document,
        event_type=EventType(
            id=schema_id,
            version=document["version"],
            title=_title(document, schema_id),
            event_name=otel.get("event_name", schema_id),
            severity=severity(otel.get("severity", "INFO"), where),
            properties=tuple(document.get("properties", ())),
            names=property_names(document, where),
        ),
    )


def _document(schema: Any) -> dict[str, Any]:
    """Return our own copy of a mapping of JSON."""
    if not is_mapping(schema):
        raise ValueError(f"a schema must be a mapping, not {type(schema).__name__}; register_schema_file reads files")
    try:
        document: dict[str, Any] = json_copy(schema)
    except NotJSONError as error:
        name = _described(schema) if isinstance(schema, dict) else "the schema"
        raise ValueError(f"{name} is not JSON: {error}") from None
    if depth(document) > MAX_DEPTH:
        raise ValueError(f"{_described(document)} is nested deeper than {MAX_DEPTH} levels")
    return document


def _described(document: dict[str, Any]) -> str:
    """Return how messages name a schema whose id and version are not checked yet."""
    schema_id, version = document.get("$id"), document.get("version")
    if type(schema_id) is not str or not schema_id:
        title = document.get("title")
        return f"the schema ({short_repr(title)})" if isinstance(title, str) else "the schema"
    name = f"schema {short_repr(schema_id)}"
    return name if version is None else f"{name} version {short_repr(version_text(version)).strip(_QUOTES)}"


_QUOTES: Final = "'\""


def _schema_id(document: dict[str, Any]) -> str:
    schema_id = document.get("$id")
    if isinstance(schema_id, str) and schema_id:
        check_text(schema_id, f"the $id {short_repr(schema_id)}", _MAX_ID)
        return schema_id
    problem = f"has the $id {short_repr(schema_id)}" if "$id" in document else "lacks $id"
    hint = _close_key(document, "$id") or "add $id, a URI that identifies it permanently"
    raise ValueError(f"{_described(document)} {problem}; {hint}")


def _version(document: dict[str, Any]) -> str:
    version = document.get("version")
    is_number = isinstance(version, (int, float)) and not isinstance(version, bool) and math.isfinite(version)
    if is_number or (isinstance(version, str) and version):
        text = version_text(version)
        check_text(text, f"the version of {_described(document)}")
        return text
    problem = f"has the version {short_repr(version)}" if "version" in document else "lacks a version"
    hint = _close_key(document, "version") or 'write a number or text, such as version: "1"'
    raise ValueError(f"schema {document['$id']!r} {problem}; {hint}")


def _close_key(document: dict[str, Any], wanted: str) -> str | None:
    """Return a hint at the key that was meant to be another one."""
    plain = {key.strip("$_@ ").lower(): key for key in document if key and key != wanted}
    close = get_close_matches(wanted.strip("$"), sorted(plain), 1, 0.8)
    return f"did you mean {wanted} instead of {plain[close[0]]}?" if close else None


def _check_property_names(document: dict[str, Any], where: str) -> None:
    """Refuse top-level properties that would be mistaken for the envelope of an event."""
    for name in document.get("properties", {}):
        if name.startswith("__"):
            raise ValueError(f"{where} has a property {name!r}; names that begin with __ are reserved, rename it")


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


def id_pattern(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern of schema ids, in which `*` stands for any text.

    Nothing else is special, and matching takes no exponential time.
    """
    return re.compile(fnmatch.translate(re.sub(r"([?[])", r"[\1]", pattern)))
