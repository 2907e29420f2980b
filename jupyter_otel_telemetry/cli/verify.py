"""`verify`: find the records that a store lacks, by the numbers that each process has given its records."""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from jupyter_otel_telemetry.cli.exports import NotReadError, read_records
from jupyter_otel_telemetry.cli.output import json_text, print_report, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["verify"]

_HELP = """\
Find lost and repeated records in files that a store has exported.

Each process numbers its records from 1, in the attribute jupyter.sequence. A number that is absent below the largest
one of its process is a lost record. A loss after the last record that has arrived cannot be seen.

\b
    jupyter otel-telemetry verify export.jsonl
    logcli query '{service_name="jupyterhub"}' --limit 0 -o jsonl | jupyter otel-telemetry verify -

Files hold OTLP JSON lines, JSON lines of LogsQL (VictoriaLogs), answers of Loki's query API or JSON lines of logcli,
plain or compressed with gzip. Exit code: 0 if every process is complete, 1 if records are missing, 2 if a file cannot
be read.
"""
_MAX_RANGES = 5
_ULID_PROCESS = slice(10, 18)
"""The part of a `log.record.uid` that is the same in all records of a process."""


@dataclass
class Series:
    """The records of one process."""

    service: str
    instance: str
    pid: str
    numbers: array[int] = field(default_factory=lambda: array("Q"))

    def missing(self) -> Iterator[tuple[int, int]]:
        """Yield the ranges of absent numbers, each with its first and last number."""
        expected = 1
        for number in sorted(set(self.numbers)):
            if number > expected:
                yield expected, number - 1
            expected = number + 1

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as JSON has them."""
        missing = list(self.missing())
        return {
            "service": self.service,
            "instance": self.instance,
            "pid": self.pid,
            "records": len(set(self.numbers)),
            "last": max(self.numbers),
            "duplicates": len(self.numbers) - len(set(self.numbers)),
            "missing": sum(last - first + 1 for first, last in missing),
            "missing_ranges": missing,
        }


@click.command(help=_HELP)
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def verify(files: tuple[Path, ...], *, as_json: bool) -> None:
    """Read the files, and print a row for each process."""
    try:
        found, unnumbered = _read(files)
    except (OSError, EOFError, NotReadError) as error:
        click.echo(printable(f"Error: {error}"), err=True)
        sys.exit(2)
    findings = [series.to_dict() for series in found]
    if as_json:
        click.echo(json_text({"processes": findings, "unnumbered": unnumbered}, indent=2))
    else:
        print_report(lambda console: _show(findings, unnumbered, console))
    sys.exit(1 if any(finding["missing"] for finding in findings) else 0)


def _read(files: Iterable[Path]) -> tuple[list[Series], int]:
    """Return the series of all processes, and the number of records without a number."""
    series: dict[tuple[str, ...], Series] = {}
    unnumbered = 0
    total = sum(path.stat().st_size for path in files if str(path) != "-") or None
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=total)
        for path in files:
            for record in read_records(path, lambda size: progress.advance(task, size)):
                try:
                    number = int(record["jupyter_sequence"])
                    service, instance, pid, uid = (
                        str(record.get(name, ""))
                        for name in ("service_name", "service_instance_id", "process_pid", "log_record_uid")
                    )
                except (KeyError, TypeError, ValueError):
                    unnumbered += 1
                    continue
                key = instance, pid, uid[_ULID_PROCESS]
                series.setdefault(key, Series(service, instance, pid)).numbers.append(number)
    return sorted(series.values(), key=lambda one: (one.service, one.instance, one.pid)), unnumbered


def _show(findings: list[dict[str, Any]], unnumbered: int, console: Console) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("service", "instance", "pid"):
        table.add_column(title, overflow="fold")
    for title in ("records", "last", "repeated", "missing"):
        table.add_column(title, justify="right")
    table.add_column("which are missing", overflow="fold")
    for finding in findings:
        ranges = finding["missing_ranges"]
        shown = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:_MAX_RANGES]]
        more = [f"and {len(ranges) - _MAX_RANGES} more ranges"] if len(ranges) > _MAX_RANGES else []
        cells = (finding[name] for name in ("service", "instance", "pid", "records", "last", "duplicates", "missing"))
        table.add_row(*(printable(str(cell)) for cell in cells), ", ".join([*shown, *more]) or "none: complete")
    console.print(table)
    if unnumbered:
        console.print(f"{unnumbered} records carry no number (jupyter.sequence), so nothing is known of them")
