"""The registry of schemas, and their compiled forms."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jupyter_otel_telemetry.errors import SchemaConflict, SchemaNotRegistered, name_source
from jupyter_otel_telemetry.jsondata import json_pointer, short_repr, version_text
from jupyter_otel_telemetry.metrics import of_schema
from jupyter_otel_telemetry.schemas.keywords import without_texts
from jupyter_otel_telemetry.schemas.schema import Schema, parse_schema
from jupyter_otel_telemetry.schemas.versions import Key, Pins, needed_schemas, other_versions, pin

if TYPE_CHECKING:
    from jupyter_otel_telemetry.schemas.flags import SchemaFlags
    from jupyter_otel_telemetry.schemas.references import SchemaDocuments
    from jupyter_otel_telemetry.schemas.schema import EventType
    from jupyter_otel_telemetry.schemas.validation import EventValidator

__all__ = ["CompiledSchema", "RegisteredSchemas", "SchemaRegistry", "Schemas"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class CompiledSchema:
    """A schema with the validator of its events, and all that it needs by `$ref`.

    `event_type` knows the flags of the schema, which `schema.event_type`, made without the others, cannot.
    `reached_ids` are those of the schemas on which all this depends.
    """

    schema: Schema
    validator: EventValidator
    event_type: EventType
    documents: SchemaDocuments
    reached_ids: AbstractSet[str]

    @cached_property
    def metric_attributes(self) -> Mapping[str, str]:
        """Under which attributes its events are counted."""
        return of_schema(self.event_type.id, self.event_type.version_text)

    @cached_property
    def flags(self) -> SchemaFlags:
        """The flags of the schema, which also know its properties if it flags none."""
        from jupyter_otel_telemetry.schemas.flag_reading import read_flags, read_subschemas  # see _compiled

        return self.event_type.flags or read_flags(*read_subschemas(self.documents))


class Schemas(Mapping[Key, Schema]):
    """All schemas of one `EventLog` at one moment, by id and version. They are compiled when first asked for.

    Args:
        schemas: all of them.
        earlier: those that were there before, with their compiled forms, unless these depend on new schemas.

    """

    def __init__(self, schemas: Mapping[Key, Schema], earlier: Schemas | None = None) -> None:
        self._schemas = schemas
        self._compiled: dict[Key, CompiledSchema] = {}
        self._referrers: set[Key] = set()  # those of the compiled ones that depend on others
        new = schemas.keys() - (earlier or {}).keys()
        if earlier is None:
            self._pins, self._unpinned = pin(schemas, {}, new)
        else:
            self._continue(earlier, new)

    def _continue(self, earlier: Schemas, new: AbstractSet[Key]) -> None:
        """Keep the pins of earlier schemas, and their compiled forms, unless these depend on a new one."""
        before = vars(earlier)
        self._pins, self._unpinned = pin(self._schemas, before["_pins"], new | before["_unpinned"])
        # In this order, since another thread may be compiling.
        self._compiled, self._referrers = before["_compiled"].copy(), before["_referrers"].copy()
        new_ids = {schema_id for schema_id, _ in new}
        for key in list(self._referrers):
            found = self._compiled.get(key)
            if found is None or not new_ids.isdisjoint(found.reached_ids):
                self._compiled.pop(key, None)
                self._referrers.discard(key)

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
            jsonschema.SchemaError: a `$ref` points to a place that another schema does not have; or the schema cannot
                be applied together with the schemas that it needs.

        """
        key = (schema_id, version if type(version) is str else version_text(version))
        found = self._compiled.get(key)
        if found is None:
            schema = self._schemas.get(key)
            if schema is None:
                raise SchemaNotRegistered(*key, self._schemas)
            try:
                found = _compiled(schema, self._schemas, self._pins)
            except Exception as error:
                name_source(error, schema.source)
                raise
            if found.reached_ids:
                self._referrers.add(key)  # first, see _continue
            self._compiled[key] = found
        return found

    def fault(self, key: Key) -> Exception | None:
        """Return the error for which a schema cannot be applied (now), or None if it can."""
        from jsonschema import SchemaError  # see _compiled

        try:
            self.compiled(*key)
        except (SchemaNotRegistered, SchemaError) as error:
            return error
        return None

    def faults(self, keys: Iterable[Key]) -> dict[Key, Exception]:
        """Return the errors of those schemas that cannot be applied, and do not only wait for others.

        If some have a fault of their own, only those: the errors of others may follow from theirs.
        """
        errors = {key: error for key in keys if self[key].references and (error := self.fault(key)) is not None}
        own = {key: error for key in errors if (error := self._fault_of_its_own(key)) is not None}
        return own or {key: error for key, error in errors.items() if not isinstance(error, SchemaNotRegistered)}

    def _fault_of_its_own(self, key: Key) -> Exception | None:
        """Return the error if a `$ref` in a schema points to a place that a registered schema does not have."""
        from jsonschema import SchemaError  # see _compiled

        from jupyter_otel_telemetry.schemas.references import SchemaDocuments

        schema = self[key]
        targets = {uri: self[pinned].document for uri, pinned in self._pins.get(key, {}).items()}
        documents = SchemaDocuments(schema.document, targets)
        try:
            documents.missing(documents.root)
        except SchemaError as error:
            name_source(error, schema.source)
            return error
        return None

    def pinned_since(self, earlier: Schemas) -> list[Key]:
        """Return the schemas that waited for others earlier, and for fewer now."""
        before = vars(earlier)
        return [key for key in before["_unpinned"] if self._pins.get(key) != before["_pins"].get(key)]

    def adopt(self, compiled: CompiledSchema | None) -> None:
        """Keep the form of a schema that was compiled before it was here."""
        if compiled is not None and self._schemas.get(compiled.schema.key) is compiled.schema:
            self._compiled[compiled.schema.key] = compiled


class SchemaRegistry:
    """The schemas of one `EventLog`.

    Any thread may register while others validate: `current` is swapped as a whole, since others may have waited
    for a new schema with a `$ref`, or now mean this version by it.

    Args:
        approve: is called with the next value of `current` and the new ids; an exception prevents the change.

    """

    def __init__(self, approve: Callable[[Schemas, set[str]], None]) -> None:
        self._lock = threading.Lock()
        self._approve = approve
        self._compiled_alone: dict[Key, CompiledSchema] = {}
        self.current = Schemas({})

    def register(self, schema: Any, source: str | None = None) -> Key:
        """Check and keep a schema; one that is already here with the same content changes nothing.

        Args:
            schema: a mapping.
            source: the file or URL that it comes from, which every error then names.

        Returns:
            Id and version.

        Raises:
            SchemaConflict: its id and version are taken by other content.
            ValueError, jsonschema.SchemaError: see `parse_schema`; or a `$ref` points to a place that a registered
                schema does not have.

        """
        try:
            new = self.parse(schema, source)
            for fault in self.register_parsed([new]).values():
                raise fault
        except Exception as error:
            name_source(error, source)
            raise
        return new.key

    def parse(self, schema: Any, source: str | None = None, others: Mapping[Key, Schema] | None = None) -> Schema:
        """Check a schema alone and against those here and `others`; raise as `register`, without the source."""
        new = replace(parse_schema(schema), source=source)
        _refuse_conflict(self.current.get(new.key) or (others or {}).get(new.key), new)
        if not new.references and new.key not in self.current:
            # Now, since a schema that cannot be applied must not be registered.
            self._compiled_alone[new.key] = _compiled(new, {new.key: new}, {new.key: {}})
        return new

    def register_parsed(self, parsed: Collection[Schema]) -> dict[Key, Exception]:
        """Keep schemas, all at once, if all of them together are approved.

        Returns:
            Errors of schemas that cannot be applied together with those that they refer to, and so are not kept. Such
            an error of a schema that is here already, and has waited for one of these, is logged.

        Raises:
            SchemaConflict: an id and version were taken by other content meanwhile.

        """
        _import_compiler()
        refused: dict[Key, Exception] = {}
        with self._lock:
            earlier = self.current
            while True:
                kept = [new for new in parsed if new.key not in refused]
                swapped = self._with(kept)
                found = swapped.faults(swapped.keys() - earlier.keys())
                if not found:
                    break
                refused |= found
            if len(swapped) > len(earlier):
                self._approve(swapped, {schema_id for schema_id, _ in swapped.keys() - earlier.keys()})
                self.current = swapped
            for new in parsed:
                self._compiled_alone.pop(new.key, None)
        for fault in swapped.faults(swapped.pinned_since(earlier)).values():
            _logger.warning("%s", getattr(fault, "message", fault))
        return refused

    def _with(self, parsed: Collection[Schema]) -> Schemas:
        """Return the current schemas with others."""
        schemas = dict(self.current)
        for new in parsed:
            _refuse_conflict(schemas.setdefault(new.key, new), new)
        swapped = Schemas(schemas, self.current)
        for new in parsed:
            swapped.adopt(self._compiled_alone.get(new.key))
        return swapped


def _refuse_conflict(old: Schema | None, new: Schema) -> None:
    if old is None or old.document == new.document:
        return
    if difference := _difference(without_texts(old.document), without_texts(new.document)):
        raise SchemaConflict(*new.key, difference, old.source)


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


def _import_compiler() -> None:
    """Import all that compiling needs: a child that is forked during an import would wait for it forever."""
    from jupyter_otel_telemetry.schemas import (  # noqa: F401
        effort,
        engine,
        explaining,
        flag_reading,
        references,
        validation,
    )


def _compiled(schema: Schema, schemas: Mapping[Key, Schema], pins: Pins) -> CompiledSchema:
    # Imported late, as jsonschema is: see metaschema._known_dialects.
    from jupyter_otel_telemetry.schemas.effort import check_effort
    from jupyter_otel_telemetry.schemas.flag_reading import mentions_flags, read_flags, read_subschemas
    from jupyter_otel_telemetry.schemas.references import SchemaDocuments
    from jupyter_otel_telemetry.schemas.validation import EventValidator

    name = f"schema {schema.id!r} version {schema.version}"
    needed = needed_schemas(schema, schemas, pins)
    others = other_versions(schema, needed, schemas)
    needed_documents = {uri: found.document for uri, found in needed.items()}
    documents = SchemaDocuments(schema.document, needed_documents)
    _check_references(documents, (schema, *needed.values()))
    subschemas, root = read_subschemas(documents)
    check_effort(subschemas, root, name)
    if any(others.values()):
        other_documents = {uri: [other.document for other in found] for uri, found in others.items()}
        documents = SchemaDocuments(schema.document, needed_documents, other_documents)
        subschemas, root = read_subschemas(documents)
    # Options of policies, too, need to know where an object comes instead of an array.
    matter = any(map(mentions_flags, documents.with_all_versions())) or any(s.describes_items for s in subschemas)
    flags = read_flags(subschemas, root) if matter else None
    return CompiledSchema(
        schema=schema,
        validator=EventValidator(documents, name),
        event_type=replace(schema.event_type, flags=flags),
        documents=documents,
        reached_ids={uri + end for uri in others for end in ("", "#")},
    )


def _check_references(documents: SchemaDocuments, schemas: Iterable[Schema]) -> None:
    """Check that every place exists to which a reference points; the error names the schema and its source."""
    for document, schema in zip(documents, schemas, strict=True):
        try:
            missing = documents.missing(document)
        except Exception as error:
            name_source(error, schema.source)
            raise
        if missing:  # by a name that is not that of its registration, such as an $id relative to another one
            raise SchemaNotRegistered(missing[0], None, (), schema.id, schema.source)


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
    return f"at {json_pointer(path)}: {short_repr(old)} is registered, {short_repr(new)} was given"
