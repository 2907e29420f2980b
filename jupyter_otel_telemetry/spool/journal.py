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
import time
from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from jupyter_otel_telemetry.otlp.entries import Entry
from jupyter_otel_telemetry.spool.frames import RECORD, RESOURCE, SCOPE, frames

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "Journal",
    "Position",
    "can_lock",
    "close_in_child",
    "count_records",
    "lock_file",
    "open_private",
    "read_cursor",
    "segment_path",
    "segments",
    "unlock",
    "waiting",
    "write_cursor",
]

_SUFFIX: Final = ".seg"
_NAME: Final = re.compile(r"\d{20}-\d+-[0-9a-f]+")


class Position(NamedTuple):
    """A place in a journal. All of earlier segments lies before it."""

    segment: int
    offset: int


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
            lock_fd = open_private(path / "lock", os.O_RDONLY)
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
            fd = open_private(path / "lock", os.O_RDONLY)
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


def segments(journal: Path) -> list[int]:
    """Return the numbers of the segments of a journal, in order."""
    with suppress(OSError):
        names = [path.stem for path in journal.iterdir() if path.suffix == _SUFFIX]
        return sorted(int(name) for name in names if name.isdigit())
    return []


def waiting(journal: Path) -> Iterator[Entry]:
    """Read the records of a journal that have not been taken, and leave all as it is."""
    cursor = read_cursor(journal)
    resource = scope = b""
    for number in segments(journal):
        with suppress(OSError):  # taken meanwhile, or not ours to read
            for kind, payload, end in frames(segment_path(journal, number).read_bytes(), is_all=True):
                if kind == RESOURCE:
                    resource = payload
                elif kind == SCOPE:
                    scope = payload
                elif (number, end) > cursor:
                    yield Entry(resource, scope, payload)


def count_records(journal: Path, number: int, cursor: Position | None = None) -> int:
    """Return how many records of a segment lie behind a cursor, by default that on the disk."""
    cursor = read_cursor(journal) if cursor is None else cursor
    if number < cursor.segment:
        return 0
    offset = cursor.offset if number == cursor.segment else 0
    with suppress(OSError):
        data = segment_path(journal, number).read_bytes()[offset:]
        return sum(found.kind == RECORD for found in frames(data, is_all=True))
    return 0


def lock_file(path: Path) -> int:
    """Wait for the lock of a file; it is given back when the returned descriptor is closed."""
    fd = open_private(path, os.O_RDWR | os.O_CREAT)
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
        close_in_child(fd)
    _lock_fds.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_locks_to_parent)


def close_in_child(fd: int) -> None:
    """Close in a forked child what its parent may just have been closing."""
    if fd >= 0:
        with suppress(OSError):
            os.close(fd)


def segment_path(journal: Path, number: int) -> Path:
    """Return the file of a segment."""
    return journal / f"{number:08d}{_SUFFIX}"


def open_private(path: Path, flags: int) -> int:
    """Open a file that nobody else may read, and that no program which is started inherits."""
    return os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)


def read_cursor(journal: Path) -> Position:
    """Return up to where all is done with, as far as that can be read."""
    with suppress(OSError, ValueError):
        segment, offset, checksum = (journal / "cursor").read_text().split()
        if crc32(f"{segment} {offset}".encode()) == int(checksum):
            return Position(int(segment), int(offset))
    return Position(0, 0)


def write_cursor(journal: Path, position: Position) -> None:
    """Replace the cursor.

    Raises:
        OSError: it cannot be written.

    """
    text = f"{position.segment} {position.offset}"
    new = journal / "cursor.new"
    new.write_text(f"{text} {crc32(text.encode())}\n")
    new.replace(journal / "cursor")
