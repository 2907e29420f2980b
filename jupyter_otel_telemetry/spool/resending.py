"""Sends acknowledged records again, for a receiver that has lost them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jupyter_otel_telemetry.otlp.batch_sender import Backoff, BatchSender, Trial
from jupyter_otel_telemetry.otlp.entries import MAX_BATCH_BYTES, MAX_BATCH_RECORDS
from jupyter_otel_telemetry.otlp.transport import build_transport
from jupyter_otel_telemetry.spool import inspection
from jupyter_otel_telemetry.spool.maintenance import wait_after
from jupyter_otel_telemetry.spool.rejected import RejectedFiles, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jupyter_otel_telemetry.otlp.answers import Answer
    from jupyter_otel_telemetry.otlp.entries import Entry
    from jupyter_otel_telemetry.otlp.settings import ExporterOptions
    from jupyter_otel_telemetry.spool.folder import SpoolFolder
    from jupyter_otel_telemetry.spool.inspection import Tell

__all__ = ["Period", "Resend"]


class Period(NamedTuple):
    """A time in which records were acknowledged, both ends included."""

    since_ns: int
    until_ns: int

    def holds(self, time_ns: int | None) -> bool:
        """Tell whether a time lies in it, or may do so, since it is not known."""
        return time_ns is None or self.since_ns <= time_ns <= self.until_ns


class Resend:
    """Sends the records again that were acknowledged in a period, out of the files in which they are kept.

    The queue is not touched: records that wait are neither delayed nor, at the limits of the spool, dropped for it.
    Records stay where they are kept, as long as they would otherwise; a resend that is interrupted is repeated.

    Args:
        folder: of the spool.
        exporter: where to and how.
        period: of the acknowledgement.

    Raises:
        ValueError: an option or environment variable has no meaning, or names a file that cannot be used.

    """

    def __init__(self, folder: SpoolFolder, exporter: ExporterOptions, period: Period) -> None:
        self.destination = exporter.destination()
        self.accepted = self.refused = 0
        self._folder = folder
        self._period = period
        self._rejected = RejectedFiles(folder.rejected, folder.options.segment_bytes, is_synced=True)
        self._batch_sender = BatchSender(build_transport(exporter), self._set_aside, self._accept)

    def entries(self, tell: Tell) -> Iterator[Entry]:
        """Read the records of the period, the oldest of each process first; `tell` is as in `inspection`."""
        for found in inspection.acknowledged(self._folder, tell):
            if self._period.holds(found.time_ns):
                yield from found.entries

    def steps(self) -> Iterator[tuple[int, Answer]]:
        """Send, batch after batch; return how many records are done with each time, and the last answer.

        After a failure it waits before the next attempt; the caller decides whether there is one. What cannot be read
        is left out; `entries` tells it.
        """
        backoff, trial = Backoff(), Trial()
        entries = self.entries(lambda _: None)
        batch: list[Entry] = []
        while batch := _filled(batch, entries):
            outcome = self._batch_sender.deliver(batch, trial)
            del batch[: outcome.done]
            yield outcome.done, outcome.answer
            if outcome.done:
                backoff.reset()
            if outcome.is_failure:
                wait_after(outcome.answer, backoff)

    def close(self) -> None:
        """Close the connections."""
        self._batch_sender.close()

    def _accept(self, _: Sequence[Entry], accepted: int) -> None:
        self.accepted += accepted

    def _set_aside(self, entries: Sequence[Entry], answer: Answer, rejected: int) -> None:
        self._rejected.store(entries, reason_of(answer, rejected, self.destination))
        self.refused += rejected


def _filled(batch: list[Entry], entries: Iterator[Entry]) -> list[Entry]:
    """Return a batch with as many more records as a request may hold."""
    size_bytes = sum(entry.size_bytes for entry in batch)
    while len(batch) < MAX_BATCH_RECORDS and size_bytes < MAX_BATCH_BYTES:
        entry = next(entries, None)
        if entry is None:
            break
        batch.append(entry)
        size_bytes += entry.size_bytes
    return batch
