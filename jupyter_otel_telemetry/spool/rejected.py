"""Records that a receiver has rejected: kept in files of frames, with the reason, until somebody looks.

    rejected/<time>-<process id>-<random>.seg    frames; each group of records follows the reason it was rejected for
    rejected/<date>-<process id>.jsonl           the same as OTLP JSON lines, of earlier versions

A process appends to one file at a time, and locks it while it does so.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jupyter_otel_telemetry.otlp.entries import Entry, entries_of, message_of
from jupyter_otel_telemetry.otlp.otlpjson import from_json, to_json
from jupyter_otel_telemetry.spool import files
from jupyter_otel_telemetry.spool.files import File
from jupyter_otel_telemetry.spool.frames import (
    OVERHEAD_BYTES,
    REASON,
    RECORD,
    RESOURCE,
    SCOPE,
    frame,
    frames_of,
    frames_to,
)
from jupyter_otel_telemetry.spool.journal import new_name
from jupyter_otel_telemetry.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from jupyter_otel_telemetry.otlp.answers import Answer

__all__ = [
    "Rejected",
    "RejectedFiles",
    "Unreadable",
    "count_rejected",
    "locked",
    "reason_of",
    "rejected_files",
    "rejected_in",
]

_SUFFIX: Final = ".seg"
_OLD_SUFFIX: Final = ".jsonl"


class Rejected(NamedTuple):
    """Records that were rejected together.

    Of a partial success nobody knows which ones are meant: `why["rejected"]` says how many.
    """

    why: dict[str, Any]
    entries: list[Entry]

    def to_json(self) -> dict[str, Any]:
        """Return them as an OTLP JSON line has them, with the reason as one more member."""
        return to_json(message_of(self.entries)) | {"rejected": self.why}


def reason_of(answer: Answer, rejected: int, destination: str) -> dict[str, Any]:
    """Return why records were rejected: when, by whom, with which answer, and how many of them are meant."""
    return {
        "time": rfc3339(time.time_ns()),
        "status": answer.status,
        "reason": answer.reason,
        "rejected": rejected,
        "destination": destination,
    }


class Unreadable(NamedTuple):
    """A part of a file that cannot be read; `data` is what it holds."""

    problem: str
    data: bytes


class RejectedFiles:
    """Stores rejected records; used by one thread at a time.

    Args:
        folder: for the files.
        segment_bytes: size at which a new file begins.
        is_synced: whether they are on the disk, not only with the system, when `store` returns.

    """

    def __init__(self, folder: Path, segment_bytes: int, *, is_synced: bool) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._is_synced = is_synced
        self._path: Path | None = None
        self._end = 0

    def store(self, entries: Sequence[Entry], why: dict[str, Any]) -> None:
        """Store records with the reason why they were rejected.

        Raises:
            OSError: not all of them are stored.

        """
        left: int = why["rejected"]
        for part in _parts(entries, self._segment_bytes):
            count = min(left, len(part))
            left -= count
            reason = json.dumps(why | {"rejected": count}, separators=(",", ":")).encode()
            self._append(frame(REASON, reason) + frames_to(part))

    def _append(self, data: bytes) -> None:
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

    def _opened(self, size_bytes: int) -> File:
        """Open and lock the present file, or a new one if that is full, gone or being read."""
        if self._path is not None and self._end + size_bytes <= self._segment_bytes:
            with suppress(FileNotFoundError):
                file = File(self._path, os.O_RDWR)
                if file.lock() and file.is_at(self._path) and file.size_bytes() == self._end:
                    return file
                file.close()
        if not files.exists(self._folder):
            files.make_folder(self._folder)
        path = self._folder / f"{new_name()}{_SUFFIX}"
        file = File(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self._path, self._end = path, 0
        file.lock()
        return file


def _parts(entries: Sequence[Entry], max_bytes: int) -> Iterator[Sequence[Entry]]:
    """Divide records, so that each part goes to one file and can be read for itself."""
    begin = size_bytes = 0
    for index, entry in enumerate(entries):
        if index > begin and size_bytes + entry.size_bytes > max_bytes:
            yield entries[begin:index]
            begin, size_bytes = index, 0
        size_bytes += len(entry.record) + OVERHEAD_BYTES
    yield entries[begin:]


def rejected_files(folder: Path) -> list[Path]:
    """Return the files with rejected records, the oldest of each kind first; raise `OSError`."""
    names = sorted(name for name in files.names_in(folder) if name.endswith((_SUFFIX, _OLD_SUFFIX)))
    return [folder / name for name in names if not name.startswith(".")]


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


def rejected_in(path: Path) -> Iterator[Rejected | Unreadable]:
    """Read the records of a file, group by group; raise `OSError`."""
    try:
        file = File(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        yield from _lines_of(file) if path.suffix == _OLD_SUFFIX else _groups_of(file)
    finally:
        file.close()


def count_rejected(path: Path) -> int:
    """Return how many records a file holds; raise `OSError`."""
    return sum(len(found.entries) for found in rejected_in(path) if isinstance(found, Rejected))


def _groups_of(file: File) -> Iterator[Rejected | Unreadable]:
    group = Rejected({}, [])
    resource = scope = b""
    healthy_bytes = 0
    size_bytes = file.size_bytes()
    for kind, payload, _ in frames_of(file, 0, size_bytes):
        healthy_bytes += OVERHEAD_BYTES + len(payload)
        if kind == REASON:
            if group.entries:
                yield group
            group = Rejected(_reason_of(payload), [])
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


def _reason_of(payload: bytes) -> dict[str, Any]:
    with suppress(ValueError):
        if isinstance(found := json.loads(payload), dict):
            return found
    return {}


def _lines_of(file: File) -> Iterator[Rejected | Unreadable]:
    data = file.read(file.size_bytes(), 0)
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        try:
            content = json.loads(line)
            entries = list(entries_of(from_json(content)))
            why = content["refused"]
            why["rejected"] += 0
        except (ValueError, TypeError, KeyError) as error:
            yield Unreadable(f"{file.path}, line {number}: {error}", line)
        else:
            yield Rejected(why, entries)
