"""A `LogRecordProcessor` that writes each record to disk and starts its sender."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from opentelemetry.sdk._logs import LogRecordProcessor

from jupyter_otel_telemetry.describing import is_describing
from jupyter_otel_telemetry.failure_log import FailureLog, log_safely
from jupyter_otel_telemetry.forks import after_fork_in_child
from jupyter_otel_telemetry.metrics import DROP_REASON, ERROR_TYPE, observe_gauge, record_counters
from jupyter_otel_telemetry.otlp.batch_sender import BatchSender
from jupyter_otel_telemetry.otlp.encoding import Encoder, encode_record
from jupyter_otel_telemetry.otlp.settings import ExporterOptions
from jupyter_otel_telemetry.otlp.transport import build_transport
from jupyter_otel_telemetry.spool.folder import SpoolFolder, SpoolOptions
from jupyter_otel_telemetry.spool.limits import Limits
from jupyter_otel_telemetry.spool.rejected import reason_of
from jupyter_otel_telemetry.spool.sender import Sender
from jupyter_otel_telemetry.spool.store import Store

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.sdk._logs import ReadWriteLogRecord
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    from jupyter_otel_telemetry.otlp.answers import Answer
    from jupyter_otel_telemetry.otlp.entries import Entry

__all__ = ["SpoolLogRecordProcessor"]

SHUTDOWN_TIMEOUT_S: Final = 5.0
"""How long the end of a program waits for deliveries."""

_logger = logging.getLogger(__name__)


class SpoolLogRecordProcessor(LogRecordProcessor):
    """Writes each record to a folder before `on_emit` returns, and sends from there until a receiver accepts it.

    Add it to a `LoggerProvider` of yours, or let `OTLPHandler(spool=…)` do so.

    Args:
        spool: the folder, or all options.
        exporter: where to and how. Compression is gzip, unless something else is chosen.

    Raises:
        ValueError: an option or environment variable has no meaning; the text says what to write.
        OSError: the folder cannot be created or written to.

    """

    def __init__(
        self,
        spool: str | os.PathLike[str] | Mapping[str, Any] | SpoolOptions,
        exporter: ExporterOptions | None = None,
    ) -> None:
        exporter = exporter or ExporterOptions()
        self._folder = SpoolFolder(SpoolOptions.from_argument(spool))
        if not is_describing():
            self._folder.prepare()
            self._folder.check_locks()
        self._destination = exporter.destination()
        self._failure_log = FailureLog(lambda: _logger)
        self._store = Store(self._folder)
        self._sender = Sender(
            self._store, BatchSender(build_transport(exporter), self._reject, self._accept), self._tell
        )
        self._reset()
        after_fork_in_child(self, SpoolLogRecordProcessor._reset_in_child)
        _processors.add(self)
        _observe()
        if not is_describing():
            self._sender.start()

    def _reset(self) -> None:
        self._encoder = Encoder()
        self._unaccepted = 0
        self.refused = self.unencodable = 0

    def _reset_in_child(self) -> None:
        self._store.reset_in_child()
        self._sender.reset_in_child()
        self._failure_log = FailureLog(lambda: _logger)
        self._reset()

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Write a record to the spool, or keep it in memory while the disk accepts no writes."""
        try:
            entry = self._encoder.entry(log_record)
        except Exception:  # the caller's work must go on
            self.unencodable += 1
            record_counters().dropped.add(1, {DROP_REASON: "encoding"})
            self._failure_log.failed(encode_record, ": a record that cannot be encoded is lost")
            return
        self._store.append(entry)
        self._sender.wake()

    def append(self, resource: Resource | None, scope: InstrumentationScope | None, record: bytes) -> None:
        """Write a serialised `LogRecord` to the spool, as `on_emit` does."""
        self._store.append(self._encoder.entry_of(resource, scope, record))
        self._sender.wake()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until all records emitted so far have been accepted.

        Returns:
            Whether it was, all of it, within the time limit.

        """
        return self.flush(timeout_millis / 1000, give_up=False)

    def flush(self, timeout_s: float, *, give_up: bool) -> bool:
        """Do as `force_flush`; with `give_up`, wait no longer once an attempt to send has failed."""
        is_done = self._sender.flush(timeout_s, give_up=give_up)
        unaccepted = self.refused + self.unencodable + self._store.unaccepted
        is_accepted = unaccepted == self._unaccepted
        if is_done:
            self._unaccepted = unaccepted
        return is_done and is_accepted

    def shutdown(self) -> None:
        """Send for a few seconds; the remaining records wait for the next start.

        Later records are written to the spool, too.
        """
        # In this thread: that of the sender may wait for an answer, and ends with the program.
        self._store.spill()
        self._sender.end(SHUTDOWN_TIMEOUT_S)
        self._store.spill()
        if left := self._store.in_memory:
            _logger.error(
                "%r could not be written: %d records in memory are lost with this process", self._folder, left
            )
        if self._store.dropped:
            counts = ", ".join(f"{count} ({reason})" for reason, count in self._store.dropped.items())
            _logger.error("%r has dropped records: %s", self._folder, counts)

    def _accept(self, entries: Sequence[Entry], accepted: int) -> None:
        record_counters().delivered.add(accepted)
        self._store.keep(entries, accepted)

    def _reject(self, entries: Sequence[Entry], answer: Answer, rejected: int) -> None:
        is_first = not self.refused
        error = self._store.reject(entries, reason_of(answer, rejected, self._destination))
        self.refused += rejected
        record_counters().refused.add(rejected, {ERROR_TYPE: answer.status})
        if error is None:
            self._failure_log.worked(self._store)
        else:
            text = f": {error}; rejected records stay in the queue until {self._folder.rejected} can be written"
            self._failure_log.failed(self._store, text, traceback=False)
        if is_first:
            text = "%s rejects log records, %d to begin with (%s %s); they are stored in %s; "
            text += "further ones are counted, not logged"
            reason = (self._destination, rejected, answer.status, answer.reason, self._folder.rejected)
            log_safely(lambda: _logger, logging.ERROR, text, *reason)

    def _tell(self, answer: Answer | None) -> None:
        if answer is None:
            self._failure_log.worked(self)
        else:
            waiting = f"log records of this process that wait in {self._folder.path}: {self._store.waiting}"
            self._failure_log.failed(self, f": {answer}; {waiting}", kind=answer.status, traceback=False)

    def depth(self) -> float:
        """Return how many records of this process wait."""
        return self._store.waiting

    def size_bytes(self) -> float:
        """Return the size of the whole spool, that of other processes included."""
        return Limits(self._folder).size_bytes()

    def age_s(self) -> float:
        """Return how long the oldest record that this process is to send has been waiting."""
        return self._store.age_s()

    def __str__(self) -> str:
        return str(self._folder)

    def __repr__(self) -> str:
        return f"delivery to {self._destination}"


_processors: WeakSet[SpoolLogRecordProcessor] = WeakSet()


@lru_cache(maxsize=1)
def _observe() -> None:
    """Measure every spool that is in this process, from the first one on."""

    def look(measure: Callable[[SpoolLogRecordProcessor], float]) -> Mapping[str, float]:
        return {str(processor._folder.path): measure(processor) for processor in list(_processors)}  # noqa: SLF001

    of = SpoolLogRecordProcessor
    records = "Log records of this process that wait in the spool"
    observe_gauge("jupyter.spool.depth", "{record}", records, lambda: look(of.depth))
    size = "Size of the spool, rejected and acknowledged records included, of all processes"
    observe_gauge("jupyter.spool.size", "By", size, lambda: look(of.size_bytes))
    age = "How long the oldest log record that this process is to send has been waiting"
    observe_gauge("jupyter.spool.age", "s", age, lambda: look(of.age_s))
