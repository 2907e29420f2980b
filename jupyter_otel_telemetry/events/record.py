"""An event as a `logging.LogRecord`: the one place that knows the OpenTelemetry mapping.

OpenTelemetry's `LoggingHandler` sends `getMessage()` as the body, everything in `vars(record)` that is not
`logging`'s own as attributes, and the attribute `otel.event.name` as the event name. An `EventRecord` therefore
holds in its `__dict__` the attributes, ready to leave, and in slots what is not to be sent.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import random
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from os import getpid
from threading import current_thread, get_ident
from time import time_ns as time_ns_now
from typing import Any, Final

from opentelemetry.trace import SpanContext, get_current_span

from jupyter_otel_telemetry.events.origin import origin
from jupyter_otel_telemetry.jsondata import clean_text, int_text, json_bytes, object_text
from jupyter_otel_telemetry.schemas.schema import (
    LOG_RECORD_NAMES,
    SEVERITIES,
    EventType,
    PropertyNames,
    last_segment,
)

__all__ = ["ENVELOPE_VERSION", "SCOPE_NAME", "EventRecord", "has_lost_its_form", "rfc3339"]

SCOPE_NAME: Final = "jupyter_otel_telemetry"
"""Name of the instrumentation scope, and so of every record's logger."""

ENVELOPE_VERSION: Final = 1
"""`__metadata_version__` of what is written to files."""

SCHEMA_ID: Final = "jupyter.schema.id"
SCHEMA_VERSION: Final = "jupyter.schema.version"
EVENT_PREFIX: Final = "jupyter.event."
ORIGIN: Final = "jupyter.origin"
CLAIMED_TIMESTAMP: Final = "jupyter.claimed_timestamp"
USER_NAME: Final = "user.name"
USER_HASH: Final = "user.hash"
SERVER_NAME: Final = "jupyter.server.name"
SERVER_HASH: Final = "jupyter.server.hash"

MAX_CLAIMED_AGE_NS: Final = 24 * 3600 * 1_000_000_000
MAX_CLAIMED_AHEAD_NS: Final = 5 * 60 * 1_000_000_000
"""How far a client's timestamp may lie before and after its arrival. A client may have been offline for a day; its
clock may be a little fast."""
MAX_KEPT_NAME: Final = 100
"""Length from which names of attributes are not kept ready: a stranger's may be as long as a request."""

MAX_ATTRIBUTE_DEPTH: Final = 16
"""Levels below an attribute that stay structured. OTLP needs three levels of protobuf messages for each, and
receivers stop reading at about a hundred."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_UNNAMED: tuple[None, PropertyNames] = (None, {})
_LAST_OTLP_TIME_NS = 2**64 - 1
_NO_PATHS: frozenset[str] = frozenset()
_EVENT_LOGGERS: Final = ("jupyter_events.", "jupyter_telemetry.")

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
        pseudonyms: dotted paths of the properties that hold pseudonyms.

    """

    # Not in __dict__, where OpenTelemetry's handler would take them for attributes.
    __slots__ = (
        "_attributes",
        "_has_all_fields",
        "event",
        "event_type",
        "otlp_time_ns",
        "pseudonyms",
        "recorded_ms",
        "span_context",
        "time_ns",
        "uid",
    )

    def __init__(
        self,
        event_type: EventType,
        event: Mapping[str, Any],
        time_ns: int | None = None,
        pseudonyms: frozenset[str] = frozenset(),
    ) -> None:
        now_ns = time_ns_now()
        severity = event_type.severity
        self.event_type, self.event, self.pseudonyms = event_type, event, pseudonyms
        # None: that of the thread which emits it, right now.
        self.span_context: SpanContext | None = get_current_span().get_span_context()
        self.time_ns = time_ns = now_ns if time_ns is None else time_ns
        self.recorded_ms = now_ns // 1_000_000
        self.uid: str | None = None  # made when first needed
        self._attributes: dict[str, Any] | None = None
        self._has_all_fields = False
        # OTLP has unsigned 64 bits for it, and 0 for an unknown time.
        self.otlp_time_ns = time_ns if 0 <= time_ns <= _LAST_OTLP_TIME_NS else 0
        # The message is the id, not the event: `logging` prints it where a handler fails.
        self.msg = event_type.id
        self.levelno, self.levelname = severity.level, severity.level_name
        self.created = self.otlp_time_ns / 1e9
        self.thread, self.threadName = get_ident(), current_thread().name
        self.process = getpid()

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """The fields of the record, and the attributes, which are made when first asked for.

        Writing to a file does not ask, and takes half the time then.
        """
        fields: dict[str, Any] = _fields_of(self)
        if not self._has_all_fields:
            added = fields.copy()  # by logging filters, for instance
            times = {"msecs": self.msecs, "relativeCreated": self.relativeCreated}
            fields.update({**_LOGGING_FIELDS, **times, **added, **self._event_attributes()})
            fields["otel.event.name"] = self.event_type.event_name
            self._has_all_fields = True
        return fields

    def __getstate__(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return vars(self).copy(), {name: getattr(self, name) for name in self.__slots__}

    def __setstate__(self, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
        fields, slots = state
        for name, value in slots.items():  # first, since __dict__ needs them
            setattr(self, name, value)
        _fields_of(self).update(fields)

    def _event_attributes(self) -> dict[str, Any]:
        """Make the attributes, once, so that every handler sends the same id."""
        if self._attributes is None:
            event_type = self.event_type
            attributes: dict[str, Any] = {}
            _add_attributes(attributes, self.event, event_type)
            if self.uid is None:
                self.uid = _ulids.make(self.recorded_ms)
            attributes["log.record.uid"] = self.uid
            # Last, since at its limit the SDK drops the oldest.
            attributes[SCHEMA_ID] = event_type.id
            attributes[SCHEMA_VERSION] = event_type.version_text
            self._attributes = attributes
        return self._attributes

    def otlp_attributes(self) -> dict[str, Any]:
        """Return the attributes to send, those that logging filters added included."""
        if not self._has_all_fields and len(_fields_of(self)) in _OWN_FIELDS_COUNTS:  # nobody added anything
            return self._event_attributes()
        attributes = {name: value for name, value in vars(self).items() if name not in LOG_RECORD_NAMES}
        del attributes["otel.event.name"]
        return attributes

    def with_event(self, event: Mapping[str, Any]) -> EventRecord:
        """Return the same record, its id and what logging filters added included, but of other properties."""
        other = EventRecord(self.event_type, event, self.time_ns, self.pseudonyms)
        other.recorded_ms, other.span_context = self.recorded_ms, self.span_context
        before, added = self._event_attributes(), self.otlp_attributes()
        other.uid = self.uid
        fields = vars(other)
        for name in before.keys() - added.keys():
            fields.pop(name, None)
        for name, value in added.items():
            # What a filter made of a property counts only where the property may be seen as it is.
            if name not in before or (name in fields and fields[name] == before[name]):
                fields[name] = value
        return other

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        """Return the display string: the title, and the event as logfmt."""
        text = self.event_type.title + _logfmt(self.event, "")
        return text if text.isascii() else clean_text(text)

    @classmethod
    def from_foreign(cls, record: logging.LogRecord) -> EventRecord | None:
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
            capsule = {_text(key): value for key, value in capsule.items()}
            schema_id, version = _text(schema_id), _text(version)
        event = {key: value for key, value in capsule.items() if key[:2] != "__"}
        event_type = _foreign_type(schema_id, version)
        claimed = capsule.get("__timestamp__")
        time_ns, arrived_ns = _foreign_time_ns(claimed), int(record.created * 1e9)
        if not origin.came_through_events_api:
            return cls._of_foreign(event_type, event, arrived_ns if time_ns is None else time_ns, arrived_ns)
        marks = {ORIGIN: "events_api"}
        if time_ns is None or not -MAX_CLAIMED_AGE_NS <= time_ns - arrived_ns <= MAX_CLAIMED_AHEAD_NS:
            time_ns, marks[CLAIMED_TIMESTAMP] = arrived_ns, _text(claimed)
        made = cls._of_foreign(event_type, event, time_ns, arrived_ns)
        _fields_of(made).update(marks)  # as logging filters add attributes
        return made

    @classmethod
    def _of_foreign(cls, event_type: EventType, event: dict[str, Any], time_ns: int, arrived_ns: int) -> EventRecord:
        """Make a record without the fields of `logging`, which is half the work: the foreign record has them."""
        self = cls.__new__(cls)
        self.event_type, self.event, self.pseudonyms = event_type, event, _NO_PATHS
        self.span_context = None
        self.time_ns, self.recorded_ms = time_ns, arrived_ns // 1_000_000
        self.otlp_time_ns = time_ns if 0 <= time_ns <= _LAST_OTLP_TIME_NS else 0
        self.uid = self._attributes = None
        self._has_all_fields = False
        return self


class _OfCreated:
    """A field that is computed of `created` when it is read, unless somebody has set it."""

    def __init__(self, compute: Callable[[float], float]) -> None:
        self._compute = compute

    def __get__(self, record: EventRecord, _cls: object) -> float:
        return self._compute(record.created)


_COMPUTED = {
    "msecs": _OfCreated(lambda created: created % 1 * 1000),
    "relativeCreated": _OfCreated(lambda created: (created - _STARTED_AT) * 1000),
}
for _name, _value in {**_LOGGING_FIELDS, **_COMPUTED}.items():
    setattr(EventRecord, _name, _value)  # what a record does not set itself
_ANY_TYPE = EventType("", "", "", "", SEVERITIES["INFO"])
_OWN_FIELDS_COUNTS = (len(_fields_of(EventRecord(_ANY_TYPE, {}))), 0)


@lru_cache(maxsize=1024)
def _foreign_type(schema_id: str, version: str) -> EventType:
    return EventType(schema_id, version, last_segment(schema_id), schema_id, SEVERITIES["INFO"])


def rfc3339(time_ns: int) -> str:
    """Format nanoseconds since 1970 as RFC 3339 in UTC, with microseconds and `Z`."""
    return f"{_second(time_ns // 1_000_000_000)}.{time_ns // 1000 % 1_000_000:06d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()


def datetime_to_ns(moment: datetime) -> int:
    """Nanoseconds since 1970 of a datetime; a naive one is taken as UTC.

    Raises:
        TypeError: it is no datetime.
        ValueError: in UTC it lies outside the years 1 to 9999.

    """
    if not isinstance(moment, datetime):
        raise TypeError(f"timestamp_override must be a datetime.datetime, not {type(moment).__name__}")
    try:
        moment = moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("timestamp_override lies outside the years 1 to 9999 in UTC") from None
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


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


def _add_attributes(fields: dict[str, Any], event: Mapping[str, Any], event_type: EventType) -> None:
    names = _attribute_names(event_type)
    for key, value in event.items():
        name = names.get(key) or (_usual_name(key) if len(key) < MAX_KEPT_NAME else EVENT_PREFIX + _text(key))
        kind = type(value)
        if kind is str:
            fields[name] = value if value.isascii() else clean_text(value)
        elif kind is int and _INT64_MIN <= value <= _INT64_MAX:
            fields[name] = value
        elif kind is dict and value and not any("." in key for key in event):
            # With a dot in a name, "a.b" and b below a would be one attribute: then objects stay whole.
            _add_nested(fields, name, value, event_type.names.get(key, _UNNAMED)[1], 1)
        elif value is not None:
            fields[name] = _attribute_value(value, MAX_ATTRIBUTE_DEPTH)


@lru_cache(maxsize=1024)
def _usual_name(key: str) -> str:
    return EVENT_PREFIX + _text(key)


@lru_cache(maxsize=1024)
def _attribute_names(event_type: EventType) -> dict[str, str]:
    """Return the attributes of the properties that the schema names; ready-made, they are three times as fast."""
    return {key: event_type.names.get(key, _UNNAMED)[0] or EVENT_PREFIX + _text(key) for key in event_type.properties}


def _add_nested(fields: dict[str, Any], prefix: str, value: dict[str, Any], names: PropertyNames, depth: int) -> None:
    """Add an object's properties, dotted, as long as that is unambiguous."""
    if depth >= MAX_ATTRIBUTE_DEPTH or any(type(key) is not str or not key or "." in key for key in value):
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
        return int(value) if _INT64_MIN <= value <= _INT64_MAX else int_text(value)
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


def _logfmt(event: Mapping[str, Any], prefix: str) -> str:
    """Format as logfmt: `key=value`, quoted where it must be, nested objects dotted."""
    text = ""
    for key, value in event.items():
        name = prefix + (key if type(key) is str and key.isalnum() else _quoted(str(key)))
        kind = type(value)
        if kind is str:
            text += f" {name}={value if value.isalnum() else _quoted(value)}"
        elif kind is int and _INT64_MIN <= value <= _INT64_MAX:
            text += f" {name}={value}"
        elif kind is dict and value and prefix.count(".") < MAX_ATTRIBUTE_DEPTH:
            text += _logfmt(value, name + ".")
        else:
            text += f" {name}={_quoted(json_bytes(value).decode())}"
    return text


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json_bytes(text).decode()


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]


class _Ulids:
    """Makes ULIDs, unique within a process for certain, and among processes by 80 random bits.

    48 bits of time, then 80 that are random at the start, and count up: https://github.com/ulid/spec, "monotonicity".
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        bits = random.SystemRandom().getrandbits
        self._process = _base32_40_bits(bits(40))
        self._counter = itertools.count(bits(40))
        # Most of an id is that of the one before: made anew each time, it would take three times as long.
        self._first = lru_cache(maxsize=4)(self._made_first)
        self._middle = lru_cache(maxsize=4)(_base32_30_bits)

    def make(self, time_ms: int) -> str:
        """Make the ULID of something that happened `time_ms` milliseconds after 1970."""
        count = next(self._counter)
        return self._first(time_ms) + self._middle(count >> 10) + _PAIRS[count & 1023]

    def _made_first(self, time_ms: int) -> str:
        return _PAIRS[time_ms >> 40 & 1023] + _base32_40_bits(time_ms) + self._process


def _base32_40_bits(number: int) -> str:
    return _base32_30_bits(number >> 10) + _PAIRS[number & 1023]


def _base32_30_bits(number: int) -> str:
    return _PAIRS[number >> 20 & 1023] + _PAIRS[number >> 10 & 1023] + _PAIRS[number & 1023]


_ulids = _Ulids()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ulids.restart)
