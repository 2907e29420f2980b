r"""Validated Jupyter events, to files and to OpenTelemetry.

>>> import io, logging
>>> from jupyter_otel_telemetry import EventLog
>>> lines = io.StringIO()
>>> log = EventLog(handlers=[logging.StreamHandler(lines)], allowed_schemas=["https://example.org/cell-run"])
>>> schema = {"$id": "https://example.org/cell-run", "version": 1, "properties": {"ms": {"type": "number"}}}
>>> log.register_schema(schema)
>>> log.record_event("https://example.org/cell-run", 1, {"ms": 12.5})
{'ms': 12.5}
>>> lines.getvalue()
'{"__timestamp__":"...Z","__schema__":"https://example.org/cell-run",...,"ms":12.5}\n'
"""

from typing import TYPE_CHECKING, Any

from jupyter_otel_telemetry._version import __version__
from jupyter_otel_telemetry.errors import SchemaConflict, SchemaNotRegistered, SchemaSourceError, TelemetryError
from jupyter_otel_telemetry.eventlog import EventLog
from jupyter_otel_telemetry.events.formatters import JSONLinesFormatter

if TYPE_CHECKING:
    from jupyter_otel_telemetry.export.formatter import OTLPJSONFormatter
    from jupyter_otel_telemetry.export.handler import OTLPHandler

__all__ = [
    "EventLog",
    "JSONLinesFormatter",
    "OTLPHandler",
    "OTLPJSONFormatter",
    "SchemaConflict",
    "SchemaNotRegistered",
    "SchemaSourceError",
    "TelemetryError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import OpenTelemetry's part when it is asked for: its handler takes as long as all the rest."""
    if name == "OTLPJSONFormatter":
        from jupyter_otel_telemetry.export.formatter import OTLPJSONFormatter

        return OTLPJSONFormatter
    if name == "OTLPHandler":
        from jupyter_otel_telemetry.export.handler import OTLPHandler

        return OTLPHandler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Tell Jupyter Server, where the extension is enabled, which class to load."""
    return [{"module": "jupyter_otel_telemetry.integrations.jupyter_server"}]
