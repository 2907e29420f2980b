"""Files of records that have left the queue: frames, in groups; before each group stands a note about it, as JSON.

    <time>-<process id>-<random>.seg

A process appends to one file at a time, and locks it while it does so.
"""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jupyter_otel_telemetry.otlp.entries import Entry
from jupyter_otel_telemetry.spool import files
from jupyter_otel_telemetry.spool.files import File
from jupyter_otel_telemetry.spool.frames import (
    NOTE,
    OVERHEAD_BYTES,
    RECORD,
    RESOURCE,
    SCOPE,
    frame,
    frames_of,
    frames_to,
)
from jupyter_otel_telemetry.spool.journal import new_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["SUFFIX", "Group", "GroupFiles", "Unreadable", "group_files", "groups_in", "locked", "parts"]

SUFFIX: Final = ".seg"


class Group(NamedTuple):
    """Records, and a note about all of them."""

    note: dict[str, Any]
    entries: list[Entry]


class Unreadable(NamedTuple):
    """A part of a file that cannot be read; `data` is its content."""

    problem: str
    data: bytes


def group_files(folder: Path) -> list[Path]:
    """Return the files of a folder, the oldest first; raise `OSError`."""
    return [folder / name for name in sorted(files.names_in(folder)) if name.endswith(SUFFIX)]


class GroupFiles:
    """Appends groups of records to files in a folder; used by one thread at a time.

    Args:
        folder: for the files.
        segment_bytes: size at which a new file begins.
        is_synced: whether they are on the disk, not only with the system, when `append` returns.
        max_open_s: age at which a new file begins.

    """

    def __init__(self, folder: Path, segment_bytes: int, *, is_synced: bool, max_open_s: float = math.inf) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._is_synced = is_synced
        self._max_open_s = max_open_s
        self._path: Path | None = None
        self._begun_s = 0.0
        self._end = 0

    def append(self, group: Group) -> int:
        """Store a group of records; return the number of bytes written.

        Raises:
            OSError: it is not stored.

        """
        note = json.dumps(group.note, separators=(",", ":")).encode()
        data = frame(NOTE, note) + frames_to(group.entries)
        file = self._opened(len(data))
        try:
            file.write(data, self._end)
            if self._is_synced:
                file.sync()
                if not self._end:
                    files.sync_folder(self._folder)
            self._end += len(data)
        except OSError:
            with suppress(OSError):  # the next write overwrites the leavings
                file.truncate(self._end)
            raise
        finally:
            file.unlock()
            file.close()
        return len(data)

    def _opened(self, size_bytes: int) -> File:
        """Open and lock the present file, or a new one if that is full, old, gone or being read."""
        is_young = time.monotonic() - self._begun_s < self._max_open_s
        if self._path is not None and is_young and self._end + size_bytes <= self._segment_bytes:
            with suppress(FileNotFoundError):
                file = File(self._path, os.O_RDWR)
                if file.lock() and file.is_at(self._path) and file.size_bytes() == self._end:
                    return file
                file.close()
        if not files.exists(self._folder):
            files.make_folder(self._folder)
            if self._is_synced:
                files.sync_folder(self._folder.parent)
        path = self._folder / f"{new_name()}{SUFFIX}"
        file = File(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self._path, self._begun_s, self._end = path, time.monotonic(), 0
        file.lock()
        return file


def parts(entries: Sequence[Entry], max_bytes: int) -> Iterator[list[Entry]]:
    """Divide records, so that each part goes to one file and can be read for itself."""
    begin = size_bytes = 0
    for index, entry in enumerate(entries):
        if index > begin and size_bytes + entry.size_bytes > max_bytes:
            yield list(entries[begin:index])
            begin, size_bytes = index, 0
        size_bytes += len(entry.record) + OVERHEAD_BYTES
    yield list(entries[begin:])


@contextmanager
def locked(path: Path) -> Iterator[File | None]:
    """Open a file and keep its process from appending to it; None if it is being appended to, or is gone.

    Raises:
        OSError: it cannot be opened.

    """
    try:
        file = File(path, os.O_RDWR)
    except FileNotFoundError:
        yield None
        return
    try:
        yield file if file.lock() and file.is_at(path) else None
    finally:
        file.unlock()
        file.close()


def groups_in(file: File) -> Iterator[Group | Unreadable]:
    """Read the groups of a file, and at the end say how much of it cannot be read; raise `OSError`."""
    group = Group({}, [])
    resource = scope = b""
    healthy_bytes = 0
    size_bytes = file.size_bytes()
    for kind, payload, _ in frames_of(file, 0, size_bytes):
        healthy_bytes += OVERHEAD_BYTES + len(payload)
        if kind == NOTE:
            if group.entries:
                yield group
            group = Group(_note_of(payload), [])
            resource = scope = b""
        elif kind == RESOURCE:
            resource = payload
        elif kind == SCOPE:
            scope = payload
        elif kind == RECORD:
            group.entries.append(Entry(resource, scope, payload))
    if group.entries:
        yield group
    if size_bytes > healthy_bytes:
        yield Unreadable(f"{file.path}: {size_bytes - healthy_bytes} bytes could not be read, and are skipped", b"")


def _note_of(payload: bytes) -> dict[str, Any]:
    with suppress(ValueError):
        if isinstance(found := json.loads(payload), dict):
            return found
    return {}
