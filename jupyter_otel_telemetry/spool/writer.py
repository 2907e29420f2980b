"""Appends to a journal."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from jupyter_otel_telemetry.spool.frames import OVERHEAD_BYTES, RECORD, RESOURCE, SCOPE, frame
from jupyter_otel_telemetry.spool.journal import Position, close_in_child, open_private, segment_path

if TYPE_CHECKING:
    from jupyter_otel_telemetry.otlp.entries import Entry
    from jupyter_otel_telemetry.spool.journal import Journal

__all__ = ["Writer"]


class Writer:
    """Appends records to a journal.

    Args:
        journal: where to.
        segment_bytes: size at which a new segment begins.

    """

    def __init__(self, journal: Journal, segment_bytes: int) -> None:
        self._journal = journal
        self._segment_bytes = segment_bytes
        self._fd = -1
        self._resource = self._scope = b""
        self.end = Position(0, 0)
        """Up to here there are whole frames. Also the number of the segment that is appended to."""

    def has_room_for(self, entry: Entry) -> bool:
        """Tell whether a record goes to the present segment."""
        return self.is_open and (
            self.end.offset == 0 or self.end.offset + len(entry.record) + OVERHEAD_BYTES <= self._segment_bytes
        )

    def append(self, entry: Entry) -> None:
        """Write a record.

        Raises:
            OSError: it could not be written, and the segment is as before.

        """
        data = frame(RECORD, entry.record)
        if entry.scope is not self._scope:
            data = frame(SCOPE, entry.scope) + data
        if entry.resource is not self._resource:
            data = frame(RESOURCE, entry.resource) + data
            self._keep_context(entry)
        # At an explicit place, so that what a write that failed half-way has left is overwritten by the next.
        if os.pwrite(self._fd, data, self.end.offset) < len(data):
            raise OSError(errno.ENOSPC, "no space left for a whole record")
        self.end = Position(self.end.segment, self.end.offset + len(data))
        self._resource, self._scope = entry.resource, entry.scope

    def _keep_context(self, entry: Entry) -> None:
        """Write resource and scope a second time, for records that lose theirs."""
        with suppress(OSError):
            data = frame(RESOURCE, entry.resource) + frame(SCOPE, entry.scope)
            fd = open_private(self._journal.path / "context", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                os.write(fd, data)
            finally:
                os.close(fd)

    def begin_segment(self) -> None:
        """Begin a new segment; the one before is complete then.

        Raises:
            OSError: it cannot be made.

        """
        number = self.end.segment + 1
        fd = open_private(segment_path(self._journal.path, number), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self.close()
        self._fd, self.end = fd, Position(number, 0)
        self._resource = self._scope = b""

    def sync(self) -> None:
        """Have everything appended to the present segment on the disk, not only with the system.

        Raises:
            OSError: the disk fails.

        """
        if self._fd >= 0:
            getattr(os, "fdatasync", os.fsync)(self._fd)

    def sync_folders(self) -> None:
        """Have the name of the present segment on the disk, and that of the journal."""
        for folder in (self._journal.path, self._journal.path.parent):
            fd = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    @property
    def is_open(self) -> bool:
        """Whether there is a segment to append to."""
        return self._fd >= 0

    def dup(self) -> int:
        """Return a descriptor of the present segment, to read what is in it though it be removed."""
        return os.dup(self._fd)

    def close(self) -> None:
        """Complete the present segment."""
        # A child that is forked in between must not close what has been closed.
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):  # the leavings of a failed write would look like damage
                os.ftruncate(fd, self.end.offset)
            os.close(fd)

    def close_in_child(self) -> None:
        """Close what a forked child has of it, and leave the file as it is."""
        close_in_child(self._fd)
