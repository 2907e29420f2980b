"""Hands records to handlers, such that no handler can harm the application or another handler."""

from __future__ import annotations

from logging.handlers import MemoryHandler, QueueHandler
from typing import TYPE_CHECKING

from jupyter_otel_telemetry.formatters import JSONLinesFormatter

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable

    from jupyter_otel_telemetry.trouble import TroubleLog

__all__ = ["Dispatcher"]


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
                self._trouble.failed(handler, ", and an event did not get through")
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
