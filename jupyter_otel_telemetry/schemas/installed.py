"""The event schemas that installed packages ship.

Three places are searched, and no package is imported: the folders of JupyterHub and Jupyter Server; the packages that
name a folder by an entry point; and `share/jupyter/event-schemas/NAME` of every folder for data of Jupyter.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.errors import SchemaSourceError
from jupyter_otel_telemetry.schemas import sources
from jupyter_otel_telemetry.schemas.registry import SchemaRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jupyter_otel_telemetry.schemas.registry import CompiledSchema

__all__ = [
    "installed_documents",
    "installed_files",
    "installed_folders",
    "installed_ids",
    "installed_versions",
    "personal_schema_ids",
]

ENTRY_POINTS: Final = "jupyter_otel_telemetry.schemas"
"""Group of entry points whose value is a folder of a package, with dots: `my_package.event_schemas`."""

_SHARED: Final = "event-schemas"
_FOLDERS: Final = (("jupyterhub", "event-schemas"), ("jupyter_server", "event_schemas"))


def installed_folders() -> Iterator[tuple[str, Path]]:
    """Yield each folder of installed schemas once, after the package that ships it."""
    seen: set[str] = set()
    for name, folder in _candidates():
        real = os.path.realpath(folder)
        if real not in seen and Path(folder).is_dir():
            seen.add(real)
            yield name, folder


def _candidates() -> Iterator[tuple[str, Path]]:
    for package, folder in _FOLDERS:
        yield from ((package, path / folder) for path in _package_paths(package))
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: (point.name, point.value)):
        package, *below = point.value.split(".")
        yield from ((package, path.joinpath(*below)) for path in _package_paths(package))
    for shared in _shared_folders():
        with suppress(OSError):
            yield from ((path.name, path) for path in sorted(shared.iterdir()) if not path.name.startswith("."))


def _package_paths(package: str) -> list[Path]:
    """Return the folders of a package, without importing it."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):  # somebody has put a module without a spec in its place, or it is no name
        return []
    return [Path(location) for location in (spec.submodule_search_locations or ())] if spec is not None else []


def _shared_folders() -> list[Path]:
    try:
        from jupyter_core.paths import jupyter_path  # each Jupyter application has it
    except ImportError:
        return [Path(sys.prefix, "share", "jupyter", _SHARED)]
    return [Path(path) for path in jupyter_path(_SHARED)]


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


def installed_documents() -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield each installed schema that can be read, after its file."""
    for _, path in installed_files():
        with suppress(SchemaSourceError):
            yield path, sources.read_file(path)


def _documents(words: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the installed schemas that contain a text, each after the package that ships it."""
    for package, path in installed_files():
        with suppress(OSError, SchemaSourceError):  # a file that cannot be used is not a schema
            if words.encode() in path.read_bytes():  # parsing takes ten times as long
                yield package, sources.read_file(path)
