"""What one process has spooled: a folder of its own, with segment files, a lock, and a cursor.

    queue/<time>-<process id>-<random>/
        lock            flock'ed by whoever appends to, or sends from, this journal
        appending       is there until somebody takes over the journal of a process that is gone
        00000001.seg    frames; the newest segment is appended to, the others are complete
        context         the first resource and scope, a second time
        cursor          "<segment> <offset> <checksum>": what comes before has been taken; may lag, must not run ahead

The lock dies with its process, however that dies. Whoever gets it then owns the journal.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from jupyter_otel_telemetry.spool.entries import Entry
from jupyter_otel_telemetry.spool.frames import OVERHEAD_BYTES, RECORD, RESOURCE, SCOPE, frame, frames

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "Batch",
    "Journal",
    "Position",
    "Reader",
    "Writer",
    "can_lock",
    "count_records",
    "lock_file",
    "segment_name",
    "segments",
    "unlock",
    "waiting",
]

_SUFFIX: Final = ".seg"
_NAME: Final = re.compile(r"\d{20}-\d+-[0-9a-f]+")
_READ_AHEAD_BYTES: Final = 64 * 1024


class Position(NamedTuple):
    """A place in a journal. All of earlier segments lies before it."""

    segment: int
    offset: int


class Batch(NamedTuple):
    """Records that follow one another, and where what follows them begins."""

    entries: list[Entry]
    ends: list[int]
    """Where in the segment each of them ends."""
    segment: int
    damaged_bytes: int = 0

    def first(self, count: int) -> Batch:
        """Return the first ones alone."""
        return Batch(self.entries[:count], self.ends[:count], self.segment)


def can_lock() -> bool:
    """Tell whether this system has the file locks that a spool needs."""
    return fcntl is not None


class Journal:
    """The folder of a journal, whose lock this process holds."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd

    @classmethod
    def create(cls, queue: Path) -> Journal:
        """Make a journal for this process. It gets its name when the lock is held, so nobody finds it before."""
        name = f"{time.time_ns():020d}-{os.getpid()}-{token_hex(4)}"
        hidden = queue / f".{name}"
        hidden.mkdir(mode=0o700)
        lock_fd = lock_file(hidden / "lock")
        try:
            (hidden / "appending").touch(mode=0o600)
            hidden.rename(queue / name)
        except OSError:
            unlock(lock_fd)
            raise
        return cls(queue / name, lock_fd)

    @classmethod
    def adopt(cls, path: Path) -> Journal | None:
        """Take over the journal of a process that is gone; None: it lives, or somebody else was faster."""
        try:
            lock_fd = _open(path / "lock", os.O_RDONLY)
        except OSError:  # it has been removed, or belongs to another user
            return None
        _lock_fds.add(lock_fd)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (path / "lock").stat().st_ino == os.fstat(lock_fd).st_ino:
                (path / "appending").unlink(missing_ok=True)
                return cls(path, lock_fd)
        except OSError:  # it is locked, was removed meanwhile, or may not be changed
            pass
        unlock(lock_fd)
        return None

    @staticmethod
    def all_in(queue: Path) -> list[Path]:
        """Return the folders of all journals, the oldest first."""
        with suppress(OSError):
            return sorted(path for path in queue.iterdir() if _NAME.fullmatch(path.name))
        return []

    @staticmethod
    def is_in_use(path: Path) -> bool:
        """Tell whether a process appends to, or sends from, a journal."""
        try:
            fd = _open(path / "lock", os.O_RDONLY)
        except OSError as error:
            return not isinstance(error, FileNotFoundError)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False

    @staticmethod
    def process_id(path: Path) -> int:
        """Return the id of the process that has made a journal."""
        return int(path.name.split("-")[1])

    @property
    def is_there(self) -> bool:
        """Whether nobody has removed it."""
        return (self.path / "lock").exists()

    def close(self, *, remove: bool) -> None:
        """Leave the journal to others, or remove it."""
        if remove:
            shutil.rmtree(self.path, ignore_errors=True)
        unlock(self._lock_fd)


class Writer:
    """Appends records to a journal.

    Args:
        journal: where to.
        segment_bytes: size at which a new segment begins.

    """

    def __init__(self, journal: Journal, segment_bytes: int) -> None:
        self._journal = journal
        self._segment_bytes = segment_bytes
        self._fd = -1
        self._resource = self._scope = b""
        self.end = Position(0, 0)
        """Up to here there are whole frames. Also the number of the segment that is appended to."""

    def has_room_for(self, entry: Entry) -> bool:
        """Tell whether a record goes to the present segment."""
        return self.is_open and (
            self.end.offset == 0 or self.end.offset + len(entry.record) + OVERHEAD_BYTES <= self._segment_bytes
        )

    def append(self, entry: Entry) -> None:
        """Write a record.

        Raises:
            OSError: it could not be written, and the segment is as before.

        """
        data = frame(RECORD, entry.record)
        if entry.scope is not self._scope:
            data = frame(SCOPE, entry.scope) + data
        if entry.resource is not self._resource:
            data = frame(RESOURCE, entry.resource) + data
            self._keep_context(entry)
        # At an explicit place, so that what a write that failed half-way has left is overwritten by the next.
        if os.pwrite(self._fd, data, self.end.offset) < len(data):
            raise OSError(28, "no space left for a whole record")
        self.end = Position(self.end.segment, self.end.offset + len(data))
        self._resource, self._scope = entry.resource, entry.scope

    def _keep_context(self, entry: Entry) -> None:
        """Write resource and scope a second time, for records that lose theirs."""
        with suppress(OSError):
            data = frame(RESOURCE, entry.resource) + frame(SCOPE, entry.scope)
            fd = _open(self._journal.path / "context", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                os.write(fd, data)
            finally:
                os.close(fd)

    def begin_segment(self) -> None:
        """Begin a new segment; the one before is complete then.

        Raises:
            OSError: it cannot be made.

        """
        number = self.end.segment + 1
        fd = _open(_segment(self._journal.path, number), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self.close()
        self._fd, self.end = fd, Position(number, 0)
        self._resource = self._scope = b""

    def sync(self) -> None:
        """Have everything appended to the present segment on the disk, not only with the system.

        Raises:
            OSError: the disk fails.

        """
        if self._fd >= 0:
            getattr(os, "fdatasync", os.fsync)(self._fd)

    def sync_folders(self) -> None:
        """Have the name of the present segment on the disk, and that of the journal."""
        for folder in (self._journal.path, self._journal.path.parent):
            fd = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    @property
    def is_open(self) -> bool:
        """Whether there is a segment to append to."""
        return self._fd >= 0

    def dup(self) -> int:
        """Return a descriptor of the present segment, to read what is in it though it be removed."""
        return os.dup(self._fd)

    def close(self) -> None:
        """Complete the present segment."""
        # A child that is forked in between must not close what has been closed.
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):  # the leavings of a failed write would look like damage
                os.ftruncate(fd, self.end.offset)
            os.close(fd)

    def close_in_child(self) -> None:
        """Close what a forked child has of it, and leave the file as it is."""
        _close_in_child(self._fd)


class Reader:
    """Reads a journal from its cursor on.

    Args:
        journal: where from.
        writer: what is still appending to it; None: it is complete.

    """

    def __init__(self, journal: Journal, writer: Writer | None = None) -> None:
        self.journal = journal
        self._writer = writer
        self.damaged_bytes = 0
        """How much of what was taken could not be read."""
        self.removed: set[int] = set()
        """Segments that had to go, though they may be open here. Whoever removes one adds it."""
        self.doubts = 0
        self._position = _read_cursor(journal.path)
        self._resource: bytes | None = None
        self._scope: bytes | None = None
        self._fd = self._fd_segment = -1

    @property
    def position(self) -> Position:
        """Where what has not been taken begins."""
        return self._position

    def read(self, max_records: int, max_bytes: int) -> Batch | None:
        """Return the next records, at least one, whatever its size; None: there is none.

        Until `take` is called, they stay the next.
        """
        while (found := self._open_next()) is not None:
            limit, is_complete = found
            batch = self._read_segment(limit, max_records, max_bytes)
            if batch.entries:
                return batch
            if not is_complete:
                return None
            self.damaged_bytes += batch.damaged_bytes
            self._remove_segment()
        return None

    def rest(self) -> list[Entry]:
        """Return all that can still be read where somebody has removed the folder."""
        entries: list[Entry] = []
        if self._fd >= 0:
            limit = os.fstat(self._fd).st_size
            entries += self._read_segment(limit, sys.maxsize, limit).entries
        if self._writer is not None and self._writer.is_open and self._writer.end.segment != self._fd_segment:
            self.close()
            self._fd, self._fd_segment = self._writer.dup(), self._writer.end.segment
            self._position = Position(self._fd_segment, 0)
            entries += self._read_segment(self._writer.end.offset, sys.maxsize, sys.maxsize // 2).entries
        return entries

    def take(self, batch: Batch) -> None:
        """Note that a batch needs to be read no more."""
        self.damaged_bytes += batch.damaged_bytes
        if batch.segment != self._position.segment:
            return  # which had to go meanwhile
        self._position = Position(batch.segment, batch.ends[-1])
        self._resource, self._scope = batch.entries[-1].resource, batch.entries[-1].scope
        with suppress(OSError):  # a cursor that lags only repeats
            cursor = self.journal.path / "cursor"
            text = f"{self._position.segment} {self._position.offset}"
            cursor.with_suffix(".new").write_text(f"{text} {crc32(text.encode())}\n")
            cursor.with_suffix(".new").replace(cursor)

    def discard(self) -> None:
        """Remove the segment that is being read, of which all was taken."""
        if self._fd_segment == self._position.segment:
            self._remove_segment()

    def close(self) -> None:
        """Close the file; the lock is the journal's."""
        fd, self._fd, self._fd_segment = self._fd, -1, -1
        if fd >= 0:
            os.close(fd)

    def close_in_child(self) -> None:
        """Close what a forked child has of it."""
        _close_in_child(self._fd)

    def _open_next(self) -> tuple[int, bool] | None:
        """Open the first segment that is not taken; return where it ends, and whether it stays so."""
        if self._fd_segment in self.removed:
            self.close()
        if self._fd_segment != self._position.segment or self._fd < 0:
            numbers = [number for number in segments(self.journal.path) if number >= self._position.segment]
            if not numbers:
                return None
            self.close()
            number = numbers[0]
            offset = self._position.offset if number == self._position.segment else 0
            try:
                self._fd = _open(_segment(self.journal.path, number), os.O_RDONLY)
            except FileNotFoundError:  # too old, and removed right now
                return self._open_next()
            self._fd_segment, self._position = number, Position(number, offset)
            self._read_contexts(offset)
        # Read only now: what is open may have been begun a moment ago, and the writer be about to say so.
        end = self._writer.end if self._writer is not None else Position(sys.maxsize, 0)
        if self._fd_segment < end.segment:
            return os.fstat(self._fd).st_size, True
        return (end.offset if self._fd_segment == end.segment else 0), False

    def _read_contexts(self, offset: int) -> None:
        """Find the resource and the scope that hold at an offset."""
        for found in frames(os.pread(self._fd, offset, 0), is_all=True) if offset else ():
            self._see(found.kind, found.payload)

    def _see(self, kind: int, payload: bytes) -> None:
        if kind == RESOURCE:
            self._resource = payload
        elif kind == SCOPE:
            self._scope = payload

    def _read_segment(self, limit: int, max_records: int, max_bytes: int) -> Batch:
        offset = self._position.offset
        size = max_bytes + _READ_AHEAD_BYTES
        while True:
            data = os.pread(self._fd, min(size, max(limit - offset, 0)), offset)
            is_all = offset + len(data) >= limit
            batch = self._batch_of(data, is_all, max_records, max_bytes)
            if batch.entries or is_all:
                return batch
            size *= 2

    def _batch_of(self, data: bytes, is_all: bool, max_records: int, max_bytes: int) -> Batch:  # noqa: FBT001
        entries: list[Entry] = []
        ends: list[int] = []
        resource, scope = self._resource, self._scope
        offset = self._position.offset
        end = healthy_bytes = size_bytes = 0
        # One that a receiver is in doubt of is sent with another one, which tells.
        at_least = 2 if self.doubts else 1
        for kind, payload, frame_end in frames(data, is_all=is_all):
            size_bytes += len(payload)
            if kind == RESOURCE:
                resource = payload
            elif kind == SCOPE:
                scope = payload
            elif len(entries) >= at_least and (len(entries) >= max_records or size_bytes > max_bytes):
                break
            else:
                resource = self._any_of(RESOURCE) if resource is None else resource
                scope = self._any_of(SCOPE) if scope is None else scope
                entries.append(Entry(resource, scope, payload))
                ends.append(offset + frame_end)
            end = frame_end
            healthy_bytes += OVERHEAD_BYTES + len(payload)
        damaged_bytes = (end if entries else len(data)) - healthy_bytes
        return Batch(entries, ends, self._position.segment, damaged_bytes)

    def _any_of(self, kind: int) -> bytes:
        """Find a resource or scope for records that have lost theirs: a process hardly ever has two."""
        paths = [_segment(self.journal.path, number) for number in segments(self.journal.path)]
        for path in (*paths, self.journal.path / "context"):
            with suppress(OSError):
                for found in frames(path.read_bytes(), is_all=True):
                    if found.kind == kind:
                        return found.payload
        return b""

    def _remove_segment(self) -> None:
        with suppress(OSError):
            _segment(self.journal.path, self._fd_segment).unlink()
        self.close()
        self._position = Position(self._position.segment + 1, 0)


def segments(journal: Path) -> list[int]:
    """Return the numbers of the segments of a journal, in order."""
    with suppress(OSError):
        names = [path.stem for path in journal.iterdir() if path.suffix == _SUFFIX]
        return sorted(int(name) for name in names if name.isdigit())
    return []


def waiting(journal: Path) -> Iterator[Entry]:
    """Read the records of a journal that have not been taken, and leave all as it is."""
    cursor = _read_cursor(journal)
    resource = scope = b""
    for number in segments(journal):
        with suppress(OSError):  # taken meanwhile, or not ours to read
            for kind, payload, end in frames(_segment(journal, number).read_bytes(), is_all=True):
                if kind == RESOURCE:
                    resource = payload
                elif kind == SCOPE:
                    scope = payload
                elif (number, end) > cursor:
                    yield Entry(resource, scope, payload)


def count_records(journal: Path, number: int, cursor: Position | None = None) -> int:
    """Return how many records of a segment lie behind a cursor, by default that on the disk."""
    cursor = _read_cursor(journal) if cursor is None else cursor
    if number < cursor.segment:
        return 0
    offset = cursor.offset if number == cursor.segment else 0
    with suppress(OSError):
        data = _segment(journal, number).read_bytes()[offset:]
        return sum(found.kind == RECORD for found in frames(data, is_all=True))
    return 0


def segment_name(number: int) -> str:
    """Return the file name of a segment."""
    return f"{number:08d}{_SUFFIX}"


def lock_file(path: Path) -> int:
    """Wait for the lock of a file; it is given back when the returned descriptor is closed."""
    fd = _open(path, os.O_RDWR | os.O_CREAT)
    _lock_fds.add(fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError:
        unlock(fd)
        raise
    return fd


def unlock(fd: int) -> None:
    """Give a lock back, also where a child that was forked a moment ago has the file open, too."""
    _lock_fds.discard(fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


_lock_fds: Final[set[int]] = set()


def _leave_locks_to_parent() -> None:
    """Close in a forked child what holds locks of its parent, which keeps them."""
    for fd in _lock_fds:
        _close_in_child(fd)
    _lock_fds.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_locks_to_parent)


def _close_in_child(fd: int) -> None:
    if fd >= 0:
        with suppress(OSError):  # it was just being closed
            os.close(fd)


def _segment(journal: Path, number: int) -> Path:
    return journal / segment_name(number)


def _open(path: Path, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)


def _read_cursor(journal: Path) -> Position:
    with suppress(OSError, ValueError):
        segment, offset, checksum = (journal / "cursor").read_text().split()
        if crc32(f"{segment} {offset}".encode()) == int(checksum):
            return Position(int(segment), int(offset))
    return Position(0, 0)
