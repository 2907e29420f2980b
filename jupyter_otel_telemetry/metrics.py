"""What the pipeline says of itself, through OpenTelemetry's metrics API: nothing where no meter provider is set.

The table in docs/delivery.md says what each instrument means.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jupyter_otel_telemetry._version import __version__
from jupyter_otel_telemetry.names import SCHEMA_ID, SCHEMA_VERSION, SCOPE_NAME
from jupyter_otel_telemetry.schemas.schema import version_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions, Counter, Meter, Observation

    from jupyter_otel_telemetry.schemas.registry import Schemas

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
    """What becomes of events before any handler sees them, and at the policy of an `OTLPHandler`."""

    recorded: Counter
    invalid: Counter
    withheld: Counter


class RecordCounters(NamedTuple):
    """What becomes of log records that `OTLPHandler` takes."""

    delivered: Counter
    refused: Counter
    dropped: Counter


@lru_cache(maxsize=1)
def event_counters() -> EventCounters:
    """Return the counters, which are the same for all that is in this process."""
    counter = _meter().create_counter
    return EventCounters(
        counter("jupyter.events.recorded", "{event}", "Events that were recorded"),
        counter("jupyter.events.invalid", "{event}", "Events that do not match their schema"),
        counter("jupyter.events.withheld", "{event}", "Events that allowed_schemas has kept back"),
    )


@lru_cache(maxsize=1)
def record_counters() -> RecordCounters:
    """Return the counters, which are the same for all that is in this process."""
    counter = _meter().create_counter
    return RecordCounters(
        counter("jupyter.otlp.delivered", "{record}", "Log records that the receiver has accepted"),
        counter("jupyter.otlp.refused", "{record}", "Log records that the receiver has refused for good"),
        counter("jupyter.otlp.dropped", "{record}", "Log records that are lost"),
    )


def observe_gauge(name: str, unit: str, description: str, look: Callable[[], Mapping[str, float]]) -> None:
    """Have `look` called whenever metrics are collected; it returns a value for each folder of a spool."""
    from opentelemetry.metrics import Observation  # noqa: PLC0415 - as below

    def callback(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, {SPOOL_FOLDER: folder}) for folder, value in look().items()]

    _meter().create_observable_gauge(name, [callback], unit, description)


@lru_cache(maxsize=1024)
def of_schema(schema_id: str, version: str) -> Mapping[str, str]:
    """Return the attributes of what concerns one schema."""
    return {SCHEMA_ID: schema_id, SCHEMA_VERSION: version}


class SchemaAttributes:
    """The attributes of schemas that may not be registered: of those, a stranger may have made up the name."""

    def __init__(self) -> None:
        self._schemas: object = None
        self._known: dict[tuple[Any, Any], Mapping[str, str] | None] = {}

    def of(self, schemas: Schemas, schema_id: Any, version: Any) -> Mapping[str, str] | None:
        """Return the attributes of a registered schema, else None, whatever was given."""
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
        except Exception:  # noqa: BLE001 - what a stranger's object raises
            return None
        return attributes


def _meter() -> Meter:
    from opentelemetry.metrics import get_meter  # noqa: PLC0415 - imports what many programs never need

    return get_meter(SCOPE_NAME, __version__)
