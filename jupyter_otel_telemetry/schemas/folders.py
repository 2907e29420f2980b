"""Registers all schema files of a folder at once, so that they may refer to each other in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_otel_telemetry.errors import SchemaSourceError, name_source
from jupyter_otel_telemetry.schemas.sources import read_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jupyter_otel_telemetry.schemas.registry import SchemaRegistry
    from jupyter_otel_telemetry.schemas.schema import Schema
    from jupyter_otel_telemetry.schemas.versions import Key

__all__ = ["register_files"]


def register_files(registry: SchemaRegistry, folder: str, paths: Sequence[Path]) -> list[Key]:
    """Register the schemas of files; return id and version of each, in the order of the paths.

    Raises:
        SchemaSourceError: some files of `folder` cannot be registered; the others are.

    """
    registered: list[tuple[str, Key]] = []
    parsed: dict[Key, Schema] = {}
    problems: dict[str, str] = {}
    for path in map(str, paths):
        try:
            schema = registry.parse(read_file(path), path, parsed)
        except Exception as error:  # collected: one bad file must not hide the others
            problems[path] = _problem(error, path)
        else:
            registered.append((path, schema.key))
            parsed.setdefault(schema.key, schema)
    refused = registry.register_parsed(parsed.values())
    problems |= {path: _problem(refused[key], path) for path, key in registered if key in refused}
    if problems:
        in_order = [problems[path] for path in map(str, paths) if path in problems]
        raise SchemaSourceError(folder, f"{len(problems)} of {len(paths)} files cannot be registered", in_order)
    return [key for _, key in registered]


def _problem(error: Exception, path: str) -> str:
    """Return a line that says why a file cannot be registered."""
    name_source(error, path)
    return str(error).splitlines()[0].removeprefix("no schema from ")
