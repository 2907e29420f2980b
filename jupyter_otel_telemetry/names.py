"""Names of OpenTelemetry's scope and attributes, as this package uses them, and its own name for receivers."""

from __future__ import annotations

from typing import Final

from jupyter_otel_telemetry._version import __version__

__all__ = [
    "CLAIMED_TIMESTAMP",
    "EVENT_PREFIX",
    "ORIGIN",
    "RECORD_UID",
    "SCHEMA_ID",
    "SCHEMA_VERSION",
    "SCOPE_NAME",
    "SEQUENCE",
    "SERVER_HASH",
    "SERVER_NAME",
    "USER_AGENT",
    "USER_HASH",
    "USER_NAME",
]

SCOPE_NAME: Final = "jupyter_otel_telemetry"
"""Name of the instrumentation scope, and so of every record's logger."""

USER_AGENT: Final = f"jupyter-otel-telemetry/{__version__}"
"""Name of this program in requests to receivers."""

SCHEMA_ID: Final = "jupyter.schema.id"
SCHEMA_VERSION: Final = "jupyter.schema.version"
EVENT_PREFIX: Final = "jupyter.event."
RECORD_UID: Final = "log.record.uid"
SEQUENCE: Final = "jupyter.sequence"
ORIGIN: Final = "jupyter.origin"
CLAIMED_TIMESTAMP: Final = "jupyter.claimed_timestamp"
USER_NAME: Final = "user.name"
USER_HASH: Final = "user.hash"
SERVER_NAME: Final = "jupyter.server.name"
SERVER_HASH: Final = "jupyter.server.hash"
