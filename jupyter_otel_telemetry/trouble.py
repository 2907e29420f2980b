"""Says calmly that something of the operator's fails: a handler, a listener, a modifier."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TroubleLog"]


class _Log(Protocol):
    """A logger, or an object that logs later."""

    def error(self, text: str, /, *args: object, exc_info: bool = ...) -> None:
        """Log an error."""

    def warning(self, text: str, /, *args: object) -> None:
        """Log a warning."""


class TroubleLog:
    """Logs once that something fails, and once, with the number of losses, that it works again.

    Args:
        log: returns the logger to use.

    """

    def __init__(self, log: Callable[[], _Log]) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._failures: dict[int, int] = {}

    def failed(self, what: object, problem: str, *, traceback: bool = True) -> None:
        """Count a failure of `what`; called while its exception is handled."""
        with self._lock:
            count = self._failures[id(what)] = self._failures.get(id(what), 0) + 1
        if count == 1:
            text = "%s failed%s; its further failures are counted, not logged"
            self._log().error(text, _name(what), problem, exc_info=traceback)

    def worked(self, what: object) -> None:
        """Note a success of `what`."""
        if not self._failures:  # as nearly always
            return
        with self._lock:
            count = self._failures.pop(id(what), 0)
        if count:
            self._log().warning("%s works again; it failed %d times", _name(what), count)


def _name(what: object) -> str:
    try:
        return repr(what)
    except Exception:  # noqa: BLE001 - a stranger's __repr__ may raise anything
        return f"a {type(what).__name__}"
