"""Takes rejected records off the queue only once they are stored."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from jupyter_otel_telemetry.spool.acknowledged import making_way
from jupyter_otel_telemetry.spool.memory import MAX_MEMORY_BYTES
from jupyter_otel_telemetry.spool.reader import Reader
from jupyter_otel_telemetry.spool.rejected import RejectedFiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_otel_telemetry.otlp.entries import Entry
    from jupyter_otel_telemetry.spool.folder import SpoolFolder

__all__ = ["Pending"]


class Pending:
    """Stores rejected records. While that fails, they wait in memory, and the queue keeps them on the disk.

    Args:
        folder: of the spool.

    """

    def __init__(self, folder: SpoolFolder) -> None:
        options = folder.options
        self._folder = folder
        self._files = RejectedFiles(folder.rejected, options.segment_bytes, is_synced=options.durability == "power")
        self._waiting: deque[tuple[Sequence[Entry], dict[str, Any]]] = deque()
        self._size_bytes = 0
        self._pinned: set[Reader] = set()

    def __len__(self) -> int:
        return sum(len(entries) for entries, _ in self._waiting)

    def add(self, source: object, entries: Sequence[Entry], why: dict[str, Any]) -> OSError | None:
        """Store records that were rejected; return the reason why they wait instead, or None.

        Raises:
            OSError: they cannot be stored, and too many wait.

        """
        try:
            self.store()
            self._store(entries, why)
        except OSError as error:
            size_bytes = sum(entry.size_bytes for entry in entries)
            if self._waiting and self._size_bytes + size_bytes > MAX_MEMORY_BYTES:
                raise
            self._waiting.append((entries, why))
            self._size_bytes += size_bytes
            if isinstance(source, Reader):
                source.pin()
                self._pinned.add(source)
            return error
        return None

    def store(self) -> None:
        """Store the records that wait; raise `OSError`."""
        while self._waiting:
            entries, why = self._waiting[0]
            self._store(entries, why)
            self._waiting.popleft()
            self._size_bytes -= sum(entry.size_bytes for entry in entries)
        pinned, self._pinned = self._pinned, set()
        for reader in pinned:
            reader.unpin()

    def _store(self, entries: Sequence[Entry], why: dict[str, Any]) -> None:
        making_way(self._folder, lambda: self._files.store(entries, why))

    def close(self) -> int:
        """Store the records; return the number of those that cannot be stored, which the queue keeps."""
        with suppress(OSError):
            self.store()
        return len(self)
