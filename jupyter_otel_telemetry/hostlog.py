"""This package's messages in the log of the host application: JupyterHub, Jupyter Server, any traitlets application.

Such an application gives handlers to its own logger only. Without the handler below, messages of other loggers are
printed without time, level and logger name, and those at INFO are lost.
"""

from __future__ import annotations

import logging
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from traitlets.config import Application

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["log_to_host", "use_host_log"]

_PACKAGE: Final = "jupyter_otel_telemetry"


class _HostLog(logging.Handler):
    """Hands records to the logger of the traitlets application, else to `logging.lastResort`.

    Does nothing where any other handler takes the record: then whoever runs the program has configured logging.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if self.is_needed(record.name):
            host = host_logger()
            if host is not None:
                if host.isEnabledFor(record.levelno):
                    host.handle(record)
            elif logging.lastResort is not None and record.levelno >= logging.lastResort.level:
                logging.lastResort.handle(record)

    def is_needed(self, logger_name: str) -> bool:
        """Tell whether no other handler takes the records of a logger."""
        return all(
            handler is self for logger in _with_parents(logging.getLogger(logger_name)) for handler in logger.handlers
        )


@lru_cache(maxsize=1)
def _host_log() -> _HostLog:
    return _HostLog()


def use_host_log() -> None:
    """Show this package's messages in the host's log from now on."""
    logging.getLogger(_PACKAGE).addHandler(_host_log())  # nothing happens if it is there already


def host_logger() -> logging.Logger | None:
    """Return the logger of the traitlets application that runs in this process, or None if it logs nowhere."""
    if not Application.initialized():
        return None
    log = Application.instance().log
    logger = log.logger if isinstance(log, logging.LoggerAdapter) else log
    return logger if isinstance(logger, logging.Logger) and logger.hasHandlers() else None


def log_to_host(logger: logging.Logger, text: str, *arguments: object) -> None:
    """Log at INFO, which the host's log shows although the level of the root logger is WARNING by default."""
    if logger.isEnabledFor(logging.INFO):
        logger.info(text, *arguments, stacklevel=2)
    elif _host_log().is_needed(logger.name) and not _has_level(logger):
        code = sys._getframe(1)  # noqa: SLF001 - Logger.findCaller counts frames differently in each Python
        place = code.f_code.co_filename, code.f_lineno
        _host_log().handle(logger.makeRecord(logger.name, logging.INFO, *place, text, arguments, None))


def _has_level(logger: logging.Logger) -> bool:
    """Tell whether somebody has set a level for a logger or a parent other than the root logger."""
    return any(found.level for found in _with_parents(logger) if found is not logging.root)


def _with_parents(logger: logging.Logger) -> Iterator[logging.Logger]:
    """Yield the loggers whose handlers take the records of a logger."""
    current: logging.Logger | None = logger
    while current is not None:
        yield current
        current = current.parent if current.propagate else None
