"""`explain`: show which properties of events are recorded, withheld or pseudonymized, and why."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import redirect_stdout, suppress
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.table import Table
from rich.text import Text
from traitlets import TraitError
from traitlets.config import Config
from traitlets.config.loader import JSONFileConfigLoader, LazyConfigValue, PyFileConfigLoader

from jupyter_otel_telemetry.cli.output import json_text, print_report, printable_content
from jupyter_otel_telemetry.describing import describe_only
from jupyter_otel_telemetry.errors import SchemaConflict
from jupyter_otel_telemetry.eventlog import EventLog
from jupyter_otel_telemetry.options import suggestion
from jupyter_otel_telemetry.privacy.explain import Destination, explanations
from jupyter_otel_telemetry.privacy.policy import policies_of
from jupyter_otel_telemetry.schemas.installed import installed_files
from jupyter_otel_telemetry.schemas.registry import Schemas
from jupyter_otel_telemetry.schemas.schema import parse_schema

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["explain"]

_HELP = """\
Show which properties are recorded, withheld or pseudonymized, and why.

Reads the options of EventLog and the handlers of jupyter_events' EventLogger from a configuration, and applies them
to the given schemas, or else to those that installed packages ship. A .py configuration is run,
but its handlers open no file or spool and send nothing. Without a configuration, all schemas are allowed, without
options.

\b
    jupyter otel-telemetry explain --schema my-event.yaml
    jupyter otel-telemetry explain --config jupyterhub_config.py
    jupyter otel-telemetry explain --config jupyter_server_config.json --schema my-event.yaml --json
"""
_ALL_ALLOWED = Config({"EventLog": {"allowed_schemas": ["*"]}})
_STYLES = {"recorded": "green", "withheld": "red", "pseudonymized": "yellow"}
_FOREIGN_NOTE = (
    "Events of jupyter_events come without their schema: its flags have no effect there, only options have."
)
_FOREIGN = " of EventLogger"
_ASSIGN = "write c.EventLogger.handlers = [OTLPHandler()] in a .py configuration"


@click.command(help=_HELP)
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A traitlets .py or .json file."
)
@click.option(
    "--schema",
    "wanted",
    multiple=True,
    metavar="FILE|FOLDER|ID",
    help="Schemas to explain; may be repeated. An ID is that of an installed schema.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def explain(config: Path | None, wanted: tuple[str, ...], *, as_json: bool) -> None:
    """Explain."""
    from jsonschema import SchemaError  # can take a second, and `--help` waits for it

    try:
        with describe_only():
            found = _explanations(_ALL_ALLOWED if config is None else _load(config), wanted)
    except SchemaError as error:
        raise click.ClickException(error.message) from error
    except (TraitError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json_text(found, indent=2))
    else:
        print_report(lambda console: _show(printable_content(found), console))


def _load(path: Path) -> Config:
    loader: Any = JSONFileConfigLoader if path.suffix == ".json" else PyFileConfigLoader
    try:
        with redirect_stdout(sys.stderr):  # what it prints must not get into the JSON
            loaded: Config = loader(path.name, str(path.parent)).load_config()
    except TraitError as error:  # a handler of ours says which option is wrong
        raise click.ClickException(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:  # a configuration is a program, and may raise anything
        raise click.ClickException(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    sections = [loaded[name] for name in ("EventLog", "EventLogger") if name in loaded]
    if not sections:
        raise click.ClickException(
            f"{path} configures neither EventLog nor EventLogger, so there is nothing to explain"
        )
    if not all(isinstance(section, Config) for section in sections):
        raise click.ClickException(f"{path}: EventLog and EventLogger must be mappings of options")
    return loaded


def _explanations(config: Config, wanted: tuple[str, ...]) -> list[dict[str, Any]]:
    """Explain what the two kinds of loggers that a configuration may have do with the schemas that are wanted."""
    log = EventLog(config=Config({"EventLog": config.get("EventLog", {})}))
    chosen = _register(log, wanted)
    foreign = _foreign_destinations(config)
    schemas = Schemas({key: parse_schema(document) for key, document in log.schemas.items()})
    _check(foreign, schemas)
    found = log.explain() if "EventLog" in config else []
    found += explanations(schemas, foreign)
    return sorted(
        (explanation for explanation in found if (explanation["schema"], explanation["version"]) in chosen),
        key=lambda explanation: (explanation["schema"], explanation["version"]),
    )


def _register(log: EventLog, wanted: tuple[str, ...]) -> set[tuple[str, str]]:
    """Register the schemas that are wanted, and those that are shipped; return which to explain."""
    for name in wanted:
        if Path(name).is_dir():
            log.register_schemas(name)
        elif Path(name).exists():
            log.register_schema_file(name)
    chosen = set(log.schemas)
    for _, path in installed_files():
        with suppress(SchemaConflict):  # theirs, as it is, is explained instead
            log.register_schema_file(path)
    ids = [name for name in wanted if not Path(name).exists()]
    for schema_id in ids:
        if schema_id not in {known for known, _ in log.schemas}:
            known = ", ".join(sorted({schema_id for schema_id, _ in log.schemas})) or "none"
            raise ValueError(
                f"{schema_id} is neither a file or folder, nor the id of an installed schema; installed: {known}"
            )
    chosen |= {key for key in log.schemas if key[0] in ids or not wanted}
    if not chosen:
        raise ValueError("neither JupyterHub nor Jupyter Server is installed here; name a schema with --schema")
    return chosen


def _foreign_destinations(config: Config) -> list[Destination]:
    """Return the handlers of jupyter_events' loggers, which hand over everything to those without a policy."""
    section = config.get("EventLogger", {})
    handlers = section.get("handlers", [])
    if problem := _problem(handlers):
        raise ValueError(f"EventLogger.handlers must {problem}; {_ASSIGN}")
    hint = "".join(suggestion(name, ["handlers"]) for name in section if name != "handlers")
    if not handlers and (hint or "EventLog" not in config):
        raise ValueError(f"EventLogger has no handlers, so its events go nowhere{hint}")
    return [
        Destination(f"{type(handler).__name__}{_FOREIGN}", policies_of(handler), sees_flags=False)
        for handler in handlers
    ]


def _problem(handlers: Any) -> str | None:
    """Return the reason for which jupyter_events would not take these handlers, or None if it takes them."""
    if isinstance(handlers, LazyConfigValue):
        return "be assigned, since jupyter_events knows no append()"
    if not isinstance(handlers, (list, tuple)):
        return f"be a list, not {type(handlers).__name__}"
    for handler in handlers:
        if isinstance(handler, type):
            return f"hold logging handlers, not the class {handler.__name__}"
        if not isinstance(handler, logging.Handler):
            return f"hold logging handlers, not {type(handler).__name__}"
    return None


def _check(destinations: list[Destination], schemas: Schemas) -> None:
    for destination in destinations:
        for policy in destination.policies:
            policy.check(schemas, {schema_id for schema_id, _ in schemas})


def _show(found: list[dict[str, Any]], console: Console) -> None:
    for (schema_id, version), group in groupby(found, lambda item: (item["schema"], item["version"])):
        console.print(Text(f"\n{schema_id}, version {version}", "bold"), soft_wrap=True)
        alike: dict[str, list[dict[str, Any]]] = {}
        for explanation in group:
            alike.setdefault(json.dumps([explanation["because"], explanation["properties"]]), []).append(explanation)
        for same in alike.values():
            _show_one(same[0], " and ".join(explanation["destination"] for explanation in same), console)
    if any(explanation["destination"].endswith(_FOREIGN) for explanation in found):
        console.print(Text(f"\n{_FOREIGN_NOTE}", "dim"), soft_wrap=True)


def _show_one(explanation: dict[str, Any], destinations: str, console: Console) -> None:
    because = ", ".join(explanation["because"])
    if not explanation["allowed"]:
        nothing = Text.assemble(f"\n{destinations}: ", ("no events", "red"), f", since {because}")
        console.print(nothing, soft_wrap=True)
        return
    console.print(Text(f"\n{destinations} ({because})"), soft_wrap=True)
    for warning in explanation["warnings"]:
        console.print(Text(f"warning: {warning}", "bold red"), soft_wrap=True)
    is_framed = console.is_terminal
    table = Table(
        box=box.ROUNDED if is_framed else None, pad_edge=is_framed, padding=(0, 1 if is_framed else 2, 0, 0)
    )
    table.add_column("property", overflow="fold")
    table.add_column("outcome", no_wrap=True)
    table.add_column("why", overflow="fold")
    for row in explanation["properties"]:
        outcome = Text(row["outcome"], _STYLES[row["outcome"]])
        table.add_row(Text(row["property"]), outcome, Text(row["reason"]))
    console.print(table)
