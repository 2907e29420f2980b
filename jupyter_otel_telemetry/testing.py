"""Helpers for tests of code that records events, also as pytest fixtures, which installing this package enables.

The option `--cover-schemas FOLDER` of pytest fails a run in which an event that a schema in the folder describes was
never recorded.
"""

from __future__ import annotations

import logging
import time
from functools import wraps
from typing import TYPE_CHECKING, Any

import pytest

from jupyter_otel_telemetry.eventlog import EventLog
from jupyter_otel_telemetry.events import record as records
from jupyter_otel_telemetry.events.record import EventRecord
from jupyter_otel_telemetry.jsondata import version_text
from jupyter_otel_telemetry.otlp.received import parse_json
from jupyter_otel_telemetry.otlp.receiver import OTLPReceiver, ReceivedLog
from jupyter_otel_telemetry.times import datetime_to_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

__all__ = ["EventClock", "EventSink", "event_clock", "event_log", "event_sink", "otlp_receiver"]


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

    def events_of(self, schema_id: str, version: int | str | None = None) -> list[dict[str, Any]]:
        """Return the properties of the events of one schema, of one version or (None) of all."""
        return [
            dict(record.event)
            for record in self.records
            if isinstance(record, EventRecord)
            and record.event_type.id == schema_id
            and version in (None, record.event_type.version, record.event_type.version_text)
        ]

    @property
    def lines(self) -> list[str]:
        """The line of each record in a file."""
        return [self.format(record) for record in self.records]

    @property
    def exported(self) -> list[ReceivedLog]:
        """Each record as an `OTLPHandler` without `allowed_schemas` would send it."""
        # Late, since each run of pytest imports this module.
        from jupyter_otel_telemetry.export.formatter import OTLPJSONFormatter

        formatter = OTLPJSONFormatter()
        return [log for record in self.records for log in parse_json(formatter.format(record).encode())]


class EventClock:
    """The time of the events that are recorded: it stands still, from the moment of its construction."""

    def __init__(self) -> None:
        self._now_ns = time.time_ns()

    def __call__(self) -> int:
        """Return the time in nanoseconds since 1970 UTC."""
        return self._now_ns

    def set(self, moment: datetime) -> None:
        """Set the time; a naive datetime is taken as UTC."""
        self._now_ns = datetime_to_ns(moment)

    def advance(self, seconds: float) -> None:
        """Move the time."""
        self._now_ns += round(seconds * 1_000_000_000)


@pytest.fixture
def event_sink() -> EventSink:
    """Return a handler that keeps the events of `event_log`."""
    return EventSink()


@pytest.fixture
def event_log(event_sink: EventSink) -> EventLog:
    """Return an `EventLog` that allows every schema and records to `event_sink`."""
    return EventLog(handlers=[event_sink], allowed_schemas=["*"])


@pytest.fixture
def event_clock(monkeypatch: pytest.MonkeyPatch) -> EventClock:
    """Return the clock of all events that are recorded in this test; `timestamp_override` still wins."""
    clock = EventClock()
    monkeypatch.setattr(records, "time_ns_now", clock)
    return clock


@pytest.fixture
def otlp_receiver() -> Iterator[OTLPReceiver]:
    """Yield a running OTLP/HTTP receiver on a free port of this machine; see its `endpoint` and `wait_for`."""
    with OTLPReceiver() as receiver:
        yield receiver


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    group = parser.getgroup("jupyter_otel_telemetry")
    group.addoption(
        "--cover-schemas",
        action="append",
        default=[],
        metavar="FOLDER",
        help="fail if an event that a schema in this folder describes is never recorded; may be repeated",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start to note the recorded events, if it is wanted."""
    if folders := config.getoption("--cover-schemas"):
        config.pluginmanager.register(_Coverage(config, folders))


class _Coverage:
    """Notes the schemas whose events are recorded; workers of pytest-xdist pass theirs on."""

    def __init__(self, config: pytest.Config, folders: list[str]) -> None:
        log = EventLog()
        self._wanted = {key for folder in folders for key in log.register_schemas(folder)}
        self._config = config
        self._recorded: set[tuple[str, str]] = set()
        self._original = EventLog.record_event
        setattr(EventLog, "record_event", self._noting(self._original))  # noqa: B010 - a method

    def _noting(self, record_event: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(record_event)
        def noting(log: EventLog, schema_id: str, version: Any, *arguments: Any, **options: Any) -> Any:
            event = record_event(log, schema_id, version, *arguments, **options)
            if event is not None:
                self._recorded.add((schema_id, version_text(version)))
            return event

        return noting

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over the notes of a worker."""
        self._recorded |= set(map(tuple, getattr(node, "workeroutput", {}).get("recorded_events", ())))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run if an event is missing; in a worker, pass the notes on."""
        if (output := getattr(self._config, "workeroutput", None)) is not None:
            output["recorded_events"] = sorted(self._recorded)
        elif self._missing() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """List the events that were never recorded."""
        if missing := self._missing():
            terminalreporter.section("events that no test has recorded")
            for schema_id, version in missing:
                terminalreporter.line(f"{schema_id} version {version}")

    def pytest_unconfigure(self) -> None:
        """End the notes."""
        setattr(EventLog, "record_event", self._original)  # noqa: B010 - a method

    def _missing(self) -> list[tuple[str, str]]:
        return sorted(self._wanted - self._recorded)
