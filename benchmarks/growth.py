"""Times the same work at growing sizes: what should not depend on a size, and what may grow with it. Prints a table.

The exponent is the slope of time over size, both as logarithms, between the two largest sizes of each row: 0 is flat,
1 linear, 2 quadratic.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compare import EVENT, ID, SCHEMA
from receivers import counting

from jupyter_otel_telemetry import EventLog, OTLPHandler
from jupyter_otel_telemetry.otlp.entries import Entry
from jupyter_otel_telemetry.spool import SpoolOptions
from jupyter_otel_telemetry.spool.folder import SpoolFolder
from jupyter_otel_telemetry.spool.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

warnings.simplefilter("ignore")


@dataclass
class Curve:
    """Work at growing sizes; `limit` is the exponent that it must not exceed."""

    name: str
    sizes: list[int]
    time_s: Callable[[int], float]
    limit: float

    def measure(self) -> list[float]:
        return [self.time_s(size) for size in self.sizes]


def median_s(work: Callable[[], object], repeat: int = 200, rounds: int = 7) -> float:
    """Return the median, over rounds, of the mean time of a call in a round."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(repeat):
            work()
        times.append((time.perf_counter() - began) / repeat)
    return statistics.median(times)


def once_s(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def null_log(**options: object) -> EventLog:
    log = EventLog(**({"handlers": [logging.NullHandler()], "allowed_schemas": [ID]} | options))
    log.register_schema(SCHEMA)
    return log


def with_schemas(count: int) -> float:
    log = null_log()
    for number in range(count - 1):
        log.register_schema({**SCHEMA, "$id": f"{ID}/{number}"})
    return median_s(lambda: log.record_event(ID, 1, EVENT))


def registering(count: int) -> float:
    log = EventLog()
    return once_s(lambda: [log.register_schema({**SCHEMA, "$id": f"{ID}/{number}"}) for number in range(count)])


def with_allowed_ids(count: int) -> float:
    log = null_log(allowed_schemas=[*(f"{ID}/{number}" for number in range(count - 1)), ID])
    return median_s(lambda: log.record_event(ID, 1, EVENT))


def of_size(size_bytes: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        log = null_log(handlers=[logging.FileHandler(Path(folder, "events"))])
        event = EVENT | {"username": "a" * size_bytes}
        return median_s(lambda: log.record_event(ID, 1, event), repeat=50)


def to_handlers(count: int) -> float:
    log = null_log(handlers=[logging.NullHandler() for _ in range(count)])
    return median_s(lambda: log.record_event(ID, 1, EVENT))


def draining_journals(count: int) -> float:
    """Return the time in which a new process delivers what as many processes have left, a record each."""
    with tempfile.TemporaryDirectory() as folder, counting() as receiver:
        spool = SpoolFolder(SpoolOptions(folder))
        for number in range(count):
            store = Store(spool)
            store.append(Entry(b"", b"", b"\x62\x02e%d" % (number % 10)))
            store.close()
        began = time.perf_counter()
        handler = OTLPHandler(endpoint=receiver.endpoint, spool=folder)
        while receiver.received < count:
            time.sleep(0.02)
        took_s = time.perf_counter() - began
        handler.close()
        return took_s


def curves() -> Iterator[Curve]:
    yield Curve("record_event, by registered schemas", [1, 10, 100, 1000], with_schemas, 0.15)
    yield Curve("register_schema of all, by schemas", [10, 100, 1000], registering, 1.2)
    yield Curve("record_event, by allowed ids", [1, 100, 10_000, 100_000], with_allowed_ids, 0.15)
    yield Curve("record_event to a file, by bytes of the event", [10, 1000, 20_000, 200_000], of_size, 1.2)
    yield Curve("record_event, by handlers", [1, 10, 50], to_handlers, 1.2)
    yield Curve("delivery of what is left, by journals", [100, 1000, 5000, 20_000], draining_journals, 1.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="the curves in whose names this text is")
    only = parser.parse_args().only
    print("| time of | at sizes | us | exponent | limit | kept |\n|---|---|---|---:|---:|---|", flush=True)
    for curve in curves():
        if only not in curve.name:
            continue
        times_s = curve.measure()
        exponent = math.log(times_s[-1] / times_s[-2]) / math.log(curve.sizes[-1] / curve.sizes[-2])
        shown = ", ".join(f"{time_s * 1e6:.3g}" for time_s in times_s)
        sizes = ", ".join(f"{size:,}" for size in curve.sizes)
        kept = "yes" if exponent <= curve.limit else "NO"
        print(f"| {curve.name} | {sizes} | {shown} | {exponent:.2f} | {curve.limit} | {kept} |", flush=True)
    os._exit(0)  # what the handlers hold is of no interest


if __name__ == "__main__":
    main()
