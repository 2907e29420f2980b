"""Operations on a spool from outside of the programs that use it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from jupyter_otel_telemetry.otlp.batch_sender import Backoff, BatchSender
from jupyter_otel_telemetry.otlp.transport import build_transport
from jupyter_otel_telemetry.spool import files
from jupyter_otel_telemetry.spool.groups import Unreadable, locked
from jupyter_otel_telemetry.spool.journal import Journal
from jupyter_otel_telemetry.spool.rejected import reason_of, rejected_in
from jupyter_otel_telemetry.spool.store import Store
from jupyter_otel_telemetry.spool.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from jupyter_otel_telemetry.otlp.answers import Answer
    from jupyter_otel_telemetry.otlp.entries import Entry
    from jupyter_otel_telemetry.otlp.settings import ExporterOptions
    from jupyter_otel_telemetry.spool.folder import SpoolFolder

__all__ = ["Drain", "requeue_rejected", "wait_after"]

_MAX_PAUSE_S: Final = 5.0
"""Longest pause between attempts, unless the receiver asks for a longer one: somebody is waiting."""


class Drain:
    """Sends all records of processes that have ended.

    Args:
        folder: of the spool.
        exporter: where to and how.

    Raises:
        ValueError: an option or environment variable has no meaning, or names a file that cannot be used.

    """

    def __init__(self, folder: SpoolFolder, exporter: ExporterOptions) -> None:
        self.destination = exporter.destination()
        self.accepted = self.refused = 0
        self._folder = folder
        self._store = Store(folder)
        self._batch_sender = BatchSender(build_transport(exporter), self._set_aside, self._accept)

    def steps(self) -> Iterator[tuple[int, Answer]]:
        """Send, batch after batch; return how many records are done with each time, and the last answer.

        After a failure it waits before the next attempt; the caller decides whether there is one.
        """
        backoff = Backoff()
        while self._store.adopt():
            is_any_done, failure = False, None
            for source, batch in self._store.batches():
                outcome = self._batch_sender.deliver(batch.entries, source.trial)
                if outcome.done:
                    self._store.commit(source, batch, outcome.done)
                    is_any_done = True
                yield outcome.done, outcome.answer
                if outcome.is_failure:
                    failure = outcome.answer
                    if source.trial.concerns_all(failure):
                        break
            if is_any_done:
                backoff.reset()
            if failure is not None:
                wait_after(failure, backoff)

    def close(self) -> None:
        """Give unsent records back for other processes."""
        self._store.close()
        self._batch_sender.close()

    def _accept(self, entries: Sequence[Entry], accepted: int) -> None:
        self.accepted += accepted
        self._store.keep(entries, accepted)

    def _set_aside(self, entries: Sequence[Entry], answer: Answer, rejected: int) -> None:
        self.refused += rejected
        if (error := self._store.reject(entries, reason_of(answer, rejected, self.destination))) is not None:
            raise error


def wait_after(failure: Answer, backoff: Backoff) -> None:
    """Wait until the next attempt of a command."""
    time.sleep(max(failure.retry_after_s, min(backoff.next_s(failure), _MAX_PAUSE_S)))


def requeue_rejected(folder: SpoolFolder) -> tuple[int, list[str]]:
    """Move the rejected records back to the queue.

    Returns:
        how many there were, and why others are left where they are.

    Raises:
        OSError: the folder cannot be written.

    """
    count = 0
    problems: list[str] = []
    folder.prepare()
    journal = Journal.create(folder.queue)
    writer = Writer(journal, folder.options.segment_bytes)
    try:
        for path in folder.rejected_files():
            try:
                count += _requeue(path, writer, problems)
            except OSError as error:
                problems.append(f"left where it is: {error}")
    finally:
        writer.close()
        journal.close(remove=count == 0)
    return count, problems


def _requeue(path: Path, writer: Writer, problems: list[str]) -> int:
    """Move the records of one file to a journal; keep unreadable parts."""
    with locked(path) as file:
        if file is None:
            problems.append(f"left where it is: {path} is being written to")
            return 0
        count, kept = 0, []
        for found in rejected_in(path):
            if isinstance(found, Unreadable):
                problems.append(f"left where it is: {found.problem}" if found.data else found.problem)
                kept.append(found.data)
                continue
            for entry in found.entries:
                if not writer.has_room_for(entry):
                    writer.sync()
                    writer.begin_segment()
                writer.append(entry)
            count += len(found.entries)
        writer.sync()
        if any(kept):
            files.replace_content(path, b"".join(kept), path.with_name(f".{path.name}"))
        else:
            files.remove(path)
        return count
