"""Carries records to a receiver until it has accepted or refused each of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from jupyter_otel_telemetry.otlp.answers import ACCEPTED, DOUBTFUL, REFUSED, RETRY, Answer
from jupyter_otel_telemetry.spool.entries import MAX_BATCH_BYTES, request_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_otel_telemetry.otlp.transport import Transport
    from jupyter_otel_telemetry.spool.entries import Entry

__all__ = ["Backoff", "Courier"]

_DOUBTS_BEFORE_SEARCH: Final = 5
"""How often in a row a receiver may be unable to tell, before it is asked for smaller parts."""
_DOUBTS_IN_SEARCH: Final = 32
"""How often in a row it may be unable to tell then, before it is clear that it is ill. Above twice the halvings of a
batch, so that one bad record is always found."""
_FIRST_DELAY_S: Final = 0.5
_MAX_DELAY_S: Final = 30.0
_random = random.Random()  # noqa: S311 - no secret; not the program's own generator, which it may have seeded


class Backoff:
    """How long to wait before the next attempt: twice as long each time, at random, up to half a minute."""

    def __init__(self) -> None:
        self._failures = 0

    def next_s(self, answer: Answer) -> float:
        """Return seconds to wait after an answer that was none of use."""
        bound_s = min(_MAX_DELAY_S, _FIRST_DELAY_S * 2 ** min(self._failures, 16))
        self._failures += 1
        # Never less than what was asked for; at random, so that many senders do not come back at once.
        return answer.retry_after_s + _random.uniform(bound_s / 2, bound_s)

    def reset(self) -> None:
        """Note a success."""
        self._failures = 0


@dataclass
class _Search:
    """What is known while a batch that was not accepted as a whole is sent in parts."""

    done: int = 0
    """How many of the records, from the first on, there is an answer to."""
    is_judged: bool = False
    """Whether the receiver has said of anything that it takes it, or does not: so it is not ill."""
    doubts: int = 0
    doubted: list[tuple[int, Entry]] = field(default_factory=list)


class Courier:
    """Sends batches, and decides what an answer means for each record.

    Args:
        transport: the way to the receiver.
        refused: is told of records that are refused for good: all that may be meant, the answer, and how many are.
        accepted: is told how many were accepted.

    """

    def __init__(
        self,
        transport: Transport,
        refused: Callable[[Sequence[Entry], Answer, int], None],
        accepted: Callable[[int], None],
    ) -> None:
        self._transport = transport
        self._refused = refused
        self._accepted = accepted

    def deliver(self, entries: Sequence[Entry], doubts: int, *, is_well: bool) -> tuple[int, Answer]:
        """Send records.

        Args:
            entries: the records.
            doubts: how often in a row the receiver could not tell of them whether it wants them.
            is_well: it has accepted others since.

        Returns:
            how many of them, from the first on, are accepted or refused, and so done with; and the last answer,
            which says when to try again if that is not all of them.

        """
        answer = self._transport.send(request_of(entries))
        if answer.verdict == DOUBTFUL and len(entries) == 1 and entries[0].size_bytes > MAX_BATCH_BYTES:
            answer = replace(answer, verdict=REFUSED)  # it may well be too large, and can be sent no smaller
        if answer.verdict == REFUSED or (answer.verdict == DOUBTFUL and doubts >= _DOUBTS_BEFORE_SEARCH):
            return self._search(entries, answer, is_well=is_well)
        if answer.verdict in (DOUBTFUL, RETRY):
            return 0, answer
        self._settle(entries, answer)
        return len(entries), answer

    def close(self) -> None:
        """Give back connections."""
        self._transport.close()

    def _settle(self, entries: Sequence[Entry], answer: Answer) -> None:
        """Tell what became of records that are done with."""
        rejected = min(answer.rejected, len(entries)) if answer.verdict == ACCEPTED else len(entries)
        if rejected:
            self._refused(entries, answer, rejected)
        if rejected < len(entries):
            self._accepted(len(entries) - rejected)

    def _search(self, entries: Sequence[Entry], answer: Answer, *, is_well: bool) -> tuple[int, Answer]:
        """Send parts of what was not accepted, ever smaller ones, to find the records that are meant."""
        search = _Search(is_judged=is_well or answer.verdict == REFUSED)
        answer = self._narrow(entries, answer, search)
        if search.doubted and not search.is_judged:  # it may well be that the receiver is ill
            return 0, answer
        for index, entry in search.doubted:
            # Once more, now that others were accepted: it may have been ill then.
            again = self._transport.send(request_of([entry]))
            if again.verdict == RETRY:
                return index, again
            self._settle([entry], again)
        return search.done, answer

    def _narrow(self, entries: Sequence[Entry], answer: Answer, search: _Search) -> Answer:
        """Deal with records that got an answer together; return the last one, which may end the search."""
        if answer.verdict == RETRY or search.doubts > _DOUBTS_IN_SEARCH:
            return answer
        if answer.verdict not in (REFUSED, DOUBTFUL) or len(entries) == 1:
            if answer.verdict == DOUBTFUL:
                search.doubted.append((search.done, entries[0]))
            else:
                self._settle(entries, answer)
            search.done += len(entries)
            return answer
        middle = len(entries) // 2
        for part in (entries[:middle], entries[middle:]):
            done_before = search.done
            answer = self._transport.send(request_of(part))
            search.is_judged |= answer.verdict in (ACCEPTED, REFUSED)
            search.doubts = search.doubts + 1 if answer.verdict == DOUBTFUL else 0
            answer = self._narrow(part, answer, search)
            if search.done < done_before + len(part):
                break
        return answer
