"""A mode in which handlers can be constructed, so that they can be described, and have no effects."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["describe_only", "is_describing"]

_mode = SimpleNamespace(is_describing=False)  # for all threads, those that a configuration starts too


def is_describing() -> bool:
    """Tell whether handlers check their options and build nothing else."""
    return bool(_mode.is_describing)


@contextmanager
def describe_only() -> Iterator[None]:
    """Construct handlers without effects, in all threads of this process; for commands that only look.

    `OTLPHandler` opens no spool, connects to nothing and starts no thread. `logging.FileHandler` and its subclasses
    open no file. Modules that a configuration imports leave no bytecode.
    """
    original, bytecode = logging.FileHandler.__init__, sys.dont_write_bytecode

    def delayed(  # noqa: PLR0913, PLR0917 - the signature of logging.FileHandler
        self: logging.FileHandler,
        filename: Any,
        mode: str = "a",
        encoding: str | None = None,
        delay: bool = True,  # noqa: ARG001, FBT001, FBT002
        errors: str | None = None,
    ) -> None:
        original(self, filename, mode, encoding, delay=True, errors=errors)

    _mode.is_describing = sys.dont_write_bytecode = True
    logging.FileHandler.__init__ = delayed  # type: ignore[method-assign]
    try:
        yield
    finally:
        logging.FileHandler.__init__ = original  # type: ignore[method-assign]
        _mode.is_describing, sys.dont_write_bytecode = False, bytecode
