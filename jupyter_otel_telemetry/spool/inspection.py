"""Looks at a spool and changes nothing in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from jupyter_otel_telemetry.otlp.encoding import observed_time_ns
from jupyter_otel_telemetry.otlp.entries import MAX_BATCH_RECORDS, Entry, message_of
from jupyter_otel_telemetry.spool.acknowledged import acknowledged_in
from jupyter_otel_telemetry.spool.files import File, stat_of
from jupyter_otel_telemetry.spool.frames import RECORD, RESOURCE, SCOPE, frames_of
from jupyter_otel_telemetry.spool.groups import Unreadable
from jupyter_otel_telemetry.spool.journal import Journal, read_cursor, segment_path, segments
from jupyter_otel_telemetry.spool.rejected import rejected_in
from jupyter_otel_telemetry.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import TypeVar

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    from jupyter_otel_telemetry.spool.acknowledged import Acknowledged
    from jupyter_otel_telemetry.spool.folder import SpoolFolder
    from jupyter_otel_telemetry.spool.rejected import Rejected

    Records = TypeVar("Records", Rejected, Acknowledged)
    Tell = Callable[[str], object]
    """Is called with a sentence for each file, or part of one, that cannot be read."""

__all__ = ["acknowledged", "count_left", "in_use", "rejected", "requests", "status", "waiting"]


def waiting(journal: Path, tell: Tell) -> Iterator[Entry]:
    """Read the records of a journal that have not been taken, and leave all as it is."""
    try:
        cursor = read_cursor(journal)
        numbers = segments(journal)
    except OSError as error:
        tell(str(error))
        return
    resource = scope = b""
    for number in numbers:
        try:
            file = File(segment_path(journal, number), os.O_RDONLY)
            try:
                for kind, payload, end in frames_of(file, 0, file.size_bytes()):
                    if kind == RESOURCE:
                        resource = payload
                    elif kind == SCOPE:
                        scope = payload
                    elif kind == RECORD and (number, end) > cursor:
                        yield Entry(resource, scope, payload)
            finally:
                file.close()
        except FileNotFoundError:  # taken meanwhile
            continue
        except OSError as error:
            tell(str(error))


def requests(entries: Iterable[Entry], tell: Tell) -> Iterator[ExportLogsServiceRequest]:
    """Put records together as requests; leave out those that cannot be decoded."""
    for part in _parts(entries):
        try:
            yield message_of(part)
        except DecodeError:
            for entry in part:
                try:
                    yield message_of([entry])
                except DecodeError as error:
                    tell(f"a record cannot be decoded: {error}")


def _parts(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    part: list[Entry] = []
    for entry in entries:
        part.append(entry)
        if len(part) == MAX_BATCH_RECORDS:
            yield part
            part = []
    if part:
        yield part


def rejected(folder: SpoolFolder, tell: Tell) -> Iterator[Rejected]:
    """Read the rejected records."""
    yield from _readable(folder.rejected_files(), rejected_in, tell)


def acknowledged(folder: SpoolFolder, tell: Tell) -> Iterator[Acknowledged]:
    """Read the acknowledged records that are kept, the oldest of each process first."""
    yield from _readable(folder.acknowledged_files(), acknowledged_in, tell)


def _readable(
    paths: Iterable[Path], read: Callable[[Path], Iterator[Records | Unreadable]], tell: Tell
) -> Iterator[Records]:
    for path in paths:
        try:
            for found in read(path):
                if isinstance(found, Unreadable):
                    tell(found.problem)
                else:
                    yield found
        except OSError as error:
            tell(str(error))


def in_use(path: Path, tell: Tell) -> bool:
    """Tell whether a process has a journal."""
    try:
        return Journal.is_in_use(path)
    except OSError as error:
        tell(str(error))
        return False


def count_left(folder: SpoolFolder, tell: Tell) -> int:
    """Return how many records dead processes have left."""
    return sum(1 for path in folder.journals() if not in_use(path, tell) for _ in waiting(path, tell))


def status(folder: SpoolFolder, tell: Tell) -> dict[str, Any]:
    """Return how much waits, of which process, since when, and how much was rejected, or is kept though acknowledged.

    `oldest` is when the oldest was recorded that waits, `oldest_acknowledged` when the oldest was acknowledged.
    """
    processes = [_journal_status(path, tell) for path in folder.journals()]
    oldest = [row["oldest"] for row in processes if row["oldest"] is not None]
    kept = [(found.time_ns, len(found.entries)) for found in acknowledged(folder, tell)]
    kept_since_ns = min((time_ns for time_ns, _ in kept if time_ns is not None), default=None)
    off_queue = [*folder.rejected_files(), *folder.acknowledged_files()]
    return {
        "folder": str(folder.path),
        "records": sum(row["records"] for row in processes),
        "rejected": sum(len(found.entries) for found in rejected(folder, tell)),
        "acknowledged": sum(count for _, count in kept),
        "size_bytes": sum(row["size_bytes"] for row in processes) + _size_bytes(off_queue),
        "oldest": min(oldest, default=None),
        "oldest_acknowledged": None if kept_since_ns is None else rfc3339(kept_since_ns),
        "processes": processes,
    }


def _journal_status(path: Path, tell: Tell) -> dict[str, Any]:
    count, oldest = 0, None
    for entry in waiting(path, tell):
        if not count:
            oldest = _time(entry)
        count += 1
    try:
        size_bytes = _size_bytes([segment_path(path, number) for number in segments(path)])
    except OSError:  # which `waiting` has told
        size_bytes = 0
    return {
        "process_id": Journal.process_id(path),
        "state": "in use" if in_use(path, tell) else "left behind",
        "records": count,
        "size_bytes": size_bytes,
        "oldest": oldest,
    }


def _time(entry: Entry) -> str | None:
    try:
        return rfc3339(observed_time_ns(entry.record))
    except DecodeError:
        return None


def _size_bytes(paths: Iterable[Path]) -> int:
    return sum(found.st_size for path in paths if (found := stat_of(path)) is not None)
