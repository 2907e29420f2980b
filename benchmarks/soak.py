"""Sends a million events through a spool into a real collector, and as many from memory. Prints tables.

The collector is `rotel-agent`, of the wheel `rotel`, in a process of its own; it takes everything and does nothing
with it. Its path may be given by ROTEL_AGENT.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compare import EVENT, ID, SCHEMA
from receivers import collector

from jupyter_otel_telemetry import EventLog, OTLPHandler

BURST = 2000
"""Events between two flushes of the path in memory, whose queue holds 2,048."""


def event_log(endpoint: str, spool: object) -> tuple[EventLog, OTLPHandler]:
    handler = OTLPHandler(endpoint=endpoint, spool=spool, compression="gzip")
    log = EventLog(handlers=[handler], allowed_schemas=[ID])
    log.register_schema(SCHEMA)
    return log, handler


def record(log: EventLog, count: int) -> float:
    """Record events and return the microseconds each took."""
    began = time.perf_counter()
    for _ in range(count):
        log.record_event(ID, 1, EVENT)
    return (time.perf_counter() - began) / count * 1e6


def resident_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def flush(handler: OTLPHandler) -> None:
    if not handler.force_flush(600):
        sys.exit("not everything was delivered")


def measure(name: str, events: int) -> tuple[float, float, float]:
    """Return events per second end to end, microseconds an event and how many MiB memory has grown, at most."""
    with tempfile.TemporaryDirectory() as folder, collector() as endpoint:
        log, handler = event_log(
            endpoint, None if name == "in memory" else {"folder": folder, "max_size_bytes": 8 << 30}
        )
        record(log, BURST)
        flush(handler)
        before_mib, began, took_us = resident_mib(), time.perf_counter(), []
        for _ in range(events // BURST):
            took_us.append(record(log, BURST))
            if name == "in memory":
                flush(handler)
        flush(handler)
        rate = events // BURST * BURST / (time.perf_counter() - began)
        return rate, sum(took_us) / len(took_us), resident_mib() - before_mib


def measure_outage(events: int) -> tuple[float, float, float, float]:
    """Return microseconds, bytes on the disk and MiB of memory with nobody there; then the rate of a drain."""
    with tempfile.TemporaryDirectory() as folder:
        with collector() as endpoint:
            log, handler = event_log(endpoint, {"folder": folder, "max_size_bytes": 8 << 30})
            record(log, BURST)
            flush(handler)
        before_mib = resident_mib()
        us = record(log, events)
        size_bytes = sum(path.stat().st_size for path in Path(folder).rglob("*.seg"))
        grown_mib = resident_mib() - before_mib
        # This process goes on, and does not send, so another may.
        handler._spool.shutdown()  # noqa: SLF001 - what the end of a program calls
        with collector() as endpoint:
            began = time.perf_counter()
            command = [
                sys.executable,
                "-m",
                "jupyter_otel_telemetry.cli",
                "spool",
                "drain",
                folder,
                "--endpoint",
                endpoint,
            ]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            return us, size_bytes / events, grown_mib, events / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="how many (default: a million)")
    parser.add_argument("--only", choices=["in memory", "spool", "outage"], help="in this process, that alone")
    options = parser.parse_args()
    if options.only == "outage":
        us, size_bytes, grown_mib, rate = measure_outage(options.events)
        print(f"| {us:.1f} | {size_bytes:.0f} | {grown_mib:.0f} | {rate:.0f} |")
        return
    if options.only:
        rate, us, grown_mib = measure(options.only, options.events)
        print(f"| {options.only} | {rate:.0f} | {us:.1f} | {grown_mib:.0f} |")
        return
    # Each in a process of its own, whose memory is its alone.
    again = [sys.executable, __file__, "--events", str(options.events), "--only"]
    print(
        "| collector up | events a second, end to end | us an event | memory grown, MiB |\n|---|---:|---:|---:|",
        flush=True,
    )
    for name in ("in memory", "spool"):
        subprocess.run([*again, name], check=True)
    print("\n| collector down: us an event | bytes an event on the disk | memory grown, MiB | drained, events/s |")
    print("|---:|---:|---:|---:|", flush=True)
    subprocess.run([*again, "outage"], check=True)


if __name__ == "__main__":
    main()
