"""Valid events of a schema, made up from its bounds."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.workshop.canonical import NotComparableError, canonical, closed
from jupyter_otel_telemetry.workshop.shapes import checker
from jupyter_otel_telemetry.workshop.witness import Witnesses, mentioned_texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["example_event", "example_events"]

_MAX_TRIED: Final = 2_000


def example_events(
    schema: dict[str, Any], count: int = 10, others: Mapping[str, dict[str, Any]] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield at most `count` valid events, the same ones in every run.

    First the schema's own `examples`, as far as they are valid; then events at its bounds. `others` are the schemas
    to which a `$ref` may lead, by `$id`. A recursive schema yields nothing.
    """
    try:
        described = ({"type": "object"}, closed(canonical(schema, others)))
    except NotComparableError:
        return
    is_valid = checker(described)
    own = schema.get("examples")
    made = Witnesses(mentioned_texts(described[1])).between(described, ())
    candidates = [*(own if isinstance(own, list) else ()), *islice(made, _MAX_TRIED)]
    yield from islice(filter(is_valid, candidates), count)


def example_event(
    schema: dict[str, Any], others: Mapping[str, dict[str, Any]] | None = None
) -> dict[str, Any] | None:
    """Return a valid event with many properties, for people to read, or None if none is found.

    It is the first of the schema's own `examples`; else, properties have the first of their `examples`, or a value
    made from their name, where these are valid.
    """
    events = list(example_events(schema, 60, others))
    if not events:
        return None
    own = schema.get("examples")
    if isinstance(own, list) and events[0] in own:
        return events[0]
    found = max(events, key=len)
    is_valid = checker((canonical(schema, others),))
    for name, described in schema.get("properties", {}).items():
        if is_valid(better := found | {name: _made_up(name, described)}):
            found = better
    return found


def _made_up(name: str, described: Any) -> Any:
    """Return a value that looks like one of a property."""
    if not isinstance(described, dict):
        return name
    for keyword in ("examples", "enum"):
        if isinstance(values := described.get(keyword), list) and values:
            return values[0]
    if "const" in described:
        return described["const"]
    wanted = described.get("type", "object" if "properties" in described else "string")
    kind = wanted[0] if isinstance(wanted, list) and wanted else wanted
    if kind == "object":
        return {key: _made_up(key, item) for key, item in described.get("properties", {}).items()}
    if kind == "array":
        return [_made_up(name, described.get("items", True))]
    if kind in {"integer", "number"}:
        return max(described.get("minimum", 1), 1)
    text = _TIMES.get(str(described.get("format")), name)
    return {"boolean": True, "null": None}.get(str(kind), text[: described.get("maxLength", len(text))])


_TIMES: Final = {"date-time": "2026-03-02T08:57:41Z", "date": "2026-03-02", "time": "08:57:41Z"}
