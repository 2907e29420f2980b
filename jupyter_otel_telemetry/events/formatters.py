"""One JSON object a line: what is written to files."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jupyter_otel_telemetry.events.capsule import ENVELOPE_VERSION
from jupyter_otel_telemetry.events.foreign import event_of
from jupyter_otel_telemetry.events.record import EventRecord
from jupyter_otel_telemetry.jsondata import json_bytes, object_text
from jupyter_otel_telemetry.times import rfc3339

if TYPE_CHECKING:
    from jupyter_otel_telemetry.schemas.schema import EventType

__all__ = ["JSONLinesFormatter"]


class JSONLinesFormatter(logging.Formatter):
    """Formats an `EventRecord`, and any other log record, as one line of valid JSON.

    An event's line has `__timestamp__` (RFC 3339, UTC), `__schema__`, `__schema_version__`,
    `__metadata_version__` and the properties, and inside a span `__trace_id__` and `__span_id__`. Any other
    record's has `__timestamp__`, `level`, `logger`, `message` and, where there is one, `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line break."""
        event = record if isinstance(record, EventRecord) else event_of(record)
        return json_bytes(self._ordinary(record)).decode() if event is None else _line(event)

    def _ordinary(self, record: logging.LogRecord) -> dict[str, Any]:
        line: dict[str, Any] = {
            "__timestamp__": rfc3339(int(record.created * 1e9)),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return line


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit, and whatever a stranger's __str__ raises
        return object_text(record.msg)


def _line(record: EventRecord) -> str:
    # Put together from two pieces of JSON, of which one is always the same.
    event = json_bytes(record.event).decode()
    span_context = record.span_context
    if span_context is not None and span_context.is_valid:
        ids = f'"__trace_id__":"{span_context.trace_id:032x}","__span_id__":"{span_context.span_id:016x}"'
        event = f"{event[:-1]},{ids}}}" if record.event else f"{{{ids}}}"
    rest = "," + event[1:] if len(event) > len("{}") else event[1:]
    return f'{{"__timestamp__":"{rfc3339(record.time_ns)}",{_envelope(record.event_type)}{rest}'


@lru_cache(maxsize=1024)
def _envelope(event_type: EventType) -> str:
    envelope = {
        "__schema__": event_type.id,
        "__schema_version__": event_type.version,
        "__metadata_version__": ENVELOPE_VERSION,
    }
    return json_bytes(envelope).decode()[1:-1]
