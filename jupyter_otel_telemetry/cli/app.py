"""The group of commands; a new one is an import and a line at the end."""

from __future__ import annotations

import sys
from typing import Any

import click

from jupyter_otel_telemetry.cli.demo import demo
from jupyter_otel_telemetry.cli.explain import explain
from jupyter_otel_telemetry.cli.listen import listen
from jupyter_otel_telemetry.cli.output import printable_lines
from jupyter_otel_telemetry.cli.spool import spool

__all__ = ["app"]

_HELP = """\
Look at the telemetry of Jupyter applications.

\b
Show arriving events as a table:
    jupyter otel-telemetry listen
Keep them, one JSON object a line:
    jupyter otel-telemetry listen --json > events.jsonl
Show which properties of events are recorded, and why:
    jupyter otel-telemetry explain --config jupyterhub_config.py
Inspect a spool, the folder in which events wait for their receiver:
    jupyter otel-telemetry spool status DIR
Let a program send to that table:
    export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318
    export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
"""


class _Commands(click.Group):
    """A group whose error messages show no text that a terminal obeys: they quote files, ids and receivers."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command; stdout that cannot be written is an error in one line, not a traceback."""
        try:
            return super().main(*args, **options)
        except OSError as error:
            where = error.filename or "cannot write to stdout"
            click.ClickException(printable_lines(f"{where}: {error.strerror or error}")).show()
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Invoke a command."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            vars(error)["message"] = printable_lines(error.message)  # Final by type only
            raise


@click.group(cls=_Commands, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="jupyter-otel-telemetry")
def app() -> None:
    """Take no options of its own; the commands do the work."""


app.add_command(demo)
app.add_command(explain)
app.add_command(listen)
app.add_command(spool)
