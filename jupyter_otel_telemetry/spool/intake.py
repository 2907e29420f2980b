"""Takes the records of this process: to its journal, or to memory while the disk takes nothing."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from jupyter_otel_telemetry.failure_log import FailureLog
from jupyter_otel_telemetry.spool.acknowledged import making_way
from jupyter_otel_telemetry.spool.files import LostFileError
from jupyter_otel_telemetry.spool.limits import Limits
from jupyter_otel_telemetry.spool.losses import Losses, SpoolFullError, consequence
from jupyter_otel_telemetry.spool.memory import MemoryBuffer
from jupyter_otel_telemetry.spool.messages import DeferredLogger, log_deferred
from jupyter_otel_telemetry.spool.own import Own, SyncError

if TYPE_CHECKING:
    from collections import Counter

    from jupyter_otel_telemetry.otlp.entries import Entry
    from jupyter_otel_telemetry.spool.folder import SpoolFolder
    from jupyter_otel_telemetry.spool.journal import Position

__all__ = ["Intake"]

_logger: Final = DeferredLogger(logging.getLogger(__name__))


class Intake:
    """The half of a store that records.

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
        self._in_hand = 0  # records that are being appended
        self._failure_log = FailureLog(lambda: _logger)
        self._own: Own | None = None
        self._limits = Limits(self.folder)
        self._memory = MemoryBuffer()
        self._is_synced = self.folder.options.durability == "power"
        self._is_full = self._is_closed = False
        self.appended = self.done = 0
        self._losses = Losses(self.folder)

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
            self._in_hand = 1
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
                self._in_hand = 0
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
        own = self._own
        if own is not None and not self._is_closed and own.writer.has_room_for(entry):
            try:
                own.append(entry)
            except OSError:
                pass  # the segment is as before, and the longer way finds out
            else:
                return own.writer.end
        return making_way(self.folder, lambda: self._write_once(entry))

    def _write_once(self, entry: Entry) -> Position:
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
            self.done = self.appended - len(self._memory) - self._in_hand  # whoever has taken it sends the others
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
        """Wait until all bytes before a position are on the disk. A thread that waits for the lock has less to do."""
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
        """Write the records again that a failed sync may have lost; tell whether that worked."""
        with self._lock:
            if own is not self._own or not own.is_failing:
                return True
            was_appending, self._is_appending = self._is_appending, True
            try:
                count = making_way(self.folder, own.rewrite)
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
            self._failure_log.failed(self._limits, f": {error}; its limits are not kept meanwhile", traceback=False)
            return
        for file in removed:
            if file.segment is None:
                self._drop("rejected", file.records, is_own=False)
                continue
            is_own = own is not None and file.journal == own.journal.path
            if own is not None and is_own:
                own.reader.removed.add(file.segment)
            self._drop(file.reason, file.records, is_own=is_own)
        self._failure_log.worked(self._limits)
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
        self._failure_log.failed(self.folder, consequence(problem), traceback=False)

    def spill(self) -> None:
        """Move the records in memory to the disk, if that can be written."""
        position = None
        with self._lock:
            if len(self._memory) and not self._is_appending:
                self._is_appending = True
                try:
                    position = self._move_memory()
                except (OSError, ValueError, SpoolFullError):
                    return
                finally:
                    self._is_appending = False
        if position is not None:
            self._failure_log.worked(self.folder)
            if self._is_synced:
                self._sync(position)

    def _move_memory(self) -> Position | None:
        position = None
        for _ in range(len(self._memory)):  # no more: a signal handler may add a record for each that is written
            position = self._write(self._memory.first())
            self._memory.pop()
        return position

    def _release_own(self) -> None:
        """Let other processes send records that come after the end of sending."""
        with self._lock:
            if self._own is not None and not self._is_appending:
                self._own.journal.release()
