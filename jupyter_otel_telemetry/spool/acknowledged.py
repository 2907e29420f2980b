"""Records that a receiver has acknowledged, kept for a while, since it may not have them on its disk yet.

    acknowledged/<time>-<process id>-<random>.seg    groups of records; the note of each is the time of the answer

They are copied here before they leave the queue, so a record that was acknowledged is in one of the two, or in both.
Nothing depends on them: they are the first to go where the spool or the disk is full. Files are as in `groups`.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from jupyter_otel_telemetry.spool import files
from jupyter_otel_telemetry.spool.files import File
from jupyter_otel_telemetry.spool.groups import Group, GroupFiles, Unreadable, groups_in, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import TypeVar

    from jupyter_otel_telemetry.otlp.entries import Entry
    from jupyter_otel_telemetry.spool.folder import SpoolFolder

    Result = TypeVar("Result")

__all__ = ["Acknowledged", "AcknowledgedFiles", "acknowledged_in", "making_way", "removable"]

_FILES_PER_PERIOD: Final = 8
"""A file is removed as a whole: its first record is kept longer than wanted by at most this part of the time."""
_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))


class Acknowledged(NamedTuple):
    """Records that were acknowledged together, and when; None if that cannot be read."""

    time_ns: int | None
    entries: list[Entry]


class AcknowledgedFiles:
    """Stores acknowledged records; used by one thread at a time.

    Args:
        folder: of the spool.

    """

    def __init__(self, folder: SpoolFolder) -> None:
        options = folder.options
        self._path = folder.acknowledged
        self._segment_bytes = options.segment_bytes
        self._files = GroupFiles(
            folder.acknowledged,
            options.segment_bytes,
            is_synced=options.durability == "power",
            max_open_s=options.keep_acknowledged_s / _FILES_PER_PERIOD,
        )

    def __repr__(self) -> str:
        return f"keeping acknowledged records in {self._path}"

    def store(self, entries: Sequence[Entry]) -> int:
        """Store records that have just been acknowledged; return the number of bytes written.

        Raises:
            OSError: not all of them are stored.

        """
        note = {"time_ns": time.time_ns()}
        return sum(self._files.append(Group(note, part)) for part in parts(entries, self._segment_bytes))


def acknowledged_in(path: Path) -> Iterator[Acknowledged | Unreadable]:
    """Read the records of a file, group by group; raise `OSError`."""
    try:
        file = File(path, os.O_RDONLY)
    except FileNotFoundError:  # it was old enough, or had to go
        return
    try:
        for found in groups_in(file):
            yield Acknowledged(_time_of(found), found.entries) if isinstance(found, Group) else found
    finally:
        file.close()


def _time_of(group: Group) -> int | None:
    time_ns = group.note.get("time_ns")
    return time_ns if isinstance(time_ns, int) else None


def making_way(folder: SpoolFolder, write: Callable[[], Result]) -> Result:
    """Return `write()`; while that fails since the disk is full, remove acknowledged files for it, the oldest first.

    Raises:
        OSError: there is another reason, or nothing is left to remove.

    """
    paths: list[Path] | None = None
    while True:
        try:
            return write()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            paths = removable(folder) if paths is None else paths
            if not paths:
                raise
            with suppress(OSError):  # then the next one goes
                files.remove(paths.pop(0))


def removable(folder: SpoolFolder) -> list[Path]:
    """Return the files with acknowledged records that may go, the oldest first: none if they cannot be listed."""
    try:
        return folder.acknowledged_files()
    except OSError:
        return []
