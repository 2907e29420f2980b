"""Records that a receiver has rejected: kept in files of frames, with the reason, until somebody looks.

    rejected/<time>-<process id>-<random>.seg    groups of records; the note of each is the reason it was rejected for
    rejected/<date>-<process id>.jsonl           the same as OTLP JSON lines, of earlier versions

Files of groups are as in `groups`.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jupyter_otel_telemetry.otlp.entries import entries_of, message_of
from jupyter_otel_telemetry.otlp.otlpjson import from_json, to_json
from jupyter_otel_telemetry.spool import files
from jupyter_otel_telemetry.spool.files import File
from jupyter_otel_telemetry.spool.groups import SUFFIX, Group, GroupFiles, Unreadable, groups_in, parts
from jupyter_otel_telemetry.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from jupyter_otel_telemetry.otlp.answers import Answer
    from jupyter_otel_telemetry.otlp.entries import Entry

__all__ = [
    "Rejected",
    "RejectedFiles",
    "count_rejected",
    "reason_of",
    "rejected_files",
    "rejected_in",
]

_OLD_SUFFIX: Final = ".jsonl"


class Rejected(NamedTuple):
    """Records that were rejected together.

    Of a partial success nobody knows which ones are meant: `why["rejected"]` says how many.
    """

    why: dict[str, Any]
    entries: list[Entry]

    @property
    def is_partial(self) -> bool:
        """Whether some of them were acknowledged; nobody says which."""
        return bool(self.why.get("rejected", 0) < len(self.entries))

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


class RejectedFiles:
    """Stores rejected records; used by one thread at a time.

    Args:
        folder: for the files.
        segment_bytes: size at which a new file begins.
        is_synced: whether they are on the disk, not only with the system, when `store` returns.

    """

    def __init__(self, folder: Path, segment_bytes: int, *, is_synced: bool) -> None:
        self._segment_bytes = segment_bytes
        self._files = GroupFiles(folder, segment_bytes, is_synced=is_synced)

    def store(self, entries: Sequence[Entry], why: dict[str, Any]) -> None:
        """Store records with the reason why they were rejected.

        Raises:
            OSError: not all of them are stored.

        """
        left: int = why["rejected"]
        for part in parts(entries, self._segment_bytes):
            count = min(left, len(part))
            left -= count
            self._files.append(Group(why | {"rejected": count}, part))


def rejected_files(folder: Path) -> list[Path]:
    """Return the files with rejected records, the oldest of each kind first; raise `OSError`."""
    names = sorted(name for name in files.names_in(folder) if name.endswith((SUFFIX, _OLD_SUFFIX)))
    return [folder / name for name in names if not name.startswith(".")]


def rejected_in(path: Path) -> Iterator[Rejected | Unreadable]:
    """Read the records of a file, group by group; raise `OSError`."""
    try:
        file = File(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        if path.suffix == _OLD_SUFFIX:
            yield from _lines_of(file)
            return
        for found in groups_in(file):
            yield Rejected(*found) if isinstance(found, Group) else found
    finally:
        file.close()


def count_rejected(path: Path) -> int:
    """Return how many records a file holds; raise `OSError`."""
    return sum(len(found.entries) for found in rejected_in(path) if isinstance(found, Rejected))


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
