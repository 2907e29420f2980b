"""Logs, without flooding, that a handler, listener, modifier or delivery fails, and that it works again."""

from __future__ import annotations

import itertools
import logging
import sys
import time
import weakref
from asyncio import CancelledError
from typing import TYPE_CHECKING, Any, Final, Protocol

from jupyter_otel_telemetry.failures import failure_text

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FailureLog", "is_failure", "is_panic", "log_safely"]

REMINDER_S: Final = 3600.0
"""Interval between two reports of failures that go on."""
_MAX_FAILING: Final = 256


def is_failure(error: BaseException) -> bool:
    """Tell whether an exception is a failure of the function that raised it.

    KeyboardInterrupt, SystemExit and the like end the program or the thread instead, and must pass.
    """
    return isinstance(error, (Exception, CancelledError)) or is_panic(error)


def is_panic(error: BaseException) -> bool:
    """Tell whether an exception is a panic of Rust code: a BaseException whose class cannot be imported."""
    return type(error).__name__ == "PanicException"


class Log(Protocol):
    """A logger, or an object that logs later."""

    def log(self, level: int, text: str, /, *args: Any) -> None:
        """Log a sentence."""


def log_safely(log: Callable[[], Log], level: int, text: str, *arguments: object) -> None:
    """Log a sentence. Never raises: the program's handlers and filters may."""
    try:
        log().log(level, text, *arguments)
    except BaseException as error:
        if not is_failure(error):
            raise


class FailureLog:
    """Logs the first failure of an object, an hourly reminder while it goes on failing, and its recovery.

    It takes no lock: a signal handler or a finalizer may record an event, and fail, while its own thread is in here,
    and a process may be forked meanwhile. Objects that fail are not kept alive.

    Args:
        log: returns the logger.
        clock: returns the time in seconds.

    """

    def __init__(self, log: Callable[[], Log], clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self.failing: dict[int, _Failing] = {}

    def failed(self, what: object, problem: str, *, kind: str = "", traceback: bool = True) -> None:
        """Count a failure of `what`, and log it if it is the first one of its kind or a reminder is due.

        Args:
            what: the failing object, kept alive by others, or its name; the sentence begins with it and "failed".
            problem: the rest of the sentence: ", and an event is lost" or ": no space left".
            kind: of the failure; the first one may hide another one that has another remedy.
            traceback: log the traceback of the exception that is being handled.

        """
        failing = self._find(what)
        if failing is None:
            self._make_room()
            failing = self.failing.setdefault(id(what), _Failing(what, kind, self._clock()))
        count = next(failing.numbers)
        if count == 1:
            error = sys.exc_info()[1]
            reason, _, lines = ("" if error is None or not traceback else failure_text(error)).partition("\n")
            problem = f" with {reason}{problem}" if reason else problem
            text = "%s failed%s; further failures are counted, and reported once an hour%s"
            log_safely(self._log, logging.ERROR, text, _name(what), problem, f"\n{lines}" if lines else "")
        elif failing.is_due(kind, self._clock()):
            text = "%s failed%s; it has failed %s in %s"
            lasting = _duration(self._clock() - failing.since_s)
            log_safely(self._log, logging.ERROR, text, _name(what), problem, _times(count), lasting)

    def worked(self, what: object, result: str = "") -> None:
        """Note a success of `what`, and log the recovery, with the result of the failures, if it failed before."""
        if not self.failing:  # as nearly always
            return
        failing = self._find(what)
        if failing is None or self.failing.pop(id(what), None) is not failing:
            return
        times, lasting = _times(next(failing.numbers) - 1), _duration(self._clock() - failing.since_s)
        text = "%s works again; it failed %s in %s%s"
        log_safely(self._log, logging.WARNING, text, _name(what), times, lasting, result)

    def _find(self, what: object) -> _Failing | None:
        failing = self.failing.get(id(what))
        if failing is None or failing.what() is what:
            return failing
        self.failing.pop(id(what), None)  # of an object that is gone and had the same id
        return None

    def _make_room(self) -> None:
        if len(self.failing) < _MAX_FAILING:
            return
        found = list(self.failing.items())
        gone = [key for key, failing in found if failing.what() is None] or [key for key, _ in found[:1]]
        for key in gone:
            self.failing.pop(key, None)


class _Failing:
    """An object that fails, since when, how, and a counter of its failures."""

    def __init__(self, what: object, kind: str, now_s: float) -> None:
        self.what: Callable[[], object]
        try:
            self.what = weakref.ref(what)
        except TypeError:  # an object with __slots__
            self.what = lambda: what
        self.numbers = itertools.count(1)
        self.since_s = now_s
        self._kinds = {kind}
        self._next_reminder_s = now_s + REMINDER_S

    def is_due(self, kind: str, now_s: float) -> bool:
        """Tell whether a failure is to be logged: an hour after the last one, or if it is the first of its kind."""
        if kind in self._kinds and now_s < self._next_reminder_s:
            return False
        self._kinds.add(kind)
        self._next_reminder_s = now_s + REMINDER_S
        return True


def _name(what: object) -> str:
    try:
        return what if isinstance(what, str) else repr(what)
    except Exception:  # a program's __repr__ may raise anything
        return f"a {type(what).__name__}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _duration(duration_s: float) -> str:
    for unit_s, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if duration_s >= 2 * unit_s:
            return f"{duration_s / unit_s:.0f} {unit}"
    return f"{duration_s:.0f} seconds" if round(duration_s) != 1 else "1 second"
