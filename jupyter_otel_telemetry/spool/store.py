"""All that this process has to deliver: what it recorded itself, and what processes that are gone have left."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from jupyter_otel_telemetry.metrics import DROP_REASON, record_counters
from jupyter_otel_telemetry.otlp.encoding import observed_time_ns
from jupyter_otel_telemetry.otlp.entries import MAX_BATCH_BYTES, MAX_BATCH_RECORDS
from jupyter_otel_telemetry.spool.journal import Journal, Position
from jupyter_otel_telemetry.spool.memory import MAX_MEMORY_BYTES, Memory
from jupyter_otel_telemetry.spool.reader import Batch, Reader
from jupyter_otel_telemetry.spool.writer import Writer
from jupyter_otel_telemetry.trouble import TroubleLog, log_trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_otel_telemetry.otlp.courier import Trial
    from jupyter_otel_telemetry.otlp.entries import Entry
    from jupyter_otel_telemetry.spool.folder import SpoolFolder

__all__ = ["Source", "Store"]

MAX_ADOPTED: Final = 16
"""Journals of processes that are gone which one process sends from at the same time; each has two open files."""
MAX_LEFT: Final = 64
"""Journals that are left, one a record, after the end of sending; what comes then is left when the process ends."""


_logger = logging.getLogger(__name__)


class Source(Protocol):
    """Where records wait in their order."""

    trial: Trial
    """The state of their delivery."""

    def read(self, max_records: int, max_bytes: int) -> Batch | None:
        """Return the next ones, at least one; None: there is none."""

    def take(self, batch: Batch) -> object:
        """Note that these are done with."""


class _Own(NamedTuple):
    """The journal of this process."""

    journal: Journal
    writer: Writer
    reader: Reader


class SpoolFullError(Exception):
    """The spool is full, and new records are to be refused."""


class Store:
    """The journal of this process, and those that it has taken over.

    Its records are numbered in the order in which they came: `appended` is the number of the last one, `done` that
    of the last one that is delivered, refused or dropped.

    Args:
        folder: where the journals are.

    """

    def __init__(self, folder: SpoolFolder) -> None:
        self.folder = folder
        self._adopted: list[Reader] = []
        self._own: _Own | None = None
        self._reset()

    def _reset(self) -> None:
        # Reentrant: a signal handler, or what our own logging reaches, may record while something is appended.
        self._lock = threading.RLock()
        self._sync_lock = threading.RLock()
        self._is_appending = False
        self._trouble = TroubleLog(lambda: _logger)
        self._synced = Position(0, 0)
        self._memory = Memory()
        self._is_full = self._has_left_out = self._is_closed = False
        self._oldest_ns = self._left = 0
        self.appended = self.done = 0
        self.dropped: Counter[str] = Counter()

    def reset_in_child(self) -> None:
        """Leave to the parent process, in a forked child, all that is its own."""
        own, adopted = self._own, self._adopted
        self._own, self._adopted = None, []
        self._reset()
        for reader in (*adopted, *([own.reader] if own is not None else [])):
            reader.close_in_child()
        if own is not None:
            own.writer.close_in_child()

    @property
    def waiting(self) -> int:
        """Number of this process's own records that are not done with."""
        return self.appended - self.done

    def age_s(self) -> float:
        """Return how long the oldest record that is to be sent from here has been waiting, in seconds."""
        return max(0.0, time.time() - self._oldest_ns / 1e9) if self._oldest_ns else 0.0

    @property
    def wants_to_adopt(self) -> bool:
        """Whether there were more journals than could be taken over, and now there is room for them."""
        return self._has_left_out and len(self._adopted) < MAX_ADOPTED

    def append(self, entry: Entry) -> None:
        """Take a record: to the disk, or to memory while the disk takes nothing. Never raises."""
        problem: Exception | None = None
        position = None
        with self._lock:
            self.appended += 1
            if len(self._memory) or self._is_appending:
                self._remember(entry)
            else:
                self._is_appending = True
                try:
                    position = self._write(entry)
                except (OSError, ValueError) as error:  # ValueError: a newer version has taken the folder
                    self._remember(entry)
                    problem = error
                except SpoolFullError as error:
                    self._drop("full", 1)
                    problem = error
                finally:
                    self._is_appending = False
        if problem is not None:
            self._report(problem)
        elif position is not None and self.folder.options.durability == "power":
            self._sync(position)
        if self._is_closed and self._left < MAX_LEFT:  # so that somebody else may send it
            with self._lock:
                self._left += 1
                self._close_own()

    def _write(self, entry: Entry) -> Position:
        own = self._own or self._open()
        if not own.writer.has_room_for(entry):
            self._begin_segment(own)
        try:
            own.writer.append(entry)
        except OSError:
            if own.writer.end.offset == 0:
                raise
            self._begin_segment(own)  # it may have been a limit of the size of one file
            own.writer.append(entry)
        return own.writer.end

    def _open(self) -> _Own:
        self.folder.prepare()
        journal = Journal.create(self.folder.queue)
        writer = Writer(journal, self.folder.options.segment_bytes)
        self._own = own = _Own(journal, writer, Reader(journal, writer))
        self._synced = Position(0, 0)
        return own

    def _begin_segment(self, own: _Own) -> None:
        if not self._is_full:  # else the sender looks, now and then, whether it still is
            self.make_room()
        if self._is_full:
            raise SpoolFullError
        with self._sync_lock:
            is_synced = self.folder.options.durability == "power"
            if is_synced and own.writer.end.offset:
                own.writer.sync()
            own.writer.begin_segment()
            if is_synced:
                own.writer.sync_folders()

    def _sync(self, position: Position) -> None:
        """Wait until what ends at a position is on the disk. Who waits for the lock has less, or nothing, to do."""
        try:
            with self._sync_lock:
                own = self._own
                if own is None or position <= self._synced:
                    return
                end = own.writer.end
                own.writer.sync()
                self._synced = max(self._synced, end)
        except OSError as error:
            self._report(error)

    def make_room(self) -> None:
        """Keep the limits of the spool. To be called by the sender, or while something is appended."""
        options = self.folder.options
        own = self._own
        removed = self.folder.make_room({} if own is None else {own.journal.path: own.reader.position})
        for file in removed:
            is_own = own is not None and file.journal == own.journal.path
            if own is not None and is_own and file.segment is not None:
                own.reader.removed.add(file.segment)
            self._drop(file.reason, file.records, is_own=is_own)
        self._is_full = options.when_full == "refuse_new" and self.folder.is_full()

    def _remember(self, entry: Entry) -> None:
        if dropped := self._memory.append(entry):
            self._drop("memory", dropped)

    def _drop(self, reason: str, count: int, *, is_own: bool = True) -> None:
        if count > 0:
            with self._lock:
                self.dropped[reason] += count
                record_counters().dropped.add(count, {DROP_REASON: reason})
                self.done += count if is_own else 0

    def _report(self, problem: Exception) -> None:
        text = (
            ": it is full, and new records are refused"
            if isinstance(problem, SpoolFullError)
            else (
                f": {problem}; records are kept in memory until it works again, {MAX_MEMORY_BYTES >> 20} MiB of them"
            )
        )
        self._trouble.failed(self.folder, text, traceback=False)

    def tend(self, *, adopt: bool) -> None:
        """Do what is due now and then: move to the disk what is in memory, look for what others have left."""
        self._renew()
        self._spill()
        self._tidy()
        if adopt:
            self.adopt()
        self.make_room()

    def _renew(self) -> None:
        """Begin anew where somebody has removed the folder of our journal while we append to it."""
        with self._lock:
            own = self._own
            if own is None or own.journal.is_there or self._is_appending:
                return
            self._memory.prepend(own.reader.rest())
            # What was in files that nobody has open is gone.
            self._drop("removed", max(0, self.waiting - len(self._memory)))
            self._close_own()

    def _spill(self) -> None:
        with self._lock:
            if not len(self._memory) or self._is_appending:
                return
            self._is_appending = True
            try:
                while len(self._memory):
                    self._write(self._memory.first())
                    self._memory.pop()
            except (OSError, ValueError, SpoolFullError):
                return
            finally:
                self._is_appending = False
        self._trouble.worked(self.folder)

    def _tidy(self) -> None:
        """Remove a segment of which all is done with, though it could be appended to."""
        with self._lock, self._sync_lock:
            own = self._own
            if self._is_appending or own is None or not own.writer.is_open or not own.writer.end.offset:
                return
            if own.reader.read(1, 1) is None:
                own.writer.close()
                own.reader.discard()

    def adopt(self) -> bool:
        """Take over journals that processes have left; tell whether there is any to send from."""
        self._has_left_out = False
        for path in self.folder.journals():
            if len(self._adopted) >= MAX_ADOPTED:
                self._has_left_out = True
                break
            # Our own are locked, too.
            if (journal := Journal.adopt(path)) is not None:
                self._adopted.append(Reader(journal))
        return bool(self._adopted)

    def batches(self) -> Iterator[tuple[Source, Batch]]:
        """Return what is next of each source that has something; finish those of others that have nothing."""
        times_ns = []
        for source, batch in self._batches():
            times_ns.append(observed_time_ns(batch.entries[0].record))
            self._oldest_ns = min(times_ns)
            yield source, batch
        if not times_ns:
            self._oldest_ns = 0

    def _batches(self) -> Iterator[tuple[Source, Batch]]:
        own = self._own
        if own is not None and (batch := own.reader.read(MAX_BATCH_RECORDS, MAX_BATCH_BYTES)) is not None:
            yield own.reader, batch
        elif (batch := self._read_memory()) is not None:
            yield self._memory, batch
        for reader in list(self._adopted):
            if (batch := reader.read(MAX_BATCH_RECORDS, MAX_BATCH_BYTES)) is not None:
                yield reader, batch
            else:
                self._adopted.remove(reader)
                reader.close()
                reader.journal.close(remove=True)
                self._note_damage(reader)

    def _read_memory(self) -> Batch | None:
        """Read what is in memory, where all that is older is done with; if nothing is there, nothing waits."""
        with self._lock:
            own = self._own
            if self._is_appending or (own is not None and own.reader.read(1, 1) is not None):
                return None
            if len(self._memory):
                return self._memory.read(MAX_BATCH_RECORDS, MAX_BATCH_BYTES)
            if own is not None and not own.journal.is_there:
                return None  # and what was in it is not lost yet
            if own is not None:
                self._note_damage(own.reader)
            self._drop("damaged", self.waiting)
            if self._is_full:
                self.make_room()
            return None

    def take(self, source: Source, batch: Batch, done: int) -> None:
        """Note that the first records of a batch are done with."""
        with self._lock:
            if done < len(batch.entries):
                batch = batch.first(done)
            own = self._own.reader if self._own is not None else None
            if source is self._memory:
                self.done += self._memory.take(batch)
            else:
                source.take(batch)
                # Some were on their way when they had to go, and were counted then.
                if source is own and batch.segment not in own.removed:
                    self.done += len(batch.entries)

    def _note_damage(self, reader: Reader) -> None:
        if reader.damaged_bytes:
            count, reader.damaged_bytes = reader.damaged_bytes, 0
            text = "%d bytes in %s could not be read, and are left out"
            log_trouble(lambda: _logger, logging.ERROR, text, count, reader.journal.path)

    def close(self) -> None:
        """Give back everything, and leave what could not be delivered to whoever comes next."""
        self._spill()
        with self._lock:
            self._is_closed = True
            self._drop("memory", len(self._memory))
            self._memory = Memory()
            self._close_own()
            for reader in self._adopted:
                reader.close()
                reader.journal.close(remove=False)
            self._adopted = []

    def _close_own(self) -> None:
        """Leave our journal to others, or remove it where nothing waits in it."""
        own, self._own = self._own, None
        if own is not None:
            is_empty = own.reader.read(1, 1) is None
            with self._sync_lock:
                own.writer.close()
            own.reader.close()
            own.journal.close(remove=is_empty)
