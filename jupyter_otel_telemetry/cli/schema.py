"""`schema`: the workshop of schema authors."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click
from rich.table import Table
from rich.text import Text

from jupyter_otel_telemetry.cli.output import Commands, json_text, print_report, printable
from jupyter_otel_telemetry.errors import SchemaSourceError
from jupyter_otel_telemetry.jsondata import version_text
from jupyter_otel_telemetry.schemas.installed import installed_files
from jupyter_otel_telemetry.schemas.schema import id_pattern
from jupyter_otel_telemetry.schemas.sources import read_file
from jupyter_otel_telemetry.workshop import Level, Verdict, check_schemas
from jupyter_otel_telemetry.workshop.compat import compare_pair
from jupyter_otel_telemetry.workshop.types import typed_module
from jupyter_otel_telemetry.workshop.versions import SchemaSet, pairs, read_commit, read_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jupyter_otel_telemetry.workshop import Comparison, Finding
    from jupyter_otel_telemetry.workshop.versions import Pair

__all__ = ["schema"]

_Read = TypeVar("_Read")

_CHECK_HELP = """\
Check schemas: every problem, with its file, line and column.

\b
    jupyter otel-telemetry schema check schemas/
    jupyter otel-telemetry schema check --strict --format github schemas/
    cat event.yaml | jupyter otel-telemetry schema check -

PATHS are files, folders, https URLs, or - for standard input. Schemas of one call may refer to each other, and to
those that installed packages ship. A comment `# noqa: RULE` in the line of a finding removes it.

An error is a schema that cannot be registered, or does not mean what it says; a warning, one that should be better.
Exit code: 0 without errors (with --strict, without findings), 1 with errors, 2 if nothing could be checked.
"""


_COMPAT_HELP = """\
Tell whether a new version of a schema breaks those who write its events, or those who read them.

\b
    jupyter otel-telemetry schema compat v1.yaml v2.yaml
    jupyter otel-telemetry schema compat released/schemas schemas
    jupyter otel-telemetry schema compat --against v1.4.0 schemas

Compares two files, two folders, or files and folders with a commit of git. A schema is compared with the version of
the same $id before it. A breaking change comes with an event that one version accepts and the other refuses.

By default, those who write events record described properties only, and those who read them ignore others, so that an
optional property may be added. With --strict, only the sets of valid events count.

Exit code: 0 if every change is safe, 1 if one is breaking, 3 if one is undecided, 2 if a schema cannot be read.
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
        _fail(str(error))
    if form == "json":
        click.echo(json_text([finding.to_dict() for finding in found], indent=2))
    else:
        for finding in found:
            click.echo(_FORMS[form](finding))
    counts = Counter(finding.level for finding in found)
    click.echo(_summary(counts), err=True)
    sys.exit(1 if counts[Level.ERROR] or (strict and found) else 0)


_LIST_HELP = """\
List the schemas that installed packages ship.

\b
    jupyter otel-telemetry schema list
    jupyter otel-telemetry schema list --json

PATTERN is an id, in which asterisks stand for any text. Packages ship schemas in share/jupyter/event-schemas/NAME, or
name a folder by an entry point of the group jupyter_otel_telemetry.schemas.
"""


@schema.command("list", help=_LIST_HELP)
@click.argument("pattern", default="*")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_installed(pattern: str, *, as_json: bool) -> None:
    """Print a row for each schema; files that cannot be read are named on stderr."""
    matching = id_pattern(pattern)
    rows: list[dict[str, str]] = []
    for package, path in installed_files():
        try:
            document = read_file(path)
        except SchemaSourceError as error:
            click.echo(printable(str(error)), err=True)
            continue
        if matching.fullmatch(str(document.get("$id"))):
            names = {name.strip("$"): version_text(document.get(name)) for name in ("$id", "version", "title")}
            rows.append({"package": package, **names, "file": str(path)})
    if as_json:
        click.echo(json_text(rows, indent=2))
    else:
        print_report(lambda console: console.print(_table(rows)))


def _table(rows: list[dict[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("package", "id", "version", "title"):
        table.add_column(title, overflow="fold")
        table.columns[-1].header_style = "bold"
    for row in rows:
        table.add_row(*(Text(printable(row[title])) for title in ("package", "id", "version", "title")))
    return table


_DOCS_HELP = """\
Write an event dictionary: a page of Markdown for each schema, and an index.

\b
    jupyter otel-telemetry schema docs schemas -o docs/events

A page has the meaning of an event; each property with its type, its attribute, and whether it is personal; an
example, and the log record that is made of it; and the changes between versions. MyST and MkDocs read it. The
keywords x-owner, x-purpose, x-retention, x-expires and x-supersedes are shown.
"""


@schema.command(help=_DOCS_HELP)
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="The folder of the pages."
)
def docs(paths: tuple[str, ...], output: Path) -> None:
    """Write the pages."""
    from jupyter_otel_telemetry.workshop.dictionary import dictionary  # with OpenTelemetry, which takes a second

    sets = _read_or_fail(lambda: [read_path(path) for path in paths])
    pages = dictionary(SchemaSet([item for one in sets for item in one.schemas]))
    output.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (output / name).write_text(text, encoding="utf-8")
    click.echo(f"{len(pages)} pages in {printable(str(output))}", err=True)


_TYPES_HELP = """\
Write the Python types of events, for editors and type checkers.

\b
    jupyter otel-telemetry schema types schemas -o my_extension/events.py
    jupyter otel-telemetry schema types schemas -o my_extension/events.py --check

The module has a TypedDict for each schema, and a protocol `Events` with an overload of record_event for each version:
annotate `log: Events = EventLog(...)`, and a type checker finds misspelt ids, versions and properties. With --check,
nothing is written. Exit code: 0; 1 if the file differs from the schemas, with --check; 2 if a schema cannot be read.
"""


@schema.command(help=_TYPES_HELP)
@click.argument("paths", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file; default: stdout.")
@click.option("--check", "only_check", is_flag=True, help="Compare the file with the schemas instead of writing it.")
def types(paths: tuple[str, ...], output: Path | None, *, only_check: bool) -> None:
    """Print or write the module, or compare it."""
    if only_check and output is None:
        raise click.UsageError("--check needs --output, the file to compare")
    sets = _read_or_fail(lambda: [read_path(path) for path in paths])
    targets = {schema_id: document for one in sets for schema_id, document in one.targets().items()}
    module = typed_module([schema for one in sets for _, schema in one.schemas], targets)
    if output is None:
        click.echo(module, nl=False)
    elif not only_check:
        output.write_text(module, encoding="utf-8")
    elif not output.exists() or output.read_text(encoding="utf-8") != module:
        click.echo(printable(f"{output} differs from the schemas; write it again without --check"), err=True)
        sys.exit(1)


@schema.command(help=_COMPAT_HELP)
@click.argument("paths", nargs=-1, required=True)
@click.option("--against", metavar="COMMIT", help="Compare with what the paths had in a commit of git.")
@click.option("--strict", is_flag=True, help="Take both sides as they are written.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def compat(paths: tuple[str, ...], against: str | None, *, strict: bool, as_json: bool) -> None:
    """Print the comparisons, and a summary on stderr."""
    sides = _read_or_fail(lambda: _sides(paths, against))
    compared = [found for old, new in sides for found in _compared(old, new, strict=strict)]
    if as_json:
        click.echo(json_text([_comparison(pair, found) for pair, found in compared], indent=2))
    else:
        for pair, found in compared:
            click.echo("\n".join(map(printable, _lines(pair, found))))
    verdicts = Counter(found.verdict for _, found in compared)
    click.echo(
        ", ".join(f"{verdicts[verdict]} {verdict.value}" for verdict in Verdict if verdicts[verdict]), err=True
    )
    sys.exit(1 if verdicts[Verdict.BREAKING] else 3 if verdicts[Verdict.UNDECIDED] else 0)


def _read_or_fail(read: Callable[[], _Read]) -> _Read:
    from jsonschema import SchemaError  # can take a second, and `--help` waits for it

    try:
        return read()
    except SchemaError as error:
        _fail(error.message)
    except (SchemaSourceError, ValueError) as error:
        _fail(str(error))


def _sides(paths: tuple[str, ...], against: str | None) -> list[tuple[SchemaSet, SchemaSet]]:
    if against is not None:
        return [(read_commit(against, path), read_path(path)) for path in paths]
    if len(paths) != 2:
        raise ValueError("name two paths, the old one and the new one, or use --against")
    return [(read_path(paths[0]), read_path(paths[1]))]


def _compared(old: SchemaSet, new: SchemaSet, *, strict: bool) -> list[tuple[Pair, Comparison]]:
    return [(pair, compare_pair(pair, old, new, strict=strict)) for pair in pairs(old, new)]


def _fail(problem: str) -> NoReturn:
    click.echo(printable(f"Error: {problem}"), err=True)
    sys.exit(2)


def _comparison(pair: Pair, found: Comparison) -> dict[str, Any]:
    return {
        "file": pair.name,
        "old_version": pair.old and pair.old.version,
        "new_version": pair.new and pair.new.version,
        "verdict": found.verdict.value,
        "bump": found.bump,
        "changes": [change.to_dict() for change in found.changes],
        "reasons": found.reasons,
    }


def _lines(pair: Pair, found: Comparison) -> Iterator[str]:
    """Yield the verdict, and a line for each change and reason, with the event that proves it."""
    versions = f"{pair.old.version if pair.old else 'none'} to {pair.new.version if pair.new else 'none'}"
    yield f"{pair.name}: {found.verdict.value}, version {versions}, due bump: {found.bump}"
    for change in found.changes:
        place = change.pointer if change.pointer not in {"", "/"} else "the event"
        yield f"  hurts {change.hurt.value}: {change.keyword} at {place}: {change.message[:_MAX_MESSAGE]}"
        if change.event is not None:
            yield f"    event: {json_text(_shortened(change.event))}"
    for reason in found.reasons:
        yield f"  undecided: {reason}"


def _shortened(value: Any) -> Any:
    """Return a value for people: long texts and lists are cut."""
    if isinstance(value, str) and len(value) > 50:
        return f"{value[:20]}… ({len(value)} characters)"
    if isinstance(value, list):
        return [*map(_shortened, value[:5]), *([f"… ({len(value)} items)"] if len(value) > 5 else [])]
    return {name: _shortened(item) for name, item in value.items()} if isinstance(value, dict) else value


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


_MAX_MESSAGE: Final = 120
_FORMS: Final[dict[str, Callable[[Finding], str]]] = {"text": _text, "github": _github}
