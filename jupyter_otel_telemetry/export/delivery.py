"""What happens to a batch: it is exported in parts that receivers accept, and what was accepted is counted."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult

from jupyter_otel_telemetry.forks import after_fork_in_child
from jupyter_otel_telemetry.metrics import DROP_REASON, record_counters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk._logs import ReadableLogRecord

__all__ = ["Delivery"]

MAX_REQUEST_BYTES: Final = 3 * 1024 * 1024
"""Estimated size above which a batch is sent in parts: gRPC receivers refuse 4 MiB by default."""

_logger = logging.getLogger(__name__)


class Delivery(LogRecordExporter):
    """Exports through another exporter, in parts that receivers accept, and knows what was accepted.

    The SDK's processor forgets what an export returned, so this is where the truth about delivery is.
    """

    def __init__(self, exporter: LogRecordExporter, queue_size: int) -> None:
        self._exporter = exporter
        self._queue_size = queue_size
        self._deadline_s = math.inf
        self._reset()
        # The child's queue begins empty: what its parent emitted is the parent's to deliver.
        after_fork_in_child(self, Delivery._reset)

    def _reset(self) -> None:
        self._lock = threading.RLock()  # a signal handler or finalizer may emit while its thread holds it
        self._emitted = self._accepted = self._settled = 0
        self._taken = self._overflowed = 0

    def count_emitted(self) -> None:
        """Note that one record is about to enter the queue."""
        with self._lock:
            self._emitted += 1

    def give_up_in(self, timeout_s: float) -> None:
        """Let exports that begin later than in `timeout_s` seconds fail at once."""
        self._deadline_s = time.monotonic() + timeout_s

    def settle(self, target: int) -> bool:
        """Tell whether the first `target` records were accepted, except those an earlier call has settled.

        To be called when the queue has been worked off. What is missing then is lost: the queue was full, or
        an export failed.
        """
        with self._lock:
            if complete := self._accepted >= target - self._settled:
                self._accepted -= target - self._settled
            else:
                self._accepted = 0
            self._settled = target
        self._count_overflow(queued=self._emitted - target)
        return complete

    def _count_overflow(self, *, queued: int) -> None:
        """Count what the queue has dropped: what was emitted, is not here, and cannot be in the queue."""
        with self._lock:
            count = self._emitted - self._taken - queued - self._overflowed
            if count <= 0:
                return
            is_first = not self._overflowed
            self._overflowed += count
        record_counters().dropped.add(count, {DROP_REASON: "queue"})
        if is_first:
            text = "the queue of log records is full, and some are lost; set OTEL_BLRP_MAX_QUEUE_SIZE, or use a spool"
            _logger.error(text)

    def _count_lost(self, count: int) -> None:
        record_counters().dropped.add(count, {DROP_REASON: "export"})

    @property
    def emitted(self) -> int:
        """Number of records emitted by this process so far."""
        return self._emitted

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Export in parts of at most about 3 MiB; no part and no record costs another its place."""
        with self._lock:
            self._taken += len(batch)
        self._count_overflow(queued=self._queue_size)
        result = LogRecordExportResult.SUCCESS
        for part in _parts(batch):
            if not self._export_part(part):
                result = LogRecordExportResult.FAILURE
        return result

    def _export_part(self, part: Sequence[ReadableLogRecord]) -> bool:
        if self._was_accepted(part):
            return True
        # Ordinary log records can hold what OTLP cannot, and exporters then drop everything around them.
        healthy = [record for record in part if _can_be_encoded(record)]
        if len(healthy) < len(part):
            _logger.error("%d log records cannot be encoded as OTLP and are dropped", len(part) - len(healthy))
            if self._was_accepted(healthy):
                self._count_lost(len(part) - len(healthy))
                return False
        self._count_lost(len(part))
        return False

    def _was_accepted(self, part: Sequence[ReadableLogRecord]) -> bool:
        if time.monotonic() >= self._deadline_s:
            return False
        try:
            accepted = self._exporter.export(part) is LogRecordExportResult.SUCCESS
        except Exception:  # noqa: BLE001 - told by what follows, as any other failure
            return False
        if accepted:
            with self._lock:
                self._accepted += len(part)
            record_counters().delivered.add(len(part))
        return accepted

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        """Flush the exporter, which holds nothing back."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK has no annotations here


def _can_be_encoded(record: ReadableLogRecord) -> bool:
    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs  # noqa: PLC0415 - rarely needed

    try:
        encode_logs([record]).SerializeToString()
    except Exception:  # noqa: BLE001 - whatever protobuf and the encoder raise
        return False
    return True


def _parts(batch: Sequence[ReadableLogRecord]) -> Iterator[Sequence[ReadableLogRecord]]:
    part: list[ReadableLogRecord] = []
    part_bytes = 0
    for record in batch:
        size_bytes = _estimated_bytes(record)
        if part and part_bytes + size_bytes > MAX_REQUEST_BYTES:
            yield part
            part, part_bytes = [], 0
        part.append(record)
        part_bytes += size_bytes
    if part:
        yield part


def _estimated_bytes(record: ReadableLogRecord) -> int:
    # The body shows the whole event, so the attributes are about as long; non-ASCII text can take 3 bytes.
    body = record.log_record.body
    return 1000 + (2 * (len(body) if body.isascii() else 3 * len(body)) if isinstance(body, str) else 0)
