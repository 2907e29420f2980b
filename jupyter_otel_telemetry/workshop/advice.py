"""Rules of `schema check` that find schemas which work, and should be better."""

from __future__ import annotations

import re
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.jsondata import json_pointer, short_repr
from jupyter_otel_telemetry.schemas.problems import Problem
from jupyter_otel_telemetry.workshop.validity import types_of
from jupyter_otel_telemetry.workshop.values import event_values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_otel_telemetry.schemas.keywords import Path

__all__ = [
    "attribute_collision",
    "event_name",
    "expired",
    "no_description",
    "no_title",
    "unbounded",
    "undecided_privacy",
    "untyped",
]

Document = dict[str, Any]


def no_title(document: Document) -> Iterator[Problem]:
    """Yield a schema without a title."""
    title = document.get("title")
    if not isinstance(title, str) or not title.strip():
        yield Problem(("title",) if "title" in document else (), "add a title: it begins the text that people read")


def no_description(document: Document) -> Iterator[Problem]:
    """Yield the schema, and each property, that has no description."""
    if not _is_text(document.get("description")):
        yield Problem((), "add a description: when is the event recorded, and what for?")
    for value in event_values(document):
        if (
            value.name is not None
            and not _is_text(value.keywords.get("description"))
            and "$ref" not in value.keywords
        ):
            yield Problem(value.path, f"add a description of {value.name!r}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def undecided_privacy(document: Document) -> Iterator[Problem]:
    """Yield each free text without a decision whether it is personal."""
    for value in event_values(document):
        if value.is_free_text and not value.is_decided:
            name = f"{value.name!r} may be any text" if value.name else "the value may be any text"
            yield Problem(value.path, f"{name}, also a personal one; decide: pii: true or pii: false")


def unbounded(document: Document) -> Iterator[Problem]:
    """Yield each text or array without a limit of its length."""
    for value in event_values(document):
        types = types_of(value.keywords) or set()
        if "string" in types and value.is_free_text and "maxLength" not in value.keywords:
            yield Problem(value.path, "add maxLength: a text without limit may be as large as a request")
        if "array" in types and not {"maxItems", "enum", "const"} & value.keywords.keys():
            yield Problem(value.path, "add maxItems: an array without limit may be as large as a request")


def untyped(document: Document) -> Iterator[Problem]:
    """Yield each property that may have any type."""
    for value in event_values(document):
        if value.name is not None and value.is_untyped:
            yield Problem(value.path, f"{value.name!r} may have any type; add a type")


def attribute_collision(document: Document) -> Iterator[Problem]:
    """Yield each property whose attribute has the name of another one."""
    taken: dict[str, Path] = {}
    for value in event_values(document):
        if value.attribute is None:
            continue
        if (other := taken.setdefault(value.attribute, value.path)) != value.path:
            text = (
                f"the attribute {value.attribute} belongs to {json_pointer(other)}, too; rename one of the properties"
            )
            yield Problem(value.path, text)


_EVENT_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_DYNAMIC: Final = re.compile(r"[{}%$<>*]|[0-9a-f]{8}-[0-9a-f]{4}-|\d{5,}")


def event_name(document: Document) -> Iterator[Problem]:
    """Yield an event name that is a URL, dynamic, not lower-case or without a namespace."""
    otel = document.get("otel")
    own = otel.get("event_name") if isinstance(otel, dict) else None
    name = own if isinstance(own, str) else document.get("$id")
    path: Path = ("otel", "event_name") if own is not None else ("$id",) if "$id" in document else ()
    if not isinstance(name, str) or not name or (_EVENT_NAME.fullmatch(name) and not _DYNAMIC.search(name)):
        return
    example = "such as example.notebook.run"
    if own is None:
        yield Problem(path, f"the event name is the $id, {short_repr(name)}; add otel: {{event_name: …}}, {example}")
    elif "/" in name or ":" in name:
        yield Problem(path, f"the event name {short_repr(name)} is a URL; write words joined by dots, {example}")
    elif _DYNAMIC.search(name):
        yield Problem(path, f"the event name {short_repr(name)} seems to hold a value; values belong into properties")
    elif "." not in name:
        yield Problem(
            path, f"the event name {short_repr(name)} has no namespace; put the application before it, {example}"
        )
    else:
        text = f"the event name {short_repr(name)} is not made of lower-case words joined by dots, {example}"
        yield Problem(path, text)


def expired(document: Document) -> Iterator[Problem]:
    """Yield a date of expiry that has passed, or is not a date."""
    if "x-expires" not in document:
        return
    value = document["x-expires"]
    try:
        day = date.fromisoformat(value)
    except (TypeError, ValueError):
        yield Problem(("x-expires",), f"x-expires must be a date such as 2027-12-31, not {short_repr(value)}")
        return
    if day <= datetime.now(tz=timezone.utc).date():
        yield Problem(
            ("x-expires",), f"the schema has expired on {day}; extend x-expires, or stop recording its events"
        )
