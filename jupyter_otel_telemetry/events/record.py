"""An event as a `logging.LogRecord`: its attributes are ready to leave.

OpenTelemetry's `LoggingHandler` sends `getMessage()` as the body, everything in `vars(record)` that is not
`logging`'s own as attributes, and the attribute `otel.event.name` as the event name. An `EventRecord` therefore
holds in its `__dict__` the attributes, ready to leave, and in slots the values that are not sent.
"""

from __future__ import annotations

import logging
import os
from os import getpid
from threading import current_thread, get_ident
from time import time_ns as time_ns_now
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import get_current
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, get_current_span

from jupyter_otel_telemetry.events.attributes import add_attributes
from jupyter_otel_telemetry.events.body import display_text
from jupyter_otel_telemetry.events.capsule import ENVELOPE_VERSION, Capsule
from jupyter_otel_telemetry.events.ulids import make_ulid
from jupyter_otel_telemetry.names import RECORD_UID, SCHEMA_ID, SCHEMA_VERSION, SCOPE_NAME
from jupyter_otel_telemetry.schemas.annotations import LOG_RECORD_NAMES, SEVERITIES
from jupyter_otel_telemetry.schemas.schema import EventType
from jupyter_otel_telemetry.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["EventRecord", "current_span_context"]

_LAST_OTLP_TIME_NS = 2**64 - 1
_process_id = getpid()


def _note_process_id() -> None:
    """Ask the system once per process: as a system call it may cost more than the rest of a record."""
    global _process_id  # noqa: PLW0603 - read for every event
    _process_id = getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_process_id)
_NO_PATHS: frozenset[str] = frozenset()

# What `logging` itself puts into a record. Its constructor would look up each time, at a quarter of the cost of
# recording an event, what an event does not have: a place in a source file, an asyncio task.
_LOGGING_FIELDS = vars(logging.LogRecord(SCOPE_NAME, logging.INFO, "", 0, "", None, None))
_STARTED_AT = _LOGGING_FIELDS["created"] - _LOGGING_FIELDS["relativeCreated"] / 1000
_fields_of = logging.LogRecord.__dict__["__dict__"].__get__


def current_span_context() -> SpanContext:
    """Return the context of the active span; where nothing is in context, without a search for one."""
    context = get_current()
    return get_current_span(context).get_span_context() if context else INVALID_SPAN_CONTEXT


class EventRecord(logging.LogRecord):
    """A recorded event on its way to handlers.

    Args:
        event_type: the values that all events of its schema share.
        event: the properties. The record keeps this object: nobody may change it any more.
        time_ns: when the event happened, in nanoseconds since 1970 UTC, or None for now.
        pseudonyms: dotted paths of the properties that hold pseudonyms.

    """

    # Not in __dict__, where OpenTelemetry's handler would take them for attributes.
    __slots__ = (
        "_attributes",
        "_capsule",
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
        self.event_type, self.event, self.pseudonyms = event_type, event, pseudonyms
        # None: that of the thread which emits it, right now.
        self.span_context: SpanContext | None = current_span_context()
        self.time_ns = time_ns = now_ns if time_ns is None else time_ns
        self.recorded_ms = now_ns // 1_000_000
        self.uid: str | None = None  # made when first needed
        self._attributes: dict[str, Any] | None = None
        self._capsule: Capsule | None = None
        self._has_all_fields = False
        # OTLP has unsigned 64 bits for it, and 0 for an unknown time.
        self.otlp_time_ns = time_ns if 0 <= time_ns <= _LAST_OTLP_TIME_NS else 0
        self.thread, self.threadName = get_ident(), current_thread().name
        self.process = _process_id

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """The fields of the record, and the attributes, which are made when first asked for.

        Writing to a file does not ask, and takes half the time then.
        """
        fields: dict[str, Any] = _fields_of(self)
        if not self._has_all_fields:
            added = fields.copy()  # by logging filters, for instance
            computed = {name: getattr(self, name) for name in _COMPUTED}
            fields.update({**_LOGGING_FIELDS, **computed, **added, **self._event_attributes()})
            # Not the capsule, which few need here: those who copy a record's fields get no event out of them.
            fields["msg"], fields["otel.event.name"] = self.event_type.id, self.event_type.event_name
            self._has_all_fields = True
        return fields

    def __getstate__(self) -> tuple[dict[str, Any], dict[str, Any]]:
        fields = vars(self).copy()  # first, since it makes the uid
        slots = {name: getattr(self, name) for name in self.__slots__}
        return fields, slots | {"_capsule": None}  # which would be the event again

    def __setstate__(self, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
        fields, slots = state
        for name, value in slots.items():  # first, since __dict__ needs them
            setattr(self, name, value)
        _fields_of(self).update(fields)

    def made_uid(self) -> str:
        """Return the id of the event, the same for every handler."""
        if self.uid is None:
            self.uid = make_ulid(self.recorded_ms)
        return self.uid

    def property_attributes(self) -> dict[str, Any]:
        """Return the attributes of the properties; nobody may change them."""
        if self._attributes is None:
            self._attributes = {}
            add_attributes(self._attributes, self.event, self.event_type)
        return self._attributes

    def _event_attributes(self) -> dict[str, Any]:
        return {
            **self.property_attributes(),
            RECORD_UID: self.made_uid(),
            # Last, since at its limit the SDK drops the oldest.
            SCHEMA_ID: self.event_type.id,
            SCHEMA_VERSION: self.event_type.version_text,
        }

    @property
    def is_as_made(self) -> bool:
        """Whether nobody, such as a logging filter, has added or changed an attribute."""
        return not self._has_all_fields and len(_fields_of(self)) in _OWN_FIELDS_COUNTS

    def otlp_attributes(self) -> dict[str, Any]:
        """Return the attributes to send, those that logging filters added included."""
        if self.is_as_made:
            return self._event_attributes()
        attributes = {name: value for name, value in vars(self).items() if name not in LOG_RECORD_NAMES}
        del attributes["otel.event.name"]
        return attributes

    def with_event(self, event: Mapping[str, Any], pseudonyms: frozenset[str]) -> EventRecord:
        """Return the same record, its id and attributes that logging filters added included, but of other properties.

        Args:
            event: the other properties.
            pseudonyms: dotted paths of those that have become pseudonyms.

        """
        other = EventRecord(self.event_type, event, self.time_ns, self.pseudonyms | pseudonyms)
        other.recorded_ms, other.span_context = self.recorded_ms, self.span_context
        before, added = self._event_attributes(), self.otlp_attributes()
        other.uid = self.uid
        fields = vars(other)
        for name in before.keys() - added.keys():
            fields.pop(name, None)
        for name, value in added.items():
            # A filter's change of a property counts only where the property may be seen unchanged.
            if name not in before or (name in fields and fields[name] == before[name]):
                fields[name] = value
        return other

    def add_fields(self, fields: Mapping[str, Any]) -> None:
        """Add attributes, as logging filters do."""
        _fields_of(self).update(fields)

    @property
    def msg(self) -> Capsule:
        """The event as the logging filters of Jupyter applications expect it: `record.msg["__schema__"]`."""
        if self._capsule is None:
            metadata = {
                "__timestamp__": rfc3339(self.time_ns),
                "__schema__": self.event_type.id,
                "__schema_version__": self.event_type.version,
                "__metadata_version__": ENVELOPE_VERSION,
            }
            self._capsule = Capsule(metadata | dict(self.event))
        return self._capsule

    @msg.setter
    def msg(self, _text: object) -> None:
        """Ignore the text by which a `QueueHandler` replaces messages: this one can be pickled."""

    def getMessage(self) -> str:
        """Return the display string: the title, and the event as logfmt."""
        return display_text(self.event_type.title, self.event)

    @classmethod
    def of_foreign(cls, event_type: EventType, event: dict[str, Any], time_ns: int, arrived_ns: int) -> EventRecord:
        """Make a record without the fields of `logging`, which is half the work: the foreign record has them."""
        self = cls.__new__(cls)
        self.event_type, self.event, self.pseudonyms = event_type, event, _NO_PATHS
        self.span_context = None
        self.time_ns, self.recorded_ms = time_ns, arrived_ns // 1_000_000
        self.otlp_time_ns = time_ns if 0 <= time_ns <= _LAST_OTLP_TIME_NS else 0
        self.uid = self._attributes = self._capsule = None
        self._has_all_fields = False
        return self


class _Computed:
    """A field that is computed when it is read, unless somebody has set it."""

    def __init__(self, compute: Callable[[EventRecord], Any]) -> None:
        self._compute = compute

    def __get__(self, record: EventRecord, _cls: object) -> Any:
        return self._compute(record)


_COMPUTED: Final[Mapping[str, Callable[[EventRecord], Any]]] = {
    "levelno": lambda record: record.event_type.severity.level,
    "levelname": lambda record: record.event_type.severity.level_name,
    "created": lambda record: record.otlp_time_ns / 1e9,
    "msecs": lambda record: record.created % 1 * 1000,
    "relativeCreated": lambda record: (record.created - _STARTED_AT) * 1000,
}
for _name, _value in {**_LOGGING_FIELDS, **{name: _Computed(_COMPUTED[name]) for name in _COMPUTED}}.items():
    if _name != "msg":
        setattr(EventRecord, _name, _value)  # attributes that a record does not set itself
_ANY_TYPE = EventType("", "", "", "", SEVERITIES["INFO"])
_OWN_FIELDS_COUNTS = (len(_fields_of(EventRecord(_ANY_TYPE, {}))), 0)
