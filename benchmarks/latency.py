"""Times each call that records an event, at 1,000 events a second, in good times and bad. Prints a table.

"draining" begins with a backlog of 200,000 records. A slow receiver answers each request after a second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack

from receivers import counting
from whole_way import contender

warnings.simplefilter("ignore")
CONTENDERS = ("OTel SDK alone", "ours, in memory", "ours, spool")
CONDITIONS = ("up", "down", "slow", "draining")
BACKLOG = 200_000
INTERVAL_NS = 1_000_000


def measure(name: str, endpoint: str, condition: str, seconds: int) -> list[float]:
    """Return the median, the 99th and 99.9th percentiles and the maximum, in microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        record, _ = contender(name, endpoint, folder)
        for _ in range(BACKLOG if condition == "draining" else 1):
            record()
        took_ns = []
        next_ns = time.perf_counter_ns()
        for _ in range(seconds * 1000):
            while time.perf_counter_ns() < next_ns:
                time.sleep(0.0002)
            began = time.perf_counter_ns()
            record()
            took_ns.append(time.perf_counter_ns() - began)
            next_ns += INTERVAL_NS
        took_ns.sort()
        places = [len(took_ns) // 2, len(took_ns) * 99 // 100, len(took_ns) * 999 // 1000, -1]
        return [took_ns[place] / 1000 for place in places]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="of each contender and condition (default: 10)")
    parser.add_argument(
        "--only", nargs=3, metavar=("NAME", "ENDPOINT", "CONDITION"), help="in this process, that one"
    )
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(*options.only, options.seconds)))
        sys.stdout.flush()
        import os

        os._exit(0)  # the end of a program waits for a receiver that is down
    print(
        "| receiver | contender | p50, us | p99, us | p99.9, us | max, us |\n|---|---|---:|---:|---:|---:|",
        flush=True,
    )
    for condition in CONDITIONS:
        for name in CONTENDERS:
            with ExitStack() as stack:
                endpoint = "http://127.0.0.1:9"
                if condition != "down":
                    endpoint = stack.enter_context(counting(1.0 if condition == "slow" else 0.0)).endpoint
                command = [
                    sys.executable,
                    __file__,
                    "--seconds",
                    str(options.seconds),
                    "--only",
                    name,
                    endpoint,
                    condition,
                ]
                run = subprocess.run(command, check=True, capture_output=True, text=True)
            figures = " | ".join(f"{figure:.0f}" for figure in json.loads(run.stdout))
            print(f"| {condition} | {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
