"""Holds records while the disk accepts no writes."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

from jupyter_otel_telemetry.otlp.batch_sender import Trial
from jupyter_otel_telemetry.spool.reader import Batch

if TYPE_CHECKING:
    from jupyter_otel_telemetry.otlp.entries import Entry

__all__ = ["MAX_MEMORY_BYTES", "MemoryBuffer"]

MAX_MEMORY_BYTES: Final = 16 * 1024 * 1024
"""Size from which the oldest records are dropped."""


class MemoryBuffer:
    """Holds records in the order of their arrival, at most `MAX_MEMORY_BYTES` of them."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._size_bytes = 0
        self._first = 0  # number of the first one: the oldest may be dropped while it is being sent
        self.trial = Trial()

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, entry: Entry) -> int:
        """Add a record; return the number of older ones that were dropped for it."""
        self._entries.append(entry)
        self._size_bytes += entry.size_bytes
        dropped = 0
        while self._size_bytes > MAX_MEMORY_BYTES and len(self._entries) > 1:
            self.pop()
            dropped += 1
        return dropped

    def prepend(self, entries: list[Entry]) -> None:
        """Add records that are older than all here."""
        self._entries.extendleft(reversed(entries))
        self._size_bytes += sum(entry.size_bytes for entry in entries)

    def first(self) -> Entry:
        """Return the oldest."""
        return self._entries[0]

    def pop(self) -> None:
        """Remove the oldest."""
        self._size_bytes -= self._entries.popleft().size_bytes
        self._first += 1

    def read(self, max_records: int, max_bytes: int) -> Batch | None:
        """Return the oldest ones, at least one, or None if there is none."""
        entries: list[Entry] = []
        size_bytes = 0
        for entry in islice(self._entries, max_records):
            size_bytes += entry.size_bytes
            if entries and size_bytes > max_bytes:
                break
            entries.append(entry)
        numbers = range(self._first + 1, self._first + len(entries) + 1)
        return Batch(entries, list(numbers), 0) if entries else None

    def commit(self, batch: Batch) -> int:
        """Remove them; return how many were still there."""
        before = len(self._entries)
        while self._entries and self._first < batch.ends[-1]:
            self.pop()
        return before - len(self._entries)
