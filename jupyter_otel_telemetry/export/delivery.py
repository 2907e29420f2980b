"""Delivers the records that wait in memory, and knows the fate of each."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult

from jupyter_otel_telemetry.export.lifecycle import FLUSH_TIMEOUT_S
from jupyter_otel_telemetry.export.sdk_internals import QUEUE_LOGGER
from jupyter_otel_telemetry.failure_log import FailureLog
from jupyter_otel_telemetry.forks import after_fork_in_child
from jupyter_otel_telemetry.metrics import DROP_REASON, ERROR_TYPE, record_counters
from jupyter_otel_telemetry.otlp.batch_sender import Backoff, BatchSender, Trial
from jupyter_otel_telemetry.otlp.encoding import Encoder
from jupyter_otel_telemetry.otlp.entries import MAX_BATCH_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk._logs import ReadableLogRecord, ReadWriteLogRecord

    from jupyter_otel_telemetry.export.batching import Batching
    from jupyter_otel_telemetry.otlp.answers import Answer
    from jupyter_otel_telemetry.otlp.entries import Entry
    from jupyter_otel_telemetry.otlp.transport import Transport

__all__ = ["CountingProcessor", "Delivery"]

_RETRY_FOR_FLUSH_S: Final = 0.25
"""Pause between attempts while somebody waits for a flush, or for the end."""

_LONE_RECORD_S: Final = 600.0
"""How long a record that is alone in its batch is tried while the receiver answers, so that others get their turn."""

_REJECTED: Final = "rejected"

_FRAMES_OF_LOGGING: Final = 12
"""Number of frames in which the SDK's `on_emit` is found where it logs."""

_logger = logging.getLogger(__name__)
_sdk_logger = logging.getLogger(QUEUE_LOGGER)


class Delivery(LogRecordExporter):
    """Delivers batches of the SDK's processor, each until its records are accepted or rejected, or the time is up.

    Meanwhile, records wait in the processor's queue, from which the SDK drops the oldest when it is full. The SDK
    neither counts these nor remembers the result of an export; so this class counts.

    `_lock` guards the counters. It is never held while something is sent or logged. `give_up_in` takes no lock, since
    it is called while garbage is collected.

    Args:
        transport: the way to the receiver.
        destination: its address and protocol, without secrets.
        queue_size: number of records that the processor's queue holds.

    """

    def __init__(self, transport: Transport, destination: str, queue_size: int) -> None:
        self._batch_sender = BatchSender(transport, self._note_rejected, self._note_accepted)
        self._destination = destination
        self._queue_size = queue_size
        self._deadline_s = math.inf
        self._is_closed = False
        self._reset()
        # The child's queue begins empty: its parent delivers the records that its parent emitted.
        after_fork_in_child(self, Delivery._reset)

    def _reset(self) -> None:
        self._lock = threading.RLock()  # a signal handler or finalizer may emit while its thread holds it
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._hurry_until_s = -math.inf
        self._emitted = self._taken = self._accepted = 0
        self._lost: Counter[str] = Counter()
        self._lost_at_settling = 0
        self._trial = Trial()
        self._encoder = Encoder()
        self._failure_log = FailureLog(lambda: _logger)

    @property
    def emitted(self) -> int:
        """Number of records that entered the queue of this process so far."""
        return self._emitted

    def count_emitted(self) -> None:
        """Note that a record has entered the queue."""
        with self._lock:
            self._emitted += 1

    def count_late(self) -> None:
        """Note that a record was emitted after the end of the queue."""
        self.count_emitted()
        self._lose("closed", 1)

    def give_up_in(self, timeout_s: float) -> None:
        """Let records be lost that are not delivered within `timeout_s` seconds, or by an earlier deadline."""
        self._deadline_s = min(self._deadline_s, time.monotonic() + timeout_s)
        self._interrupt_wait()

    def hurry(self, timeout_s: float) -> None:
        """Make pauses short for `timeout_s` seconds, because somebody waits for a flush."""
        self._hurry_until_s = max(self._hurry_until_s, time.monotonic() + timeout_s)
        self._interrupt_wait()

    def _interrupt_wait(self) -> None:
        if self._wake.empty():  # else the next wait is a short one already
            self._wake.put(None)

    def settle(self, target: int, *, is_worked_off: bool) -> bool:
        """Tell whether the first `target` records were accepted, except those lost before an earlier call.

        Args:
            target: the value of `emitted` before the flush.
            is_worked_off: whether all of them have left the queue.

        """
        if is_worked_off:
            self._count_overflow(queued=self._emitted - target)
        with self._lock:
            lost = sum(self._lost.values())
            is_done = self._accepted + lost >= target
            is_complete = is_done and lost == self._lost_at_settling
            if is_done:
                self._lost_at_settling = lost
            return is_complete

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Deliver a batch; return when each of its records is accepted, rejected or lost."""
        with self._lock:
            self._taken += len(batch)
            lost = sum(self._lost.values())
        self._count_overflow(queued=self._queue_size)
        for part in _parts(self._encoded(batch)):
            self._deliver(part)
        is_success = sum(self._lost.values()) == lost
        return LogRecordExportResult.SUCCESS if is_success else LogRecordExportResult.FAILURE

    def _encoded(self, batch: Sequence[ReadableLogRecord]) -> list[Entry]:
        entries = []
        for record in batch:
            try:
                entries.append(self._encoder.entry(record))
            except Exception:  # an object in an ordinary log record may raise anything
                self._lose("encoding", 1)
        return entries

    def _deliver(self, entries: list[Entry]) -> None:
        backoff = Backoff()
        began_s = time.monotonic()
        while entries and time.monotonic() < self._deadline_s:
            outcome = self._batch_sender.deliver(entries, self._trial)
            del entries[: outcome.done]
            if not outcome.is_failure:
                backoff.reset()
                began_s = time.monotonic()
                self._failure_log.worked(self, f"; log records lost so far: {sum(self._lost.values())}")
                continue
            self._count_overflow(queued=self._queue_size)
            problem = f": {outcome.answer}; {self._waiting()}"
            self._failure_log.failed(self, problem, kind=outcome.answer.status, traceback=False)
            if self._is_given_up(entries, outcome.answer, time.monotonic() - began_s):
                self._note_rejected(entries, outcome.answer, len(entries))
                return
            if not self._wait(backoff.next_s(outcome.answer), outcome.answer):
                break
        if entries:
            self._trial.settle()
            if not self._is_closed:  # else they are counted already
                self._lose("export", len(entries))

    def _is_given_up(self, entries: list[Entry], answer: Answer, tried_s: float) -> bool:
        """Tell whether a record is the likely cause of its failures: nothing else is here to be compared with it."""
        return len(entries) == 1 and answer.may_concern_records and tried_s >= _LONE_RECORD_S

    def _wait(self, delay_s: float, answer: Answer) -> bool:
        """Wait until the next attempt; return False, at once, if the deadline would come first."""
        failed_s = time.monotonic()
        not_before_s = failed_s + answer.retry_after_s
        while True:
            now_s = time.monotonic()
            if max(now_s, not_before_s) >= self._deadline_s:
                return False
            next_s = failed_s + delay_s
            if now_s < self._hurry_until_s or self._deadline_s < math.inf:
                next_s = min(next_s, max(not_before_s, failed_s + _RETRY_FOR_FLUSH_S))
            if now_s >= next_s:
                return True
            with suppress(Empty):
                self._wake.get(timeout=min(next_s, self._deadline_s) - now_s)

    def _waiting(self) -> str:
        lost = sum(self._lost.values())
        waiting = self._emitted - self._accepted - lost
        return (
            f"log records that wait in memory: {waiting}, at most {self._queue_size} and a batch; lost so far: {lost}"
        )

    def _count_overflow(self, *, queued: int) -> None:
        """Count the records that the queue has dropped: emitted, not taken, and more than are queued."""
        with self._lock:
            count = self._emitted - self._taken - queued - self._lost["queue"] - self._lost["closed"]
        self._lose("queue", count)

    def _note_accepted(self, _entries: Sequence[Entry], count: int) -> None:
        with self._lock:
            self._accepted += count
        record_counters().delivered.add(count)

    def _note_rejected(self, _entries: Sequence[Entry], answer: Answer, count: int) -> None:
        record_counters().refused.add(count, {ERROR_TYPE: answer.status})
        self._lose(_REJECTED, count, f" ({answer})")

    def _lose(self, reason: str, count: int, details: str = "") -> None:
        if count <= 0:
            return
        with self._lock:
            is_first = not self._lost[reason]
            self._lost[reason] += count
        if reason != _REJECTED:  # which is counted as that
            record_counters().dropped.add(count, {DROP_REASON: reason})
        if is_first and reason != "export":  # which the end of the outage, or of the pipeline, tells
            text = "delivery to %s: %d log records are lost, because %s%s; further ones are counted, not logged"
            _log(text, self._destination, count, _BECAUSE[reason], details)

    def __repr__(self) -> str:
        return f"delivery to {self._destination}"

    def force_flush(self, timeout_millis: int = 10_000) -> bool:  # noqa: ARG002 - the SDK's signature
        """Do nothing: nothing is held back here."""
        return True

    def shutdown(self) -> None:
        """Close the connections, and log how many records are lost."""
        self.conclude(queued=0)
        self._batch_sender.close()

    def conclude(self, *, queued: int | None = None) -> None:
        """Count the records that are neither accepted nor lost yet as lost, and log how many are, by reason.

        Args:
            queued: number of records that are still in the queue, or None if unknown.

        """
        self.give_up_in(0)
        self._count_overflow(queued=self._queue_size if queued is None else queued)
        with self._lock:
            missing = self._emitted - self._accepted - sum(self._lost.values())
            is_first, self._is_closed = not self._is_closed, True
        if not is_first:
            return
        self._lose("export", missing)
        if lost := +self._lost:
            counts = ", ".join(f"{count} because {_BECAUSE[reason]}" for reason, count in lost.items())
            _log("delivery to %s has ended; lost log records: %s", self._destination, counts)


def _log(text: str, *arguments: object) -> None:
    """Log an error that `OTLPHandler` does not send: there may be no end of that."""
    with suppress(Exception), suppress_instrumentation():  # a handler of the program may raise
        _logger.error(text, *arguments)


_BECAUSE: Final = {
    "queue": "the queue was full (set OTEL_BLRP_MAX_QUEUE_SIZE, or use a spool)",
    "export": "the receiver did not accept them before the end of the program",
    _REJECTED: "the receiver rejected them",
    "encoding": "they cannot be encoded",
    "closed": "they were emitted after the end of the export pipeline",
}


_UNUSED_TIMEOUT_MS: Final = 30_000
"""The SDK would read it from OTEL_BLRP_EXPORT_TIMEOUT, and does not use it."""


class CountingProcessor(BatchLogRecordProcessor):
    """The SDK's batch processor, which here counts, and ends in bounded time.

    Args:
        delivery: the exporter.
        batching: sizes of the queue and of batches, and the pause between them.

    """

    def __init__(self, delivery: Delivery, batching: Batching) -> None:
        super().__init__(delivery, batching.delay_ms, batching.batch_size, _UNUSED_TIMEOUT_MS, batching.queue_size)
        self._delivery = delivery
        self._has_ended = False
        self._flushing = threading.Lock()
        _sdk_logger.addFilter(_is_not_told_here)  # nothing happens if it is there already
        after_fork_in_child(self, CountingProcessor._reset_in_child)

    def _reset_in_child(self) -> None:
        self._flushing = threading.Lock()

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Put a record into the queue."""
        if self._has_ended:
            self._delivery.count_late()
            return
        super().on_emit(log_record)
        self._delivery.count_emitted()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until all that is queued is accepted, rejected or lost; one thread at a time, as it may take long."""
        self._delivery.hurry(timeout_millis / 1000)
        if not self._flushing.acquire(timeout=timeout_millis / 1000):
            return False
        try:
            return super().force_flush(timeout_millis)
        finally:
            self._flushing.release()

    def shutdown(self) -> None:
        """Deliver queued records, for up to ten seconds, and stop."""
        self._has_ended = True
        self._delivery.give_up_in(FLUSH_TIMEOUT_S)
        super().shutdown()  # type: ignore[no-untyped-call]  # the SDK has no annotations here


def _is_not_told_here(_record: logging.LogRecord) -> bool:
    """Tell whether a message of the SDK comes from another processor than this one, which counts its losses.

    The SDK warns of a full queue before it knows that a record is lost, and again every 20 seconds.
    """
    frame = sys._getframe()  # noqa: SLF001 - there is no other way to tell whose message it is
    for _ in range(_FRAMES_OF_LOGGING):
        if frame.f_code is CountingProcessor.on_emit.__code__:
            return False
        if frame.f_back is None:
            break
        frame = frame.f_back
    return True


def _parts(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Split a batch into requests of at most 3 MiB, unless a single record is larger."""
    part: list[Entry] = []
    size_bytes = 0
    for entry in entries:
        if part and size_bytes + entry.size_bytes > MAX_BATCH_BYTES:
            yield part
            part, size_bytes = [], 0
        part.append(entry)
        size_bytes += entry.size_bytes
    if part:
        yield part
