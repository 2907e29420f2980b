"""The event schemas that the installed packages of Jupyter ship."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_otel_telemetry.errors import SchemaSourceError
from jupyter_otel_telemetry.schemas import sources
from jupyter_otel_telemetry.schemas.registry import SchemaRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jupyter_otel_telemetry.schemas.registry import CompiledSchema

__all__ = ["installed_files", "installed_folders", "installed_ids", "installed_versions", "personal_schema_ids"]

_FOLDERS = (("jupyterhub", "event-schemas"), ("jupyter_server", "event_schemas"))


def installed_folders() -> Iterator[tuple[str, Path]]:
    """Yield each installed package that ships schemas, and their folder, without importing the package."""
    for package, folder in _FOLDERS:
        try:
            spec = find_spec(package)
        except ValueError:  # somebody has put a module without a spec in its place
            continue
        for location in (spec.submodule_search_locations or ()) if spec is not None else ():
            if (Path(location) / folder).is_dir():
                yield package, Path(location) / folder


def installed_files() -> Iterator[tuple[str, Path]]:
    """Yield each installed schema file, after the package that ships it."""
    for package, folder in installed_folders():
        for path in sources.find_files(folder):
            yield package, path


def installed_versions(schema_id: str) -> list[CompiledSchema]:
    """Return every version of a schema that is installed; a schema that cannot be used counts as not installed."""
    registry = SchemaRegistry(lambda _schemas, _new_ids: None)
    try:
        for _, document in _documents(schema_id):
            if document.get("$id") == schema_id:
                registry.register(document)
        return [registry.current.compiled(*key) for key in registry.current]
    except Exception:  # the schema is another package's; it may be invalid, or refer to an unknown one
        return []


def installed_ids() -> list[str]:
    """Return the ids of all schemas that are installed."""
    return sorted({str(document.get("$id")) for _, document in _documents("$id")})


def personal_schema_ids() -> list[str]:
    """Return the ids of schemas that say `personal-data: true` and belong to packages this process has imported."""
    return sorted(
        {
            str(document.get("$id"))
            for package, document in _documents("personal-data")
            if package in sys.modules and document.get("personal-data") is True
        }
    )


def _documents(words: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the installed schemas that contain a text, each after the package that ships it."""
    for package, path in installed_files():
        with suppress(OSError, SchemaSourceError):  # a file that cannot be used is not a schema
            if words.encode() in path.read_bytes():  # parsing takes ten times as long
                yield package, sources.read_file(path)
