"""`spool`: look at waiting records on the disk, send them, and send rejected ones again."""

from __future__ import annotations

import sys
import time
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from jupyter_otel_telemetry.cli.logs import Rows, json_line
from jupyter_otel_telemetry.cli.moments import moment
from jupyter_otel_telemetry.cli.output import json_text, print_report, printable, printable_content
from jupyter_otel_telemetry.otlp.otlpjson import to_json
from jupyter_otel_telemetry.otlp.received import logs_of
from jupyter_otel_telemetry.otlp.settings import ExporterOptions, switched_off
from jupyter_otel_telemetry.spool import inspection
from jupyter_otel_telemetry.spool.folder import SpoolFolder
from jupyter_otel_telemetry.spool.journal import Journal
from jupyter_otel_telemetry.spool.maintenance import Drain, requeue_rejected
from jupyter_otel_telemetry.spool.resending import Period, Resend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    Function = TypeVar("Function", bound=Callable[..., Any])
    Work = TypeVar("Work", Drain, Resend)

__all__ = ["spool"]

_HELP = """\
Look after the folder of `OTLPHandler(spool="DIR")`.

\b
How much waits, for how long, of which process:
    jupyter otel-telemetry spool status DIR
What waits, and what was rejected:
    jupyter otel-telemetry spool show DIR
    jupyter otel-telemetry spool show --rejected DIR
Send what processes that are gone have left:
    jupyter otel-telemetry spool drain DIR --endpoint http://collector:4318
Send again what was acknowledged, to a receiver that has lost it:
    jupyter otel-telemetry spool resend DIR --since 10m --endpoint http://collector:4318
"""
_DIR = click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

_DESTINATION = (
    click.option("--endpoint", metavar="URL", help="Base URL of the receiver; default: as OTEL_* variables say."),
    click.option("--protocol", type=click.Choice(["http/protobuf", "grpc"]), help="Default: as they say, or HTTP."),
    click.option("--proxy", metavar="URL", help="HTTP proxy; default: none, whatever HTTP_PROXY says."),
    click.option("--bearer-token-file", metavar="FILE", help="File with the token of an Authorization header."),
    click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0),
        default=30.0,
        show_default=True,
        help="Seconds to go on trying while nothing is accepted.",
    ),
)


@click.group(help=_HELP)
def spool() -> None:
    """Take no options of its own; the commands do the work."""


def _destination(function: Function) -> Function:
    """Add the options of a command that sends; the function gets them as `exporter` and `timeout_s`."""

    @wraps(function)
    def command(
        *arguments: Any,
        endpoint: str | None,
        protocol: str | None,
        proxy: str | None,
        bearer_token_file: str | None,
        **others: Any,
    ) -> Any:
        headers = bearer_token_file and {"authorization": {"file": bearer_token_file, "prefix": "Bearer "}}
        exporter = ExporterOptions(endpoint, protocol, headers or None, proxy=proxy)
        return function(*arguments, exporter=exporter, **others)

    for option in reversed(_DESTINATION):
        command = option(command)
    return cast("Function", command)


@spool.command()
@_DIR
@_JSON
def status(folder: Path, *, as_json: bool) -> None:
    """Show how much waits: records, bytes, the oldest, for each process.

    Rejected and acknowledged records are counted as they lie in the folder.
    """
    found = inspection.status(_opened(folder), _tell)
    if as_json:
        click.echo(json_text(found, indent=2))
    else:
        print_report(lambda console: _show_status(printable_content(found), console))


@spool.command()
@_DIR
@click.option("--rejected", is_flag=True, help="Rejected records, instead of those that wait.")
@_JSON
def show(folder: Path, *, rejected: bool, as_json: bool) -> None:
    """Show the records that wait, the oldest of each process first."""
    opened = _opened(folder)
    render = json_line if as_json else Rows()
    for request in _rejected(opened) if rejected else _waiting(opened):
        for log in logs_of(request):
            click.echo(render(log), nl=False)


@spool.command()
@_DIR
@click.option("--rejected", is_flag=True, help="Rejected records, each line with the reason.")
def export(folder: Path, *, rejected: bool) -> None:
    """Write the records that wait to stdout, as OTLP JSON lines, and leave them there.

    The Collector's otlp_json_file receiver reads such files.
    """
    opened = _opened(folder)
    if rejected:
        contents = (found.to_json() for found in inspection.rejected(opened, _tell))
    else:
        contents = (to_json(request) for request in _waiting(opened))
    for content in contents:
        click.echo(json_text(content))


@spool.command()
@_DIR
@_destination
def drain(folder: Path, *, exporter: ExporterOptions, timeout_s: float) -> None:
    """Send now what processes that are gone have left. Those that run send for themselves.

    Other headers, certificates and so on are those of OTEL_EXPORTER_OTLP_* variables.
    """
    _drain(_opened(folder), exporter, timeout_s)


@spool.command()
@_DIR
@_destination
def retry_rejected(folder: Path, *, exporter: ExporterOptions, timeout_s: float) -> None:
    """Send rejected records again.

    Those rejected again are stored again. While the receiver cannot be reached, they wait with the others.
    """
    opened = _opened(folder)
    count, problems = requeue_rejected(opened)
    for problem in problems:
        click.echo(printable(problem), err=True)
    click.echo(f"to be sent again: {count}", err=True)
    _drain(opened, exporter, timeout_s)


@spool.command()
@_DIR
@click.option(
    "--since",
    metavar="TIME",
    callback=moment,
    required=True,
    help="Acknowledged since: 10m (ago; or s, h, d), or an RFC 3339 time.",
)
@click.option("--until", metavar="TIME", callback=moment, help="And until, likewise; default: now.")
@_destination
def resend(folder: Path, *, since: int, until: int | None, exporter: ExporterOptions, timeout_s: float) -> None:
    """Send again what was acknowledged in a time, to a receiver that has lost it.

    The option keep_acknowledged_s of the spool keeps it. Each record has the same log.record.uid as before, and may
    arrive a second time. Nothing is removed, and what waits is not touched: programs may run meanwhile.
    """
    opened = _opened(folder)
    if not opened.options.keep_acknowledged_s:
        raise click.ClickException(f"{folder} keeps no acknowledged records; set keep_acknowledged_s of the spool")
    period = Period(since, sys.maxsize if until is None else until)
    work = _built(lambda: Resend(opened, exporter, period))
    total = sum(1 for _ in work.entries(_tell))
    click.echo(f"to be sent again: {total}", err=True)
    try:
        _send(work, total, timeout_s, "the others are not sent; repeat the command")
        if total > work.accepted + work.refused:
            click.echo("some were removed meanwhile: they were old enough, or the spool is full", err=True)
    finally:
        left = max(0, total - work.accepted - work.refused)
        click.echo(f"accepted: {work.accepted}, rejected: {work.refused}, not sent: {left}", err=True)
    if partly := sum(len(found.entries) for found in inspection.rejected(opened, _tell) if found.is_partial):
        click.echo(f"in requests that were rejected in part: {partly}; retry-rejected sends those again", err=True)


def _opened(folder: Path) -> SpoolFolder:
    try:
        opened = SpoolFolder.without_limits(folder)
        opened.check_format()
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if not (opened.path / "FORMAT").exists():
        raise click.ClickException(f"{folder} is not a spool: it has no file FORMAT")
    return opened


def _show_status(found: dict[str, Any], console: Console) -> None:
    console.print(Text(found["folder"], "bold"), soft_wrap=True)
    summary = f"records waiting: {found['records']}; rejected: {found['rejected']}; bytes: {found['size_bytes']}"
    console.print(Text(summary))
    if found["acknowledged"]:
        since = found["oldest_acknowledged"] or "unknown"
        console.print(Text(f"acknowledged records kept: {found['acknowledged']}; oldest acknowledgement: {since}"))
    if not found["processes"]:
        return
    table = Table(box=box.ROUNDED if console.is_terminal else None, pad_edge=console.is_terminal)
    for title in ("process", "state", "records", "bytes", "oldest"):
        table.add_column(title, justify="right" if title in ("process", "records", "bytes") else "left")
    for row in found["processes"]:
        cells = (row["process_id"], row["state"], row["records"], row["size_bytes"], row["oldest"] or "")
        table.add_row(*map(str, cells))
    console.print(table)


def _waiting(folder: SpoolFolder) -> Iterator[ExportLogsServiceRequest]:
    for journal in folder.journals():
        yield from inspection.requests(inspection.waiting(journal, _tell), _tell)


def _rejected(folder: SpoolFolder) -> Iterator[ExportLogsServiceRequest]:
    for found in inspection.rejected(folder, _tell):
        yield from inspection.requests(found.entries, _tell)


def _tell(problem: str) -> None:
    click.echo(printable(problem), err=True)


def _drain(folder: SpoolFolder, exporter: ExporterOptions, timeout_s: float) -> None:
    work = _built(lambda: Drain(folder, exporter))
    try:
        _send(work, inspection.count_left(folder, _tell), timeout_s, "the rest waits")
    finally:
        left = sum(1 for path in folder.journals() for _ in inspection.waiting(path, _tell))
        click.echo(f"accepted: {work.accepted}, rejected: {work.refused}, still waiting: {left}", err=True)
    if busy := [Journal.process_id(path) for path in folder.journals() if inspection.in_use(path, _tell)]:
        click.echo(f"what waits of processes that run, they send themselves: {', '.join(map(str, busy))}", err=True)


def _built(build: Callable[[], Work]) -> Work:
    if (reason := switched_off()) is not None:
        raise click.ClickException(f"nothing is sent, since {reason}; unset it for this command")
    try:
        return build()
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _send(work: Drain | Resend, total: int, timeout_s: float, rest: str) -> None:
    """Send everything, unless nothing is accepted for too long; `rest` says what becomes of the rest then."""
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("", total=total)
            tried_s = time.monotonic()
            for done, answer in work.steps():
                if done:
                    tried_s = time.monotonic()
                    progress.advance(task, done)
                elif time.monotonic() - tried_s + answer.retry_after_s >= timeout_s:
                    raise click.ClickException(f"{work.destination}: {answer.status} {answer.reason}; {rest}")
    finally:
        work.close()
