"""Says calmly that something of the operator's fails: a handler, a listener, a modifier."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from jupyter_otel_telemetry.failures import failure_text

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

__all__ = ["TroubleLog"]


class TroubleLog:
    """Logs once that something fails, and once, with the number of losses, that it works again.

    Args:
        log: returns the logger to use.

    """

    def __init__(self, log: Callable[[], logging.Logger]) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._failures: dict[int, int] = {}

    def failed(self, what: object, problem: str, *, traceback: bool = True) -> None:
        """Count a failure of `what`; called while its exception is handled."""
        with self._lock:
            count = self._failures[id(what)] = self._failures.get(id(what), 0) + 1
        if count == 1:
            error = sys.exc_info()[1]
            where = f": {failure_text(error)}" if traceback and error is not None else ""
            self._log().error(
                "%s failed%s; its further failures are counted, not logged%s", _name(what), problem, where
            )

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
