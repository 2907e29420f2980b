"""One JSON object a line: what is written to files."""

from __future__ import annotations

import logging
from typing import Any

from jupyter_otel_telemetry.jsondata import json_bytes
from jupyter_otel_telemetry.record import ENVELOPE_VERSION, EventRecord, rfc3339

__all__ = ["JSONLinesFormatter"]


class JSONLinesFormatter(logging.Formatter):
    """Formats an `EventRecord`, and any other log record, as one line of valid JSON.

    An event's line has `__timestamp__` (RFC 3339, UTC), `__schema__`, `__schema_version__`,
    `__metadata_version__` and the properties, and inside a span `__trace_id__` and `__span_id__`. Any other
    record's has `__timestamp__`, `level`, `logger`, `message` and, where there is one, `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line break."""
        event = record if isinstance(record, EventRecord) else EventRecord.from_foreign(record)
        return json_bytes(self._ordinary(record) if event is None else _line(event)).decode()

    def _ordinary(self, record: logging.LogRecord) -> dict[str, Any]:
        line: dict[str, Any] = {
            "__timestamp__": rfc3339(int(record.created * 1e9)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return line


def _line(record: EventRecord) -> dict[str, Any]:
    line: dict[str, Any] = {
        "__timestamp__": rfc3339(record.time_ns),
        "__schema__": record.event_type.id,
        "__schema_version__": record.event_type.version,
        "__metadata_version__": ENVELOPE_VERSION,
        **record.event,
    }
    if record.span_context.is_valid:
        line["__trace_id__"] = format(record.span_context.trace_id, "032x")
        line["__span_id__"] = format(record.span_context.span_id, "016x")
    return line
