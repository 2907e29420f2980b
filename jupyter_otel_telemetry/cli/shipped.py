"""The event schemas that the installed JupyterHub and Jupyter Server ship."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["shipped_folders"]

_FOLDERS = (("jupyterhub", "event-schemas"), ("jupyter_server", "event_schemas"))


def shipped_folders() -> Iterator[tuple[str, Path]]:
    """Find the schemas of the packages that are installed, without the second that importing them takes."""
    for package, folder in _FOLDERS:
        spec = find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec is not None else ():
            if (Path(location) / folder).is_dir():
                yield package, Path(location) / folder
