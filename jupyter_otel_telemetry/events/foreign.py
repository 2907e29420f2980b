"""Events of other libraries, read from their log records."""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.events.attributes import plain_text
from jupyter_otel_telemetry.events.origin import origin
from jupyter_otel_telemetry.events.record import EventRecord
from jupyter_otel_telemetry.names import CLAIMED_TIMESTAMP, ORIGIN, SCHEMA_ID
from jupyter_otel_telemetry.schemas.schema import SEVERITIES, EventType, last_segment
from jupyter_otel_telemetry.times import datetime_to_ns

if TYPE_CHECKING:
    import logging

__all__ = ["event_of", "has_lost_its_form"]

MAX_CLAIMED_AGE_NS: Final = 24 * 3600 * 1_000_000_000
MAX_CLAIMED_AHEAD_NS: Final = 5 * 60 * 1_000_000_000
"""How far a client's timestamp may lie before and after its arrival. A client may have been offline for a day; its
clock may be a little fast."""

_EVENT_LOGGERS: Final = ("jupyter_events.", "jupyter_telemetry.")


def event_of(record: logging.LogRecord) -> EventRecord | None:
    """Make an `EventRecord` of an event of `jupyter_events` or `jupyter_telemetry`; None: it is none.

    Their records have a dict as message, or that as JSON, in which the properties stand beside `__schema__` and
    other names that begin with `__`. The text of other loggers is never an event: strangers may have written it.
    """
    capsule = record.msg
    if isinstance(capsule, str) and record.name.startswith(_EVENT_LOGGERS):
        capsule = _parsed(capsule)  # a QueueHandler has made text of it
    if not isinstance(capsule, dict) or not isinstance(capsule.get("__schema__"), str):
        return None
    schema_id, version = capsule["__schema__"], capsule.get("__schema_version__", "")
    if not _are_plain((*capsule, schema_id, version)):
        capsule = {plain_text(key): value for key, value in capsule.items()}
        schema_id, version = plain_text(schema_id), plain_text(version)
    event = {key: value for key, value in capsule.items() if key[:2] != "__"}
    event_type = _foreign_type(schema_id, version)
    claimed = capsule.get("__timestamp__")
    time_ns, arrived_ns = _foreign_time_ns(claimed), int(record.created * 1e9)
    if not origin.came_through_events_api:
        return EventRecord.of_foreign(event_type, event, arrived_ns if time_ns is None else time_ns, arrived_ns)
    marks = {ORIGIN: "events_api"}
    if time_ns is None or not -MAX_CLAIMED_AGE_NS <= time_ns - arrived_ns <= MAX_CLAIMED_AHEAD_NS:
        time_ns, marks[CLAIMED_TIMESTAMP] = arrived_ns, plain_text(claimed)
    made = EventRecord.of_foreign(event_type, event, time_ns, arrived_ns)
    made.add_fields(marks)
    return made


@lru_cache(maxsize=1024)
def _foreign_type(schema_id: str, version: str) -> EventType:
    return EventType(schema_id, version, last_segment(schema_id), schema_id, SEVERITIES["INFO"])


def has_lost_its_form(record: logging.LogRecord) -> bool:
    """Tell whether an ordinary record was made of an event, in a way that nobody can tell its properties any more."""
    message = record.msg
    return SCHEMA_ID in vars(record) or (isinstance(message, dict) and "__schema__" in message)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _are_plain(texts: tuple[Any, ...]) -> bool:
    try:
        return "".join(texts).isascii()
    except TypeError:
        return False


def _foreign_time_ns(text: Any) -> int | None:
    """Read the timestamp of a capsule; None: it is none. jupyter_events writes an offset and a `Z` after it."""
    try:
        if text[26:] == "+00:00Z" and text[20:26].isdigit():  # nearly all are: half the time
            return _second_ns(text[:20]) + int(text[20:26]) * 1000
        return datetime_to_ns(datetime.fromisoformat(text.removesuffix("Z")))
    except Exception:  # noqa: BLE001 - a stranger's object may raise anything
        return None


@lru_cache(maxsize=4)
def _second_ns(text: str) -> int:
    return datetime_to_ns(datetime.fromisoformat(text + "000000"))
