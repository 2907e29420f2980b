"""The event dictionary: a page of Markdown for each schema, and an index."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.events.record import EventRecord
from jupyter_otel_telemetry.export.formatter import OTLPJSONFormatter
from jupyter_otel_telemetry.names import RECORD_UID, SEQUENCE
from jupyter_otel_telemetry.otlp.received import parse_json
from jupyter_otel_telemetry.privacy.policy import Policy
from jupyter_otel_telemetry.schemas.registry import SchemaRegistry
from jupyter_otel_telemetry.schemas.schema import last_segment
from jupyter_otel_telemetry.workshop.compat import compare_schemas
from jupyter_otel_telemetry.workshop.examples import example_event
from jupyter_otel_telemetry.workshop.meaning import place_of
from jupyter_otel_telemetry.workshop.values import Value, event_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jupyter_otel_telemetry.otlp.received import ReceivedLog
    from jupyter_otel_telemetry.schemas.schema import Schema
    from jupyter_otel_telemetry.workshop.versions import SchemaSet

__all__ = ["dictionary"]

_FACTS: Final = ("owner", "purpose", "retention", "expires", "supersedes")
"""Keywords, after `x-`, that a page shows."""

_LIMITS: Final = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "above {}",
    "exclusiveMaximum": "below {}",
    "multipleOf": "a multiple of {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matches {}",
    "format": "{}",
}


def dictionary(schemas: SchemaSet) -> dict[str, str]:
    """Return the pages, by the name of their file: `index.md`, and one for each `$id`, with all its versions.

    The Markdown is that of CommonMark with tables, as MyST and MkDocs read it.
    """
    targets = schemas.targets()
    names: dict[str, str] = {}
    for schema_id in sorted({schema.id for _, schema in schemas.schemas}):
        slug = re.sub("[^a-z0-9]+", "-", last_segment(schema_id).lower()).strip("-") or "event"
        taken = set(names.values())
        names[schema_id] = next(name for name in _numbered(slug) if name not in taken)
    pages = {"index.md": ""}
    rows = []
    for schema_id, name in names.items():
        versions = [schema for _, schema in schemas.versions(schema_id)]
        pages[name] = "\n".join(_page(versions, targets))
        kind = versions[0].event_type
        rows.append((f"[{_text(kind.title)}]({name})", _code(kind.event_name), _code(versions[0].version)))
    pages["index.md"] = "# Events\n\n" + _table(("event", "event name", "version"), rows)
    return pages


def _numbered(slug: str) -> Iterator[str]:
    yield from (f"{slug}.md" for _ in range(1) if slug != "index")
    yield from (f"{slug}-{number}.md" for number in range(2, 10_000))


def _page(versions: list[Schema], targets: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the parts of the page of one schema, its highest version first."""
    schema = versions[0]
    yield f"# {_text(schema.event_type.title)}\n"
    if isinstance(description := schema.document.get("description"), str):
        yield f"{_text(description)}\n"
    yield _table(("", ""), _facts(schema))
    yield "## Properties\n"
    yield _table(
        ("property", "type", "required", "personal", "attribute", "description"), _properties(schema.document)
    )
    event = example_event(schema.document, targets)
    if event is not None:
        yield f"## Example\n\n```json\n{json.dumps(event, indent=2).replace('```', '``')}\n```\n"
        if log := _exported(schema, event, targets):
            yield "It is sent as this log record; personal values are withheld unless the operator allows them:\n"
            yield _table(("field", "value"), _record(log))
    if len(versions) > 1:
        yield "## Versions\n"
        yield _table(("version", "change"), _history(versions, targets))


def _facts(schema: Schema) -> Iterator[tuple[str, str]]:
    kind = schema.event_type
    yield "schema", _code(schema.id)
    yield "version", _code(schema.version)
    yield "event name", _code(kind.event_name)
    yield "severity", _code(kind.severity.text)
    for name in _FACTS:
        if (value := schema.document.get(f"x-{name}")) is not None:
            yield name, _text(value if isinstance(value, str) else json.dumps(value))


def _properties(document: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for value in event_values(document):
        if value.name is None:
            continue
        parent = _parent(document, value)
        is_required = "yes" if value.name in parent.get("required", ()) else "no"
        place = ".".join(map(str, place_of(value.path)))
        attribute = _code(value.attribute) if value.attribute else ""
        description = value.subschema.get("description", "")
        shown = _text(description) if isinstance(description, str) else ""
        yield _code(place), _type(value.keywords), is_required, _personal(value), attribute, shown


def _parent(document: dict[str, Any], value: Value) -> dict[str, Any]:
    """Return the subschema that describes the property."""
    found: Any = document
    for step in value.path[:-2]:
        found = found[step]
    return found if isinstance(found, dict) and isinstance(found.get("required", []), list) else {}


def _type(keywords: dict[str, Any]) -> str:
    if "const" in keywords or isinstance(keywords.get("enum"), list):
        values = [keywords["const"]] if "const" in keywords else keywords["enum"]
        return ", ".join(_code(json.dumps(value)) for value in values[:20]) + (", …" if len(values) > 20 else "")
    wanted = keywords.get("type", "any")
    kinds = " or ".join(map(str, wanted)) if isinstance(wanted, list) else str(wanted)
    limits = [text.format(_code(str(keywords[name]))) for name, text in _LIMITS.items() if name in keywords]
    return ", ".join([kinds, *limits])


def _personal(value: Value) -> str:
    flags = [*(["yes"] if value.is_personal else []), *map(_code, sorted(value.categories))]
    return ", ".join(flags) or ("no" if value.is_decided else "")


def _exported(schema: Schema, event: dict[str, Any], targets: Mapping[str, dict[str, Any]]) -> ReceivedLog | None:
    """Return an event as `OTLPHandler` sends it, or None if the schema cannot be used alone."""
    registry = SchemaRegistry(lambda _schemas, _new_ids: None)
    try:
        for document in targets.values():
            registry.register(document)
        compiled = registry.current.compiled(*registry.register(schema.document))
    except Exception:  # an invalid or missing target: `check` finds it
        return None
    redaction = Policy({schema.id: {}}).redaction(compiled.event_type)
    shown = event if redaction is None else redaction.apply(event)
    line = OTLPJSONFormatter().format(EventRecord(compiled.event_type, shown))
    return parse_json(line.encode())[0]


def _record(log: ReceivedLog) -> Iterator[tuple[str, str]]:
    yield "event name", _code(log.event_name)
    yield "severity", _code(log.severity_text)
    yield "body", _code(str(log.body))
    for name, value in log.attributes.items():
        if name not in {RECORD_UID, SEQUENCE}:
            yield _code(name), _code(json.dumps(value, ensure_ascii=False))


def _history(versions: list[Schema], targets: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for new, old in pairwise(versions):
        found = compare_schemas(old.document, new.document, old_others=targets, new_others=targets)
        changes = [f"{change.keyword} at {change.pointer or '/'}: {change.message}" for change in found.changes]
        yield _code(new.version), _text("; ".join([f"{found.verdict.value} after {old.version}", *changes]))
    yield _code(versions[-1].version), "the first one"


def _table(titles: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    header = list(titles)
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _text(text: str) -> str:
    """Return a text in which Markdown and HTML have no meaning, on one line."""
    plain = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return re.sub(r"([\\`*_{}\[\]<>|#$~&])", r"\\\1", plain)


def _code(text: str) -> str:
    """Return a text as code in a table."""
    plain = " ".join("".join(char if char.isprintable() else " " for char in text).split()).replace("|", "\\|")
    fence = "`" * (max(map(len, re.findall("`+", plain)), default=0) + 1)
    space = " " if "`" in plain else ""
    return f"{fence}{space}{plain}{space}{fence}" if plain else ""
