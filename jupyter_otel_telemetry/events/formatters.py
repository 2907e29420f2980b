"""One JSON object a line: the content of files."""

from __future__ import annotations

import codecs
import json
import locale
import logging
import re
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry.trace import INVALID_SPAN_CONTEXT

from jupyter_otel_telemetry.events.capsule import ENVELOPE_VERSION
from jupyter_otel_telemetry.events.foreign import event_of
from jupyter_otel_telemetry.events.record import EventRecord
from jupyter_otel_telemetry.jsondata import json_bytes, object_text
from jupyter_otel_telemetry.times import rfc3339

if TYPE_CHECKING:
    from jupyter_otel_telemetry.schemas.schema import EventType

__all__ = ["JSONLinesFormatter", "LineFormatter", "is_utf8"]

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


def is_utf8(encoding: str) -> bool:
    """Tell whether a name of an encoding is one of UTF-8."""
    try:
        return codecs.lookup(encoding).name == "utf-8"
    except LookupError:
        return False


class LineFormatter(logging.Formatter, ABC):
    """Base of formatters that write one JSON object a line, valid UTF-8 in every locale.

    A handler without `encoding` opens its file in the encoding of the locale. Where that is not UTF-8, it could lose
    an event or write bytes that are not UTF-8; `ascii_only` then escapes characters beyond ASCII, as JSON allows.
    """

    def __init__(
        self, fmt: str | None = None, datefmt: str | None = None, style: Literal["%", "{", "$"] = "%"
    ) -> None:
        super().__init__(fmt, datefmt, style)
        self.ascii_only = not is_utf8(locale.getpreferredencoding(False))  # noqa: FBT003 - its only form

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line break."""
        line = self.line(record)
        if self.ascii_only and not line.isascii():
            line = _NOT_ASCII.sub(lambda characters: json.dumps(characters[0])[1:-1], line)
        return line

    @abstractmethod
    def line(self, record: logging.LogRecord) -> str:
        """Return the line of a record in Unicode."""


class JSONLinesFormatter(LineFormatter):
    """Formats an `EventRecord`, and any other log record, as one line of valid JSON.

    An event's line has `__timestamp__` (RFC 3339, UTC), `__schema__`, `__schema_version__`,
    `__metadata_version__` and the properties, and inside a span `__trace_id__` and `__span_id__`. Any other
    record's has `__timestamp__`, `level`, `logger`, `message` and, with an exception, `exception`.

    Args:
        fmt, datefmt, style: accepted, since `logging.config.dictConfig` passes them, and ignored.
        with_otel: add `__event_name__`, `__severity_number__`, `__severity_text__` and `__uid__`, as they are sent
            over OTLP, to the lines of events; `deploy/collector/agent.yaml` reads them.

    """

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        *,
        with_otel: bool = False,
    ) -> None:
        super().__init__(fmt, datefmt, style)
        self._with_otel = with_otel

    def line(self, record: logging.LogRecord) -> str:
        """Return the line of a record in Unicode."""
        event = record if isinstance(record, EventRecord) else event_of(record)
        if event is None:
            return json_bytes(self._ordinary(record)).decode()
        return _line(event, _otel_envelope(event) if self._with_otel else _envelope(event.event_type))

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
    except Exception:  # arguments that do not fit, or an untrusted __str__
        return object_text(record.msg)


def _line(record: EventRecord, envelope: str) -> str:
    # Put together from two pieces of JSON, of which one is always the same.
    event = json_bytes(record.event).decode()
    span_context = record.span_context
    if span_context is not INVALID_SPAN_CONTEXT and span_context is not None and span_context.is_valid:
        ids = f'"__trace_id__":"{span_context.trace_id:032x}","__span_id__":"{span_context.span_id:016x}"'
        event = f"{event[:-1]},{ids}}}" if record.event else f"{{{ids}}}"
    rest = "," + event[1:] if len(event) > len("{}") else event[1:]
    return f'{{"__timestamp__":"{rfc3339(record.time_ns)}",{envelope}{rest}'


@lru_cache(maxsize=1024)
def _envelope(event_type: EventType) -> str:
    envelope = {
        "__schema__": event_type.id,
        "__schema_version__": event_type.version,
        "__metadata_version__": ENVELOPE_VERSION,
    }
    return json_bytes(envelope).decode()[1:-1]


def _otel_envelope(record: EventRecord) -> str:
    event_type = record.event_type
    added = {
        "__event_name__": event_type.event_name,
        "__severity_number__": event_type.severity.number,
        "__severity_text__": event_type.severity.text,
        "__uid__": record.made_uid(),
    }
    return f"{_envelope(event_type)},{json_bytes(added).decode()[1:-1]}"
