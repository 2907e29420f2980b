"""Counts the records that a spool has lost, and logs why."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Final

from jupyter_otel_telemetry.metrics import DROP_REASON, record_counters
from jupyter_otel_telemetry.spool.memory import MAX_MEMORY_BYTES
from jupyter_otel_telemetry.spool.messages import DeferredLogger
from jupyter_otel_telemetry.spool.own import SyncError

if TYPE_CHECKING:
    from jupyter_otel_telemetry.spool.folder import SpoolFolder

__all__ = ["Losses", "SpoolFullError", "consequence"]

_REASONS: Final = {
    "full": "since it has reached its limit",
    "age": "which were too old",
    "memory": "since the disk takes nothing and the memory for that is full",
    "removed": "whose files somebody has removed",
    "damaged": "whose files are damaged",
    "rejected": "which had been rejected before, since it has reached its limits",
}

_logger: Final = DeferredLogger(logging.getLogger(__name__))


class SpoolFullError(Exception):
    """The spool is full, and new records are to be refused."""


class Losses:
    """Counts dropped records by reason, and logs the first ones of each.

    Args:
        folder: of the spool.

    """

    def __init__(self, folder: SpoolFolder) -> None:
        self._folder = folder
        self.by_reason: Counter[str] = Counter()

    def add(self, reason: str, count: int) -> None:
        """Note that records were dropped."""
        if reason not in self.by_reason:
            text = "%r has dropped %d records, %s; further ones are counted, not logged"
            _logger.error(text, self._folder, count, _REASONS[reason])
        self.by_reason[reason] += count
        record_counters().dropped.add(count, {DROP_REASON: reason})


def consequence(problem: Exception) -> str:
    """Return the consequence of a failed write for new records."""
    if isinstance(problem, SpoolFullError):
        return ": it is full, and new records are refused"
    if isinstance(problem, SyncError):
        return (
            f": {problem}; until a sync works, records survive the end of the process, "
            "but may not survive that of the machine's power"
        )
    kept = f"records are kept in memory until it works again, {MAX_MEMORY_BYTES >> 20} MiB of them"
    return f": {problem}; {kept}"
