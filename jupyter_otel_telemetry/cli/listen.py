"""`listen`: show the logs that arrive over OTLP/HTTP, as a table or as JSON lines."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import re
import signal
import sys
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click
from opentelemetry.sdk.resources import SERVICE_NAME
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jupyter_otel_telemetry.receiver import OTLPReceiver, ReceivedLog
from jupyter_otel_telemetry.record import EVENT_PREFIX
from jupyter_otel_telemetry.schema import RESERVED_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["listen"]

_HELP = """\
Receive OpenTelemetry logs over HTTP and show them as they come.

A development tool: whoever reaches the port may send, and nothing is stored.

\b
    jupyter otel-telemetry listen
    jupyter otel-telemetry listen --port 0 --json | jq .attributes
"""
_HEADER = ("time (UTC)", "service", "level", "event")
_MIN_TABLE_WIDTH = 72
_LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_STYLES = ("dim", "dim", "green", "yellow", "red", "bold red")
_NUMBERS_PER_LEVEL = 4  # OTel counts severities from 1 (TRACE) to 24 (FATAL4)
_NEEDS_QUOTES = re.compile(r'[\s"=]|^$')


@click.command(help=_HELP)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=4318, show_default=True, help="0 takes any free port.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line instead of a table.")
@click.option(
    "--max-body-mib",
    type=click.IntRange(1, 1024),
    default=16,
    show_default=True,
    help="Refuse requests larger than this, also after decompression.",
)
def listen(host: str, port: int, max_body_mib: int, *, as_json: bool) -> None:
    """Receive until Ctrl-C, SIGTERM, or whoever reads stdout is gone."""
    # SIGINT too: a script's shell has it ignored for what it runs in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    output = _Output(_json_line if as_json else _Rows())
    receiver = OTLPReceiver(host, port, on_log=output.show, max_body_bytes=max_body_mib * 1024 * 1024)
    try:
        _start(receiver, host)
        output.wait()
    except KeyboardInterrupt:
        pass
    finally:
        receiver.stop()
    click.echo(f"logs received: {output.count}", err=True)


def _start(receiver: OTLPReceiver, host: str) -> None:
    if not _is_loopback(host):
        click.echo(f"warning: {host} is not loopback: others on the network can send, unencrypted", err=True)
    try:
        receiver.start()
    except OSError as error:
        taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
        hint = "; choose another port with --port, 0 takes any free one" if taken else ""
        raise click.ClickException(f"{error.strerror}{hint}") from error
    url = receiver.endpoint
    settings = f"OTEL_EXPORTER_OTLP_ENDPOINT={url} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
    click.echo(f"listening on {url}; point a program at it: {settings}", err=True)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Output:
    """Stdout: what `render` makes of each log, until writing fails.

    It goes to the file descriptor, as UTF-8: nothing is left in a buffer, and a reader that has stopped
    reading cannot hold the lock that the interpreter wants at exit.
    """

    def __init__(self, render: Callable[[ReceivedLog], str]) -> None:
        self.count = 0
        self._render = render
        self._error: OSError | None = None
        self._failed = threading.Event()

    def show(self, log: ReceivedLog) -> None:
        self.count += 1
        data = self._render(log).encode()
        try:
            while data:
                data = data[os.write(sys.stdout.fileno(), data) :]
        except OSError as error:
            self._error = error
            self._failed.set()

    def wait(self) -> None:
        """Wait until the reader of stdout is gone.

        Raises:
            ClickException: stdout cannot be written for another reason.

        """
        while not self._failed.wait(1.0):  # Ctrl-C does not interrupt an endless wait on Windows
            pass
        if self._error is not None and not isinstance(self._error, BrokenPipeError):
            raise click.ClickException(f"cannot write to stdout: {self._error.strerror}")


def _json_line(log: ReceivedLog) -> str:
    # ASCII only: no control character of C1 and no bidi override reaches the terminal. DEL is left to us.
    return json.dumps(log.to_dict(), separators=(",", ":")).replace("\x7f", r"\u007f") + "\n"


class _Rows:
    """Renders one row a log, the first with the header above.

    On a terminal the last column is wrapped; in a pipe, or where it would be too narrow, a log is one line.
    """

    def __init__(self) -> None:
        self._console = Console()
        time_width = len("hh:mm:ss.mmm" if self._console.is_terminal else "yyyy-mm-dd hh:mm:ss.mmm")
        self._widths = (time_width, 16, 5)  # the last column takes what is left
        self._header_is_due = True

    def __call__(self, log: ReceivedLog) -> str:
        text = self._row(_cells(log, short_time=self._console.is_terminal))
        if self._header_is_due:
            self._header_is_due = False
            text = self._row([Text(title, style="bold") for title in _HEADER]) + text
        return text

    def _row(self, cells: Sequence[Text]) -> str:
        if not self._console.is_terminal or self._console.width < _MIN_TABLE_WIDTH:
            padded = (cell.plain.ljust(width) for cell, width in zip(cells, (*self._widths, 0), strict=True))
            return "  ".join(padded).rstrip() + "\n"
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for width in self._widths:
            table.add_column(width=width, overflow="fold")
        table.add_column(overflow="fold")
        table.add_row(*cells)
        with self._console.capture() as capture:
            self._console.print(table)
        return capture.get()


def _cells(log: ReceivedLog, *, short_time: bool) -> tuple[Text, ...]:
    content = log.to_dict()
    service = content["resource"].get(SERVICE_NAME, "")
    return (
        Text(_time(content["timestamp"], short=short_time), style="dim"),
        Text(_printable(str(service))),
        _level(log),
        _event(content),
    )


def _time(timestamp: str | None, *, short: bool) -> str:
    """Return date and time to the millisecond, on the day itself the time alone if it is to be short."""
    if timestamp is None:
        return ""
    day, _, clock = timestamp.partition("T")
    clock = clock[: len("hh:mm:ss.mmm")]
    is_today = day == datetime.now(timezone.utc).date().isoformat()
    return clock if short and is_today else f"{day} {clock}"


def _level(log: ReceivedLog) -> Text:
    index = (log.severity_number - 1) // _NUMBERS_PER_LEVEL
    if 0 <= index < len(_LEVELS):
        return Text(_LEVELS[index], style=_STYLES[index])
    return Text(_printable(log.severity_text))


def _event(content: dict[str, Any]) -> Text:
    """Return the event's name, or the text of a log that is no event, and its properties as `key=value`."""
    if content["event_name"]:
        words = [Text(_printable(content["event_name"]), style="bold")]
    else:
        body = content["body"]
        words = [Text(_printable(body if isinstance(body, str) else _word(body)))]
    for name, value in content["attributes"].items():
        if name.startswith(EVENT_PREFIX) or not name.startswith(RESERVED_ATTRIBUTES):
            key = _printable(name.removeprefix(EVENT_PREFIX))
            words.append(Text.assemble((f"{key}=", "cyan"), _printable(_word(value))))
    return Text(" ").join(words)


def _word(value: Any) -> str:
    """Return logfmt: text that needs no quotes as it is, everything else as JSON."""
    if isinstance(value, str) and not _NEEDS_QUOTES.search(value):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _printable(text: str) -> str:
    """Escape what a terminal may obey: control characters, escape sequences, bidi overrides, line ends."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
