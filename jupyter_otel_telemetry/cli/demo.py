"""`demo`: record a day of events, and show which of them reached a file and an OTLP receiver."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from rich import box
from rich.console import Group
from rich.json import JSON
from rich.table import Table
from rich.text import Text

from jupyter_otel_telemetry._version import __version__
from jupyter_otel_telemetry.cli.output import print_report, printable
from jupyter_otel_telemetry.errors import SchemaConflict, SchemaSourceError
from jupyter_otel_telemetry.eventlog import EventLog
from jupyter_otel_telemetry.otlp.receiver import OTLPReceiver, ReceivedLog
from jupyter_otel_telemetry.schemas.installed import installed_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType

__all__ = ["demo"]

_HELP = """\
Record a day of events of two users, and show how they arrive.

Each event goes to a file and, over OTLP, to a receiver inside this program. Nothing else is contacted, and
OTEL_* variables have no effect.

\b
    jupyter otel-telemetry demo
    jupyter otel-telemetry demo --output demo
"""
_NEXT = """\
# in one terminal
jupyter otel-telemetry listen

# in another: python
from jupyter_otel_telemetry import EventLog, OTLPHandler
log = EventLog(handlers=[OTLPHandler()], allowed_schemas=["*"])
log.register_schema({"$id": "https://example.org/hello", "version": 1})
log.record_event("https://example.org/hello", 1, {"name": "ada"})

# or, for the events that JupyterHub itself emits: in jupyterhub_config.py
from jupyter_otel_telemetry import OTLPHandler
c.EventLogger.handlers = [OTLPHandler()]
"""
_EVENTS_FILE = "demo-events.jsonl"
_RECEIVED_FILE = "demo-received.jsonl"
_OWN_SCHEMAS = Path(__file__).with_name("demo_schemas")
_SIDE_BY_SIDE_WIDTH = 124  # with less, lines of the two sides would break
_LEVEL_STYLES = {"DEBUG": "dim", "INFO": "green"}

_SERVER = "https://schema.jupyter.org/jupyterhub/events/server-action"
_CONTENTS = "https://events.jupyter.org/jupyter_server/contents_service/v1"
_KERNEL = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"
_GATEWAY = "https://events.jupyter.org/jupyter_server/gateway_client/v1"
_CELL = "https://example.org/demo/cell-run"
_ALLOWED = [_SERVER, _CONTENTS, _KERNEL, _CELL]


class _Moment(NamedTuple):
    """Something that happens on the day; `traced`: within a span."""

    time: str
    schema_id: str
    event: dict[str, Any]
    traced: bool = False


def _server(action: str, username: str) -> dict[str, Any]:
    return {"action": action, "username": username, "servername": ""}


def _kernel(action: str, kernel_id: str, outcome: str) -> dict[str, Any]:
    msg = f"Kernel {kernel_id} was {outcome}."
    return {"action": action, "kernel_id": kernel_id, "kernel_name": "python3", "status": "success", "msg": msg}


def _cell(user: str, path: str, cell: int, duration_ms: float, error: str | None = None) -> dict[str, Any]:
    outcome = {"status": "ok"} if error is None else {"status": "error", "error": error}
    notebook = {"path": path, "cell": cell}
    return {"user": user, "notebook": notebook, "source": _SOURCE, "duration_ms": duration_ms, **outcome}


_SOURCE = 'patients = read_csv("~/patients.csv")'
_NO_KERNEL = {"action": "start", "status": "error", "status_code": 500, "msg": "No such kernel named julia"}
_DAY = (
    _Moment("08:57:41", _SERVER, _server("start", "ada")),
    _Moment("08:58:10", _CONTENTS, {"action": "get", "path": "penguins.ipynb"}),
    _Moment("08:58:12", _KERNEL, _kernel("start", "5b1e9c04", "started")),
    _Moment("08:59:30", _CELL, _cell("ada", "penguins.ipynb", 1, 412.7)),
    _Moment("09:02:05", _CONTENTS, {"action": "save", "path": "penguins.ipynb"}),
    _Moment("09:14:52", _SERVER, _server("start", "grace")),
    _Moment("09:15:20", _KERNEL, _NO_KERNEL),
    _Moment("09:15:48", _KERNEL, _kernel("start", "c27f03aa", "started")),
    _Moment("09:16:02", _CONTENTS, {"action": "rename", "path": "wind.ipynb", "source_path": "Untitled.ipynb"}),
    _Moment("10:21:07", _CELL, _cell("grace", "wind.ipynb", 7, 95310.2, "MemoryError"), traced=True),
    _Moment("10:21:33", _KERNEL, _kernel("restart", "c27f03aa", "restarted")),
    _Moment("11:48:19", _CONTENTS, {"action": "save", "path": "wind.ipynb"}),
    _Moment("12:05:56", _KERNEL, _kernel("interrupt", "5b1e9c04", "interrupted")),
    _Moment("14:02:44", _CELL, _cell("ada", "penguins.ipynb", 12, 1804.0)),
    _Moment("16:40:03", _CONTENTS, {"action": "save", "path": "penguins.ipynb"}),
    _Moment("17:03:11", _KERNEL, _kernel("shutdown", "5b1e9c04", "shut down")),
    _Moment("17:03:12", _SERVER, _server("stop", "ada")),
    _Moment("18:20:00", _SERVER, _server("stop", "grace")),
)


@dataclass(frozen=True)
class _Outcome:
    """The outcome of the day.

    `origins` maps id and version of each schema to who ships it. `not_allowed` is what `record_event` returned
    for an event whose schema is not allowed, `complaint` what it raised for an invalid one.
    """

    origins: dict[tuple[str, str], str]
    recorded: int
    not_allowed: dict[str, Any] | None
    complaint: str
    lines: list[str]
    logs: list[ReceivedLog]

    @property
    def is_complete(self) -> bool:
        return self.recorded == len(self.lines) == len(self.logs)

    def __str__(self) -> str:
        lost = self.recorded - min(self.recorded, len(self.lines), len(self.logs))
        return (
            f"{self.recorded} recorded, {len(self.lines)} lines in the file, {len(self.logs)} received over OTLP, "
            f"{lost} lost"
        )


@click.command(help=_HELP)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Folder to keep {_EVENTS_FILE} and {_RECEIVED_FILE} in; without it, nothing is kept.",
)
def demo(output: Path | None) -> None:
    """Record, compare, show."""
    with nullcontext(output) if output is not None else _temporary_folder() as folder:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _own_environment():
                outcome = _live_the_day(folder)
        except OSError as error:
            raise click.ClickException(f"cannot write to {folder}: {error.strerror or error}") from error
    if not outcome.is_complete:
        raise click.ClickException(f"{outcome}; with --output you can look at both sides")
    print_report(lambda console: _Report(outcome, output, console).show())


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="jupyter-otel-telemetry-") as name:
        yield Path(name)


@contextmanager
def _own_environment() -> Iterator[None]:
    """Hide what is set for real deliveries: it must neither stop this one, nor send it elsewhere."""
    before = dict(os.environ)
    for name in before:
        if name.startswith("OTEL_"):
            del os.environ[name]
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _live_the_day(folder: Path) -> _Outcome:
    """Record the day through one EventLog with two handlers; return it when both are closed."""
    # Here, since some OTEL_* variables count when OpenTelemetry is imported.
    from jupyter_otel_telemetry.export.handler import OTLPHandler

    path = folder / _EVENTS_FILE
    with OTLPReceiver() as receiver:
        with ExitStack() as stack:
            file = stack.enter_context(closing(logging.FileHandler(path, mode="w", encoding="utf-8")))
            otlp = stack.enter_context(closing(OTLPHandler(endpoint=receiver.endpoint, service_name="demo")))
            log = EventLog(handlers=[file, otlp], allowed_schemas=_ALLOWED)
            origins = _register_schemas(log)
            recorded = sum(_record(log, moment) is not None for moment in _DAY)
            not_allowed = log.record_event(_GATEWAY, 1, {"status": "success", "msg": "nobody is to know"})
            complaint = _complaint(log)
        logs = receiver.logs
    received = "".join(json.dumps(log.to_dict()) + "\n" for log in logs)
    (folder / _RECEIVED_FILE).write_text(received, encoding="utf-8")
    lines = path.read_text(encoding="utf-8").splitlines()
    return _Outcome(origins, recorded, not_allowed, complaint, lines, logs)


def _register_schemas(log: EventLog) -> dict[tuple[str, str], str]:
    """Register the schemas that are installed, and ours for what is missing; return who ships which."""
    origins: dict[tuple[str, str], str] = {}
    for package, folder in installed_folders():
        with suppress(SchemaSourceError):  # what it could not read is missing, and comes from us
            log.register_schemas(folder)
        origins |= {key: package for key in log.schemas if key not in origins}
    for path in sorted(_OWN_SCHEMAS.glob("*.yaml")):
        with suppress(SchemaConflict):  # the original is there already
            log.register_schema_file(path)
    return origins | {key: "this demo" for key in log.schemas if key not in origins}


def _record(log: EventLog, moment: _Moment) -> dict[str, Any] | None:
    # Made of fixed numbers, as only a real span would need the SDK's tracing.
    trace_id, span_id = 0x5B8AA5A2D2C872E8321CF37308D69DF2, 0x051581BF3CB55C13
    context = SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    happened = datetime.fromisoformat(f"2026-03-02T{moment.time}").replace(tzinfo=timezone.utc)
    with use_span(NonRecordingSpan(context)) if moment.traced else nullcontext():
        return log.record_event(moment.schema_id, 1, moment.event, timestamp_override=happened)


def _complaint(log: EventLog) -> str:
    """Return what `record_event` says of an invalid event."""
    from jsonschema import ValidationError  # can take a second, and `--help` waits for it

    try:
        log.record_event(_SERVER, 1, _server("launch", "ada"))
    except ValidationError as error:
        return str(error.message)
    return ""


class _Report:
    """Prints the outcome."""

    def __init__(self, outcome: _Outcome, output: Path | None, console: Console) -> None:
        self._outcome = outcome
        self._output = output
        self._console = console
        self._frame = box.ROUNDED if console.is_terminal else None

    def show(self) -> None:
        self._heading(f"jupyter-otel-telemetry {__version__}: a day of two users")
        self._print("One EventLog records it to a file and, over OTLP, to a receiver in this program.")
        self._heading("Schemas")
        self._console.print(self._schemas())
        self._heading("What was recorded")
        self._console.print(self._day())
        self._heading("What was not")
        self._console.print(self._kept_out())
        self._heading("One event on both ways")
        self._one_event()
        self._summary()

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style))

    def _heading(self, text: str) -> None:
        self._console.print(Text(f"\n{text}", "bold"))

    def _schemas(self) -> Table:
        table = _columns(2)
        for (schema_id, _), origin in self._outcome.origins.items():
            table.add_row(Text(origin, "dim"), Text(printable(schema_id)))
        return table

    def _day(self) -> Table:
        table = _columns(4, header=("time", "severity", "event", "properties"))
        for line, log in zip(self._outcome.lines, self._outcome.logs, strict=True):
            event = json.loads(line)
            table.add_row(
                Text(event["__timestamp__"][11:19], "dim"),
                Text(log.severity_text, _LEVEL_STYLES[log.severity_text]),
                Text(_short_name(log.event_name), "bold"),
                _properties(event),
            )
        return table

    def _kept_out(self) -> Table:
        table = _columns(2)
        not_allowed = f"record_event returned {self._outcome.not_allowed}: {_GATEWAY} is not in allowed_schemas"
        table.add_row(Text("not allowed", "yellow"), Text(not_allowed))
        withheld = "the source of cells is flagged as personal (pii: true), so that null is recorded instead"
        table.add_row(Text("withheld", "yellow"), Text(withheld))
        table.add_row(Text("invalid", "red"), Text(f"ValidationError: {self._outcome.complaint}"))
        return table

    def _one_event(self) -> None:
        pairs = zip(self._outcome.lines, self._outcome.logs, strict=True)
        line, log = next(pair for pair in pairs if pair[1].trace_id)
        text = JSON(line).text
        text.no_wrap, text.overflow = False, "fold"
        panels = (("in the file, as one line", text), ("over OTLP, as a LogRecord", _log_record(log)))
        if self._console.width >= _SIDE_BY_SIDE_WIDTH:
            self._panels(*panels)
        else:
            for panel in panels:
                self._panels(panel)

    def _panels(self, *panels: tuple[str, RenderableType]) -> None:
        framed = self._frame is not None
        padding = (0, 1) if framed else (0, 4, 0, 0)
        table = Table(box=self._frame, pad_edge=framed, padding=padding, expand=len(panels) == 1)
        for title, _ in panels:
            table.add_column(title, overflow="fold")
        table.add_row(*(content for _, content in panels))
        self._console.print(table)

    def _summary(self) -> None:
        self._heading(str(self._outcome))
        if self._output is not None:
            self._print(f"Both sides are in {printable(str(self._output))}: {_EVENTS_FILE} and {_RECEIVED_FILE}")
        self._heading("Try it yourself")
        # Lines to paste must stay lines, however narrow the terminal is.
        self._console.print(Text(_NEXT, "cyan"), soft_wrap=True, end="")


def _columns(count: int, header: tuple[str, ...] = ()) -> Table:
    """Make a table without frame, of whose columns only the last wraps."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(header), header_style="dim")
    for index in range(count):
        table.add_column(header[index] if header else "", no_wrap=index < count - 1, overflow="fold")
    return table


def _short_name(event_name: str) -> str:
    return "/".join(event_name.split("/")[-2:]).removeprefix("events/")


def _properties(event: dict[str, Any], prefix: str = "") -> Text:
    words = []
    for name, value in event.items():
        if isinstance(value, dict):
            words.append(_properties(value, f"{prefix}{name}."))
        elif not name.startswith("__"):
            needs_no_quotes = isinstance(value, str) and value and " " not in value
            word = value if needs_no_quotes else json.dumps(value)
            words.append(Text.assemble((f"{prefix}{name}=", "cyan"), word))
    return Text(" ").join(words)


def _log_record(log: ReceivedLog) -> Group:
    content = log.to_dict()
    fields = {
        "EventName": content["event_name"],
        "Timestamp": content["timestamp"],
        "Severity": f"{content['severity_text']} ({content['severity_number']})",
        "Body": content["body"],
        "TraceId": content["trace_id"],
        "SpanId": content["span_id"],
        "Scope": f"{content['scope']['name']} {content['scope']['version']}",
    }
    resource = {"service.name": content["resource"]["service.name"]}
    sections = (("Attributes", content["attributes"]), ("Resource", resource))
    parts: list[RenderableType] = [_pairs(fields)]
    for title, pairs in sections:
        parts += [Text(title), _pairs(pairs, indent=2)]
    return Group(*parts)


def _pairs(pairs: dict[str, Any], indent: int = 0) -> Table:
    table = _columns(2)
    for name, value in pairs.items():
        table.add_row(Text(" " * indent + name, "cyan"), Text(str(value)))
    return table
