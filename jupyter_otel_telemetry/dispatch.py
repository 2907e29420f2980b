"""Hands records to handlers, such that no handler can harm the application or another handler."""

from __future__ import annotations

import logging
from logging.handlers import QueueHandler
from typing import TYPE_CHECKING

from jupyter_otel_telemetry.events.formatters import JSONLinesFormatter, LineFormatter, is_utf8
from jupyter_otel_telemetry.events.record import EventRecord
from jupyter_otel_telemetry.failure_log import is_failure
from jupyter_otel_telemetry.handlers import final_handler

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jupyter_otel_telemetry.failure_log import FailureLog

__all__ = ["Dispatcher"]


class Dispatcher:
    """Handles a record as a `logging.Logger` does, but stands in no registry, and goes on when a handler raises.

    Args:
        failure_log: is told of handlers that raise.

    """

    def __init__(self, failure_log: FailureLog) -> None:
        self._failure_log = failure_log
        self.handlers: list[logging.Handler] = []

    def set_handlers(self, handlers: Iterable[logging.Handler]) -> None:
        """Replace the handlers, and give those that have no formatter one for JSON lines."""
        handlers = list(handlers)
        for handler in handlers:
            _give_default_formatter(handler)
            _let_errors_out(handler)
        self.handlers = handlers

    def dispatch(self, record: logging.LogRecord) -> None:
        """Hand the record to each handler whose level admits it."""
        level = record.levelno
        for handler in self.handlers:
            try:
                if level < handler.level:
                    continue
                handler.handle(record)
            except BaseException as error:
                if not is_failure(error):
                    raise
                self._failure_log.failed(handler, ", and an event did not get through")
            else:
                if self._failure_log.failing:
                    self._failure_log.worked(handler)


def _give_default_formatter(handler: logging.Handler) -> None:
    target = final_handler(handler)
    # A QueueHandler formats only to make a record picklable, and ours are.
    if target is None or isinstance(target, QueueHandler) or _is_otel(target):
        return
    if target.formatter is None:
        target.setFormatter(JSONLinesFormatter())
    encoding = getattr(getattr(target, "stream", None) or target, "encoding", None)
    if not isinstance(target.formatter, LineFormatter) or not isinstance(encoding, str) or encoding == "locale":
        return  # the formatter knows the locale
    if not is_utf8(encoding):
        target.formatter.ascii_only = True


def _let_errors_out(handler: logging.Handler) -> None:
    """Let the failure of an event reach the dispatcher, which logs it once.

    By itself, a handler of `logging` prints a traceback for every record that it cannot write. It goes on to do so
    for the records of others.
    """
    report = handler.handleError
    if getattr(report, "__func__", None) is not logging.Handler.handleError:
        return  # its own way to report, or ours already

    def handle_error(record: logging.LogRecord) -> None:
        if isinstance(record, EventRecord):
            raise  # noqa: PLE0704 - logging calls this while the exception is handled
        report(record)

    handler.handleError = handle_error  # type: ignore[method-assign]


def _is_otel(handler: logging.Handler) -> bool:
    """Tell an OpenTelemetry handler, whose formatter would replace the body, by its classes' names.

    Importing the classes, of which the SDK has a deprecated one, would cost more than all of this package.
    """
    return any(
        cls.__name__ == "LoggingHandler" and cls.__module__.startswith("opentelemetry.")
        for cls in type(handler).__mro__
    )
