"""The registry of schemas, and the verdict on events."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any
from urllib.parse import urldefrag

from jupyter_otel_telemetry.errors import SchemaConflict, SchemaNotRegistered
from jupyter_otel_telemetry.jsondata import json_pointer
from jupyter_otel_telemetry.schema import Schema, parse_schema, version_text

if TYPE_CHECKING:
    from jupyter_otel_telemetry.validation import EventValidator

__all__ = ["RegisteredSchemas", "SchemaRegistry"]

Key = tuple[str, str]


class SchemaRegistry:
    """The schemas of one `EventLog`, by id and version.

    Any thread may register while others validate: what is registered is swapped as a whole.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._schemas: Mapping[Key, Schema] = {}
        self._compiled: dict[Key, tuple[Schema, EventValidator]] = {}

    def register(self, schema: Any) -> Schema:
        """Check and keep a schema; one that is already here with the same content changes nothing.

        Raises:
            SchemaConflict: its id and version are taken by other content.
            ValueError, jsonschema.SchemaError: see `parse_schema`.

        """
        new = parse_schema(schema)
        _references(new)  # a $ref that leads nowhere within the schema is found now
        with self._lock:
            old = self._schemas.get(new.key)
            if old is None:
                self._schemas = {**self._schemas, new.key: new}
                # Others may have waited for this one with a $ref, or now mean this version by it.
                self._compiled = {}
                return new
        if difference := _difference(old.document, new.document):
            raise SchemaConflict(new.id, new.version, difference)
        return old

    def find(self, schema_id: str, version: Any) -> tuple[Schema, EventValidator]:
        """Return a schema and its validator.

        Raises:
            SchemaNotRegistered: it, or a schema that it needs by `$ref`, is not here.
            jsonschema.SchemaError: a `$ref` points to a place that another schema does not have.

        """
        key = (schema_id, version if type(version) is str else version_text(version))
        compiled = self._compiled
        found = compiled.get(key)
        if found is None:
            schema = self._schemas.get(key)
            if schema is None:
                raise SchemaNotRegistered(*key, self._schemas)
            found = compiled[key] = schema, _validator(schema, self._schemas)
        return found

    @property
    def schemas(self) -> Mapping[Key, Schema]:
        """What is registered now; later registrations do not change it."""
        return self._schemas


class RegisteredSchemas(Mapping[Key, dict[str, Any]]):
    """Read-only view: `(id, version) -> schema as registered`.

    The version of a key may be a number or text. Each look-up returns a copy of its own.
    """

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry

    def __getitem__(self, key: tuple[str, Any]) -> dict[str, Any]:
        schema_id, version = key
        return deepcopy(self._registry.schemas[schema_id, version_text(version)].document)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._registry.schemas)

    def __len__(self) -> int:
        return len(self._registry.schemas)

    def __repr__(self) -> str:
        return f"<schemas {', '.join(f'{schema_id} {version}' for schema_id, version in self) or 'none'}>"


def _references(schema: Schema) -> list[str]:
    # Imported late, as jsonschema is: see schema._known_dialects.
    from jupyter_otel_telemetry.validation import external_references  # noqa: PLC0415

    return external_references(schema.document)


def _validator(schema: Schema, schemas: Mapping[Key, Schema]) -> EventValidator:
    from jupyter_otel_telemetry.validation import EventValidator  # noqa: PLC0415 - as above

    name = f"schema {schema.id!r} version {schema.version}"
    return EventValidator(schema.document, _needed_documents(schema, schemas), name)


def _needed_documents(schema: Schema, schemas: Mapping[Key, Schema]) -> dict[str, dict[str, Any]]:
    """Collect the documents that `schema` needs by `$ref`, also through others, by id."""
    current = _current_versions(schemas)
    needed: dict[str, dict[str, Any]] = {}
    waiting = [(schema.id, reference) for reference in _references(schema)]
    while waiting:
        wanted_by, reference = waiting.pop()
        target = urldefrag(reference).url
        found = current.get(target) or current.get(target + "#")
        if found is None:
            raise SchemaNotRegistered(target, None, schemas, wanted_by)
        if target not in needed and found.id != schema.id:
            needed[target] = found.document
            waiting += [(found.id, further) for further in _references(found)]
    return needed


def _current_versions(schemas: Mapping[Key, Schema]) -> dict[str, Schema]:
    """Per id, the schema that a `$ref` means: the one with the highest version, as people order versions."""
    return {schema.id: schema for schema in sorted(schemas.values(), key=lambda schema: _order(schema.version))}


def _order(version: str) -> list[tuple[int, int, str]]:
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in version.split(".")]


def _difference(old: Any, new: Any, path: tuple[str | int, ...] = ()) -> str | None:
    """Describe the first difference between two schemas; the type of the version is none."""
    if path == ("version",) or (old == new and type(old) is type(new) and not isinstance(old, (dict, list))):
        return None
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            if key not in old or key not in new:
                return f"only one of them has {json_pointer((*path, key))}"
            if found := _difference(old[key], new[key], (*path, key)):
                return found
        return None
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return next((found for i, (a, b) in pairs if (found := _difference(a, b, (*path, i)))), None)
    return f"at {json_pointer(path)}: {_short(old)} is registered, {_short(new)} was given"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004
