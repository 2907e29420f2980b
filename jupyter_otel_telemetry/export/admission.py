"""Decides which records may leave through a handler, and which of their values."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any

from jupyter_otel_telemetry.events.foreign import event_of, is_unreadable
from jupyter_otel_telemetry.events.record import EventRecord
from jupyter_otel_telemetry.export.startup import log_withheld_whole
from jupyter_otel_telemetry.metrics import event_counters, of_schema

if TYPE_CHECKING:
    from jupyter_otel_telemetry.privacy.policy import Policy

__all__ = ["Admission"]

_logger = logging.getLogger(__name__)


class Admission:
    """Admits the records of a handler.

    Args:
        policy: the handler's policy, or None to admit every event as it is.
        events_only: whether log records that are not events are refused.

    """

    def __init__(self, policy: Policy | None, *, events_only: bool) -> None:
        self._policy, self._events_only = policy, events_only
        self._refusals = itertools.count()
        self._withheld_whole: set[str] = set()

    def admit(self, record: logging.LogRecord) -> logging.LogRecord | None:
        """Return the part of a record that may leave, an event as an `EventRecord`, or None if it may not leave."""
        event = record if type(record) is EventRecord else event_of(record)
        if event is not None:
            return event if self._policy is None else self._seen(self._policy, event, is_foreign=event is not record)
        if (self._policy is not None or self._events_only) and is_unreadable(record):
            self._refuse(record)
            return None
        return None if self._events_only else record

    def _refuse(self, record: logging.LogRecord) -> None:
        """Count a record that was made of an event, and log the first one, without its content."""
        event_counters().withheld.add(1)
        if next(self._refusals) == 0:
            text = (
                "a record of logger %s is not sent: it was an event before another handler made text of it, and its "
                "properties cannot be told apart any more. Attach the handler where the event is recorded, or behind "
                "a QueueHandler without formatter. Further ones are counted (jupyter.events.withheld), not logged"
            )
            _logger.error(text, record.name)

    def _seen(self, policy: Policy, record: EventRecord, *, is_foreign: bool) -> EventRecord | None:
        """Return the part of an event that a policy allows, or None if the event is not allowed."""
        event_type = record.event_type
        lacking = policy.lacking(event_type, record.event) if is_foreign else []
        if lacking and event_type.id not in self._withheld_whole:
            self._withheld_whole.add(event_type.id)
            log_withheld_whole(policy, event_type.id, lacking)
        if lacking or policy.entry_for(event_type.id) is None:
            event_counters().withheld.add(1, of_schema(event_type.id, event_type.version_text))
            return None
        redaction = policy.redaction(event_type, record.pseudonyms)
        if redaction is None:
            return record
        event: Any = record.event
        seen = redaction.apply_to_foreign(event) if is_foreign else redaction.apply(event)
        return record.with_event(seen, redaction.pseudonyms)
