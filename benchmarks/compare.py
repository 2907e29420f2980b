"""Times recording one event, ours beside the peers', all in this one run. Prints a table with ratios.

Every contender records the same three-property event. The contenders take turns, round after round, so that
whatever else the machine does hits all of them; a figure is the median of its rounds. Queues are emptied between
rounds, outside the measured time.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from opentelemetry._logs import SeverityNumber
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from receivers import SAME_UID, UID

from jupyter_otel_telemetry import EventLog, OTLPHandler
from jupyter_otel_telemetry.names import SCHEMA_ID, SCHEMA_VERSION

warnings.simplefilter("ignore")

ID = "https://example.org/server-action"
SCHEMA = {
    "$id": ID,
    "version": "1",
    "title": "Server action",
    "type": "object",
    "required": ["action", "username"],
    "properties": {
        "action": {"enum": ["start", "stop"]},
        "username": {"type": "string"},
        "servers": {"type": "integer"},
    },
}
SIX = ["user", "email", "address", "path", "size", "kernel"]
UNFLAGGED_ID, FLAGGED_ID = ID + "/six", ID + "/six-flagged"
EVENT = {"action": "start", "username": "ada", "servers": 3}
RATIOS = Path(__file__).with_name("ratios.json")
"""Ratios that were measured and committed, by promise."""
ABSOLUTE = (", us", ", seconds")
"""How promises end that are times of one machine, and so not to be compared with those of another."""
Promise = tuple[str, float, float]
"""What is promised, the ratio measured, and its limit."""
BATCH = 400
"""Events a round; below the 512 at which the SDK's processor begins to export."""


class NullExporter(LogRecordExporter):
    """Takes everything and does nothing."""

    def export(self, batch: Any) -> LogRecordExportResult:
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


@dataclass
class Contender:
    """Something to time: `record` once an event, `settle` after each round."""

    name: str
    record: Callable[[], object]
    settle: Callable[[], object] = lambda: None
    batch: int = BATCH
    rounds_us: list[float] = field(default_factory=list)

    def run_round(self) -> None:
        record = self.record
        began = time.perf_counter()
        for _ in range(self.batch):
            record()
        self.rounds_us.append((time.perf_counter() - began) / self.batch * 1e6)
        self.settle()

    @property
    def median_us(self) -> float:
        return statistics.median(self.rounds_us)


def provider() -> LoggerProvider:
    built = LoggerProvider()
    built.add_log_record_processor(BatchLogRecordProcessor(NullExporter()))
    return built


def ours(name: str, handler: logging.Handler, settle: Callable[[], object] = lambda: None) -> Contender:
    log = EventLog(handlers=[handler], allowed_schemas=[ID])
    log.register_schema(SCHEMA)
    return Contender(name, lambda: log.record_event(ID, 1, EVENT), settle)


def ours_of_six(name: str, schema_id: str, folder: Path) -> Contender:
    """Two of the six properties are withheld, as flagged, and one is pseudonymized; or none."""
    options = {"pseudonymized_properties": ["user"]} if schema_id == FLAGGED_ID else {}
    flagged = ["email", "address"] if schema_id == FLAGGED_ID else []
    log = EventLog(
        handlers=[logging.FileHandler(folder / "six")], allowed_schemas={schema_id: options}, pseudonym_key="k" * 32
    )
    properties = {name: {"type": "string", "pii": name in flagged} for name in SIX}
    log.register_schema({"$id": schema_id, "version": "1", "properties": properties})
    event = {name: f"some {name}" for name in SIX}
    return Contender(name, lambda: log.record_event(schema_id, 1, event))


def ours_not_allowed() -> Contender:
    log = EventLog(handlers=[logging.NullHandler()], allowed_schemas=[ID])
    return Contender("ours, schema not allowed", lambda: log.record_event(ID + "/other", 1, EVENT))


def telemetry(folder: Path) -> Contender:
    from jupyter_telemetry.eventlog import EventLog as OldEventLog

    log = OldEventLog(handlers=[logging.FileHandler(folder / "telemetry")], allowed_schemas=[ID])
    log.register_schema(SCHEMA)
    return Contender("jupyter_telemetry to file", lambda: log.record_event(ID, "1", EVENT), batch=20)


def events(name: str, handler: logging.Handler, settle: Callable[[], object] = lambda: None) -> Contender:
    from jupyter_events import EventLogger

    logger = EventLogger()
    logger.register_event_schema(SCHEMA)
    logger.register_handler(handler)
    return Contender(name, lambda: logger.emit(schema_id=ID, data=EVENT), settle, batch=100)


def structlog_line(folder: Path) -> Contender:
    import structlog

    processors = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso")]
    structlog.configure(
        processors=[*processors, structlog.processors.JSONRenderer()],
        logger_factory=structlog.WriteLoggerFactory((folder / "structlog").open("w")),
    )
    logger = structlog.get_logger()
    return Contender("structlog to file, unvalidated", lambda: logger.info(ID, **EVENT))


def bare_attributes() -> dict[str, Any]:
    """Return the attributes that an event of ours leaves with; each has the same uid."""
    attributes = {f"jupyter.event.{name}": value for name, value in EVENT.items()}
    return attributes | {UID: SAME_UID, SCHEMA_ID: ID, SCHEMA_VERSION: "1"}


def bare_sdk() -> Contender:
    """Return the floor: the SDK alone, with the attributes and the body that an event of ours leaves with."""
    built = provider()
    return Contender("OTel SDK, bare Logger.emit of the same record", bare_emit(built), built.force_flush)


def bare_emit(built: LoggerProvider) -> Callable[[], None]:
    """Return a function that emits such a record."""
    logger, attributes = built.get_logger("bare"), bare_attributes()

    def emit() -> None:
        logger.emit(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            event_name=ID,
            body="Server action action=start username=ada servers=3",
            attributes=attributes,
        )

    return emit


def contenders(folder: Path) -> dict[str, Contender]:
    ours_provider, stock_provider, events_provider, events_ours_provider = (provider() for _ in range(4))
    built = {
        "file": ours("ours to file", logging.FileHandler(folder / "ours")),
        "structlog": structlog_line(folder),
        "events": events("jupyter_events to file", logging.FileHandler(folder / "events")),
        "otlp": ours("ours, OTLPHandler", OTLPHandler(logger_provider=ours_provider), ours_provider.force_flush),
        # Nobody listens there, so the figure is that of an outage; benchmarks/soak.py has the other.
        "spool": ours(
            "ours, OTLPHandler with a spool", OTLPHandler(endpoint="http://127.0.0.1:9", spool=folder / "spool")
        ),
        "stock": ours(
            "ours, OTel's handler", LoggingHandler(logger_provider=stock_provider), stock_provider.force_flush
        ),
        "bare": bare_sdk(),
        "events otlp": events(
            "jupyter_events, OTel's handler",
            LoggingHandler(logger_provider=events_provider),
            events_provider.force_flush,
        ),
        "events ours": events(
            "jupyter_events, OTLPHandler",
            OTLPHandler(logger_provider=events_ours_provider),
            events_ours_provider.force_flush,
        ),
        "events spool": events(
            "jupyter_events, OTLPHandler with a spool",
            OTLPHandler(endpoint="http://127.0.0.1:9", spool=folder / "events-spool"),
        ),
        "not allowed": ours_not_allowed(),
        "six": ours_of_six("ours to file, 6 properties", UNFLAGGED_ID, folder),
        "six flagged": ours_of_six("ours to file, 6 properties, 2 withheld, 1 pseudonymized", FLAGGED_ID, folder),
    }
    try:
        built["telemetry"] = telemetry(folder)
    except ImportError as error:
        print(f"jupyter_telemetry is left out: {error}", file=sys.stderr)
    return built


def import_seconds(module: str) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(7)
    ]
    return statistics.median(float(run.stdout) for run in runs)


def installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} absent"


def report(timed: dict[str, Contender], kept: list[Promise]) -> None:
    packages = ["jupyter-otel-telemetry", "jupyter-events", "jupyter-telemetry", "structlog", "opentelemetry-sdk"]
    print(f"Python {platform.python_version()}, {', '.join(installed(package) for package in packages)}\n")
    print("| contender | us an event, median | of ours to file |\n|---|---:|---:|")
    for contender in sorted(timed.values(), key=lambda contender: contender.median_us):
        ratio = contender.median_us / timed["file"].median_us
        print(f"| {contender.name} | {contender.median_us:.2f} | {ratio:.2f} |")
    print("\n| promise | measured | limit | kept |\n|---|---:|---:|---|")
    for promise, measured, limit in kept:
        print(f"| {promise} | {measured:.3f} | {limit:.3f} | {'yes' if measured <= limit else 'NO'} |")


def check(measured: list[Promise], tolerance: float) -> int:
    """Compare ratios with the committed ones; return the number of those that have grown by more than `tolerance`."""
    committed = json.loads(RATIOS.read_text())
    grown = [
        f"{name}: {ratio:.3f}, committed {committed[name]:.3f}"
        for name, ratio, _ in measured
        if name in committed and not name.endswith(ABSOLUTE) and ratio > committed[name] * (1 + tolerance)
    ]
    print("\n".join(["", *(f"GROWN {line}" for line in grown)] if grown else ["", "No ratio has grown."]))
    return len(grown)


def promises(timed: dict[str, Contender]) -> list[Promise]:
    us = {name: contender.median_us for name, contender in timed.items()}
    own, theirs = import_seconds("jupyter_otel_telemetry"), import_seconds("jupyter_events")
    return [
        ("to file, of jupyter_events", us["file"] / us["events"], 1 / 7),
        ("to file, of structlog", us["file"] / us["structlog"], 0.75),
        ("OTLPHandler, of the bare SDK", us["otlp"] / us["bare"], 1.75),
        ("OTLPHandler with a spool, of the bare SDK", us["spool"] / us["bare"], 1.5),
        ("OTLPHandler, of jupyter_events with OTel's handler", us["otlp"] / us["events otlp"], 0.35),
        ("OTLPHandler with a spool, of the same in memory", us["spool"] / us["otlp"], 0.9),
        (
            "jupyter_events with OTLPHandler, of the same with OTel's handler",
            us["events ours"] / us["events otlp"],
            1,
        ),
        (
            "jupyter_events with a spool, of the same in memory with OTel's handler",
            us["events spool"] / us["events otlp"],
            1,
        ),
        ("schema not allowed, us", us["not allowed"], 1),
        ("2 withheld, 1 pseudonymized, of none of 6", us["six flagged"] / us["six"], 1.5),
        ("import, seconds", own, 0.25),
        ("import, of jupyter_events", own / theirs, 1),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60, help="rounds of each contender (default: 60)")
    parser.add_argument("--check", action="store_true", help=f"fail where a ratio has grown, by {RATIOS.name}")
    parser.add_argument("--tolerance", type=float, default=0.15, help="by how much it may have (default: 0.15)")
    parser.add_argument("--commit", action="store_true", help=f"write the ratios to {RATIOS.name}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        timed = contenders(Path(folder))
        run(timed, options.rounds)
        measured = promises(timed)
        report(timed, measured)
        logging.shutdown()
    if options.commit:
        RATIOS.write_text(json.dumps({name: round(ratio, 3) for name, ratio, _ in measured}, indent=2) + "\n")
    sys.exit(1 if options.check and check(measured, options.tolerance) else 0)


def run(timed: dict[str, Contender], rounds: int) -> None:
    """Let the contenders take turns; the first round warms them up."""
    for number in range(rounds + 1):
        if sys.stderr.isatty():
            print(f"\rround {number} of {rounds}", end="", file=sys.stderr)
        for contender in timed.values():
            contender.run_round()
    for contender in timed.values():
        del contender.rounds_us[0]
    if sys.stderr.isatty():
        print("\r" + " " * 30 + "\r", end="", file=sys.stderr)


if __name__ == "__main__":
    main()
