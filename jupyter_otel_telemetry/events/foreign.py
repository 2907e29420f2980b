"""Events of other libraries, read from their log records."""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.events.attributes import plain_text
from jupyter_otel_telemetry.events.origin import origin
from jupyter_otel_telemetry.events.record import EventRecord
from jupyter_otel_telemetry.names import CLAIMED_TIMESTAMP, ORIGIN, SCHEMA_ID, SCOPE_NAME
from jupyter_otel_telemetry.schemas.annotations import SEVERITIES
from jupyter_otel_telemetry.schemas.schema import EventType, last_segment
from jupyter_otel_telemetry.times import datetime_to_ns

if TYPE_CHECKING:
    import logging

__all__ = ["event_of", "is_event_logger", "is_unreadable"]

MAX_CLAIMED_AGE_NS: Final = 24 * 3600 * 1_000_000_000
MAX_CLAIMED_AHEAD_NS: Final = 5 * 60 * 1_000_000_000
"""How far a client's timestamp may lie before and after its arrival. A client may have been offline for a day; its
clock may be a little fast."""

_BINDERHUB: Final = "binderhub.events"
_LOGGERS: Final = tuple(f"{name}." for name in ("jupyter_events", "jupyter_telemetry", _BINDERHUB))
_KEYS: Final = ("__schema__", "__schema_version__", "__timestamp__")
_KEYS_OF_BINDERHUB: Final = ("schema", "version", "timestamp")


def is_event_logger(name: object) -> bool:
    """Tell whether a logger, or the module that owns it, is one of an event library other than this."""
    return f"{name}.".startswith(_LOGGERS)


def event_of(record: logging.LogRecord) -> EventRecord | None:
    """Make an `EventRecord` of an event of `jupyter_events`, `jupyter_telemetry` or `binderhub`.

    Their records have a dict as message, or that as JSON, in which the properties stand beside `__schema__` (in
    binderhub: `schema`) and other metadata. Text of other loggers is never an event: anybody may have written it.

    Returns:
        The event, or None if the record holds none, or none that can be read.

    """
    capsule: Any = record.msg
    if isinstance(capsule, (str, bytes)) and is_event_logger(record.name):
        capsule = _parsed(capsule)  # a QueueHandler has made text of it
    if not isinstance(capsule, dict) or _was_made_of_ours(record):
        return None
    is_of_binderhub = record.name == _BINDERHUB and "schema" in capsule  # else a formatter of ours has made its text
    id_key, version_key, time_key = _KEYS_OF_BINDERHUB if is_of_binderhub else _KEYS
    schema_id, version = capsule.get(id_key), capsule.get(version_key, "")
    if not isinstance(schema_id, str):
        return None
    claimed = capsule.get(time_key)
    if not _are_plain((*capsule, schema_id, version)):
        capsule = {plain_text(key): value for key, value in capsule.items()}
        schema_id, version = plain_text(schema_id), plain_text(version)
    event = {key: value for key, value in capsule.items() if key[:2] != "__"}
    if is_of_binderhub:
        for key in _KEYS_OF_BINDERHUB:
            event.pop(key, None)
    return _made(record, _foreign_type(schema_id, version), event, claimed)


def _made(record: logging.LogRecord, event_type: EventType, event: dict[str, Any], claimed: Any) -> EventRecord:
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


def is_unreadable(record: logging.LogRecord) -> bool:
    """Tell whether a record that is not an event was made of one, so that nobody knows which property is where in it.

    `SocketHandler` and formatters make text of events, for instance.
    """
    message: Any = record.msg
    return (
        is_event_logger(record.name)
        or _was_made_of_ours(record)
        or (isinstance(message, dict) and "__schema__" in message)
    )


def _was_made_of_ours(record: logging.LogRecord) -> bool:
    """Tell an ordinary record that was made of an `EventRecord`, of which flags and pseudonyms are then unknown."""
    return record.name == SCOPE_NAME or SCHEMA_ID in vars(record)


def _parsed(text: str | bytes) -> Any:
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
    """Read the timestamp of a capsule, or return None if it is not one; jupyter_events writes an offset and a `Z`."""
    try:
        if text[26:] == "+00:00Z" and text[20:26].isdigit():  # nearly all are: half the time
            return _second_ns(text[:20]) + int(text[20:26]) * 1000
        return datetime_to_ns(datetime.fromisoformat(text.removesuffix("Z")))
    except Exception:  # an untrusted object may raise anything
        return None


@lru_cache(maxsize=4)
def _second_ns(text: str) -> int:
    return datetime_to_ns(datetime.fromisoformat(text + "000000"))
