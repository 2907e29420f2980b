"""All that this process has to deliver: what it recorded itself, and what dead processes have left."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from google.protobuf.message import DecodeError

from jupyter_otel_telemetry.spool.adopted import Adopted, note_damage
from jupyter_otel_telemetry.spool.encoding import observed_time_ns
from jupyter_otel_telemetry.spool.entries import MAX_BATCH_BYTES, MAX_BATCH_RECORDS
from jupyter_otel_telemetry.spool.files import LostFileError, concerns_the_file
from jupyter_otel_telemetry.spool.limits import Limits
from jupyter_otel_telemetry.spool.losses import Losses, SpoolFullError, consequence
from jupyter_otel_telemetry.spool.memory import Memory
from jupyter_otel_telemetry.spool.messages import DeferredLogger, log_deferred
from jupyter_otel_telemetry.spool.own import Own, SyncError
from jupyter_otel_telemetry.spool.pending import Pending
from jupyter_otel_telemetry.trouble import TroubleLog

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Sequence
    from typing import Any

    from jupyter_otel_telemetry.spool.entries import Entry
    from jupyter_otel_telemetry.spool.folder import SpoolFolder
    from jupyter_otel_telemetry.spool.journal import Position
    from jupyter_otel_telemetry.spool.reader import Batch

__all__ = ["Source", "Store"]

_logger: Final = DeferredLogger(logging.getLogger(__name__))


class Source(Protocol):
    """Where records wait in their order."""

    doubts: int
    """Consecutive ambiguous answers to the next records."""

    def read(self, max_records: int, max_bytes: int) -> Batch | None:
        """Return the next records, at least one, or None if there is none."""

    def take(self, batch: Batch) -> object:
        """Note that these are done with."""


class Store:
    """The journal of this process, and those that it has taken over.

    `appended` counts the records of this process; `done` counts those delivered, rejected or dropped.

    `_lock` guards the journal of this process, the memory and the counts. The lock of a sync, which is that of the
    journal, may be taken while `_lock` is held, not the other way round.

    Args:
        folder: of the spool.

    """

    def __init__(self, folder: SpoolFolder) -> None:
        self.folder = folder
        self._reset()

    def _reset(self) -> None:
        # Reentrant: a signal handler, or a handler of our own logging, may record while something is appended.
        self._lock = threading.RLock()
        self._is_appending = False
        self._trouble = TroubleLog(lambda: _logger)
        self._own: Own | None = None
        self._adopted = Adopted(self.folder.queue)
        self._limits = Limits(self.folder)
        self._memory = Memory()
        self._pending = Pending(self.folder)
        self._source: Source | None = None
        self._is_synced = self.folder.options.durability == "power"
        self._is_full = self._is_closed = self._may_adopt = False
        self._oldest_ns = 0
        self.appended = self.done = 0
        self._losses = Losses(self.folder)

    def reset_in_child(self) -> None:
        """Leave to the parent process, in a forked child, all that is its own; `files` has closed what is open."""
        self._reset()

    @property
    def dropped(self) -> Counter[str]:
        """Numbers of records that were dropped, by reason."""
        return self._losses.by_reason

    @property
    def waiting(self) -> int:
        """Number of this process's own records that are not done with."""
        return self.appended - self.done

    @property
    def in_memory(self) -> int:
        """Number of records that the disk has not taken."""
        return len(self._memory)

    @property
    def unaccepted(self) -> int:
        """Number of this process's own records that were dropped."""
        return sum(count for reason, count in self.dropped.items() if reason != "rejected")

    def age_s(self) -> float:
        """Return how long the oldest record that is to be sent from here has been waiting, in seconds."""
        return max(0.0, time.time() - self._oldest_ns / 1e9) if self._oldest_ns else 0.0

    @property
    def wants_to_adopt(self) -> bool:
        """Whether there were more journals than could be taken over, and now there is room for them."""
        return self._may_adopt and self._adopted.has_more

    def append(self, entry: Entry) -> None:
        """Take a record: to the disk, or to memory while the disk takes nothing. Never raises."""
        problem: Exception | None = None
        position = None
        with self._lock:
            self.appended += 1
            if self._is_appending:  # by a signal handler, say: the append that is under way writes it
                self._remember(entry)
                return
            self._is_appending = True
            try:
                if len(self._memory):
                    self._move_memory()
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
        elif len(self._memory):
            self.spill()
        if self._is_synced and position is not None:
            self._sync(position)
        if self._is_closed:
            self._release_own()
        log_deferred()

    def _write(self, entry: Entry) -> Position:
        own = self._own_to_write()
        try:
            return self._write_to(own, entry)
        except LostFileError:
            own = self._regained(own)
            return self._write_to(own, entry)

    def _own_to_write(self) -> Own:
        own = self._own
        if own is None:
            own = self._own = Own(self.folder)
        elif self._is_closed:  # then it is locked only while something is appended
            own = self._regained(own)
        return own

    def _regained(self, own: Own) -> Own:
        """Make sure that a journal is ours, though its descriptors are not; else begin another one."""
        if own.journal.regain():
            if not own.writer.is_ours:
                own.begin_segment()
            return own
        if not self._is_closed:
            self.done = self.appended - len(self._memory) - 1  # whoever has taken it sends the others
        own.leave()
        self._own = Own(self.folder)
        return self._own

    def _write_to(self, own: Own, entry: Entry) -> Position:
        if not own.writer.has_room_for(entry):
            self._begin_segment(own)
        try:
            own.append(entry)
        except LostFileError:
            raise
        except OSError:
            if own.writer.end.offset == 0:
                raise
            self._begin_segment(own)  # it may have been a limit of the size of one file
            own.append(entry)
        return own.writer.end

    def _begin_segment(self, own: Own) -> None:
        # Where it is full, the sender looks, now and then, whether it still is.
        if not self._is_full and self._limits.grow(own.writer.end.offset):
            self.make_room()
        if self._is_full:
            raise SpoolFullError
        own.begin_segment()

    def _sync(self, position: Position) -> None:
        """Wait until what ends at a position is on the disk. Who waits for the lock has less, or nothing, to do."""
        own = self._own
        if own is None:
            return
        was_failing = own.is_failing
        try:
            own.sync(position)
        except SyncError as error:
            if was_failing or not self._rewrite(own):
                self._report(error)

    def _rewrite(self, own: Own) -> bool:
        """Write again what a failed sync may have lost; tell whether that worked."""
        with self._lock:
            if own is not self._own or not own.is_failing:
                return True
            was_appending, self._is_appending = self._is_appending, True
            try:
                count = own.rewrite()
            except OSError:
                return False
            finally:
                self._is_appending = was_appending
            self.appended += count  # they may be sent twice, and are then counted twice
        _logger.warning("%r: a sync failed; %d records were written again, to another file", self.folder, count)
        return True

    def make_room(self) -> None:
        """Keep the limits of the spool. To be called by the sender, or while something is appended."""
        own = self._own
        try:
            removed = self._limits.make_room({} if own is None else {own.journal.path: own.reader.position})
        except OSError as error:
            self._trouble.failed(self._limits, f": {error}; its limits are not kept meanwhile", traceback=False)
            return
        for file in removed:
            if file.segment is None:
                self._drop("rejected", file.records, is_own=False)
                continue
            is_own = own is not None and file.journal == own.journal.path
            if own is not None and is_own:
                own.reader.removed.add(file.segment)
            self._drop(file.reason, file.records, is_own=is_own)
        self._trouble.worked(self._limits)
        self._is_full = self.folder.options.when_full == "refuse_new" and self._limits.is_full

    def _remember(self, entry: Entry) -> None:
        if dropped := self._memory.append(entry):
            self._drop("memory", dropped)

    def _drop(self, reason: str, count: int, *, is_own: bool = True) -> None:
        if count > 0:
            with self._lock:
                self._losses.add(reason, count)
                self.done += count if is_own else 0

    def _report(self, problem: Exception) -> None:
        self._trouble.failed(self.folder, consequence(problem), traceback=False)

    def tend(self, *, adopt: bool) -> None:
        """Do what is due now and then: move to the disk what is in memory, look for what others have left."""
        self._may_adopt = adopt
        self._renew()
        self.spill()
        if (own := self._own) is not None and own.is_failing and self._rewrite(own):
            self._trouble.worked(self.folder)
        with suppress(OSError):  # which has been logged
            self._pending.store()
        self._tidy()
        if adopt:
            self._adopted.find()
        if self._limits.is_due:
            self.make_room()
        log_deferred()

    def _renew(self) -> None:
        """Begin anew where somebody has removed or replaced the folder of our journal, or closed our descriptors."""
        with self._lock:
            own = self._own
            if own is None or self._is_appending:
                return
            try:
                if own.journal.is_there:
                    return
                entries = own.reader.rest()
            except LostFileError:
                with suppress(OSError, ValueError):
                    self._regained(own)
                return
            except OSError:  # it may well be there
                return
            self._memory.prepend(entries)
            # What was in files that nobody has open is gone.
            self._drop("removed", max(0, self.waiting - len(self._memory)))
            self._own = None
            own.leave()

    def spill(self) -> None:
        """Move to the disk what is in memory, if the disk takes it."""
        position = None
        with self._lock:
            while len(self._memory) and not self._is_appending:
                self._is_appending = True
                try:
                    position = self._move_memory()
                except (OSError, ValueError, SpoolFullError):
                    return
                finally:
                    self._is_appending = False
        if position is not None:
            self._trouble.worked(self.folder)
            if self._is_synced:
                self._sync(position)

    def _move_memory(self) -> Position | None:
        position = None
        while len(self._memory):
            position = self._write(self._memory.first())
            self._memory.pop()
        return position

    def _tidy(self) -> None:
        """Remove a segment of which all is done with, though it could be appended to."""
        with self._lock, suppress(OSError):
            own = self._own
            if not self._is_appending and own is not None and own.writer.end.offset:
                own.tidy()

    def adopt(self) -> bool:
        """Take over journals that processes have left; tell whether there is any to send from."""
        self._may_adopt = True
        self._adopted.find()
        return self._adopted.fill()

    def give_back(self) -> None:
        """Leave the journals that were taken over to processes that can send them."""
        self._adopted.give_back()

    def batches(self) -> Iterator[tuple[Source, Batch]]:
        """Return the next records of each source that has some; finish those of others that have none."""
        times_ns = []
        for source, batch in self._batches():
            self._source = source
            times_ns.append(_time_ns(batch))
            self._oldest_ns = min(times_ns)
            log_deferred()
            yield source, batch
        if not times_ns:
            self._oldest_ns = 0
        log_deferred()

    def _batches(self) -> Iterator[tuple[Source, Batch]]:
        own = self._own
        try:
            if own is not None and (batch := own.reader.read(MAX_BATCH_RECORDS, MAX_BATCH_BYTES)) is not None:
                yield own.reader, batch
            elif (batch := self._read_memory()) is not None:
                yield self._memory, batch
        except OSError as error:
            self._cannot_read(error)
        if self._may_adopt:
            self._adopted.fill()
        yield from self._adopted.batches()

    def _cannot_read(self, error: OSError) -> None:
        """Log that our own journal cannot be read; a segment for which that may last is left out from the next on."""
        self._trouble.failed(self, f": {error}; its records wait, others are sent", traceback=False)
        with self._lock, suppress(OSError):
            own = self._own
            if own is not None and not self._is_appending and concerns_the_file(error) and own.writer.end.offset:
                own.begin_segment()

    def _read_memory(self) -> Batch | None:
        """Read what is in memory, where all that is older is done with; if nothing is there, nothing waits."""
        with self._lock:
            own = self._own
            if self._is_appending or (own is not None and own.reader.read(1, 1) is not None):
                return None
            if len(self._memory):
                return self._memory.read(MAX_BATCH_RECORDS, MAX_BATCH_BYTES)
            if own is not None:
                try:
                    if not own.journal.is_there:
                        return None  # and what was in it is not lost yet
                except LostFileError:  # likewise
                    return None
                note_damage(own.reader)
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

    def reject(self, entries: Sequence[Entry], why: dict[str, Any]) -> OSError | None:
        """Store records of the present batch that were rejected for good.

        Returns:
            None, or the reason why they cannot be stored now; then they stay in the queue until they can.

        Raises:
            OSError: they cannot be stored, and too many wait for that already.

        """
        return self._pending.add(self._source, entries, why)

    def close(self) -> None:
        """Give back everything, and leave what could not be delivered to whoever comes next."""
        self.spill()
        left = self._pending.close()
        with self._lock:
            self._is_closed = True
            self._drop("memory", len(self._memory))
            self._memory = Memory()
            own, self._own = self._own, None
            if own is not None:
                own.close()
            self._adopted.close()
        if left:
            _logger.error("%r keeps %d rejected records in the queue, since %s", self.folder, left, _UNWRITABLE)
        log_deferred()

    def _release_own(self) -> None:
        """Let others send what is recorded after the end of sending."""
        with self._lock:
            if self._own is not None and not self._is_appending:
                self._own.journal.release()


_UNWRITABLE: Final = "its folder `rejected` cannot be written; they will be sent again"


def _time_ns(batch: Batch) -> int:
    """Return when the first record of a batch was recorded; now, if it cannot be decoded."""
    try:
        return observed_time_ns(batch.entries[0].record)
    except DecodeError:
        return time.time_ns()
