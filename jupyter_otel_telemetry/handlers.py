"""Handlers behind handlers of the standard library."""

from __future__ import annotations

from logging.handlers import MemoryHandler
from typing import Any

__all__ = ["final_handler"]


def final_handler(handler: Any) -> Any:
    """Return the handler that gets the records in the end, behind any `MemoryHandler`; None if one has no target."""
    while isinstance(handler, MemoryHandler):
        handler = handler.target
    return handler
