"""ULIDs: ids of 26 characters that sort by time, https://github.com/ulid/spec."""

from __future__ import annotations

import itertools
import os
import random

__all__ = ["make_ulid"]

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]


class _Ulids:
    """Makes ULIDs, unique within a process for certain, and among processes by 80 random bits.

    48 bits of time, then 80 that are random at the start, and count up: https://github.com/ulid/spec, "monotonicity".
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        bits = random.SystemRandom().getrandbits
        self._process = _base32_40_bits(bits(40))
        self._counter = itertools.count(bits(40))
        self._last: tuple[int, int, str] = (-1, -1, "")

    def make(self, time_ms: int) -> str:
        """Make the ULID of something that happened `time_ms` milliseconds after 1970."""
        count = next(self._counter)
        upper = count >> 10
        last_ms, last_upper, beginning = self._last  # read at once: another thread may replace it
        if last_ms != time_ms or last_upper != upper:
            beginning = _base32_50_bits(time_ms) + self._process + _base32_30_bits(upper)
            self._last = time_ms, upper, beginning
        return beginning + _PAIRS[count & 1023]


def _base32_50_bits(number: int) -> str:
    return _PAIRS[number >> 40 & 1023] + _base32_40_bits(number)


def _base32_40_bits(number: int) -> str:
    return _base32_30_bits(number >> 10) + _PAIRS[number & 1023]


def _base32_30_bits(number: int) -> str:
    return _PAIRS[number >> 20 & 1023] + _PAIRS[number >> 10 & 1023] + _PAIRS[number & 1023]


_ulids = _Ulids()
make_ulid = _ulids.make
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ulids.restart)
