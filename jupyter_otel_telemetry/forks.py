"""Work that a forked child process must do before it goes on."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["after_fork_in_child"]


def after_fork_in_child(owner: Any, function: Callable[[Any], object]) -> None:
    """Call `function(owner)` in every child that is forked while `owner` is alive."""
    alive = weakref.ref(owner)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: (found := alive()) is not None and function(found))
