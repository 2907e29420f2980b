"""When export pipelines end: with their handler, with the program, with a child process; each in bounded time."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from multiprocessing import util as multiprocessing_util
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from opentelemetry.sdk._logs import LoggerProvider

    from jupyter_otel_telemetry.delivery import Delivery

__all__ = ["FLUSH_TIMEOUT_S", "end_when_unused", "within"]

FLUSH_TIMEOUT_S: Final = 10.0
"""How long a flush and the end of the program wait: as long as the exporters try one batch by default."""

_open: set[tuple[LoggerProvider, Delivery]] = set()


def end_when_unused(handler: logging.Handler, provider: LoggerProvider, delivery: Delivery) -> None:
    """Arrange that a pipeline delivers what it holds, and ends, when its handler or the program does."""
    _open.add((provider, delivery))
    weakref.finalize(handler, _end_in_background, provider, delivery).atexit = False
    atexit.unregister(_end_all)
    atexit.register(_end_all)
    _flush_at_end_of_child(handler)
    multiprocessing_util.register_after_fork(handler, _flush_at_end_of_child)


def within(timeout_s: float, function: Callable[[], Any]) -> Any:
    """Call a function and wait at most `timeout_s` seconds for it; None: the time was up."""
    results: list[Any] = []
    _start(lambda: results.append(function()), daemon=True)(timeout_s)
    return results[0] if results else None


def _end_in_background(provider: LoggerProvider, delivery: Delivery) -> None:
    """End a pipeline whose handler is gone; the program waits for that, as long as its limit allows."""
    _open.discard((provider, delivery))
    delivery.give_up_in(FLUSH_TIMEOUT_S)
    _start(provider.shutdown, daemon=False)


def _end_all() -> None:
    deadline_s = time.monotonic() + FLUSH_TIMEOUT_S
    pipelines = list(_open)
    for _, delivery in pipelines:
        delivery.give_up_in(FLUSH_TIMEOUT_S)
    for join in [_start(provider.shutdown, daemon=True) for provider, _ in pipelines]:
        join(max(0.0, deadline_s - time.monotonic()))


def _start(function: Callable[[], object], *, daemon: bool) -> Callable[[float], None]:
    """Start a thread, and return what waits for it with a time limit."""
    thread = threading.Thread(target=function, name="otlp-flush", daemon=daemon)
    try:
        thread.start()
    except RuntimeError:  # Python 3.12.0 and 3.12.1 start no threads while they exit
        function()
        return lambda _timeout_s: None
    return thread.join


def _flush_at_end_of_child(handler: logging.Handler) -> None:
    """Flush when a child process of multiprocessing ends, which does not call what atexit knows."""
    multiprocessing_util.Finalize(handler, _flush, args=(weakref.ref(handler),), exitpriority=10)


def _flush(handler: weakref.ref[logging.Handler]) -> None:
    alive = handler()
    if alive is not None:
        alive.flush()
