"""Appends to a journal."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from jupyter_otel_telemetry.spool import files
from jupyter_otel_telemetry.spool.files import File
from jupyter_otel_telemetry.spool.frames import OVERHEAD_BYTES, RECORD, RESOURCE, SCOPE, frame
from jupyter_otel_telemetry.spool.journal import Position, segment_path

if TYPE_CHECKING:
    from jupyter_otel_telemetry.otlp.entries import Entry
    from jupyter_otel_telemetry.spool.journal import Journal

__all__ = ["Writer"]


class Writer:
    """Appends records to a journal.

    Args:
        journal: to append to.
        segment_bytes: size at which a new segment begins.

    """

    def __init__(self, journal: Journal, segment_bytes: int) -> None:
        self._journal = journal
        self._segment_bytes = segment_bytes
        self._file: File | None = None
        self._resource = self._scope = b""
        self._is_name_synced = False
        self.end = Position(0, 0)
        """Up to here there are whole frames. Also the number of the segment that is appended to."""

    def has_room_for(self, entry: Entry) -> bool:
        """Tell whether a record goes to the present segment."""
        return self._file is not None and (
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
        # At an explicit place, so that the leavings of a failed write are overwritten by the next.
        self._file.write(data, self.end.offset)  # type: ignore[union-attr]  # `has_room_for` was asked
        self.end = Position(self.end.segment, self.end.offset + len(data))
        self._resource, self._scope = entry.resource, entry.scope

    def _keep_context(self, entry: Entry) -> None:
        """Write resource and scope a second time, for records that lose theirs."""
        with suppress(OSError):  # it is there, or only a second copy is missing
            file = File(self._journal.path / "context", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                file.write(frame(RESOURCE, entry.resource) + frame(SCOPE, entry.scope), 0)
            finally:
                file.close()

    def begin_segment(self, *, after: int | None = None) -> None:
        """Begin a new segment; those before, up to `after`, are complete then.

        Raises:
            OSError: it cannot be made.

        """
        number = (self.end.segment if after is None else after) + 1
        file = File(segment_path(self._journal.path, number), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self.close()
        self._file, self.end = file, Position(number, 0)
        self._resource = self._scope = b""
        self._is_name_synced = False

    def sync(self) -> None:
        """Have everything appended to the present segment on the disk, not only with the system, and its name.

        Raises:
            OSError: the disk fails.

        """
        if self._file is None:
            return
        self._file.sync()
        if not self._is_name_synced:
            files.sync_folder(self._journal.path)
            files.sync_folder(self._journal.path.parent)
            self._is_name_synced = True

    @property
    def is_open(self) -> bool:
        """Whether there is a segment to append to."""
        return self._file is not None

    @property
    def is_ours(self) -> bool:
        """Whether there is a segment to append to, and the application has not closed it."""
        return self._file is not None and self._file.is_ours

    def present(self) -> bytes:
        """Return the content of the present segment, which may have been removed; raise `OSError`."""
        return b"" if self._file is None else self._file.read(self.end.offset, 0)

    def close(self) -> None:
        """Complete the present segment."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # the leavings of a failed write would look like damage
                file.truncate(self.end.offset)
            file.close()
