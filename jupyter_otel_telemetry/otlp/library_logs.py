"""Masks secrets in the messages that HTTP and gRPC libraries log while they send for this package.

urllib3 logs the path and the query of each request at DEBUG, and whole URLs in warnings.
"""

from __future__ import annotations

import logging
import threading
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["mask_library_logs", "masked_library_logs"]

_LIBRARIES: Final = ("urllib3", "requests", "grpc")
_sending: Final = threading.local()
"""The mask while this thread sends a request of ours; messages about requests of the program stay as they are."""


def mask_library_logs() -> None:
    """Let the loggers of all imported modules of these libraries mask; call it when a transport is built."""
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if name.partition(".")[0] in _LIBRARIES and isinstance(logger, logging.Logger):
            logger.addFilter(_is_masked)  # nothing happens if it is there already


@contextmanager
def masked_library_logs(mask: Callable[[str], str]) -> Iterator[None]:
    """Mask what this thread lets the libraries log."""
    outer, _sending.mask = getattr(_sending, "mask", None), mask
    try:
        yield
    finally:
        _sending.mask = outer  # of a request whose log message is sent by another handler, right away


def _is_masked(record: logging.LogRecord) -> bool:
    """Mask a record; return False, which drops it, if that fails."""
    mask = getattr(_sending, "mask", None)
    if mask is None:
        return True
    try:
        record.msg, record.args = mask(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = mask("".join(traceback.format_exception(*record.exc_info)).rstrip())
            record.exc_info = None
    except Exception:  # an argument whose text cannot be had
        return False
    return True
