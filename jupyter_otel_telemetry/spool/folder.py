"""The folder of a spool: its options and its files."""

from __future__ import annotations

import errno
import math
import os
import stat
import sys
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.options import suggestion
from jupyter_otel_telemetry.spool import files
from jupyter_otel_telemetry.spool.files import File
from jupyter_otel_telemetry.spool.groups import group_files
from jupyter_otel_telemetry.spool.journal import Journal
from jupyter_otel_telemetry.spool.rejected import rejected_files

try:
    import pwd
except ImportError:  # on Windows, where there is no spool
    pwd = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DURABILITIES", "WHEN_FULL", "SpoolFolder", "SpoolOptions"]

DURABILITIES: Final = ("process", "power")
"""Events that a record in the spool survives: the end of its process, or also a loss of power."""
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
        durability: "process" (default): records in the spool survive the end of its process, however it ends;
            "power": also that of the machine, as far as its disk keeps what it says it has. Costs an `fdatasync` a
            record, which threads that record at the same time share.
        max_size_bytes: of all files together; 1 GiB by default. Records are removed by files of an eighth
            of it, at most 4 MiB.
        max_age_s: records that have waited longer are dropped, by files too; None, the default, means never.
        when_full: "drop_oldest" (default) or "refuse_new".
        keep_acknowledged_s: how long records stay after a receiver has acknowledged them, so that they can be sent
            again; 0, the default: they are deleted at once. They are the first to go at the limit of the size.

    Raises:
        ValueError: an option has no meaning; the text says what to write.

    """

    folder: str | os.PathLike[str]
    durability: str = "process"
    max_size_bytes: int = 1024**3
    max_age_s: float | None = None
    when_full: str = "drop_oldest"
    keep_acknowledged_s: float = 0

    def __post_init__(self) -> None:
        if not files.can_lock():
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
        if not (_is_number(self.keep_acknowledged_s) and self.keep_acknowledged_s >= 0):
            raise ValueError("spool keep_acknowledged_s must be a number of seconds, 0 or more")

    @classmethod
    def from_argument(cls, spool: str | os.PathLike[str] | Mapping[str, Any] | SpoolOptions) -> SpoolOptions:
        """Return the options that a folder alone, or a mapping of them, stands for."""
        if isinstance(spool, SpoolOptions):
            return spool
        if isinstance(spool, (str, os.PathLike)):
            return cls(spool)
        known = [*cls.__dataclass_fields__]
        if not isinstance(spool, Mapping) or "folder" not in spool:
            options = ", ".join(known[1:])
            hint = "".join(suggestion(str(name), ["folder"]) for name in spool) if isinstance(spool, Mapping) else ""
            raise ValueError(f"spool must be a folder, or a mapping with a folder and any of {options}{hint}")
        for name in spool:
            if name not in known:
                hint = suggestion(str(name), known) or f"; the options are {', '.join(known)}"
                raise ValueError(f"spool has no option {name!r}{hint}")
        return cls(**spool)

    @property
    def segment_bytes(self) -> int:
        """Size at which a new file begins."""
        return min(MAX_SEGMENT_BYTES, int(self.max_size_bytes) // SEGMENTS_PER_SPOOL)


class SpoolFolder:
    """The folder of a spool on the disk.

    Args:
        options: of the spool.

    """

    def __init__(self, options: SpoolOptions) -> None:
        self.options = options
        # Absolute, since daemons change their directory.
        self.path = Path(options.folder).expanduser().absolute()
        self.queue = self.path / "queue"
        self.rejected = self.path / "rejected"
        self.acknowledged = self.path / "acknowledged"

    @classmethod
    def without_limits(cls, path: Path) -> SpoolFolder:
        """Return the folder of other programs, for a command; raise `OSError`.

        Their limits are not known, and nothing is to go for looking at it. Where they keep acknowledged records, a
        command does, too.
        """
        keep_s = math.inf if "acknowledged" in files.folders_in(path) else 0
        return cls(SpoolOptions(path, max_size_bytes=sys.maxsize, keep_acknowledged_s=keep_s))

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
                found = self._format()
        except FileNotFoundError:
            return
        if found not in (_FORMAT, ""):
            raise ValueError(
                f"spool folder {self.path} holds {found.strip()[:80]!r}, which this version cannot read: "
                "let the version that wrote it send it, or name another folder in spool"
            )

    def _format(self) -> str:
        """Return the text of FORMAT: empty if it is absent, or was cut off when the machine lost power."""
        try:
            file = File(self.path / "FORMAT", os.O_RDONLY)
        except FileNotFoundError:
            return ""
        try:
            return file.read(1000, 0).strip(b"\0").decode(errors="replace")
        finally:
            file.close()

    def prepare(self) -> None:
        """Create missing folders, for this user only.

        Raises:
            ValueError: another version wrote the folder, and this version cannot read it.
            OSError: the folder cannot be created or written to; the text names it and its owner.

        """
        self.check_format()
        with self._explaining():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.path, self.queue, self.rejected):
                if not files.exists(folder):
                    with suppress(FileExistsError):
                        files.make_folder(folder, is_inner=folder != self.path)
                if not os.access(folder, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
            if not self._format():
                new = self.path / f".FORMAT-{token_hex(8)}"
                files.replace_content(self.path / "FORMAT", _FORMAT.encode(), new, is_synced=True)
                files.sync_folder(self.path.parent)
        self._prepare_acknowledged()

    def _prepare_acknowledged(self) -> None:
        """Create the folder for acknowledged records, or remove it where none are kept; nothing depends on it."""
        with suppress(OSError):
            is_there = self.acknowledged.name in files.folders_in(self.path)
            if self.options.keep_acknowledged_s and not is_there:
                files.make_folder(self.acknowledged)
                files.sync_folder(self.path)
            elif is_there and not self.options.keep_acknowledged_s:
                files.remove_folder(self.acknowledged)

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

    def check_locks(self) -> None:
        """Try whether locks keep others out, as on a disk of this machine.

        Raises:
            OSError: they do not.

        """
        advice = "use a folder on a disk of this machine"
        try:
            is_working = files.working_locks(self.path)
        except OSError as error:
            raise OSError(
                error.errno, f"file locks do not work here ({error.strerror}); {advice}", str(self.path)
            ) from error
        if not is_working:
            raise OSError(errno.ENOLCK, f"file locks do not keep other processes out here; {advice}", str(self.path))

    def rejected_files(self) -> list[Path]:
        """Return the files with rejected records; raise `OSError`."""
        return rejected_files(self.rejected)

    def acknowledged_files(self) -> list[Path]:
        """Return the files with acknowledged records, the oldest first; raise `OSError`."""
        return group_files(self.acknowledged)

    def journals(self) -> list[Path]:
        """Return the folders of all journals, the oldest first; raise `OSError`."""
        return Journal.all_in(self.queue)


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
