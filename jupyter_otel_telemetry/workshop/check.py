"""`check_schemas`: every finding in files, folders and URLs, each alone and all of them together."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.errors import SchemaConflict, SchemaNotRegistered, SchemaSourceError
from jupyter_otel_telemetry.jsondata import json_pointer
from jupyter_otel_telemetry.masking import mask_url
from jupyter_otel_telemetry.schemas import documents, downloads, sources
from jupyter_otel_telemetry.schemas.installed import installed_files
from jupyter_otel_telemetry.schemas.problems import Problem
from jupyter_otel_telemetry.schemas.registry import SchemaRegistry
from jupyter_otel_telemetry.workshop.findings import Finding, Level
from jupyter_otel_telemetry.workshop.positions import Positions
from jupyter_otel_telemetry.workshop.rules import RULES
from jupyter_otel_telemetry.workshop.values import event_values

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from jupyter_otel_telemetry.schemas.schema import Schema
    from jupyter_otel_telemetry.schemas.versions import Key

__all__ = ["check_schemas"]

_PLACE: Final = re.compile(r"line (\d+), column (\d+): (.*)", re.DOTALL)
_MAX_FINDINGS: Final = 100
"""Findings of one rule in one file."""
_NOQA: Final = re.compile(r"#\s*noqa\b(?::\s*([\w, -]+))?")


def check_schemas(
    paths: Iterable[str | Path], *, ignored: Collection[str] = (), stdin: IO[bytes] | None = None
) -> list[Finding]:
    """Check schemas, each alone and all of them together.

    A comment `# noqa: RULE, RULE` in the line of a finding removes those of these rules, `# noqa` all.

    Args:
        paths: files, folders, URLs, or "-" for one document on standard input.
        ignored: ids of rules that are not applied.
        stdin: what "-" reads instead of standard input.

    Returns:
        The findings, by file in the order of `paths`, then by line.

    Raises:
        ValueError: `ignored` has an id that is not in `RULES`.
        SchemaSourceError: a path does not exist, a folder cannot be listed, or no schema is below it.

    """
    if unknown := sorted(set(ignored) - RULES.keys()):
        raise ValueError(f"there is no rule {unknown[0]!r}; the rules are {', '.join(sorted(RULES))}")
    files = [_read(name, stdin) for name in _names(paths)]
    readable = [file for file in files if file.document is not None]
    for file in readable:
        _check_alone(file, only_valid=False)
    for file in _registered(readable):
        _check_alone(file, only_valid=True)
    _compare_types(readable)
    found = [
        finding for file in files for finding in sorted(file.findings, key=lambda each: (each.line, each.column))
    ]
    return [finding for finding in found if finding.rule not in ignored]


@dataclass
class _File:
    """A source, its content as far as it could be read, and the findings in it."""

    name: str
    text: str = ""
    document: dict[str, Any] | None = None
    findings: list[Finding] = field(default_factory=list)
    _positions: Positions | None = None

    def add(self, rule_id: str, problem: Problem) -> None:
        """Add a finding at the position of a problem, unless its line has a `# noqa` for it."""
        if self._positions is None:
            self._positions = Positions(self.text)
        line, column = self._positions.of(problem.path)
        self.add_at(line, column, rule_id, problem)

    def add_at(self, line: int, column: int, rule_id: str, problem: Problem) -> None:
        lines = self.text.split("\n", line)
        noqa = _NOQA.search(lines[line - 1]) if line <= len(lines) else None
        if noqa and (noqa[1] is None or rule_id in re.split(r"[,\s]+", noqa[1])):
            return
        pointer = json_pointer(problem.path) if problem.path else ""
        finding = Finding(self.name, line, column, rule_id, RULES[rule_id].level, pointer, problem.text)
        if finding not in self.findings:
            self.findings.append(finding)


def _names(paths: Iterable[str | Path]) -> Iterator[str]:
    for path in map(str, paths):
        if path != "-" and "://" not in path and not Path(path).exists():
            raise SchemaSourceError(path, "no such file or folder")
        if path != "-" and Path(path).is_dir():
            found = sources.find_files(path)
            if not found:
                raise SchemaSourceError(path, f"no file ends in {', '.join(sources.SUFFIXES)}")
            yield from map(str, found)
        else:
            yield path


def _read(name: str, stdin: IO[bytes] | None) -> _File:
    file = _File(mask_url(name) if "://" in name else name)
    try:
        if "://" in name:
            content: str | bytes = downloads.download(name)
        else:
            content = sources.read_content((stdin or sys.stdin.buffer) if name == "-" else name)
        file.text = documents.decoded(content, file.name)
        file.document = dict(documents.parse(file.text, file.name))
    except SchemaSourceError as error:
        place = _PLACE.fullmatch(error.problem)
        line, column, text = (int(place[1]), int(place[2]), place[3]) if place else (1, 1, error.problem)
        file.add_at(line, column, "unreadable", Problem((), text))
    return file


def _check_alone(file: _File, *, only_valid: bool) -> None:
    """Apply the rules about one schema: those for valid schemas, or the others."""
    for rule in RULES.values():
        if rule.check is None or rule.only_valid is not only_valid:
            continue
        for count, problem in enumerate(rule.check(file.document or {})):
            if count == _MAX_FINDINGS:
                file.add(rule.id, Problem(problem.path, f"from here on, findings of {rule.id} are not shown"))
                break
            file.add(rule.id, problem)


def _registered(files: list[_File]) -> list[_File]:
    """Register all schemas as a program would, with the installed ones; return the files that are not refused."""
    registry = SchemaRegistry(lambda _schemas, _new_ids: None)
    parsed, owners = _parsed(files, registry)
    for key, refusal in registry.register_parsed(parsed.values()).items():
        if key in owners:
            _add_refusal(owners[key], refusal)
    accepted = []
    for key, file in owners.items():
        try:
            if key in registry.current:
                registry.current.compiled(*key)
                accepted.append(file)
        except Exception as refusal:
            _add_refusal(file, refusal)
    return accepted


def _parsed(files: list[_File], registry: SchemaRegistry) -> tuple[dict[Key, Schema], dict[Key, _File]]:
    """Return the valid schemas of all files and of the installed packages, and the file of each."""
    parsed: dict[Key, Schema] = {}
    owners: dict[Key, _File] = {}
    for file in files:
        try:
            schema = registry.parse(file.document, file.name, parsed)
        except Exception as refusal:  # collected, as that of each file
            _add_refusal(file, refusal)
        else:
            parsed.setdefault(schema.key, schema)
            owners.setdefault(schema.key, file)
    for _, path in installed_files():
        with suppress(Exception):  # it is not the author's to mend, or is among the checked ones
            installed = registry.parse(sources.read_file(path), str(path), parsed)
            parsed.setdefault(installed.key, installed)
    return parsed, owners


def _add_refusal(file: _File, error: Exception) -> None:
    """Add what registration refuses, unless a rule has found the cause in this file."""
    text = str(getattr(error, "message", error)).split("\n", 1)[0].removeprefix(f"{file.name}: ")
    if isinstance(error, SchemaConflict):
        file.add("conflict", Problem(("version",), text))
    elif isinstance(error, SchemaNotRegistered):
        file.add("unresolved-ref", Problem(_reference_path(file.document, error.schema_id), text))
    elif not any(finding.level is Level.ERROR for finding in file.findings):
        file.add("not-registered", Problem((), text))


def _reference_path(document: Any, schema_id: str) -> tuple[str | int, ...]:
    """Return the path of the first `$ref` that names a schema."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    while waiting:
        path, value = waiting.pop(0)
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str) and schema_id.rstrip("#") in value["$ref"]:
                return (*path, "$ref")
            waiting += [((*path, name), item) for name, item in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, index), item) for index, item in enumerate(value)]
    return ()


def _compare_types(files: list[_File]) -> None:
    """Compare the types of attributes: OpenTelemetry allows one type for a name.

    https://opentelemetry.io/docs/specs/semconv/general/naming/
    """
    types: dict[str, tuple[Any, _File]] = {}
    for file in files:
        for value in event_values(file.document or {}):
            wanted = value.keywords.get("type")
            if value.attribute is None or not isinstance(wanted, str) or wanted == "object":
                continue
            other, owner = types.setdefault(value.attribute, (wanted, file))
            if other != wanted and owner is not file:
                text = f"the attribute {value.attribute} is {wanted} here and {other} in {owner.name}; rename one"
                file.add("type-conflict", Problem((*value.path, "type"), text))
