"""`listen`: show the logs that arrive over OTLP/HTTP, as a table or as JSON lines."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import click

from jupyter_otel_telemetry.cli.logs import Rows, json_line
from jupyter_otel_telemetry.otlp.receiver import OTLPReceiver, ReceivedLog
from jupyter_otel_telemetry.schemas.downloads import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["listen"]

_HELP = """\
Receive OpenTelemetry logs over HTTP and show them.

A development tool: everybody who reaches the port can send, and nothing is stored.

\b
    jupyter otel-telemetry listen
    jupyter otel-telemetry listen --port 0 --json | jq .attributes
"""


@click.command(help=_HELP)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=4318, show_default=True, help="0 takes any free port.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line instead of a table.")
@click.option(
    "--max-body-mib",
    type=click.IntRange(1, 1024),
    default=16,
    show_default=True,
    help="Size limit of a request, also after decompression.",
)
def listen(host: str, port: int, max_body_mib: int, *, as_json: bool) -> None:
    """Receive until Ctrl-C, SIGTERM, or whoever reads stdout is gone."""
    if sys.stdout is None:  # the shell's >&-; a socket could take its file descriptor
        raise click.ClickException("cannot write to stdout: it is closed")
    # SIGINT too: a script's shell has it ignored for what it runs in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    output = _Output(json_line if as_json else Rows())
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
    if not is_loopback(host):
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
