"""The records that one process has spooled: a folder of its own, with segment files, a lock, and a cursor.

    queue/<time>-<process id>-<random>/
        lock            flock'ed by the process that appends to, or sends from, this journal
        appending       is there until another process takes over the journal
        00000001.seg    frames; the newest segment is appended to, the others are complete
        context         the first resource and scope, a second time
        cursor          "<segment> <offset> <checksum>": records before it are done with; may lag, must not run ahead

The lock dies with its process, however that dies. The process that gets it then owns the journal. A journal has a
hidden name while it is made and while it is removed.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from jupyter_otel_telemetry.spool import files
from jupyter_otel_telemetry.spool.files import File
from jupyter_otel_telemetry.spool.frames import RECORD, frames_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Journal",
    "Position",
    "count_records",
    "new_name",
    "read_cursor",
    "segment_path",
    "segments",
    "write_cursor",
]

_SUFFIX: Final = ".seg"
_NAME: Final = re.compile(r"\d{20}-\d+-[0-9a-f]+")


class Position(NamedTuple):
    """A place in a journal. All of earlier segments lies before it."""

    segment: int
    offset: int


class Journal:
    """The folder of a journal, whose lock this process holds."""

    def __init__(self, path: Path, lock: File) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, queue: Path) -> Journal:
        """Make a journal for this process. It gets its name when the lock is held, so nobody finds it before.

        Raises:
            OSError: it cannot be made; nothing is left of it.

        """
        name = new_name()
        hidden = queue / f".{name}"
        lock = None
        try:
            files.make_folder(hidden)
            lock = File(hidden / "lock", os.O_RDWR | os.O_CREAT | os.O_EXCL)
            lock.lock()
            File(hidden / "appending", os.O_WRONLY | os.O_CREAT).close()
            files.rename(hidden, queue / name)
        except OSError:
            with suppress(OSError):  # a leftover is swept later
                files.remove_folder(hidden)
            if lock is not None:
                lock.close()
            raise
        return cls(queue / name, lock)

    @classmethod
    def adopt(cls, path: Path) -> Journal | None:
        """Take over the journal of a dead process, or return None if it is in use or gone.

        Raises:
            OSError: nobody knows, or it may not be changed.

        """
        try:
            # Made if it is not there: a machine that lost power may have forgotten it.
            lock = File(path / "lock", os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            return None
        try:
            if lock.lock() and lock.is_at(path / "lock"):
                files.remove(path / "appending")
                return cls(path, lock)
        except OSError:
            lock.close()
            raise
        lock.close()
        return None

    @staticmethod
    def all_in(queue: Path) -> list[Path]:
        """Return the folders of all journals, the oldest first; raise `OSError`."""
        return [queue / name for name in sorted(files.folders_in(queue)) if _NAME.fullmatch(name)]

    @staticmethod
    def sweep(queue: Path) -> None:
        """Remove hidden leftovers of processes that died while they made or removed a journal; raise `OSError`."""
        for name in files.folders_in(queue):
            if name.startswith(".") and _NAME.fullmatch(name[1:]) and files.is_leftover(queue / name):
                lock = File(queue / name / "lock", os.O_RDWR | os.O_CREAT)
                try:
                    if lock.lock():
                        files.remove_folder(queue / name)
                finally:
                    lock.close()

    @staticmethod
    def is_in_use(path: Path) -> bool:
        """Tell whether a process appends to, or sends from, a journal; raise `OSError`."""
        try:
            lock = File(path / "lock", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            return not lock.lock(shared=True)
        finally:
            lock.close()

    @staticmethod
    def process_id(path: Path) -> int:
        """Return the id of the process that has made a journal."""
        return int(path.name.split("-")[1])

    @property
    def is_there(self) -> bool:
        """Whether the folder is still where it was, and not another one by the same name; raise `OSError`."""
        return self._lock.is_at(self.path / "lock")

    def regain(self) -> bool:
        """Take the lock back that was released, or lost with its descriptor; False if another process was faster."""
        if not self._lock.is_ours:
            try:
                self._lock = File(self.path / "lock", os.O_RDWR)
            except FileNotFoundError:
                return False
        return self._lock.lock() and self.is_there and files.exists(self.path / "appending")

    def release(self) -> None:
        """Leave the journal to others; `regain` tells whether one has taken it."""
        self._lock.unlock()

    def close(self, *, remove: bool) -> None:
        """Leave the journal to others, or remove it, unless a segment is there."""
        if remove:
            with suppress(OSError):  # then it stays, and is taken over and removed later
                if not segments(self.path):
                    hidden = self.path.with_name(f".{self.path.name}")
                    files.rename(self.path, hidden)
                    files.remove_folder(hidden)
        self._lock.unlock()
        self._lock.close()


def new_name() -> str:
    """Return a name that no other process or container makes; names sort by time."""
    return f"{time.time_ns():020d}-{os.getpid()}-{token_hex(4)}"


def segments(journal: Path) -> list[int]:
    """Return the numbers of the segments of a journal, in order; raise `OSError`."""
    names = [name[: -len(_SUFFIX)] for name in files.names_in(journal) if name.endswith(_SUFFIX)]
    return sorted(int(name) for name in names if name.isdecimal())


def count_records(journal: Path, number: int, cursor: Position | None = None) -> int:
    """Return how many records of a segment lie behind a cursor, by default the one on the disk; raise `OSError`."""
    cursor = read_cursor(journal) if cursor is None else cursor
    if number < cursor.segment:
        return 0
    offset = cursor.offset if number == cursor.segment else 0
    file = File(segment_path(journal, number), os.O_RDONLY)
    try:
        return sum(found.kind == RECORD for found in frames_of(file, offset, file.size_bytes()))
    finally:
        file.close()


def segment_path(journal: Path, number: int) -> Path:
    """Return the file of a segment."""
    return journal / f"{number:08d}{_SUFFIX}"


def read_cursor(journal: Path) -> Position:
    """Return up to where records are done with: the beginning, if nothing is noted or the note is damaged.

    Raises:
        OSError: it cannot be read now.

    """
    try:
        file = File(journal / "cursor", os.O_RDONLY)
    except FileNotFoundError:
        return Position(0, 0)
    except OSError as error:
        if not files.concerns_the_file(error):
            raise
        return Position(0, 0)  # records that are sent again are no loss
    try:
        data = file.read(100, 0)
    finally:
        file.close()
    with suppress(ValueError):
        segment, offset, checksum = data.split()
        if crc32(b"%s %s" % (segment, offset)) == int(checksum):
            return Position(int(segment), int(offset))
    return Position(0, 0)


def write_cursor(journal: Path, position: Position) -> None:
    """Replace the cursor; raise `OSError`."""
    text = b"%d %d" % position
    files.replace_content(journal / "cursor", b"%s %d\n" % (text, crc32(text)), journal / "cursor.new")
