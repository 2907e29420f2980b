"""The metrics of the pipeline, through OpenTelemetry's metrics API: none where no meter provider is set.

The table in docs/reference/metrics.md describes each instrument.
"""

from __future__ import annotations

import threading
from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jupyter_otel_telemetry._version import __version__
from jupyter_otel_telemetry.forks import after_fork_in_child
from jupyter_otel_telemetry.jsondata import version_text
from jupyter_otel_telemetry.names import SCHEMA_ID, SCHEMA_VERSION, SCOPE_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions, Meter, Observation

__all__ = [
    "EventCounters",
    "RecordCounters",
    "SchemaAttributes",
    "event_counters",
    "observe_gauge",
    "of_schema",
    "record_counters",
]

SPOOL_FOLDER: Final = "jupyter.spool.folder"
ERROR_TYPE: Final = "error.type"
DROP_REASON: Final = "jupyter.drop.reason"

_MAX_KNOWN: Final = 1024


class EventCounters(NamedTuple):
    """The outcomes of events before any handler sees them, and at the policy of an `OTLPHandler`."""

    recorded: _Counter
    invalid: _Counter
    withheld: _Counter


class RecordCounters(NamedTuple):
    """The outcomes of log records that `OTLPHandler` takes."""

    delivered: _Counter
    refused: _Counter
    dropped: _Counter


class _Counter:
    """A counter that a signal handler or finalizer may use while its own thread is in `add`.

    The SDK's counters hold a lock there, for which such a second call would wait forever.
    """

    def __init__(self, name: str, unit: str, description: str) -> None:
        self._add = _meter().create_counter(name, unit, description).add
        self._reset()
        after_fork_in_child(self, _Counter._reset)

    def _reset(self) -> None:
        lock = threading.Lock()
        self._acquire, self._release = lock.acquire, lock.release
        self._postponed: deque[tuple[int, Mapping[str, str] | None]] = deque()

    def add(self, amount: int, attributes: Mapping[str, str] | None = None) -> None:
        """Count, or leave that to the call of `add` that is under way."""
        if self._acquire(False):  # noqa: FBT003 - on the way of every event, and the keyword costs time
            try:
                self._add(amount, attributes)
            finally:
                self._release()
        else:
            self._postponed.append((amount, attributes))
        # The holder of the lock looks once more after its release.
        while self._postponed and self._acquire(False):  # noqa: FBT003 - as above
            try:
                while self._postponed:
                    self._add(*self._postponed.popleft())
            finally:
                self._release()


@lru_cache(maxsize=1)
def event_counters() -> EventCounters:
    """Return the counters, which are the same for all that is in this process."""
    return EventCounters(
        _Counter("jupyter.events.recorded", "{event}", "Events that were recorded"),
        _Counter("jupyter.events.invalid", "{event}", "Events that do not match their schema"),
        _Counter("jupyter.events.withheld", "{event}", "Events that allowed_schemas has kept back"),
    )


@lru_cache(maxsize=1)
def record_counters() -> RecordCounters:
    """Return the counters, which are the same for all that is in this process."""
    return RecordCounters(
        _Counter("jupyter.otlp.delivered", "{record}", "Log records that the receiver has accepted"),
        _Counter("jupyter.otlp.refused", "{record}", "Log records that the receiver has rejected"),
        _Counter("jupyter.otlp.dropped", "{record}", "Log records that are lost"),
    )


def observe_gauge(name: str, unit: str, description: str, look: Callable[[], Mapping[str, float]]) -> None:
    """Have `look` called whenever metrics are collected; it returns a value for each folder of a spool."""
    from opentelemetry.metrics import Observation  # as below

    def callback(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, {SPOOL_FOLDER: folder}) for folder, value in look().items()]

    _meter().create_observable_gauge(name, [callback], unit, description)


@lru_cache(maxsize=1024)
def of_schema(schema_id: str, version: str) -> Mapping[str, str]:
    """Return the attributes of measurements about one schema."""
    return {SCHEMA_ID: schema_id, SCHEMA_VERSION: version}


class SchemaAttributes:
    """The attributes of schemas that may not be registered: of those, a stranger may have made up the name."""

    def __init__(self) -> None:
        self._schemas: object = None
        self._known: dict[tuple[Any, Any], Mapping[str, str] | None] = {}

    def find(self, schemas: Container[tuple[str, str]], schema_id: Any, version: Any) -> Mapping[str, str] | None:
        """Return the attributes of a registered schema, else None, whatever was given.

        `schemas` has id and version of each that is registered; another object means that they have changed.
        """
        if self._schemas is not schemas:
            self._schemas, self._known = schemas, {}
        try:
            return self._known[schema_id, version]
        except (KeyError, TypeError):
            pass
        try:
            key = (schema_id, version_text(version))
            attributes = of_schema(*key) if key in schemas else None
            if len(self._known) < _MAX_KNOWN:
                self._known[schema_id, version] = attributes
        except Exception:  # an untrusted object may raise anything
            return None
        return attributes


def _meter() -> Meter:
    from opentelemetry.metrics import get_meter  # imports what many programs never need

    return get_meter(SCOPE_NAME, __version__)
