"""Sends events as fast as they can be recorded through a real collector, ours beside the peers'. Prints a table.

Each contender runs in a process of its own. Its CPU seconds are those of that process, background threads included.
Behind the collector, a receiver counts the records that arrive.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from typing import TYPE_CHECKING

from compare import EVENT, ID, SCHEMA, bare_emit
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from receivers import collector, counting

from jupyter_otel_telemetry import EventLog, OTLPHandler

if TYPE_CHECKING:
    from collections.abc import Callable

warnings.simplefilter("ignore")
CONTENDERS = ("OTel SDK alone", "jupyter_events, OTel's handler", "ours, in memory", "ours, spool")


def sdk_provider(endpoint: str) -> LoggerProvider:
    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{endpoint}/v1/logs")))
    return provider


def contender(name: str, endpoint: str, folder: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return a function that records one event, and one that waits until what was recorded has been sent."""
    if name.startswith("ours"):
        handler = OTLPHandler(endpoint=endpoint, spool=folder if name == "ours, spool" else None)
        log = EventLog(handlers=[handler], allowed_schemas=[ID])
        log.register_schema(SCHEMA)
        return lambda: log.record_event(ID, 1, EVENT), lambda: handler.force_flush(300)
    provider = sdk_provider(endpoint)
    if name == "OTel SDK alone":
        return bare_emit(provider), provider.force_flush
    from jupyter_events import EventLogger

    events = EventLogger()
    events.register_event_schema(SCHEMA)
    events.register_handler(LoggingHandler(logger_provider=provider))
    return lambda: events.emit(schema_id=ID, data=EVENT), provider.force_flush


def measure(name: str, endpoint: str, count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        record, flush = contender(name, endpoint, folder)
        record()
        flush()
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        for _ in range(count - 1):
            record()
        recorded_s = time.perf_counter() - began
        flush()
        took_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {"us": recorded_s / count * 1e6, "took_s": took_s, "cpu_s": cpu_s / count * 1e5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="of each contender (default: 100,000)")
    parser.add_argument("--only", nargs=2, metavar=("NAME", "ENDPOINT"), help="in this process, that one")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(*options.only, options.events)))
        return
    print("| contender | us an event | events that arrived, a second | CPU s per 100,000 events | lost |")
    print("|---|---:|---:|---:|---:|", flush=True)
    for name in CONTENDERS:
        with counting() as count, collector(count.endpoint) as endpoint:
            command = [sys.executable, __file__, "--events", str(options.events), "--only", name, endpoint]
            run = subprocess.run(command, check=True, capture_output=True, text=True)
            arrived = count.wait_for(options.events)
        found = json.loads(run.stdout)
        lost = options.events - arrived
        rate = arrived / found["took_s"]
        print(f"| {name} | {found['us']:.1f} | {rate:.0f} | {found['cpu_s']:.2f} | {lost} |", flush=True)


if __name__ == "__main__":
    main()
