"""Logs that a receiver takes nothing: when it begins, hourly, and when it is over."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import logging

    from jupyter_otel_telemetry.otlp.answers import Answer

__all__ = ["Outage"]

_REPEAT_S: Final = 3600.0


class Outage:
    """The failures of delivery to one receiver since the last success.

    It belongs to the thread that sends.

    Args:
        destination: the receiver's address and protocol, without secrets.
        logger: the logger to use.

    """

    def __init__(self, destination: str, logger: logging.Logger) -> None:
        self._destination = destination
        self._logger = logger
        self._end()

    def _end(self) -> None:
        self._failures = 0
        self._began_s = self._logged_s = 0.0
        self._logged: set[str] = set()

    def failed(self, answer: Answer, waiting: str) -> None:
        """Note a failed attempt.

        Args:
            answer: its result.
            waiting: how many records wait where.

        """
        now_s = time.monotonic()
        self._began_s = self._began_s if self._failures else now_s
        self._failures += 1
        if answer.status in self._logged and now_s - self._logged_s < _REPEAT_S:
            return
        since = f" for {duration(now_s - self._began_s)} ({self._failures} attempts)" if self._logged else ""
        self._logged.add(answer.status)
        self._logged_s = now_s
        with suppress(Exception):  # a handler of the program may raise
            self._logger.error("delivery to %s fails%s: %s; %s", self._destination, since, answer, waiting)

    def worked(self) -> None:
        """Note a success."""
        if not self._failures:
            return
        lasted, failures = duration(time.monotonic() - self._began_s), self._failures
        self._end()
        with suppress(Exception):  # as above
            text = "delivery to %s works again after %s; failed attempts: %d"
            self._logger.warning(text, self._destination, lasted, failures)


def duration(seconds: float) -> str:
    """Return a duration for people, in its two largest units."""
    whole = int(seconds)
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    first = next((number for number, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"
