"""Mistakes that a type checker finds, by the module that `schema types` has made: see the session `lint`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jupyter_otel_telemetry import EventLog

if TYPE_CHECKING:
    from typed_events import Events

CELL_RUN: Final = "https://example.org/examples/cell-run"

log: Events = EventLog()

log.record_event(CELL_RUN, 1, {"path": "a.ipynb", "duration_ms": 1, "kernel": {"name": "python3"}})
log.record_event(
    "https://example.org/examples/storage-full", "2", {"username": "", "used_bytes": 1, "limit_bytes": 2}
)

log.record_event("https://example.org/examples/cel-run", 1, {"path": "", "duration_ms": 1})  # type: ignore[call-overload]
log.record_event(CELL_RUN, 9, {"path": "", "duration_ms": 1})  # type: ignore[call-overload]
log.record_event(CELL_RUN, 1, {"path": ""})  # type: ignore[call-overload]
log.record_event(CELL_RUN, 1, {"path": "", "duration_ms": "long"})  # type: ignore[call-overload]
log.record_event(CELL_RUN, 1, {"path": "", "duration": 1, "duration_ms": 1})  # type: ignore[call-overload]
