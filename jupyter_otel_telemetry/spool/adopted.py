"""The journals that this process has taken over from dead ones, to send their records."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from jupyter_otel_telemetry.otlp.entries import MAX_BATCH_BYTES, MAX_BATCH_RECORDS
from jupyter_otel_telemetry.spool.files import concerns_the_file
from jupyter_otel_telemetry.spool.journal import Journal
from jupyter_otel_telemetry.spool.messages import DeferredLogger
from jupyter_otel_telemetry.spool.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jupyter_otel_telemetry.spool.reader import Batch

__all__ = ["MAX_ADOPTED", "Adopted", "note_damage"]

MAX_ADOPTED: Final = 16
"""Journals of dead processes that one process sends from at the same time; each has two open files."""
_SCAN_SHARE: Final = 20
_REST_S: Final = 60.0
"""How long a journal is left alone that could not be read."""

_logger: Final = DeferredLogger(logging.getLogger(__name__))


class Adopted:
    """Journals that this process has taken over; used by the thread that sends.

    All journals are listed at once and then taken over one after the other: the cost is one look at each.

    A journal that cannot be read is given back, logged once, and tried again after a while.

    Args:
        queue: the folder of the journals.

    """

    def __init__(self, queue: Path) -> None:
        self._queue = queue
        self._readers: list[Reader] = []
        self._found: deque[Path] = deque()
        self._resting: dict[str, float] = {}
        self._logged: set[str] = set()
        self._scanned_s = self._scan_s = 0.0

    @property
    def has_more(self) -> bool:
        """Whether there were more journals than could be taken over, and now there is room for them."""
        return bool(self._found) and len(self._readers) < MAX_ADOPTED

    def find(self) -> None:
        """List the journals, unless earlier finds are left, or a long listing was made a moment ago."""
        began_s = time.monotonic()
        if self._found or began_s - self._scanned_s < _SCAN_SHARE * self._scan_s:
            return
        try:
            Journal.sweep(self._queue)
            self._found.extend(Journal.all_in(self._queue))
            self._logged &= {path.name for path in self._found}
        except OSError as error:
            self._failed(self._queue, error)
        self._scanned_s = time.monotonic()
        self._scan_s = self._scanned_s - began_s
        self._resting = {name: end_s for name, end_s in self._resting.items() if end_s > self._scanned_s}

    def fill(self) -> bool:
        """Take over as many journals as may be; tell whether there is any to send from."""
        while self._found and len(self._readers) < MAX_ADOPTED:
            path = self._found.popleft()
            if path.name not in self._resting and (reader := self._adopt(path)) is not None:
                self._readers.append(reader)
        return bool(self._readers)

    def _adopt(self, path: Path) -> Reader | None:
        try:
            # Those of this process are locked, too.
            journal = Journal.adopt(path)
            if journal is None:
                return None
            try:
                return Reader(journal)
            except OSError:
                journal.close(remove=False)
                raise
        except OSError as error:
            self._failed(path, error)
            return None

    def batches(self) -> Iterator[tuple[Reader, Batch]]:
        """Return the next records of each journal; finish those that have none."""
        for reader in list(self._readers):
            try:
                batch = reader.read(MAX_BATCH_RECORDS, MAX_BATCH_BYTES)
            except OSError as error:
                self._give_back(reader)
                self._failed(reader.journal.path, error)
                continue
            if batch is not None:
                yield reader, batch
            elif not reader.is_pinned:
                self._finish(reader)

    def give_back(self) -> None:
        """Leave all to other processes: this one cannot send them now."""
        for reader in list(self._readers):
            if not reader.is_pinned:
                self._give_back(reader)
        self._found.clear()

    def close(self) -> None:
        """Leave all to other processes."""
        for reader in list(self._readers):
            self._give_back(reader)

    def _give_back(self, reader: Reader) -> None:
        self._readers.remove(reader)
        reader.close()
        reader.journal.close(remove=False)

    def _finish(self, reader: Reader) -> None:
        self._readers.remove(reader)
        reader.finish()
        reader.journal.close(remove=True)
        if reader.has_unreadable:
            self._resting[reader.journal.path.name] = time.monotonic() + _REST_S
        note_damage(reader)

    def _failed(self, path: Path, error: OSError) -> None:
        if concerns_the_file(error):  # otherwise it may work in a moment
            self._resting[path.name] = time.monotonic() + _REST_S
        if path.name not in self._logged:
            self._logged.add(path.name)
            _logger.error("%s cannot be sent from, and is left where it is; it is tried again: %s", path, error)


def note_damage(reader: Reader) -> None:
    """Log how much of a journal was skipped since it is damaged."""
    if reader.damaged_bytes:
        count, reader.damaged_bytes = reader.damaged_bytes, 0
        _logger.error("%d bytes in %s could not be read, and are skipped", count, reader.journal.path)
