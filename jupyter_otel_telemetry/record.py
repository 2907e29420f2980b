"""An event as a `logging.LogRecord`: the one place that knows the OpenTelemetry mapping.

OpenTelemetry's `LoggingHandler` sends `getMessage()` as the body, everything in `vars(record)` that is not
`logging`'s own as attributes, and the attribute `otel.event.name` as the event name. An `EventRecord` therefore
holds in its `__dict__` the attributes, ready to leave, and in slots what is not to be sent.
"""

from __future__ import annotations

import logging
import os
import random
import re
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, Final

from opentelemetry.trace import SpanContext, get_current_span

from jupyter_otel_telemetry.jsondata import clean_text, int_text, json_bytes, object_text
from jupyter_otel_telemetry.schema import SEVERITIES, EventType, PropertyNames, last_segment, version_text

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
_UNNAMED: tuple[None, PropertyNames] = (None, {})
_LAST_OTLP_TIME_NS = 2**64 - 1
_RESERVED = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})


# What `logging` itself puts into a record. Its constructor would look up each time, at a quarter of the cost of
# recording an event, what an event does not have: a place in a source file, an asyncio task.
_LOGGING_FIELDS = vars(logging.LogRecord(SCOPE_NAME, logging.INFO, "", 0, "", None, None))
_STARTED_AT = _LOGGING_FIELDS["created"] - _LOGGING_FIELDS["relativeCreated"] / 1000
_fields_of = logging.LogRecord.__dict__["__dict__"].__get__


class EventRecord(logging.LogRecord):
    """A recorded event on its way to handlers.

    Args:
        event_type: what it shares with all events of its schema.
        event: the properties. The record keeps this object: nobody may change it any more.
        time_ns: when the event happened, in nanoseconds since 1970 UTC; None: now.

    """

    # Not in __dict__, where OpenTelemetry's handler would take them for attributes.
    __slots__ = ("_has_attributes", "event", "event_type", "recorded_ms", "span_context", "time_ns")

    def __init__(self, event_type: EventType, event: Mapping[str, Any], time_ns: int | None = None) -> None:
        now_ns = time.time_ns()
        self.event_type, self.event = event_type, event
        self.span_context: SpanContext = get_current_span().get_span_context()
        self.time_ns = time_ns = now_ns if time_ns is None else time_ns
        self.recorded_ms = now_ns // 1_000_000
        self._has_attributes = False
        fields = _fields_of(self)
        fields.update(_logging_fields(event_type))
        fields["created"] = created = (time_ns if 0 <= time_ns <= _LAST_OTLP_TIME_NS else 0) / 1e9
        fields["msecs"] = created % 1 * 1000
        fields["relativeCreated"] = (created - _STARTED_AT) * 1000
        fields["thread"] = threading.get_ident()
        fields["threadName"] = threading.current_thread().name
        fields["process"] = os.getpid()

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """The fields of the record, and the attributes, which are made when first asked for.

        Writing to a file does not ask, and takes half the time then.
        """
        fields: dict[str, Any] = _fields_of(self)
        if not self._has_attributes:
            fields.update(self._attributes())
            fields["otel.event.name"] = self.event_type.event_name
            self._has_attributes = True
        return fields

    def _attributes(self) -> dict[str, Any]:
        event_type = self.event_type
        attributes: dict[str, Any] = {}
        _add_attributes(attributes, self.event, event_type.names)
        attributes["log.record.uid"] = new_ulid(self.recorded_ms)
        # Last, since at its limit the SDK drops the oldest.
        attributes["jupyter.schema.id"] = event_type.id
        attributes["jupyter.schema.version"] = version_text(event_type.version)
        return attributes

    def otlp_attributes(self) -> dict[str, Any]:
        """Return the attributes to send, those that logging filters added included."""
        if not self._has_attributes and len(_fields_of(self)) == len(_LOGGING_FIELDS):  # nobody added anything
            return self._attributes()
        attributes = {name: value for name, value in vars(self).items() if name not in _RESERVED}
        del attributes["otel.event.name"]
        return attributes

    @property
    def otlp_time_ns(self) -> int:
        """`time_ns`, or 0, which means unknown, where OTLP's unsigned 64 bits cannot hold it."""
        return self.time_ns if 0 <= self.time_ns <= _LAST_OTLP_TIME_NS else 0

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        """Return the display string: the title, and the event as logfmt."""
        text = " ".join([self.event_type.title, *_logfmt(self.event, "")])
        return text if text.isascii() else clean_text(text)

    @classmethod
    def from_foreign(cls, record: logging.LogRecord) -> EventRecord | None:
        """Make an `EventRecord` of an event of `jupyter_events` or `jupyter_telemetry`; None: it is none.

        Their records have a dict as message, in which the properties stand beside `__schema__` and other names
        that begin with `__`.
        """
        capsule = record.msg
        if not isinstance(capsule, dict) or not isinstance(capsule.get("__schema__"), str):
            return None
        event = {key: value for key, value in capsule.items() if not str(key).startswith("__")}
        event_type = _foreign_type(capsule["__schema__"], version_text(capsule.get("__schema_version__", "")))
        return cls(event_type, event, _foreign_time_ns(capsule.get("__timestamp__"), record.created))


@lru_cache(maxsize=1024)
def _logging_fields(event_type: EventType) -> dict[str, Any]:
    # The message is the id, not the event: `logging` prints it where a handler fails.
    severity = event_type.severity
    return {
        **_LOGGING_FIELDS,
        "msg": event_type.id,
        "levelno": severity.level,
        "levelname": severity.level_name,
    }


@lru_cache(maxsize=1024)
def _foreign_type(schema_id: str, version: str) -> EventType:
    return EventType(schema_id, version, last_segment(schema_id), schema_id, SEVERITIES["INFO"], {})


def rfc3339(time_ns: int) -> str:
    """Format nanoseconds since 1970 as RFC 3339 in UTC, with microseconds and `Z`."""
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    return f"{_second(seconds)}.{rest_ns // 1000:06d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()


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
    for key, value in event.items():
        name, below = names.get(key, _UNNAMED)
        name = name or EVENT_PREFIX + _text(key)
        kind = type(value)
        if kind is str:
            fields[name] = value if value.isascii() else clean_text(value)
        elif kind is dict and value and not any("." in str(key) for key in event):
            # With a dot in a name, "a.b" and b below a would be one attribute: then objects stay whole.
            _add_nested(fields, name, value, below, 1)
        elif value is not None:
            fields[name] = _attribute_value(value, MAX_ATTRIBUTE_DEPTH)


def _add_nested(fields: dict[str, Any], prefix: str, value: dict[str, Any], names: PropertyNames, depth: int) -> None:
    """Add an object's properties, dotted, as long as that is unambiguous."""
    if depth >= MAX_ATTRIBUTE_DEPTH or any(not key or "." in str(key) for key in value):
        fields[prefix] = _attribute_value(value, MAX_ATTRIBUTE_DEPTH - depth)
        return
    for key, item in value.items():
        name, below = names.get(key, _UNNAMED)
        name = name or f"{prefix}.{_text(key)}"
        if type(item) is dict and item:
            _add_nested(fields, name, item, below, depth + 1)
        elif item is not None:
            fields[name] = _attribute_value(item, MAX_ATTRIBUTE_DEPTH - depth)


def _attribute_value(value: Any, depth: int) -> Any:
    """Convert to what OTLP can carry and receivers will read; `depth` levels may still follow."""
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else int_text(value)
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
        name = prefix + _quoted(key if type(key) is str else str(key))
        kind = type(value)
        if kind is str:
            pairs.append(f"{name}={_quoted(value)}")
        elif kind is int:
            pairs.append(f"{name}={int_text(value)}")
        elif kind is dict and value and prefix.count(".") < MAX_ATTRIBUTE_DEPTH:
            pairs += _logfmt(value, name + ".")
        else:
            pairs.append(f"{name}={_quoted(json_bytes(value).decode())}")
    return pairs


def _quoted(text: str) -> str:
    return text if text.isalnum() or _PLAIN.fullmatch(text) else json_bytes(text).decode()


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]
_random = random.Random()  # noqa: S311 - ids, not secrets; our own, since programs seed the global one
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)


def new_ulid(time_ms: int) -> str:
    """Make a ULID: 48 bits of time and 80 random bits as 26 characters. https://github.com/ulid/spec."""
    bits = _random.getrandbits
    return _base32_50_bits(time_ms & (2**48 - 1)) + _base32_40_bits(bits(40)) + _base32_40_bits(bits(40))


@lru_cache(maxsize=4)
def _base32_50_bits(number: int) -> str:
    return _PAIRS[number >> 40] + _base32_40_bits(number & (2**40 - 1))


def _base32_40_bits(number: int) -> str:
    pairs = _PAIRS
    return pairs[number >> 30] + pairs[number >> 20 & 1023] + pairs[number >> 10 & 1023] + pairs[number & 1023]
