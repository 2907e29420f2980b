"""Record events to a file and to whatever listens for OpenTelemetry on this machine."""

import logging
from pathlib import Path

from jupyter_otel_telemetry import EventLog, OTLPHandler

log = EventLog(
    handlers=[logging.FileHandler("events.jsonl"), OTLPHandler(service_name="record-example")],
    allowed_schemas=["https://example.org/examples/*"],
)
log.register_schemas(Path(__file__).parent / "schemas")

log.record_event(
    "https://example.org/examples/cell-run",
    1,
    {"path": "penguins.ipynb", "duration_ms": 412.7, "kernel": {"name": "python3"}},
)
log.record_event(
    "https://example.org/examples/storage-full",
    2,
    {"username": "ada", "used_bytes": 9_800_000_000, "limit_bytes": 10_000_000_000},
)
print("recorded 2 events, also in events.jsonl")
