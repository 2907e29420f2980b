"""Checks of options that several handlers and traits share."""

from __future__ import annotations

import inspect
import logging
from difflib import get_close_matches
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from jupyter_otel_telemetry.errors import UnknownOptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["check_level", "named_options", "suggestion"]

P = ParamSpec("P")


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the end of a message that suggests the closest known name, or "" if none is close."""
    close = get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_level(level: Any) -> None:
    """Check a level before the handler exists: `logging` flushes at exit what a failed constructor leaves behind.

    Raises:
        ValueError: `logging` does not know the level.

    """
    number = logging.getLevelName(level) if isinstance(level, str) else level
    if not isinstance(number, int):
        raise ValueError("level is unknown; write DEBUG, INFO, WARNING, ERROR, CRITICAL or a number")  # noqa: TRY004


def named_options(init: Callable[P, None]) -> Callable[P, None]:
    """Let an `__init__` refuse unknown arguments as it refuses wrong values, in one line of the application's log.

    The new function raises `UnknownOptionError` where Python would raise a `TypeError` after a traceback.
    """
    _, *known = inspect.signature(init).parameters

    @wraps(init)
    def checked(*args: P.args, **options: P.kwargs) -> None:
        owner = type(args[0]).__name__
        if args[1:]:
            raise UnknownOptionError(f"{owner} takes named options only: {owner}({known[0]}=…)")
        for name in options:
            if name not in known:
                hint = suggestion(name, known) or f"; the options are {', '.join(known)}"
                raise UnknownOptionError(f"{owner} has no option {name!r}{hint}")
        init(*args, **options)

    return checked
