"""The `OTEL_BLRP_*` variables: how records wait in memory."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

__all__ = ["Batching", "batching"]

_MAX_RECORDS: Final = 10_000_000
_MAX_DELAY_MS: Final = 24 * 3600 * 1000


class Batching(NamedTuple):
    """The queue of the SDK's batch processor."""

    queue_size: int
    batch_size: int
    delay_ms: int


def batching() -> Batching:
    """Read the variables; an empty one is unset.

    Raises:
        ValueError: a value has no meaning; the text names the variable.

    """
    queue_size = _number("OTEL_BLRP_MAX_QUEUE_SIZE", 2048, _MAX_RECORDS)
    batch_size = _number("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", min(512, queue_size), _MAX_RECORDS)
    if batch_size > queue_size:
        raise ValueError(
            f"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE is {batch_size}, more than the queue holds; "
            f"OTEL_BLRP_MAX_QUEUE_SIZE is {queue_size}"
        )
    return Batching(queue_size, batch_size, _number("OTEL_BLRP_SCHEDULE_DELAY", 1000, _MAX_DELAY_MS))


def _number(variable: str, default: int, largest: int) -> int:
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    if text.isascii() and text.isdigit() and 0 < int(text[:20]) <= largest:
        return int(text[:20])
    raise ValueError(f"{variable} {text!r} is not a number from 1 to {largest}")
