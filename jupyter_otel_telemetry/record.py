"""An event as a `logging.LogRecord`: the one place that knows the OpenTelemetry mapping.

OpenTelemetry's `LoggingHandler` sends `getMessage()` as the body, everything in `vars(record)` that is not
`logging`'s own as attributes, and the attribute `otel.event.name` as the event name. An `EventRecord` therefore
holds in its `__dict__` the attributes, ready to leave, and in slots what is not to be sent.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from opentelemetry.trace import SpanContext, get_current_span

from jupyter_otel_telemetry.jsondata import clean_text, int_text, json_bytes, object_text
from jupyter_otel_telemetry.schema import SEVERITIES, PropertyNames, Severity, last_segment, version_text

__all__ = ["ENVELOPE_VERSION", "SCOPE_NAME", "EventRecord", "rfc3339"]

SCOPE_NAME: Final = "jupyter_otel_telemetry"
"""Name of the instrumentation scope, and so of every record's logger."""

ENVELOPE_VERSION: Final = 1
"""`__metadata_version__` of what is written to files."""

EVENT_PREFIX: Final = "jupyter.event."
MAX_ATTRIBUTE_DEPTH: Final = 16
"""Levels below an attribute that stay structured. OTLP needs three levels of protobuf messages for each, and
receivers stop reading at about a hundred."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LAST_OTLP_TIME_NS = 2**64 - 1
_INT64 = range(-(2**63), 2**63)
_RESERVED = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})


class EventRecord(logging.LogRecord):
    """A recorded event on its way to handlers.

    Args:
        schema_id, version: of its schema; the version as registered.
        event: the properties. The record keeps this object: nobody may change it any more.
        time_ns: when the event happened, in nanoseconds since 1970 UTC; None: now.
        title: what the body begins with; None: the last segment of the id.
        event_name: OpenTelemetry's; None: the id.
        severity: OpenTelemetry's; None: INFO.
        names: which properties go out under another name than `jupyter.event.<property>`.

    """

    # Not in __dict__, where OpenTelemetry's handler would take them for attributes.
    __slots__ = ("event", "schema_id", "severity", "span_context", "time_ns", "title", "version")

    def __init__(  # noqa: PLR0913 - a record has that many parts
        self,
        schema_id: str,
        version: Any,
        event: Mapping[str, Any],
        *,
        time_ns: int | None = None,
        title: str | None = None,
        event_name: str | None = None,
        severity: Severity | None = None,
        names: PropertyNames | None = None,
    ) -> None:
        severity = severity or SEVERITIES["INFO"]
        # The message is the id, not the event: `logging` prints it where a handler fails.
        super().__init__(SCOPE_NAME, severity.level, "", 0, schema_id, None, None)
        self.levelname = severity.level_name
        self.schema_id, self.version, self.event, self.severity = schema_id, version, event, severity
        self.title = title or last_segment(schema_id)
        self.span_context: SpanContext = get_current_span().get_span_context()
        self.time_ns = time.time_ns() if time_ns is None else time_ns
        self.created = self.otlp_time_ns / 1e9
        fields = vars(self)
        _add_attributes(fields, event, names or {})
        fields["log.record.uid"] = new_ulid(time.time_ns() // 1_000_000)
        fields["otel.event.name"] = event_name or schema_id
        # Last, since at its limit the SDK drops the oldest.
        fields["jupyter.schema.id"] = schema_id
        fields["jupyter.schema.version"] = version_text(version)

    @property
    def otlp_time_ns(self) -> int:
        """`time_ns`, or 0, which means unknown, where OTLP's unsigned 64 bits cannot hold it."""
        return self.time_ns if 0 <= self.time_ns <= _LAST_OTLP_TIME_NS else 0

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        """Return the display string: the title, and the event as logfmt."""
        return clean_text(" ".join([self.title, *_logfmt(self.event, "")]))

    def otlp_attributes(self) -> dict[str, Any]:
        """Return the attributes to send, those that logging filters added included."""
        return {name: value for name, value in vars(self).items() if name not in _RESERVED}

    @classmethod
    def from_foreign(cls, record: logging.LogRecord) -> EventRecord | None:
        """Make an `EventRecord` of an event of `jupyter_events` or `jupyter_telemetry`; None: it is none.

        Their records have a dict as message, in which the properties stand beside `__schema__` and other names
        that begin with `__`.
        """
        capsule = record.msg
        if not isinstance(capsule, dict) or not isinstance(capsule.get("__schema__"), str):
            return None
        return cls(
            capsule["__schema__"],
            capsule.get("__schema_version__", ""),
            {key: value for key, value in capsule.items() if not str(key).startswith("__")},
            time_ns=_foreign_time_ns(capsule.get("__timestamp__"), record.created),
        )


def rfc3339(time_ns: int) -> str:
    """Format nanoseconds since 1970 as RFC 3339 in UTC, with microseconds and `Z`."""
    moment = _EPOCH + timedelta(microseconds=time_ns // 1000)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def datetime_to_ns(moment: datetime) -> int:
    """Nanoseconds since 1970 of a datetime; a naive one is taken as UTC.

    Raises:
        TypeError: it is no datetime.

    """
    if not isinstance(moment, datetime):
        raise TypeError(f"timestamp_override must be a datetime.datetime, not {type(moment).__name__}")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def _foreign_time_ns(text: Any, created: float) -> int:
    """Read the timestamp of a capsule. jupyter_events writes an offset and a `Z` after it."""
    try:
        return datetime_to_ns(datetime.fromisoformat(text.removesuffix("Z")))
    except (AttributeError, ValueError, OverflowError):
        return int(created * 1e9)


def _add_attributes(fields: dict[str, Any], event: Mapping[str, Any], names: PropertyNames) -> None:
    # With a dot in a name, "a.b" and b below a would be one attribute: then objects stay whole.
    whole = any("." in str(key) for key in event)
    for key, value in event.items():
        name, below = names.get(key, (None, {}))
        name = name or EVENT_PREFIX + key if type(key) is str and key.isascii() else name or EVENT_PREFIX + _text(key)
        if type(value) is str and value.isascii():
            fields[name] = value
        elif type(value) is dict and value and not whole:
            _add_nested(fields, name, value, below, 1)
        elif value is not None:
            fields[name] = _attribute_value(value, MAX_ATTRIBUTE_DEPTH)


def _add_nested(fields: dict[str, Any], prefix: str, value: dict[str, Any], names: PropertyNames, depth: int) -> None:
    """Add an object's properties, dotted, as long as that is unambiguous."""
    if depth >= MAX_ATTRIBUTE_DEPTH or any(not key or "." in str(key) for key in value):
        fields[prefix] = _attribute_value(value, MAX_ATTRIBUTE_DEPTH - depth)
        return
    for key, item in value.items():
        name, below = names.get(key, (None, {}))
        name = name or f"{prefix}.{_text(key)}"
        if type(item) is dict and item:
            _add_nested(fields, name, item, below, depth + 1)
        elif item is not None:
            fields[name] = _attribute_value(item, MAX_ATTRIBUTE_DEPTH - depth)


def _attribute_value(value: Any, depth: int) -> Any:
    """Convert to what OTLP can carry and receivers will read; `depth` levels may still follow."""
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return int(value) if value in _INT64 else int_text(value)
    if isinstance(value, Mapping):
        if depth <= 0 or "" in value:  # OTLP's attributes have no empty keys
            return json_bytes(value).decode()
        return {_text(key): _attribute_value(item, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        if depth <= 0:
            return json_bytes(value).decode()
        return [_attribute_value(item, depth - 1) for item in value]
    return object_text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return str.__str__(value) if value.isascii() else clean_text(value)
    return object_text(value)


_PLAIN = re.compile(r'[^\s"=\\\x00-\x1f\x7f-\xa0\u2028\u2029]+')


def _logfmt(event: Mapping[str, Any], prefix: str) -> list[str]:
    """Format as logfmt: `key=value`, quoted where it must be, nested objects dotted."""
    pairs: list[str] = []
    for key, value in event.items():
        name = prefix + _quoted(str(key))
        if type(value) is str:
            pairs.append(f"{name}={_quoted(value)}")
        elif type(value) is dict and value and prefix.count(".") < MAX_ATTRIBUTE_DEPTH:
            pairs += _logfmt(value, name + ".")
        else:
            pairs.append(f"{name}={_quoted(json_bytes(value).decode())}")
    return pairs


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json_bytes(text).decode()


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]


def new_ulid(time_ms: int) -> str:
    """Make a ULID: 48 bits of time and 80 random bits as 26 characters. https://github.com/ulid/spec."""
    number = (time_ms & (2**48 - 1)) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])
