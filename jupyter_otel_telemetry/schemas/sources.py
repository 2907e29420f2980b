"""Schemas from files and folders, whose content is untrusted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.errors import SchemaSourceError
from jupyter_otel_telemetry.schemas.documents import MAX_SOURCE_BYTES, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SUFFIXES", "file_name", "find_files", "read_content", "read_file"]

SUFFIXES: Final = (".json", ".yaml", ".yml")


def file_name(path_or_file: str | os.PathLike[str] | IO[str] | IO[bytes]) -> str:
    """Return how messages name a path or an open file."""
    if isinstance(path_or_file, (str, os.PathLike)):
        return os.fspath(path_or_file)
    return str(getattr(path_or_file, "name", "an open file"))


def read_file(path_or_file: str | os.PathLike[str] | IO[str] | IO[bytes]) -> Mapping[str, Any]:
    """Read YAML or JSON from a path or an open file.

    Raises:
        SchemaSourceError: the file cannot be read, or is not one such document.
        TypeError: the argument is neither path nor file.

    """
    return parse(read_content(path_or_file), file_name(path_or_file))


def read_content(path_or_file: str | os.PathLike[str] | IO[str] | IO[bytes]) -> str | bytes:
    """Return the content of a path or an open file, up to just beyond the limit; raise as `read_file`."""
    name = file_name(path_or_file)
    content: str | bytes
    try:
        if isinstance(path_or_file, (str, os.PathLike)):
            with Path(path_or_file).open("rb") as file:
                content = _content(file)
        elif hasattr(path_or_file, "read"):
            content = _content(path_or_file)
        else:
            raise TypeError(f"expected a path or an open file, got {type(path_or_file).__name__}")
    except OSError as error:
        raise SchemaSourceError(name, (error.strerror or str(error)).lower()) from error
    except ValueError as error:  # a path that holds NUL, a closed file, text in another encoding
        raise SchemaSourceError(name, str(error)) from error
    return content


def _content(file: IO[Any]) -> Any:
    """Read until the end, or just beyond the limit: an unbuffered file may return less than asked for."""
    chunks = [file.read(MAX_SOURCE_BYTES + 1)]
    while chunks[-1] and sum(map(len, chunks)) <= MAX_SOURCE_BYTES:
        chunks.append(file.read(MAX_SOURCE_BYTES + 1))
    content = chunks[0][:0].join(chunks)
    return _as_utf8(content, file) if isinstance(content, str) else content


def _as_utf8(text: str, file: IO[Any]) -> str:
    """Return the text of a file that is UTF-8, although `open` has read it in the encoding of the locale."""
    try:
        return text.encode(file.encoding).decode("utf-8")  # type: ignore[attr-defined]  # of text files only
    except (AttributeError, LookupError, TypeError, UnicodeError):  # a StringIO, or really another encoding
        return text


def find_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Find every visible schema file below a folder, each once, in the order of their paths.

    Files and folders whose name begins with a dot are hidden. Links are followed, each folder is entered once:
    the visible files of a mounted Kubernetes ConfigMap are links into the hidden `..data`.

    Raises:
        SchemaSourceError: `folder`, or a folder below it, cannot be listed.

    """
    found: dict[str, Path] = {}
    entered: set[str] = {os.path.realpath(folder)}
    for parent, folders, files in os.walk(folder, onerror=_not_listed, followlinks=True):
        folders[:] = [name for name in sorted(folders) if _is_new(Path(parent, name), entered)]
        for name in sorted(files):
            path = Path(parent, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith(".") and not _is_special(path):
                found.setdefault(os.path.realpath(path), path)
    return sorted(found.values())


def _is_new(folder: Path, entered: set[str]) -> bool:
    """Tell whether to enter a folder, and note that it is entered."""
    real = os.path.realpath(folder)
    if folder.name.startswith(".") or real in entered:
        return False
    entered.add(real)
    return True


def _is_special(path: Path) -> bool:
    """Tell a device or pipe, whose reading may never end, from a file or a broken link."""
    return path.exists() and not path.is_file()


def _not_listed(error: OSError) -> None:
    raise SchemaSourceError(str(error.filename), (error.strerror or str(error)).lower()) from error
