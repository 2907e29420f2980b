"""Reads a journal, also while it is appended to."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from jupyter_otel_telemetry.otlp.courier import RECORDS_IN_DOUBT, Trial
from jupyter_otel_telemetry.otlp.entries import Entry
from jupyter_otel_telemetry.spool.frames import OVERHEAD_BYTES, RESOURCE, SCOPE, frames
from jupyter_otel_telemetry.spool.journal import (
    Position,
    close_in_child,
    open_private,
    read_cursor,
    segment_path,
    segments,
    write_cursor,
)

if TYPE_CHECKING:
    from jupyter_otel_telemetry.spool.journal import Journal
    from jupyter_otel_telemetry.spool.writer import Writer

__all__ = ["Batch", "Reader"]

_READ_AHEAD_BYTES: Final = 64 * 1024


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
        self.trial = Trial()
        self._position = read_cursor(journal.path)
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
            write_cursor(self.journal.path, self._position)

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
        close_in_child(self._fd)

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
                self._fd = open_private(segment_path(self.journal.path, number), os.O_RDONLY)
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
        at_least = RECORDS_IN_DOUBT if self.trial.is_suspicious else 1
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
        paths = [segment_path(self.journal.path, number) for number in segments(self.journal.path)]
        for path in (*paths, self.journal.path / "context"):
            with suppress(OSError):
                for found in frames(path.read_bytes(), is_all=True):
                    if found.kind == kind:
                        return found.payload
        return b""

    def _remove_segment(self) -> None:
        with suppress(OSError):
            segment_path(self.journal.path, self._fd_segment).unlink()
        self.close()
        self._position = Position(self._position.segment + 1, 0)
