"""Hands records to handlers, such that no handler can harm the application or another handler."""

from __future__ import annotations

import threading
from logging.handlers import MemoryHandler, QueueHandler
from typing import TYPE_CHECKING

from jupyter_otel_telemetry.formatters import JSONLinesFormatter

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Hashable, Iterable

__all__ = ["Dispatcher", "TroubleLog"]


class TroubleLog:
    """Logs once that something fails, and once, with the number of losses, that it works again.

    Args:
        log: returns the logger to use.

    """

    def __init__(self, log: Callable[[], logging.Logger]) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._failures: dict[Hashable, int] = {}

    def failed(self, what: Hashable, message: str, *, traceback: bool = True) -> None:
        """Count a failure of `what`; called while its exception is handled."""
        with self._lock:
            first = what not in self._failures
            self._failures[what] = self._failures.get(what, 0) + 1
        if first:
            self._log().error("%s; more of its failures are counted, not logged", message, exc_info=traceback)

    def worked(self, what: Hashable) -> None:
        """Note a success of `what`."""
        if not self._failures:  # as nearly always
            return
        with self._lock:
            count = self._failures.pop(what, 0)
        if count:
            self._log().warning("%r works again; %d events did not get through", what, count)


class Dispatcher:
    """Does what a `logging.Logger` does with a record, but stands in no registry, and goes on when a handler raises.

    Args:
        trouble: is told of handlers that raise.

    """

    def __init__(self, trouble: TroubleLog) -> None:
        self._trouble = trouble
        self.handlers: list[logging.Handler] = []

    def set_handlers(self, handlers: Iterable[logging.Handler]) -> None:
        """Replace the handlers, and give those that have no formatter one for JSON lines."""
        handlers = list(handlers)
        for handler in handlers:
            _give_default_formatter(handler)
        self.handlers = handlers

    def dispatch(self, record: logging.LogRecord) -> None:
        """Hand the record to each handler whose level admits it."""
        level = record.levelno
        for handler in self.handlers:
            if level < handler.level:
                continue
            try:
                handler.handle(record)
            except Exception:  # noqa: BLE001 - nobody knows what a handler raises
                self._trouble.failed(handler, f"handler {handler!r} failed, an event did not get through")
            else:
                self._trouble.worked(handler)


def _give_default_formatter(handler: logging.Handler) -> None:
    target = handler.target if isinstance(handler, MemoryHandler) else handler
    # A QueueHandler formats only to make a record picklable, and ours are.
    if target is None or target.formatter is not None or isinstance(target, QueueHandler) or _is_otel(target):
        return
    target.setFormatter(JSONLinesFormatter())


def _is_otel(handler: logging.Handler) -> bool:
    """Tell an OpenTelemetry handler, whose formatter would replace the body, by its classes' names.

    Importing the classes, of which the SDK has a deprecated one, would cost more than all of this package.
    """
    return any(
        cls.__name__ == "LoggingHandler" and cls.__module__.startswith("opentelemetry.")
        for cls in type(handler).__mro__
    )
