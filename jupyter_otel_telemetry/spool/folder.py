"""The folder of a spool: its options, its files, and how much of them it may hold."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.spool import files
from jupyter_otel_telemetry.spool.files import File
from jupyter_otel_telemetry.spool.journal import Journal
from jupyter_otel_telemetry.spool.rejected import rejected_files

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        found = self._format()
        if found not in (_FORMAT, ""):
            raise ValueError(
                f"{self.path} holds {found.strip()[:80]!r}, which this version cannot read: "
                "let the version that wrote it send it, or take another folder"
            )

    def _format(self) -> str:
        """Return what FORMAT says: nothing if it is absent, or was cut off when the machine lost power."""
        try:
            file = File(self.path / "FORMAT", os.O_RDONLY)
        except FileNotFoundError:
            return ""
        try:
            return file.read(1000, 0).strip(b"\0").decode(errors="replace")
        finally:
            file.close()

    def prepare(self) -> None:
        """Create what is not there; nobody else may look into it.

        Raises:
            ValueError: it is a spool that this version cannot read.
            OSError: it cannot be created.

        """
        self.check_format()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.path, self.queue, self.rejected):
            if not files.exists(folder):
                with suppress(FileExistsError):
                    files.make_folder(folder, is_inner=folder != self.path)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "the spool must be able to write here", str(folder))
        if not self._format():
            new = self.path / f".FORMAT-{token_hex(8)}"
            files.replace_content(self.path / "FORMAT", _FORMAT.encode(), new, is_synced=True)
            files.sync_folder(self.path.parent)

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
        """Return the files with records that were rejected for good; raise `OSError`."""
        return rejected_files(self.rejected)

    def journals(self) -> list[Path]:
        """Return the folders of all journals, the oldest first; raise `OSError`."""
        return Journal.all_in(self.queue)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
