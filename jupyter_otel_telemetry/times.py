"""Times: nanoseconds since 1970 UTC, datetimes and RFC 3339."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import lru_cache

__all__ = ["datetime_to_ns", "rfc3339"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def rfc3339(time_ns: int) -> str:
    """Format nanoseconds since 1970 as RFC 3339 in UTC, with microseconds and `Z`."""
    return f"{_second(time_ns // 1_000_000_000)}.{time_ns // 1000 % 1_000_000:06d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()


def datetime_to_ns(moment: datetime) -> int:
    """Nanoseconds since 1970 of a datetime; a naive one is taken as UTC.

    Raises:
        TypeError: it is not a datetime.
        ValueError: in UTC it lies outside the years 1 to 9999.

    """
    if not isinstance(moment, datetime):
        raise TypeError(f"timestamp_override must be a datetime.datetime, not {type(moment).__name__}")
    try:
        moment = moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("timestamp_override lies outside the years 1 to 9999 in UTC") from None
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
