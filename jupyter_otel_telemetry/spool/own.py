"""The journal that this process appends to."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from jupyter_otel_telemetry.spool import files
from jupyter_otel_telemetry.spool.frames import frames_to
from jupyter_otel_telemetry.spool.journal import Journal, Position, segment_path
from jupyter_otel_telemetry.spool.memory import MAX_MEMORY_BYTES
from jupyter_otel_telemetry.spool.reader import Reader
from jupyter_otel_telemetry.spool.writer import Writer

if TYPE_CHECKING:
    from jupyter_otel_telemetry.otlp.entries import Entry
    from jupyter_otel_telemetry.spool.folder import SpoolFolder

__all__ = ["Own", "SyncError"]


class SyncError(OSError):
    """The disk has not confirmed records; they are in the file, and survive the process."""


class Own:
    """The journal that this process appends to; with durability "power", synced.

    After a failed sync, the system may have forgotten data that it still shows, and say that the next sync worked.
    So records are kept in memory until they are synced, and written to another file after a failure.

    `append` and `begin_segment` are called by one thread at a time; the lock in here guards syncs.

    Args:
        folder: of the spool.

    Raises:
        OSError: the journal cannot be made.
        ValueError: a newer version has taken the folder.

    """

    def __init__(self, folder: SpoolFolder) -> None:
        folder.prepare()
        self._is_synced = folder.options.durability == "power"
        self.journal = Journal.create(folder.queue)
        self.writer = Writer(self.journal, folder.options.segment_bytes)
        try:
            self.reader = Reader(self.journal, self.writer)
        except OSError:
            self.journal.close(remove=True)
            raise
        self._lock = threading.RLock()
        self._synced = Position(0, 0)
        self._unsynced: deque[tuple[Position, Entry]] = deque()
        self._unsynced_bytes = 0
        self.is_failing = False
        """Whether the disk has not confirmed all that it was to sync."""

    def append(self, entry: Entry) -> None:
        """Append a record to the present segment; raise `OSError`."""
        self.writer.append(entry)
        if self._is_synced:
            self._unsynced.append((self.writer.end, entry))
            self._unsynced_bytes += entry.size_bytes
            while self.is_failing and self._unsynced_bytes > MAX_MEMORY_BYTES:
                self._forget_oldest()

    def begin_segment(self) -> None:
        """Begin a new segment, and sync the one before; raise `OSError`."""
        with self._lock:
            if self._unsynced and not self.is_failing:
                self.sync(self.writer.end)
            self.writer.begin_segment()

    def sync(self, position: Position) -> None:
        """Wait until all that ends at a position is on the disk; threads that wait for the same sync share it.

        Raises:
            SyncError: the disk fails.

        """
        with self._lock:
            if self.is_failing:
                raise SyncError("earlier records have not been synced yet")
            if not self._is_synced or position <= self._synced:
                return
            end = self.writer.end
            try:
                self.writer.sync()
            except OSError as error:
                self.is_failing = True
                raise SyncError(error.errno, error.strerror or str(error)) from error
            self._synced = end
            while self._unsynced and self._unsynced[0][0] <= end:
                self._forget_oldest()

    def rewrite(self) -> int:
        """Write the records that are not synced to another file; return how many there were.

        Raises:
            OSError: the disk fails again; everything is as before.

        """
        with self._lock:
            entries = [entry for _, entry in self._unsynced]
            path = segment_path(self.journal.path, self.writer.end.segment + 1)
            files.replace_content(path, frames_to(entries), self.journal.path / "rewritten", is_synced=True)
            files.sync_folder(self.journal.path.parent)
            self.writer.begin_segment(after=self.writer.end.segment + 1)
            self._unsynced.clear()
            self._unsynced_bytes = 0
            self._synced = self.writer.end
            self.is_failing = False
        return len(entries)

    def tidy(self) -> None:
        """Remove the present segment if all of it was taken; raise `OSError`."""
        with self._lock:
            if self.reader.read(1, 1) is None:
                self.writer.close()
                self.reader.discard()

    def leave(self) -> None:
        """Leave the journal to others, or as somebody has removed it."""
        with self._lock:
            self.writer.close()
        self.reader.close()
        self.journal.close(remove=False)

    def close(self) -> None:
        """Leave the journal to others, or remove it if nothing waits in it."""
        with self._lock:
            self.writer.close()
        try:
            is_empty = self.reader.read(1, 1) is None
            if is_empty:
                self.reader.discard()
                self.reader.finish()
        except OSError:
            is_empty = False
        self.reader.close()
        self.journal.close(remove=is_empty)

    def _forget_oldest(self) -> None:
        _, entry = self._unsynced.popleft()
        self._unsynced_bytes -= entry.size_bytes
