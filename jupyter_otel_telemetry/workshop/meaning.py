"""Changes of annotations: of privacy, event name, severity and attribute names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_otel_telemetry.jsondata import json_pointer, short_repr
from jupyter_otel_telemetry.workshop.changes import Change, Hurt
from jupyter_otel_telemetry.workshop.values import Value, event_values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_otel_telemetry.schemas.keywords import Path

__all__ = ["changed_meaning", "place_of"]


def changed_meaning(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    """Yield each change of an annotation that changes what a store receives.

    A flag that is removed hurts persons, since their values are no longer withheld. Another event name, severity or
    attribute hurts readers, whose queries name it.
    """
    yield from _changed_names(old, new)
    before, after = _by_place(old), _by_place(new)
    for place, value in before.items():
        if place in after:
            yield from _changed_value(place, value, after[place])


def _changed_names(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    before, after = _names_of(old), _names_of(new)
    for name in before:
        if before[name] != after[name]:
            yield Change(Hurt.READERS, "", name, f"{short_repr(before[name])} becomes {short_repr(after[name])}")


def _names_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the names under which a store has the events."""
    return {
        "$id": schema.get("$id"),
        "otel.event_name": _annotation(schema, "event_name") or schema.get("$id"),
        "otel.severity": _annotation(schema, "severity") or "INFO",
    }


def _annotation(subschema: dict[str, Any], name: str) -> Any:
    otel = subschema.get("otel")
    return otel.get(name) if isinstance(otel, dict) else None


def _by_place(document: dict[str, Any]) -> dict[Path, list[Value]]:
    """Return the described values by their place in an event: the names of properties, `*` for items and others."""
    found: dict[Path, list[Value]] = {}
    for value in event_values(document):
        found.setdefault(place_of(value.path), []).append(value)
    return found


def place_of(path: Path) -> Path:
    """Return the place in an event that a path in its schema describes: names, and `*` for items and other names."""
    place: list[str | int] = []
    steps = list(reversed(path))
    while steps:
        keyword = steps.pop()
        if keyword == "properties":
            place.append(steps.pop())
        elif keyword in {"allOf", "anyOf", "oneOf"}:
            steps.pop()
        else:
            place.append("*")
            if keyword == "patternProperties" or (steps and isinstance(steps[-1], int)):
                steps.pop()
    return tuple(place)


def _changed_value(place: Path, before: list[Value], after: list[Value]) -> Iterator[Change]:
    pointer = json_pointer(place)
    if any(value.is_personal for value in before) and not any(value.is_personal for value in after):
        text = "is no longer flagged as personal (pii: true), so its values are recorded"
        yield Change(Hurt.PERSONS, pointer, "pii", text)
    lost = {name for value in before for name in value.categories} - {
        name for value in after for name in value.categories
    }
    if lost:
        text = f"no longer has the categories {', '.join(sorted(lost))}, so its values may be recorded"
        yield Change(Hurt.PERSONS, pointer, "categories", text)
    old, new = before[0].attribute, after[0].attribute
    if old is not None and new is not None and old != new:
        yield Change(Hurt.READERS, pointer, "otel.attribute", f"{old} becomes {new}")
