"""The pairs of versions to compare: of two files, of two folders, or of the working tree and a commit of git."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from jupyter_otel_telemetry.errors import SchemaSourceError, name_source
from jupyter_otel_telemetry.schemas import documents, sources
from jupyter_otel_telemetry.schemas.installed import installed_files
from jupyter_otel_telemetry.schemas.schema import Schema, parse_schema
from jupyter_otel_telemetry.schemas.versions import version_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Pair", "SchemaSet", "pairs", "read_commit", "read_path"]


@dataclass(frozen=True)
class SchemaSet:
    """The schemas of one side, each with the name of its file."""

    schemas: list[tuple[str, Schema]]

    def versions(self, schema_id: str) -> list[tuple[str, Schema]]:
        """Return the versions of a schema, the highest first."""
        found = [item for item in self.schemas if item[1].id == schema_id]
        return sorted(found, key=lambda item: version_order(item[1].version), reverse=True)

    def targets(self) -> dict[str, dict[str, Any]]:
        """Return the schemas to which a `$ref` may lead, by id, each in its highest version."""
        found = {schema.id: schema.document for schema in _installed()}
        for _, schema in sorted(self.schemas, key=lambda item: version_order(item[1].version)):
            found[schema.id] = schema.document
        return found


class Pair(NamedTuple):
    """A schema after a change, and before it; `old` is None if it is new, `new` if it was removed."""

    name: str
    old: Schema | None
    new: Schema | None


def read_path(path: str) -> SchemaSet:
    """Read a file, or all schemas below a folder.

    Raises:
        SchemaSourceError, ValueError, jsonschema.SchemaError: a file cannot be read, or is not a valid schema.

    """
    files = sources.find_files(path) if Path(path).is_dir() else [Path(path)]
    return SchemaSet([_schema(str(file), sources.read_file(file)) for file in files])


def read_commit(reference: str, path: str) -> SchemaSet:
    """Read what a file, or a folder, had in a commit of git.

    Raises:
        SchemaSourceError: there is no such commit or repository, or a file of it cannot be read.
        ValueError, jsonschema.SchemaError: a file is not a valid schema.

    """
    if reference.startswith("-"):
        raise SchemaSourceError(reference, "not a commit")
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    wanted = "." if Path(path).is_dir() else Path(path).name
    listed = _git(folder, "ls-tree", "-r", "-z", "--name-only", reference, "--", wanted).decode()
    names = [name for name in listed.split("\0") if _is_schema_file(name)]
    return SchemaSet(
        [
            _schema(f"{reference}:{name}", documents.parse(_git(folder, "show", f"{reference}:./{name}"), name))
            for name in names
        ]
    )


def _is_schema_file(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in sources.SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False)  # noqa: S603, S607
    except OSError as error:
        raise SchemaSourceError("git", (error.strerror or str(error)).lower()) from error
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise SchemaSourceError(f"{folder} in git", reason[0].removeprefix("fatal: "))
    return done.stdout


def _schema(name: str, document: Mapping[str, Any]) -> tuple[str, Schema]:
    try:
        return name, parse_schema(document)
    except Exception as error:
        name_source(error, name)
        raise


def _installed() -> Iterable[Schema]:
    for _, path in installed_files():
        try:
            yield parse_schema(sources.read_file(path))
        except Exception:  # noqa: S112 - it belongs to somebody else
            continue


def pairs(old: SchemaSet, new: SchemaSet) -> list[Pair]:
    """Return each schema of `new` with the version before it, and each id that `new` has lost.

    The version before is the one with the same id and version if its content differs; else the highest one of `old`
    below it, or the highest one at all. Two sets of one schema each are one pair, whatever their ids.
    """
    if len(old.schemas) == len(new.schemas) == 1:
        return [Pair(new.schemas[0][0], old.schemas[0][1], new.schemas[0][1])]
    found: list[Pair] = []
    for name, schema in new.schemas:
        earlier = [one for _, one in old.versions(schema.id)]
        same = next((one for one in earlier if one.version == schema.version), None)
        lower = [one for one in earlier if version_order(one.version) < version_order(schema.version)]
        found.append(Pair(name, same or next(iter([*lower, *earlier]), None), schema))
    remaining = {schema.id for _, schema in new.schemas}
    found += [Pair(name, schema, None) for name, schema in old.schemas if schema.id not in remaining]
    return found
