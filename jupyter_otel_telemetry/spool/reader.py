"""Reads a journal, also while it is appended to."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from jupyter_otel_telemetry.otlp.batch_sender import RECORDS_IN_DOUBT, Trial
from jupyter_otel_telemetry.otlp.entries import Entry
from jupyter_otel_telemetry.spool import files
from jupyter_otel_telemetry.spool.files import File
from jupyter_otel_telemetry.spool.frames import OVERHEAD_BYTES, RECORD, RESOURCE, SCOPE, Frame, frames, frames_of
from jupyter_otel_telemetry.spool.journal import Position, read_cursor, segment_path, segments, write_cursor
from jupyter_otel_telemetry.spool.messages import DeferredLogger

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from jupyter_otel_telemetry.spool.journal import Journal
    from jupyter_otel_telemetry.spool.writer import Writer

__all__ = ["Batch", "Reader"]

_logger: Final = DeferredLogger(logging.getLogger(__name__))


class Batch(NamedTuple):
    """Records that follow one another, and where the records after them begin."""

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

    A segment that cannot be read is left where it is, and the following ones are read; the cursor on the disk stays
    before it.

    Args:
        journal: to read from.
        writer: still appends to the journal; None if it is complete.

    Raises:
        OSError: the cursor cannot be read.

    """

    def __init__(self, journal: Journal, writer: Writer | None = None) -> None:
        self.journal = journal
        self._writer = writer
        self.damaged_bytes = 0
        """Number of bytes among those taken that could not be read."""
        self.removed: set[int] = set()
        """Segments that had to go, though they may be open here. Whoever removes one adds it."""
        self.trial = Trial()
        self._position = read_cursor(journal.path)
        self._resource: bytes | None = None
        self._scope: bytes | None = None
        self._file: File | None = None
        self._number = -1
        self._unreadable: set[int] = set()
        self._is_pinned = False
        self._finished: list[int] = []  # segments that are removed once the pin is

    @property
    def position(self) -> Position:
        """Where the records that have not been taken begin."""
        return self._position

    @property
    def is_pinned(self) -> bool:
        """Whether the disk keeps records that were taken."""
        return self._is_pinned

    @property
    def has_unreadable(self) -> bool:
        """Whether a segment was left where it is, since it cannot be read."""
        return bool(self._unreadable)

    def read(self, max_records: int, max_bytes: int) -> Batch | None:
        """Return the next records, at least one, whatever its size, or None if there is none.

        Until `commit` is called, they stay the next.

        Raises:
            OSError: the journal cannot be read now.

        """
        while (found := self._open_next()) is not None:
            limit, is_complete = found
            try:
                batch = self._read_segment(limit, max_records, max_bytes)
            except OSError as error:
                if not (is_complete and files.concerns_the_file(error)):
                    raise
                self._skip(self._number, error)
                continue
            if batch.entries:
                return batch
            if not is_complete:
                return None
            self.damaged_bytes += batch.damaged_bytes
            self._remove_segment()
        return None

    def rest(self) -> list[Entry]:
        """Return all that can still be read where somebody has removed the folder; raise `OSError`."""
        entries: list[Entry] = []
        if self._file is not None and self._file.is_ours:
            limit = self._file.size_bytes()
            entries += self._read_segment(limit, sys.maxsize, limit).entries
        if self._writer is not None and self._writer.is_open and self._writer.end.segment != self._number:
            data = self._writer.present()
            found = frames(data, is_all=True)
            entries += self._batch_of(found, 0, len(data), sys.maxsize, sys.maxsize).entries
        return entries

    def commit(self, batch: Batch) -> None:
        """Note that a batch needs to be read no more."""
        self.damaged_bytes += batch.damaged_bytes
        if batch.segment != self._position.segment:
            return  # which had to go meanwhile
        self._position = Position(batch.segment, batch.ends[-1])
        self._resource, self._scope = batch.entries[-1].resource, batch.entries[-1].scope
        self._note_position()

    def pin(self) -> None:
        """Keep on the disk, from now on, the records that are taken, since they are not yet stored elsewhere."""
        self._is_pinned = True

    def unpin(self) -> None:
        """Let the disk forget the records that were taken meanwhile."""
        self._is_pinned = False
        self._note_position()
        finished, self._finished = self._finished, []
        for number in finished:
            self._remove(number)

    def discard(self) -> None:
        """Remove the segment that is being read, of which all was taken."""
        if self._number == self._position.segment:
            self._remove_segment()

    def finish(self) -> None:
        """Remove segments that were taken and could not be removed then, and close the file."""
        self.close()
        if not self._is_pinned:
            with suppress(OSError):  # then the journal stays, and this is done again
                for number in segments(self.journal.path):
                    if number < self._position.segment and number not in self._unreadable:
                        self._remove(number)

    def close(self) -> None:
        """Close the file; the lock is the journal's."""
        file, self._file, self._number = self._file, None, -1
        if file is not None:
            file.close()

    def _note_position(self) -> None:
        if not self._is_pinned and not self._unreadable:
            with suppress(OSError):  # a cursor that lags only repeats
                write_cursor(self.journal.path, self._position)

    def _open_next(self) -> tuple[int, bool] | None:
        """Open the first segment that is not taken; return where it ends, and whether it stays so."""
        if self._number in self.removed or (self._file is not None and not self._file.is_ours):
            self.close()
        while self._number != self._position.segment or self._file is None:
            numbers = set(segments(self.journal.path)) - self._unreadable
            number = min((number for number in numbers if number >= self._position.segment), default=None)
            if number is None:
                return None
            self._open(number)
        # Read only now: the segment may have been begun a moment ago, and the writer be about to say so.
        end = self._writer.end if self._writer is not None else Position(sys.maxsize, 0)
        if self._number < end.segment:
            return self._file.size_bytes(), True
        return (end.offset if self._number == end.segment else 0), False

    def _open(self, number: int) -> None:
        self.close()
        offset = self._position.offset if number == self._position.segment else 0
        path = segment_path(self.journal.path, number)
        try:
            file = File(path, os.O_RDONLY)
        except FileNotFoundError:  # too old, and removed right now: the next listing shows it no more
            return
        except OSError as error:
            if not files.concerns_the_file(error):
                raise
            self._skip(number, error)
            return
        self._file, self._number, self._position = file, number, Position(number, offset)
        try:
            for found in frames_of(file, 0, offset):  # for the resource and the scope that hold there
                self._see(found)
        except OSError:
            self.close()
            raise

    def _skip(self, number: int, error: OSError) -> None:
        self.close()
        self._unreadable.add(number)
        self._position = max(self._position, Position(number + 1, 0))
        path = segment_path(self.journal.path, number)
        _logger.error("%s cannot be read and is left where it is; the others are sent: %s", path, error)

    def _see(self, found: Frame) -> None:
        if found.kind == RESOURCE:
            self._resource = found.payload
        elif found.kind == SCOPE:
            self._scope = found.payload

    def _read_segment(self, limit: int, max_records: int, max_bytes: int) -> Batch:
        offset = self._position.offset
        found = frames_of(self._file, offset, limit)  # type: ignore[arg-type]  # it has just been opened
        return self._batch_of(found, offset, limit, max_records, max_bytes)

    def _batch_of(self, found: Iterable[Frame], offset: int, limit: int, max_records: int, max_bytes: int) -> Batch:
        entries: list[Entry] = []
        ends: list[int] = []
        resource, scope = self._resource, self._scope
        end = offset
        healthy_bytes = size_bytes = 0
        at_least = RECORDS_IN_DOUBT if self.trial.is_suspicious else 1
        for kind, payload, frame_end in found:
            size_bytes += len(payload)
            if kind == RESOURCE:
                resource = payload
            elif kind == SCOPE:
                scope = payload
            elif kind == RECORD:
                if len(entries) >= at_least and (len(entries) >= max_records or size_bytes > max_bytes):
                    break
                resource = self._any_of(RESOURCE) if resource is None else resource
                scope = self._any_of(SCOPE) if scope is None else scope
                entries.append(Entry(resource, scope, payload))
                ends.append(frame_end)
            end = frame_end
            healthy_bytes += OVERHEAD_BYTES + len(payload)
        damaged_bytes = (end if entries else max(limit, offset)) - offset - healthy_bytes
        return Batch(entries, ends, self._position.segment, damaged_bytes)

    def _any_of(self, kind: int) -> bytes:
        """Find a resource or scope for records that have lost theirs: a process hardly ever has two."""
        paths = [segment_path(self.journal.path, number) for number in segments(self.journal.path)]
        for path in (*paths, self.journal.path / "context"):
            try:
                if (payload := _first(path, kind)) is not None:
                    return payload
            except OSError as error:
                if not files.concerns_the_file(error):
                    raise
        return b""

    def _remove_segment(self) -> None:
        number = self._number
        self.close()
        if self._is_pinned:
            self._finished.append(number)
        else:
            self._remove(number)
        self._position = Position(self._position.segment + 1, 0)

    def _remove(self, number: int) -> None:
        with suppress(OSError):  # then it is read again from the cursor on, and removed
            files.remove(segment_path(self.journal.path, number))


def _first(path: Path, kind: int) -> bytes | None:
    try:
        file = File(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return next((found.payload for found in frames_of(file, 0, file.size_bytes()) if found.kind == kind), None)
    finally:
        file.close()
