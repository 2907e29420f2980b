"""Log messages that wait until no lock is held: a logging handler may record, and so wait for that lock."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import logging

__all__ = ["DeferredLogger", "log_deferred"]

_deferred: Final[deque[tuple[logging.Logger, int, str, tuple[Any, ...]]]] = deque(maxlen=1000)


class DeferredLogger:
    """Takes messages for a logger; `log_deferred` logs them.

    Args:
        logger: to log to.

    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def log(self, level: int, text: str, *args: object) -> None:
        """Log a message, later."""
        _deferred.append((self._logger, level, text, args))

    def error(self, text: str, *args: object) -> None:
        """Log an error, later."""
        self.log(40, text, *args)

    def warning(self, text: str, *args: object) -> None:
        """Log a warning, later."""
        self.log(30, text, *args)


def log_deferred() -> None:
    """Log all that waits; to be called where no lock is held. Never raises."""
    while _deferred:
        with suppress(Exception):  # another thread was faster, or a handler of the program raises
            logger, level, text, args = _deferred.popleft()
            logger.log(level, text, *args)
