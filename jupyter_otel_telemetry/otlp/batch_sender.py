"""Delivers batches until the receiver has accepted or rejected each record."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from jupyter_otel_telemetry.otlp.answers import Answer, Verdict
from jupyter_otel_telemetry.otlp.entries import MAX_BATCH_BYTES, MAX_BATCH_RECORDS, Entry, request_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_otel_telemetry.otlp.transport import Transport

__all__ = ["RECORDS_IN_DOUBT", "Backoff", "BatchSender", "Outcome", "Trial"]

_FAILURES_BEFORE_PARTS: Final = 5
"""Consecutive failures of a batch before its parts are sent."""
_EVIDENCE_TO_REJECT: Final = 3
"""Number of attempts at which a record must fail while another one is accepted, each after a pause."""
RECORDS_IN_DOUBT: Final = 1 + _EVIDENCE_TO_REJECT
"""Number of records to read where the first one is in doubt, whatever their size: the others are compared with it."""
_FIRST_DELAY_S: Final = 0.5
_MAX_DELAY_S: Final = 30.0

_random: Final = random.SystemRandom()  # forked children would share the state of another one


class Backoff:
    """The pause before the next attempt: twice as long each time, at random, up to half a minute."""

    def __init__(self) -> None:
        self._failures = 0

    def next_s(self, answer: Answer) -> float:
        """Return the seconds to wait after a failed attempt."""
        bound_s = min(_MAX_DELAY_S, _FIRST_DELAY_S * 2 ** min(self._failures, 16))
        self._failures += 1
        # Never less than what was asked for; at random, so that many senders do not come back at once.
        return answer.retry_after_s + _random.uniform(bound_s / 2, bound_s)

    def reset(self) -> None:
        """Note a success."""
        self._failures = 0


@dataclass
class Trial:
    """The state of delivery from one source of records, between attempts.

    A batch that keeps failing is sent in ever smaller parts. A single record that keeps failing while others are
    accepted is rejected.
    """

    limit: int = MAX_BATCH_RECORDS
    """Largest number of records in the next request."""
    ceiling: int = MAX_BATCH_RECORDS
    """Bound of `limit` after a request that was too large; it rises slowly."""
    head: Entry | None = None
    """The first record of the last failed attempt."""
    failures: int = 0
    """Consecutive failures of requests that began with `head`."""
    ahead: int = 0
    """Number of records right behind `head` that are accepted or rejected already."""
    evidence: int = 0
    """Number of attempts at which `head` failed alone while another record was accepted."""
    accepted_before: int = 0
    """The sender's number of accepted requests at the last failure of `head`."""
    not_before_s: float = -math.inf
    """Monotonic time of the next attempt, where other sources are delivered meanwhile."""

    @property
    def is_suspicious(self) -> bool:
        """Whether the records may be the cause of the failures."""
        return self.failures >= _FAILURES_BEFORE_PARTS

    def concerns_all(self, failure: Answer) -> bool:
        """Tell whether the records of other sources will most likely fail, too."""
        return failure.verdict is not Verdict.AMBIGUOUS and not self.is_suspicious

    def begin(self, head: Entry) -> None:
        """Forget what concerns another first record."""
        if self.head is not None and head != self.head:
            self.settle()

    def settle(self) -> None:
        """Forget the first record, which is accepted, rejected or dropped."""
        self.head, self.failures, self.ahead, self.evidence = None, 0, 0, 0
        self.not_before_s = -math.inf

    def grow(self) -> None:
        """Let the next request hold more records, after one that was accepted."""
        self.ceiling = min(self.ceiling + 1 + self.ceiling // 16, MAX_BATCH_RECORDS)
        self.limit = min(2 * self.limit, self.ceiling)

    def shrink(self, count: int, answer: Answer) -> None:
        """Let the next request hold half as many records as one that failed."""
        self.limit = count // 2
        if answer.verdict is Verdict.TOO_LARGE:
            self.ceiling = self.limit

    def pause(self, answer: Answer) -> None:
        """Let others be delivered before the next attempt."""
        self.not_before_s = time.monotonic() + Backoff().next_s(answer)


class Outcome(NamedTuple):
    """The result of an attempt to deliver.

    Args:
        done: number of records, from the first on, that are accepted or rejected.
        answer: the receiver's last answer.
        is_failure: whether to pause before the next attempt; else the remaining records can be sent at once.

    """

    done: int
    answer: Answer
    is_failure: bool


class BatchSender:
    """Sends batches, and decides the meaning of each answer for each record.

    Args:
        transport: the way to the receiver.
        rejected: called with rejected records, the answer, and the number of those that are meant.
        accepted: called with the records of a request, and the number of those that are accepted.

    """

    def __init__(
        self,
        transport: Transport,
        rejected: Callable[[Sequence[Entry], Answer, int], None],
        accepted: Callable[[Sequence[Entry], int], None],
    ) -> None:
        self._transport = transport
        self._rejected = rejected
        self._accepted = accepted
        self._accepted_requests = 0

    def deliver(self, entries: Sequence[Entry], trial: Trial) -> Outcome:
        """Make one attempt to deliver the first of the records.

        Args:
            entries: records in their order, at least one.
            trial: the state of their source.

        """
        trial.begin(entries[0])
        trial.ahead = min(trial.ahead, len(entries) - 1)
        # Records behind the first that are done with already are not sent again.
        part = entries[: 1 if trial.ahead else trial.limit]
        answer = self._send(part)
        if answer.verdict is Verdict.ACCEPTED:
            return self._settle(part, answer, trial)
        if len(part) > 1:
            return self._shrink(part, answer, trial)
        is_surely_too_large = answer.is_about_size or part[0].size_bytes > MAX_BATCH_BYTES
        if answer.verdict is Verdict.REJECTED or (
            is_surely_too_large and answer.verdict in (Verdict.TOO_LARGE, Verdict.AMBIGUOUS)
        ):
            return self._settle(part, answer, trial)
        return self._doubt(entries, answer, trial)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def _send(self, entries: Sequence[Entry]) -> Answer:
        request = request_of(entries)
        answer = self._transport.send(request).to_request_of(len(request))
        self._accepted_requests += answer.verdict is Verdict.ACCEPTED
        return answer

    def _settle(self, part: Sequence[Entry], answer: Answer, trial: Trial) -> Outcome:
        """Note that records are done with."""
        self._report(part, answer)
        done = len(part) + trial.ahead
        trial.settle()
        if answer.verdict is Verdict.ACCEPTED:
            trial.grow()
        return Outcome(done, answer, is_failure=False)

    def _report(self, part: Sequence[Entry], answer: Answer) -> None:
        rejected = min(answer.rejected, len(part)) if answer.verdict is Verdict.ACCEPTED else len(part)
        if rejected:
            self._rejected(part, answer, rejected)
        if rejected < len(part):
            self._accepted(part, len(part) - rejected)

    def _shrink(self, part: Sequence[Entry], answer: Answer, trial: Trial) -> Outcome:
        """Let a smaller part be sent next, if the records may be the cause of a failure."""
        if answer.verdict in (Verdict.REJECTED, Verdict.TOO_LARGE):
            trial.shrink(len(part), answer)
            return Outcome(0, answer, is_failure=False)
        self._count_failure(part[0], answer, trial)
        if trial.is_suspicious:
            trial.shrink(len(part), answer)
        return Outcome(0, answer, is_failure=True)

    def _doubt(self, entries: Sequence[Entry], answer: Answer, trial: Trial) -> Outcome:
        """Find out whether a record that fails alone is the cause, by sending another one."""
        self._count_failure(entries[0], answer, trial)
        if trial.is_suspicious and answer.may_concern_records:
            trial.evidence += self._is_another_accepted(entries, trial)
            if trial.evidence >= _EVIDENCE_TO_REJECT:
                return self._settle(entries[:1], replace(answer, verdict=Verdict.REJECTED), trial)
        trial.accepted_before = self._accepted_requests
        return Outcome(0, answer, is_failure=True)

    def _is_another_accepted(self, entries: Sequence[Entry], trial: Trial) -> bool:
        if self._accepted_requests > trial.accepted_before:  # of another source, since the last attempt
            return True
        others = entries[1 + trial.ahead : 2 + trial.ahead]
        if not others:
            return trial.ahead > 0
        answer = self._send(others)
        if answer.verdict in (Verdict.ACCEPTED, Verdict.REJECTED):
            self._report(others, answer)
            trial.ahead += 1
            return True
        return False

    def _count_failure(self, head: Entry, answer: Answer, trial: Trial) -> None:
        """Count a failure, unless it concerns any request alike."""
        if answer.verdict is not Verdict.MISCONFIGURED:
            trial.head, trial.failures = head, trial.failures + 1
            if trial.failures == 1:
                trial.accepted_before = self._accepted_requests
