"""How the event that is being emitted in this thread came into the program, where that is known."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["origin", "through_events_api"]


class _Origin(threading.local):
    """The state of one thread.

    Not a context variable: a task that a listener starts meanwhile would inherit it, and its own events with it.
    """

    came_through_events_api = False
    """Whether the event being emitted was sent by a client, who can make up all of it."""


origin = _Origin()


@contextmanager
def through_events_api() -> Iterator[None]:
    """Mark events that are emitted within as sent by a client to Jupyter Server's `POST /api/events`.

    There must be no `await` within.
    """
    origin.came_through_events_api = True
    try:
        yield
    finally:
        origin.came_through_events_api = False
