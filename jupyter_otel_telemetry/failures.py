"""Text of exceptions for logs, without anything that an event may have put into them."""

from __future__ import annotations

import os
from traceback import format_tb

__all__ = ["failure_text", "file_problem"]


def failure_text(error: BaseException) -> str:
    """Return the type of an exception and the lines of code that it passed.

    Its own text may repeat values of an event. So do the variables of the frames of a traceback object, which error
    reporters show; therefore log this text instead of `exc_info`.
    """
    reason = f" ({os.strerror(error.errno)})" if isinstance(error, OSError) and error.errno else ""
    return f"{type(error).__name__}{reason}\n{''.join(format_tb(error.__traceback__))}".rstrip()


def file_problem(error: OSError | ValueError) -> str:
    """Return why a file cannot be used; Python raises a ValueError if no file can have its name."""
    return getattr(error, "strerror", None) or str(error)
