"""Helpers for tests of code that records events, also as pytest fixtures, which installing this package enables."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from jupyter_otel_telemetry.eventlog import EventLog
from jupyter_otel_telemetry.events.record import EventRecord
from jupyter_otel_telemetry.otlp.receiver import OTLPReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EventSink", "event_log", "event_sink", "otlp_receiver"]


class EventSink(logging.Handler):
    """A logging handler that keeps its records, in `records`."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.records.append(record)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The properties of the events among the records."""
        return [dict(record.event) for record in self.records if isinstance(record, EventRecord)]

    @property
    def lines(self) -> list[str]:
        """The line of each record in a file, parsed."""
        return [self.format(record) for record in self.records]


@pytest.fixture
def event_sink() -> EventSink:
    """Return a handler that keeps the events of `event_log`."""
    return EventSink()


@pytest.fixture
def event_log(event_sink: EventSink) -> EventLog:
    """Return an `EventLog` that allows every schema and records to `event_sink`."""
    return EventLog(handlers=[event_sink], allowed_schemas=["*"])


@pytest.fixture
def otlp_receiver() -> Iterator[OTLPReceiver]:
    """Yield a running OTLP/HTTP receiver on a free port of this machine; see its `endpoint` and `wait_for`."""
    with OTLPReceiver() as receiver:
        yield receiver
