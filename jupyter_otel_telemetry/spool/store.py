"""All records that this process delivers: its own, and those of dead processes."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from google.protobuf.message import DecodeError

from jupyter_otel_telemetry.otlp.encoding import observed_time_ns
from jupyter_otel_telemetry.otlp.entries import MAX_BATCH_BYTES, MAX_BATCH_RECORDS
from jupyter_otel_telemetry.spool.acknowledged import AcknowledgedFiles, making_way
from jupyter_otel_telemetry.spool.adopted import Adopted, note_damage
from jupyter_otel_telemetry.spool.files import LostFileError, concerns_the_file
from jupyter_otel_telemetry.spool.intake import Intake
from jupyter_otel_telemetry.spool.memory import MemoryBuffer
from jupyter_otel_telemetry.spool.messages import DeferredLogger, log_deferred
from jupyter_otel_telemetry.spool.pending import Pending

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from jupyter_otel_telemetry.otlp.batch_sender import Trial
    from jupyter_otel_telemetry.otlp.entries import Entry
    from jupyter_otel_telemetry.spool.reader import Batch

__all__ = ["Source", "Store"]

_logger: Final = DeferredLogger(logging.getLogger(__name__))


class Source(Protocol):
    """Where records wait in their order."""

    trial: Trial
    """The state of their delivery."""

    def read(self, max_records: int, max_bytes: int) -> Batch | None:
        """Return the next records, at least one, or None if there is none."""

    def commit(self, batch: Batch) -> object:
        """Note that these are done with."""


class Store(Intake):
    """The journal of this process, and those that it has taken over; this half delivers.

    Args:
        folder: of the spool.

    """

    def _reset(self) -> None:
        super()._reset()
        self._adopted = Adopted(self.folder.queue)
        self._pending = Pending(self.folder)
        self._acknowledged = AcknowledgedFiles(self.folder)
        self._source: Source | None = None
        self._may_adopt = False
        self._oldest_ns = 0

    def reset_in_child(self) -> None:
        """Leave to the parent process, in a forked child, all that is its own; `files` has closed what is open."""
        self._reset()

    def age_s(self) -> float:
        """Return how long the oldest record that is to be sent from here has been waiting, in seconds."""
        return max(0.0, time.time() - self._oldest_ns / 1e9) if self._oldest_ns else 0.0

    @property
    def wants_to_adopt(self) -> bool:
        """Whether there were more journals than could be taken over, and now there is room for them."""
        return self._may_adopt and self._adopted.has_more

    def maintain(self, *, adopt: bool) -> None:
        """Do the regular work: move records from memory to the disk, look for journals of dead processes."""
        self._may_adopt = adopt
        self._renew()
        self.spill()
        if (own := self._own) is not None and own.is_failing and self._rewrite(own):
            self._failure_log.worked(self.folder)
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
            # The content of files that no process has open is gone.
            self._drop("removed", max(0, self.waiting - len(self._memory)))
            self._own = None
            own.leave()

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
        self._failure_log.failed(self, f": {error}; its records wait, others are sent", traceback=False)
        with self._lock, suppress(OSError):
            own = self._own
            if own is not None and not self._is_appending and concerns_the_file(error) and own.writer.end.offset:
                own.begin_segment()

    def _read_memory(self) -> Batch | None:
        """Read the records in memory, once all older ones are done; if there are none, nothing waits."""
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

    def commit(self, source: Source, batch: Batch, done: int) -> None:
        """Note that the first records of a batch are done with."""
        with self._lock:
            if done < len(batch.entries):
                batch = batch.first(done)
            own = self._own.reader if self._own is not None else None
            if source is self._memory:
                self.done += self._memory.commit(batch)
            else:
                source.commit(batch)
                # Some were on their way when they had to go, and were counted then.
                if source is own and batch.segment not in own.removed:
                    self.done += len(batch.entries)

    def keep(self, entries: Sequence[Entry], accepted: int) -> None:
        """Keep the records of a request that was acknowledged, if the options say so. Never raises.

        It is called before they are taken. Those of a request that was rejected in part are all in `rejected/`.
        """
        if not self.folder.options.keep_acknowledged_s or accepted < len(entries):
            return
        try:
            size_bytes = making_way(self.folder, lambda: self._acknowledged.store(entries))
        except OSError as error:
            text = f": {error}; records are delivered, but cannot be sent again later"
            self._failure_log.failed(self._acknowledged, text, traceback=False)
            return
        self._failure_log.worked(self._acknowledged)
        if self._limits.grow_acknowledged(size_bytes):
            self.make_room()

    def reject(self, entries: Sequence[Entry], why: dict[str, Any]) -> OSError | None:
        """Store records of the present batch that were rejected.

        Returns:
            None, or the reason why they cannot be stored now; then they stay in the queue until they can.

        Raises:
            OSError: they cannot be stored, and too many wait for that already.

        """
        return self._pending.add(self._source, entries, why)

    def close(self) -> None:
        """Give back all journals, and leave undelivered records to the next process."""
        self.spill()
        left = self._pending.close()
        with self._lock:
            self._is_closed = True
            self._drop("memory", len(self._memory))
            self._memory = MemoryBuffer()
            own, self._own = self._own, None
            if own is not None:
                own.close()
            self._adopted.close()
        if left:
            _logger.error("%r keeps %d rejected records in the queue, since %s", self.folder, left, _UNWRITABLE)
        log_deferred()


_UNWRITABLE: Final = "its folder `rejected` cannot be written; they will be sent again"


def _time_ns(batch: Batch) -> int:
    """Return when the first record of a batch was recorded; now, if it cannot be decoded."""
    try:
        return observed_time_ns(batch.entries[0].record)
    except DecodeError:
        return time.time_ns()
