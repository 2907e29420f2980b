"""The folder of a spool: what it may hold, how much of it, and what was refused for good."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jupyter_otel_telemetry.otlp.entries import message_of
from jupyter_otel_telemetry.otlp.otlpjson import to_json
from jupyter_otel_telemetry.spool.journal import (
    Journal,
    can_lock,
    count_records,
    lock_file,
    segment_path,
    segments,
    unlock,
)
from jupyter_otel_telemetry.times import rfc3339

try:
    import pwd
except ImportError:  # on Windows, where there is no spool
    pwd = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jupyter_otel_telemetry.otlp.answers import Answer
    from jupyter_otel_telemetry.otlp.entries import Entry
    from jupyter_otel_telemetry.spool.journal import Position

__all__ = ["DURABILITIES", "WHEN_FULL", "SpoolFolder", "SpoolOptions"]

DURABILITIES: Final = ("process", "power")
"""What a record survives that is in the spool: the end of its process, or that of the machine's power too."""
WHEN_FULL: Final = ("drop_oldest", "refuse_new")

MIN_SIZE_BYTES: Final = 256 * 1024
MAX_SEGMENT_BYTES: Final = 4 * 1024 * 1024
SEGMENTS_PER_SPOOL: Final = 8
_FORMAT: Final = "jupyter-otel-telemetry spool, format 1\n"


@dataclass(frozen=True)
class SpoolOptions:
    """Where records wait until a receiver has accepted them, and how.

    Args:
        folder: where; it is created if it is not there. One folder has one destination; any number of processes
            may share it.
        durability: "process" (default): what is in the spool survives the end of its process, however it ends;
            "power": also that of the machine, as far as its disk keeps what it says it has. Costs an `fdatasync` a
            record, which threads that record at the same time share.
        max_size_bytes: of all files together; 1 GiB by default. What is removed is removed by files of an eighth
            of it, at most 4 MiB.
        max_age_s: what has waited longer is dropped, by files too; None, the default: nothing is.
        when_full: "drop_oldest" (default) or "refuse_new".

    Raises:
        ValueError: an option has no meaning; the text says what to write.

    """

    folder: str | os.PathLike[str]
    durability: str = "process"
    max_size_bytes: int = 1024**3
    max_age_s: float | None = None
    when_full: str = "drop_oldest"

    def __post_init__(self) -> None:
        if not can_lock():
            raise ValueError("a spool needs POSIX file locks, which this system does not have")
        if not isinstance(self.folder, (str, os.PathLike)) or not str(self.folder):
            raise ValueError(f"spool folder must be a path, not {self.folder!r}")
        for name, choices in (("durability", DURABILITIES), ("when_full", WHEN_FULL)):
            if getattr(self, name) not in choices:
                raise ValueError(f"spool {name} {getattr(self, name)!r} is unknown; use one of {', '.join(choices)}")
        if not _is_number(self.max_size_bytes) or self.max_size_bytes < MIN_SIZE_BYTES:
            raise ValueError(f"spool max_size_bytes must be a number of at least {MIN_SIZE_BYTES}")
        if self.max_age_s is not None and not (_is_number(self.max_age_s) and self.max_age_s > 0):
            raise ValueError("spool max_age_s must be a positive number of seconds, or None")

    @classmethod
    def of(cls, spool: str | os.PathLike[str] | Mapping[str, Any] | SpoolOptions) -> SpoolOptions:
        """Return the options that a folder alone, or a mapping of them, stands for."""
        if isinstance(spool, SpoolOptions):
            return spool
        if isinstance(spool, (str, os.PathLike)):
            return cls(spool)
        try:
            return cls(**spool)
        except TypeError:
            known = ", ".join(cls.__dataclass_fields__)
            raise ValueError(f"spool must be a folder, or a mapping with a folder and any of {known}") from None

    @property
    def segment_bytes(self) -> int:
        """Size at which a new file begins."""
        return min(MAX_SEGMENT_BYTES, int(self.max_size_bytes) // SEGMENTS_PER_SPOOL)


class _File(NamedTuple):
    """A file that counts for the size of a spool and may be removed; `segment` is None for what was refused."""

    modified_s: float
    size_bytes: int
    path: Path
    segment: int | None


class Removed(NamedTuple):
    """A file that had to go: what it was, how many records of it had not been taken, and why: "full" or "age"."""

    journal: Path
    segment: int | None
    records: int
    reason: str


class SpoolFolder:
    """What is on the disk.

    Args:
        options: of the spool.

    """

    def __init__(self, options: SpoolOptions) -> None:
        self.options = options
        # Absolute, since daemons change their directory.
        self.path = Path(options.folder).expanduser().absolute()
        self.queue = self.path / "queue"
        self.rejected = self.path / "rejected"

    def __repr__(self) -> str:
        return f"spool {self.path}"

    def check_format(self) -> None:
        """Read what is there.

        Raises:
            ValueError: it is a spool that this version cannot read.
            OSError: it cannot be read.

        """
        try:
            with self._explaining():
                found = (self.path / "FORMAT").read_text()
        except FileNotFoundError:
            return
        if found != _FORMAT:
            raise ValueError(
                f"spool folder {self.path} holds {found.strip()[:80]!r}, which this version cannot read: "
                "let the version that wrote it send it, or name another folder in spool"
            )

    def prepare(self) -> None:
        """Create what is not there; nobody else may look into it.

        Raises:
            ValueError: another version wrote the folder, and this version cannot read it.
            OSError: the folder cannot be created or written to; the text names it and its owner.

        """
        self.check_format()
        with self._explaining():
            for folder in (self.path, self.queue, self.rejected):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                if not os.access(folder, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
            if not (self.path / "FORMAT").exists():
                new = self.path / f"FORMAT.{os.getpid()}"
                new.write_text(_FORMAT)
                new.replace(self.path / "FORMAT")

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Let an `OSError` name the folder, its owner, and the option that names the folder."""
        try:
            yield
        except OSError as error:
            place = Path(error.filename or self.path)
            explained = type(error)(
                f"spool folder {self.path} cannot be used: {error.strerror or error} at {place}. "
                f"{_ownership(place)}. Let this user write there, or name another folder in spool"
            )
            explained.errno = error.errno
            raise explained from error

    def size_bytes(self) -> int:
        """Return the size of all that waits and all that was refused."""
        return sum(file.size_bytes for file in self._files())

    def is_full(self) -> bool:
        """Tell whether the limit is reached by what waits."""
        waiting_bytes = sum(file.size_bytes for file in self._files() if file.segment is not None)
        return waiting_bytes > self.options.max_size_bytes - self.options.segment_bytes

    def make_room(self, cursors: Mapping[Path, Position]) -> list[Removed]:
        """Remove the oldest files above the limits; of what waits none, where new records are to be refused instead.

        Args:
            cursors: up to where journals have been taken, where that is known better than from the disk.

        """
        options = self.options
        files = sorted(self._files())
        excess_bytes = sum(file.size_bytes for file in files) - options.max_size_bytes
        oldest_s = -1.0 if options.max_age_s is None else time.time() - options.max_age_s
        if excess_bytes <= 0 and (not files or files[0].modified_s >= oldest_s):
            return []
        in_use = {journal: _segment_in_use(journal) for journal in {file.path.parent for file in files}}
        removed = []
        for file in files:
            if file.segment is not None and file.segment == in_use[file.path.parent]:
                continue
            is_old = file.modified_s < oldest_s
            is_kept = options.when_full == "refuse_new" and file.segment is not None
            if not is_old and (excess_bytes <= 0 or is_kept):
                continue
            # What was refused has been counted as that.
            journal = file.path.parent
            count = 0 if file.segment is None else count_records(journal, file.segment, cursors.get(journal))
            with suppress(OSError):  # somebody else has removed it
                file.path.unlink()
                removed.append(Removed(journal, file.segment, count, "age" if is_old else "full"))
            excess_bytes -= file.size_bytes
        return removed

    def _files(self) -> Iterator[_File]:
        for journal in self.journals():
            for number in segments(journal):
                path = segment_path(journal, number)
                with suppress(OSError):
                    found = path.stat()
                    yield _File(found.st_mtime, found.st_size, path, number)
        for path in self.rejected_files():
            with suppress(OSError):
                found = path.stat()
                yield _File(found.st_mtime, found.st_size, path, None)

    def rejected_files(self) -> list[Path]:
        """Return the files with what was refused for good."""
        return sorted(self.rejected.glob("*.jsonl"))

    def journals(self) -> list[Path]:
        """Return the folders of all journals, the oldest first."""
        return Journal.all_in(self.queue)

    def set_aside(self, entries: Sequence[Entry], answer: Answer, rejected: int, destination: str) -> None:
        """Keep what was refused for good, with the reason. Of a partial success nobody knows which are meant: all.

        Raises:
            OSError: it cannot be written.

        """
        why = {
            "time": rfc3339(time.time_ns()),
            "status": answer.status,
            "reason": answer.reason,
            "rejected": rejected,
            "destination": destination,
        }
        line = to_json(message_of(entries)) | {"refused": why}
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        self.rejected.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.rejected_locked():
            path = self.rejected / f"{time.strftime('%Y%m%d', time.gmtime())}-{os.getpid()}.jsonl"
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            with os.fdopen(fd, "r+b") as file:
                size_bytes = file.seek(0, os.SEEK_END)
                try:
                    file.write(data)
                    file.flush()
                except OSError:
                    file.truncate(size_bytes)  # half a line would spoil the next one
                    raise

    @contextmanager
    def rejected_locked(self) -> Iterator[None]:
        """Keep others from adding to what was refused, and from taking it away."""
        fd = lock_file(self.rejected / ".lock")
        try:
            yield
        finally:
            unlock(fd)


def _segment_in_use(journal: Path) -> int | None:
    """Return the number of the segment that a process appends to."""
    numbers = segments(journal)
    is_appended_to = numbers and (journal / "appending").exists() and Journal.is_in_use(journal)
    return numbers[-1] if is_appended_to else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _ownership(path: Path) -> str:
    """Say to whom a path belongs, or the nearest folder above it that exists, and who this process is."""
    while True:
        try:
            found = path.stat()
            break
        except OSError:
            path = path.parent
    owner, user = _user_name(found.st_uid), _user_name(os.geteuid())
    return f"{path} belongs to {owner}, mode {stat.S_IMODE(found.st_mode):04o}, and this process runs as {user}"


def _user_name(number: int) -> str:
    try:
        return f"{pwd.getpwuid(number).pw_name} ({number})"
    except KeyError:  # containers often run as users without a name
        return f"user {number}"
