"""The thread that sends the records of this process, and those of dead processes."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Final

from jupyter_otel_telemetry.failure_log import log_safely
from jupyter_otel_telemetry.failures import failure_text
from jupyter_otel_telemetry.otlp.batch_sender import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_otel_telemetry.otlp.answers import Answer
    from jupyter_otel_telemetry.otlp.batch_sender import BatchSender, Trial
    from jupyter_otel_telemetry.spool.reader import Batch
    from jupyter_otel_telemetry.spool.store import Source, Store

__all__ = ["Sender"]

_LINGER_S: Final = 0.2
"""How long a record may wait for others to be sent with."""
_MAINTENANCE_S: Final = 1.0
"""How often to look for journals of dead processes, and for records that are too old."""
_MAX_REQUESTS: Final = 64
"""Number of requests for the parts of one batch before it is the turn of other sources."""
_RETRY_FOR_FLUSH_S: Final = 0.25
"""How often to try while somebody waits for a flush."""

_logger = logging.getLogger(__name__)


class Sender:
    """Sends from a store, in a thread of its own, until it is ended.

    Args:
        store: the records to send.
        batch_sender: sends each batch.
        told: is called with the answer to each attempt that failed, and with None after one that did not.

    """

    def __init__(self, store: Store, batch_sender: BatchSender, told: Callable[[Answer | None], None]) -> None:
        # Here, since it fails where OTEL_PROPAGATORS names a package that is not there, and commands need it not;
        # not in the thread, since a fork during an import leaves the child a lock that is never released.
        from opentelemetry.instrumentation.utils import suppress_instrumentation

        self._suppressed = suppress_instrumentation
        self._store = store
        self._batch_sender = batch_sender
        self._told = told
        self._backoff = Backoff()
        self._reset()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_idle = False
        self._waiters = 0
        self._attempts = self._failed_attempt = 0
        self._maintained_s = self._failed_s = self._not_before_s = self._next_s = -math.inf
        self._deadline_s: float | None = None  # set when the end is near
        self._has_parent = False
        self._attempts_before_end = 0

    def reset_in_child(self) -> None:
        """Have no thread, in a forked child, until there is something to send."""
        self._backoff = Backoff()
        self._reset()
        self._has_parent = True

    def wake(self) -> None:
        """Note that there is something to send."""
        if self._thread is None:
            self.start()
        elif self._is_idle:
            with self._changed:
                self._changed.notify_all()

    def start(self) -> None:
        """Adopt journals of dead processes from now on, too."""
        with self._changed:
            if self._thread is None and self._deadline_s is None:
                # First, since a signal handler may record while it starts.
                self._thread = threading.Thread(target=self._run, name="otlp-spool", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # the interpreter is ending: it stays in the spool
                    self._thread = None

    def flush(self, timeout_s: float, *, give_up: bool) -> bool:
        """Wait until all that was recorded so far is done with.

        Args:
            timeout_s: how long at most.
            give_up: stop waiting when an attempt fails that began after this call.

        """
        target = self._store.appended
        deadline_s = time.monotonic() + timeout_s
        if self._store.done < target:
            self.start()
        with self._changed:
            attempts = self._attempts
            self._waiters += 1
            try:
                self._changed.notify_all()
                while self._store.done < target:
                    left_s = deadline_s - time.monotonic()
                    if left_s <= 0 or self._thread is None or self._deadline_s is not None:
                        break
                    if give_up and (self._failed_attempt > attempts or time.monotonic() < self._not_before_s):
                        break
                    self._changed.wait(min(left_s, 0.5))
            finally:
                self._waiters -= 1
        return self._store.done >= target

    def end(self, timeout_s: float) -> None:
        """Send within a time limit; no attempt is made after one that fails."""
        with self._changed:
            self._deadline_s = time.monotonic() + timeout_s
            self._attempts_before_end = self._attempts
            self._maintained_s = -math.inf
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        else:
            self._store.close()

    def _run(self) -> None:
        # Log records of the HTTP library must not be sent: sending makes it log again.
        with self._suppressed():
            try:
                while not self._must_end():
                    try:
                        if not self._step():
                            break
                    except Exception as error:  # records that wait are not lost, and others may be sent
                        text = "the spool cannot be sent, and is tried again: %s"
                        log_safely(lambda: _logger, logging.ERROR, text, failure_text(error))
                        if self._deadline_s is not None:
                            break
                        self._next_s = time.monotonic() + _MAINTENANCE_S
            finally:
                self._store.close()
                self._batch_sender.close()
                if self._deadline_s is None:
                    self._thread = None  # which nothing should bring about; the next record starts another one
                self._notify()

    def _step(self) -> bool:
        """Do one step of work; tell whether more is left."""
        if time.monotonic() - self._maintained_s >= _MAINTENANCE_S or self._store.wants_to_adopt:
            self._maintained_s = time.monotonic()
            # At its end, a program sends the records of its children. Children do not stay for others.
            self._store.maintain(adopt=self._deadline_s is None or not self._has_parent)
        if (delay_s := self._delay_s()) > 0:
            with self._changed:
                self._changed.wait(min(delay_s, _MAINTENANCE_S))
            return True
        return self._send_round() or self._wait_for_more()

    def _must_end(self) -> bool:
        """Tell whether the time is up, or an attempt at the end has failed."""
        return self._deadline_s is not None and (
            time.monotonic() >= self._deadline_s
            or time.monotonic() < self._not_before_s
            or self._failed_attempt > self._attempts_before_end
        )

    def _delay_s(self) -> float:
        """Return how long to wait before the next attempt, less if somebody waits for it."""
        next_s = self._next_s
        if self._deadline_s is not None:
            return 0.0
        if self._waiters:
            next_s = min(next_s, max(self._not_before_s, self._failed_s + _RETRY_FOR_FLUSH_S))
        return next_s - time.monotonic()

    def _send_round(self) -> bool:
        """Send a batch of each source, until one fails for a reason that concerns all; tell whether any was sent."""
        is_any_sent = is_any_done = False
        failures: list[tuple[Trial, Answer]] = []
        for source, batch in self._store.batches():
            if time.monotonic() < source.trial.not_before_s and self._deadline_s is None:
                continue
            is_any_sent = True
            done, failure = self._send(source, batch)
            is_any_done |= done > 0
            if failure is not None:
                failures.append((source.trial, failure))
                if source.trial.concerns_all(failure):
                    break
            elif self._must_end():
                break
        if failures and not is_any_done:
            self._note_failure(failures[-1][1])
        elif is_any_sent:
            for trial, failure in failures:
                trial.pause(failure)
            self._backoff.reset()
            self._told(None)
            self._notify()
        return is_any_sent

    def _send(self, source: Source, batch: Batch) -> tuple[int, Answer | None]:
        """Send a batch; return the number of records that are done with, and the answer if it was a failure."""
        done, failure = 0, None
        for _ in range(_MAX_REQUESTS):
            self._attempts += 1
            outcome = self._batch_sender.deliver(batch.entries[done:], source.trial)
            done += outcome.done
            failure = outcome.answer if outcome.is_failure else None
            if failure is not None or done == len(batch.entries) or self._must_end():
                break
        if done:
            self._store.commit(source, batch, done)
        return done, failure

    def _note_failure(self, answer: Answer) -> None:
        self._failed_s = time.monotonic()
        self._not_before_s = self._failed_s + answer.retry_after_s
        self._next_s = self._failed_s + self._backoff.next_s(answer)
        self._failed_attempt = self._attempts
        self._store.give_back()  # another process may reach the receiver
        self._told(answer)
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _wait_for_more(self) -> bool:
        """Wait until there may be something to send; tell whether that is still wanted."""
        with self._changed:
            self._changed.notify_all()
            if self._store.wants_to_adopt:
                return True
            self._is_idle = True
            # Who appends looks at `_is_idle` afterwards.
            if not self._store.waiting and self._deadline_s is None:
                self._changed.wait(_MAINTENANCE_S)
            self._is_idle = False
            if self._store.waiting and not self._waiters and self._deadline_s is None:
                self._changed.wait(_LINGER_S)
            return self._deadline_s is None or self._store.waiting > 0 or self._maintained_s == -math.inf
