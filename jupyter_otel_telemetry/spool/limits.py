"""Keeps the limits of a spool: its size, and the age of its records."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from jupyter_otel_telemetry.spool import files
from jupyter_otel_telemetry.spool.acknowledged import removable
from jupyter_otel_telemetry.spool.files import exists, stat_of
from jupyter_otel_telemetry.spool.groups import locked
from jupyter_otel_telemetry.spool.journal import Journal, count_records, segment_path, segments
from jupyter_otel_telemetry.spool.messages import DeferredLogger
from jupyter_otel_telemetry.spool.rejected import count_rejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from jupyter_otel_telemetry.spool.folder import SpoolFolder
    from jupyter_otel_telemetry.spool.journal import Position

__all__ = ["Limits", "Removed"]

_SCAN_S: Final = 1.0
"""How often to look at the whole spool at most; less often where that takes long."""
_SCAN_SHARE: Final = 20
_STALE_S: Final = 10.0

_KEEPING_LESS: Final = "%r has reached max_size_bytes: acknowledged records are kept shorter than keep_acknowledged_s"
_logger: Final = DeferredLogger(logging.getLogger(__name__))


class _File(NamedTuple):
    """A file that counts for the size of a spool and may be removed; `segment` is None for records off the queue."""

    modified_s: float
    path: Path  # which decides between files of the same moment: names sort by time
    size_bytes: int
    segment: int | None


class Removed(NamedTuple):
    """A file that had to go: its journal, its number or None for rejected records, how many records, and why."""

    journal: Path
    segment: int | None
    records: int
    reason: str


class Limits:
    """Looks at the whole spool now and then, and removes the oldest files above its limits.

    Args:
        folder: of the spool.

    """

    def __init__(self, folder: SpoolFolder) -> None:
        self._folder = folder
        self._size_bytes = self._waiting_bytes = self._acknowledged_bytes = 0
        self._is_keeping_less = False
        self._scanned_s = time.monotonic()
        self._scan_s = -1.0  # until there was one
        self._files: list[_File] = []
        self._acknowledged: list[_File] = []

    def __repr__(self) -> str:
        return f"looking at the size of {self._folder}"

    @property
    def is_due(self) -> bool:
        """Whether it is time to look again, as often as that is cheap."""
        return self._scan_s < 0 or self._is_older(_SCAN_S)

    @property
    def is_full(self) -> bool:
        """Whether the waiting records have reached the limit."""
        options = self._folder.options
        return self._waiting_bytes > options.max_size_bytes - options.segment_bytes

    def size_bytes(self) -> int:
        """Return the size of all that waits, was rejected, or is kept though acknowledged; raise `OSError`."""
        self._scan()
        return self._size_bytes

    def grow(self, size_bytes: int) -> bool:
        """Note that this process has written; tell whether `make_room` is needed before more is."""
        self._size_bytes += size_bytes
        self._waiting_bytes += size_bytes
        return self._is_older(_STALE_S) or self.is_full or self._size_bytes > self._folder.options.max_size_bytes

    def grow_acknowledged(self, size_bytes: int) -> bool:
        """Note that this process keeps acknowledged records; tell whether they are too many."""
        self._size_bytes += size_bytes
        self._acknowledged_bytes += size_bytes
        return self._size_bytes > self._folder.options.max_size_bytes

    def _is_older(self, age_s: float) -> bool:
        return time.monotonic() - self._scanned_s >= max(age_s, _SCAN_SHARE * self._scan_s)

    def make_room(self, cursors: Mapping[Path, Position]) -> list[Removed]:
        """Remove the oldest files above the limits; no waiting records, if new ones are to be refused instead.

        Acknowledged records go before, and are in no case the reason why others go.

        Args:
            cursors: up to where journals have been taken, where that is known better than from the disk.

        Raises:
            OSError: the spool cannot be listed, and nothing was removed.

        """
        self._scan()
        self._forget_acknowledged()
        options = self._folder.options
        excess_bytes = self._size_bytes - self._acknowledged_bytes - options.max_size_bytes
        oldest_s = -1.0 if options.max_age_s is None else time.time() - options.max_age_s
        if excess_bytes <= 0 and (not self._files or min(self._files).modified_s >= oldest_s):
            return []
        removed = []
        for file in sorted(self._files):
            is_old = file.modified_s < oldest_s
            is_kept = options.when_full == "refuse_new" and file.segment is not None
            if not is_old and (excess_bytes <= 0 or is_kept):
                continue
            count = self._remove(file, cursors)
            if count is not None:
                removed.append(Removed(file.path.parent, file.segment, count, "age" if is_old else "full"))
            elif not _is_gone(file.path):
                continue
            self._note_removed(file)
            excess_bytes -= file.size_bytes
        return removed

    def _forget_acknowledged(self) -> None:
        """Remove acknowledged records that were kept for long enough, and the oldest others above the limit."""
        options = self._folder.options
        oldest_s = time.time() - options.keep_acknowledged_s
        for file in sorted(self._acknowledged):
            is_old = file.modified_s < oldest_s
            if not is_old and self._size_bytes <= options.max_size_bytes:
                break
            try:
                files.remove(file.path)
            except OSError as error:
                _cannot_remove(file.path, error)
                continue
            self._size_bytes -= file.size_bytes
            self._acknowledged_bytes -= file.size_bytes
            if not is_old and not self._is_keeping_less:
                self._is_keeping_less = True
                _logger.warning(_KEEPING_LESS, self._folder)

    def _note_removed(self, file: _File) -> None:
        self._size_bytes -= file.size_bytes
        self._waiting_bytes -= 0 if file.segment is None else file.size_bytes

    def _remove(self, file: _File, cursors: Mapping[Path, Position]) -> int | None:
        """Remove a file unless it is in use; return how many records of it had not been taken."""
        try:
            if file.segment is None:
                return _remove_rejected(file.path)
            journal = file.path.parent
            if _is_appended_to(journal, file.segment):
                return None
            count = _count(journal, file.segment, cursors.get(journal))
            return count if files.remove(file.path) else None
        except FileNotFoundError:  # somebody else was faster
            return None
        except OSError as error:
            _cannot_remove(file.path, error)
            return None

    def _scan(self) -> None:
        began_s = time.monotonic()
        self._files = list(self._all_files())
        self._acknowledged = list(_with_status(removable(self._folder)))
        self._acknowledged_bytes = sum(file.size_bytes for file in self._acknowledged)
        self._size_bytes = sum(file.size_bytes for file in self._files) + self._acknowledged_bytes
        self._waiting_bytes = sum(file.size_bytes for file in self._files if file.segment is not None)
        self._scanned_s = time.monotonic()
        self._scan_s = self._scanned_s - began_s

    def _all_files(self) -> Iterator[_File]:
        for journal in self._folder.journals():
            for number in _segments_or_none(journal):
                path = segment_path(journal, number)
                if (stat := stat_of(path)) is not None:
                    yield _File(stat.st_mtime, path, stat.st_size, number)
        yield from _with_status(self._folder.rejected_files())


def _with_status(paths: Iterable[Path]) -> Iterator[_File]:
    for path in paths:
        if (stat := stat_of(path)) is not None:
            yield _File(stat.st_mtime, path, stat.st_size, None)


def _cannot_remove(path: Path, error: OSError) -> None:
    _logger.error("%s should go for the limits of the spool, but cannot be removed: %s", path, error)


def _segments_or_none(journal: Path) -> list[int]:
    """Return the segments of a journal: none if it cannot be listed, and so nothing is removed from it."""
    try:
        return segments(journal)
    except OSError as error:
        if not files.concerns_the_file(error):
            raise
        return []


def _is_gone(path: Path) -> bool:
    """Tell whether somebody else has removed a file; then it needs not be made up for by another one."""
    try:
        return not exists(path)
    except OSError:
        return False


def _count(journal: Path, segment: int, cursor: Position | None) -> int:
    """Count the records of a segment that goes; 0 if it cannot be read, and could not have been sent either."""
    try:
        return count_records(journal, segment, cursor)
    except OSError as error:
        if not files.concerns_the_file(error):
            raise
        return 0


def _is_appended_to(journal: Path, segment: int) -> bool:
    """Tell whether a segment is the one that a process appends to."""
    return segments(journal)[-1:] == [segment] and exists(journal / "appending") and Journal.is_in_use(journal)


def _remove_rejected(path: Path) -> int | None:
    with locked(path) as file:
        if file is None:
            return None
        try:
            count = count_rejected(path)
        except OSError as error:
            if not files.concerns_the_file(error):
                raise
            count = 0
        return count if files.remove(path) else None
