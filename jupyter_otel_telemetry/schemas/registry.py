"""The registry of schemas, and what is compiled of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urldefrag

from jupyter_otel_telemetry.errors import SchemaConflict, SchemaNotRegistered
from jupyter_otel_telemetry.jsondata import json_pointer
from jupyter_otel_telemetry.metrics import of_schema
from jupyter_otel_telemetry.schemas.schema import Schema, parse_schema, version_text

if TYPE_CHECKING:
    from jupyter_otel_telemetry.schemas.flags import SchemaFlags
    from jupyter_otel_telemetry.schemas.references import SchemaDocuments
    from jupyter_otel_telemetry.schemas.schema import EventType
    from jupyter_otel_telemetry.schemas.validation import EventValidator

__all__ = ["CompiledSchema", "RegisteredSchemas", "SchemaRegistry", "Schemas"]

Key = tuple[str, str]


@dataclass(frozen=True, eq=False)
class CompiledSchema:
    """A schema with the validator of its events, and all that it needs by `$ref`.

    `event_type` knows the flags of the schema, which `schema.event_type`, made without the others, cannot.
    """

    schema: Schema
    validator: EventValidator
    event_type: EventType
    documents: SchemaDocuments

    @cached_property
    def metric_attributes(self) -> Mapping[str, str]:
        """Under which attributes its events are counted."""
        return of_schema(self.event_type.id, self.event_type.version_text)

    @cached_property
    def flags(self) -> SchemaFlags:
        """What the schema flags, and, if nothing, all the same what it describes."""
        from jupyter_otel_telemetry.schemas.flag_reading import read_flags  # noqa: PLC0415 - see _compiled

        return self.event_type.flags or read_flags(self.documents)


class Schemas(Mapping[Key, Schema]):
    """All schemas of one `EventLog` at one moment, by id and version. They are compiled when first asked for."""

    def __init__(self, schemas: Mapping[Key, Schema]) -> None:
        self._schemas = schemas
        self._compiled: dict[Key, CompiledSchema] = {}

    def __getitem__(self, key: Key) -> Schema:
        return self._schemas[key]

    def __contains__(self, key: object) -> bool:
        return key in self._schemas

    def __iter__(self) -> Iterator[Key]:
        return iter(self._schemas)

    def __len__(self) -> int:
        return len(self._schemas)

    def compiled(self, schema_id: str, version: Any) -> CompiledSchema:
        """Return a schema, compiled.

        Raises:
            SchemaNotRegistered: it, or a schema that it needs by `$ref`, is not here.
            jsonschema.SchemaError: a `$ref` points to a place that another schema does not have.

        """
        key = (schema_id, version if type(version) is str else version_text(version))
        found = self._compiled.get(key)
        if found is None:
            schema = self._schemas.get(key)
            if schema is None:
                raise SchemaNotRegistered(*key, self._schemas)
            found = self._compiled[key] = _compiled(schema, self._schemas)
        return found


class SchemaRegistry:
    """The schemas of one `EventLog`.

    Any thread may register while others validate: `current` is swapped as a whole, since others may have waited
    for a new schema with a `$ref`, or now mean this version by it.

    Args:
        approve: is called with what `current` would become and the ids that are new; what it raises prevents that.

    """

    def __init__(self, approve: Callable[[Schemas, set[str]], None]) -> None:
        self._lock = threading.Lock()
        self._approve = approve
        self.current = Schemas({})

    def register(self, schema: Any) -> None:
        """Check and keep a schema; one that is already here with the same content changes nothing.

        Raises:
            SchemaConflict: its id and version are taken by other content.
            ValueError, jsonschema.SchemaError: see `parse_schema`.

        """
        self.register_parsed([self.parse(schema)])

    def parse(self, schema: Any) -> Schema:
        """Check a schema, as far as that can be done alone, and whether it may be registered; raise as `register`."""
        new = parse_schema(schema)
        _references(new)  # a $ref that leads nowhere within the schema is found now
        old = self.current.get(new.key)
        if old is not None and (difference := _difference(old.document, new.document)):
            raise SchemaConflict(new.id, new.version, difference)
        return new

    def register_parsed(self, parsed: Sequence[Schema]) -> None:
        """Keep schemas, all at once, if all of them together are approved.

        Raises:
            SchemaConflict: an id and version were taken by other content meanwhile.

        """
        _import_compiler()
        with self._lock:
            schemas = dict(self.current)
            for new in parsed:
                old = schemas.setdefault(new.key, new)
                if difference := _difference(old.document, new.document):
                    raise SchemaConflict(new.id, new.version, difference)
            if len(schemas) > len(self.current):
                swapped = Schemas(schemas)
                self._approve(swapped, {new.id for new in parsed})
                self.current = swapped


class RegisteredSchemas(Mapping[Key, dict[str, Any]]):
    """Read-only view: `(id, version) -> schema as registered`.

    The version of a key may be a number or text. Each look-up returns a copy of its own.
    """

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry

    def __getitem__(self, key: tuple[str, Any]) -> dict[str, Any]:
        schema_id, version = key
        return deepcopy(self._registry.current[schema_id, version_text(version)].document)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._registry.current)

    def __len__(self) -> int:
        return len(self._registry.current)

    def __repr__(self) -> str:
        return f"<schemas {', '.join(f'{schema_id} {version}' for schema_id, version in self) or 'none'}>"


def _references(schema: Schema) -> list[str]:
    # Imported late, as jsonschema is: see schema._known_dialects.
    from jupyter_otel_telemetry.schemas.references import external_references  # noqa: PLC0415

    return external_references(schema.document)


def _import_compiler() -> None:
    """Import all that compiling needs: a child that is forked during an import would wait for it forever."""
    from jupyter_otel_telemetry.schemas import flag_reading, references, validation  # noqa: F401, PLC0415


def _compiled(schema: Schema, schemas: Mapping[Key, Schema]) -> CompiledSchema:
    from jupyter_otel_telemetry.schemas.flag_reading import mentions_flags, read_flags  # noqa: PLC0415 - as above
    from jupyter_otel_telemetry.schemas.references import SchemaDocuments  # noqa: PLC0415
    from jupyter_otel_telemetry.schemas.validation import EventValidator  # noqa: PLC0415

    documents = SchemaDocuments(schema.document, _needed_documents(schema, schemas))
    flags = read_flags(documents) if any(mentions_flags(document) for document in documents) else None
    return CompiledSchema(
        schema=schema,
        validator=EventValidator(documents, f"schema {schema.id!r} version {schema.version}"),
        event_type=replace(schema.event_type, flags=flags),
        documents=documents,
    )


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
