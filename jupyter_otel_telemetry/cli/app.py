"""The group of commands; a new one is an import and a line at the end."""

from __future__ import annotations

import click

from jupyter_otel_telemetry.cli.demo import demo
from jupyter_otel_telemetry.cli.explain import explain
from jupyter_otel_telemetry.cli.listen import listen
from jupyter_otel_telemetry.cli.output import Commands
from jupyter_otel_telemetry.cli.schema import schema
from jupyter_otel_telemetry.cli.spool import spool
from jupyter_otel_telemetry.cli.verify import verify

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
Find the problems of schemas, and changes that break somebody:
    jupyter otel-telemetry schema check schemas/
    jupyter otel-telemetry schema compat --against main schemas/
Inspect a spool, the folder in which events wait for their receiver:
    jupyter otel-telemetry spool status DIR
Find the records that a store lacks:
    jupyter otel-telemetry verify export.jsonl
Let a program send to that table:
    export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318
    export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
"""


@click.group(cls=Commands, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="jupyter-otel-telemetry")
def app() -> None:
    """Take no options of its own; the commands do the work."""


app.add_command(demo)
app.add_command(explain)
app.add_command(listen)
app.add_command(schema)
app.add_command(spool)
app.add_command(verify)
