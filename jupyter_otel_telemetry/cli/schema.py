"""`schema`: the workshop of schema authors."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

import click

from jupyter_otel_telemetry.cli.output import Commands, json_text, printable
from jupyter_otel_telemetry.errors import SchemaSourceError
from jupyter_otel_telemetry.workshop import Level, check_schemas

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_otel_telemetry.workshop import Finding

__all__ = ["schema"]

_CHECK_HELP = """\
Check schemas: every problem, with its file, line and column.

\b
    jupyter otel-telemetry schema check schemas/
    jupyter otel-telemetry schema check --strict --format github schemas/
    cat event.yaml | jupyter otel-telemetry schema check -

PATHS are files, folders, https URLs, or - for standard input. Schemas of one call may refer to each other, and to
those of the installed JupyterHub and Jupyter Server. A comment `# noqa: RULE` in the line of a finding removes it.

An error is a schema that cannot be registered, or does not mean what it says; a warning, one that should be better.
Exit code: 0 without errors (with --strict, without findings), 1 with errors, 2 if nothing could be checked.
"""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def schema() -> None:
    """Write, check and change schemas."""


@schema.command(help=_CHECK_HELP)
@click.argument("paths", nargs=-1, required=True)
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings, too.")
@click.option(
    "--ignore", "ignored", multiple=True, metavar="RULE", help="A rule that is not applied; may be repeated."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="One line for each finding; JSON; or annotations of GitHub Actions.",
)
def check(paths: tuple[str, ...], *, strict: bool, ignored: tuple[str, ...], form: str) -> None:
    """Print the findings, and a summary on stderr."""
    try:
        found = check_schemas(paths, ignored=ignored)
    except (SchemaSourceError, ValueError) as error:
        click.echo(printable(f"Error: {error}"), err=True)
        sys.exit(2)
    if form == "json":
        click.echo(json_text([finding.to_dict() for finding in found], indent=2))
    else:
        for finding in found:
            click.echo(_FORMS[form](finding))
    counts = Counter(finding.level for finding in found)
    click.echo(_summary(counts), err=True)
    sys.exit(1 if counts[Level.ERROR] or (strict and found) else 0)


def _summary(counts: Counter[Level]) -> str:
    if not counts:
        return "no findings"
    shown = [f"{counts[level]} {level.value}{'s' * (counts[level] != 1)}" for level in Level if counts[level]]
    return ", ".join(shown)


def _text(finding: Finding) -> str:
    place = f" (at {finding.pointer})" if finding.pointer else ""
    position = f"{finding.file}:{finding.line}:{finding.column}"
    return printable(f"{position}: {finding.level.value} {finding.rule}: {finding.message}{place}")


def _github(finding: Finding) -> str:
    """Return a command of GitHub Actions, in which some characters are percent-encoded.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    message = printable(finding.message).replace("%", "%25")
    file = printable(finding.file).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    return (
        f"::{finding.level.value} file={file},line={finding.line},col={finding.column},"
        f"title={finding.rule}::{message}"
    )


_FORMS: Final[dict[str, Callable[[Finding], str]]] = {"text": _text, "github": _github}
