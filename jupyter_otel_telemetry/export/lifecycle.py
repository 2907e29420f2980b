"""When export pipelines end: with their handler, with the program, with a child process; each in bounded time."""

from __future__ import annotations

import atexit
import inspect
import logging
import multiprocessing
import os
import signal
import threading
import time
import weakref
from contextlib import suppress
from multiprocessing import util as multiprocessing_util
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Protocol

from jupyter_otel_telemetry.failure_log import log_safely
from jupyter_otel_telemetry.failures import failure_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from opentelemetry.sdk._logs import LoggerProvider

__all__ = [
    "FLUSH_TIMEOUT_S",
    "call_within",
    "end_when_unused",
    "flush_at_exit",
    "in_background",
    "logging_closes_handlers",
]

FLUSH_TIMEOUT_S: Final = 10.0
"""How long a flush and the end of the program wait. OpenTelemetry allows a request as long by default."""

_logger = logging.getLogger(__name__)


class Concluding(Protocol):
    """An exporter that has no time limit of its own."""

    def give_up_in(self, seconds: float, /) -> None:
        """Set the time after which waiting records are lost."""

    def conclude(self) -> None:
        """Count and log the records that are lost."""


class _Pipeline:
    """An export pipeline, which ends once, whoever asks."""

    def __init__(self, provider: LoggerProvider, delivery: Concluding | None) -> None:
        self._provider = provider
        self._delivery = delivery
        self.is_dropped = False
        self.lock = threading.Lock()
        self._has_ended = False

    def drop(self) -> None:
        """Note that the handler is gone; from now on the time runs in which all must be delivered."""
        self.is_dropped = True
        self._set_deadline()

    def _set_deadline(self) -> None:
        if self._delivery is not None:
            self._delivery.give_up_in(FLUSH_TIMEOUT_S)

    def conclude(self) -> None:
        """Log how many records are lost, when the time is up."""
        if self._delivery is not None:
            self._delivery.conclude()

    def end(self) -> None:
        """Deliver the queued records, in bounded time, and stop; if that is under way, wait for it."""
        if not self.is_dropped:
            self._set_deadline()
        with self.lock:
            if not self._has_ended:
                self._has_ended = True
                try:
                    self._provider.shutdown()
                except Exception as error:  # a processor that somebody added may raise anything
                    text = "an export pipeline did not end properly: %s"
                    log_safely(lambda: _logger, logging.ERROR, text, failure_text(error))


class _Pipelines:
    """Every pipeline of this process, and a thread that ends those whose handler is gone.

    Garbage is collected in any thread at any time, also while it holds locks: of `threading`, for instance, while
    it starts. So a finalizer must neither take a lock nor start a thread; it may put into a `SimpleQueue`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[_Pipeline] = set()
        self._dropped: SimpleQueue[_Pipeline] = SimpleQueue()
        self._has_thread = False
        self.flushed: weakref.WeakSet[logging.Handler] = weakref.WeakSet()

    def add(self, pipeline: _Pipeline) -> None:
        with self._lock:
            self._open.add(pipeline)
            if not self._has_thread:
                threading.Thread(target=self._end_dropped, name="otlp-end", daemon=True).start()
                self._has_thread = True

    def drop(self, pipeline: _Pipeline) -> None:
        pipeline.drop()
        self._dropped.put(pipeline)

    def _end_dropped(self) -> None:
        while True:
            pipeline = self._dropped.get()
            pipeline.end()
            with self._lock:
                self._open.discard(pipeline)
                if not self._open:
                    self._has_thread = False
                    return

    def end_all(self) -> None:
        """End all pipelines, and flush handlers of other providers, at once and within the time limit."""
        deadline_s = time.monotonic() + FLUSH_TIMEOUT_S
        pipelines = list(self._open)
        ends = [pipeline.end for pipeline in pipelines]
        for join in [_start(end) for end in (*ends, *(handler.flush for handler in list(self.flushed)))]:
            join(max(0.0, deadline_s - time.monotonic()))
        for pipeline in pipelines:
            pipeline.conclude()

    def restart_in_child(self) -> None:
        """Forget, in a forked child, the work of the threads of its parent."""
        pipelines = [pipeline for pipeline in self._open if not pipeline.is_dropped]
        flushed = self.flushed
        self.__init__()  # type: ignore[misc]  # all that it does is right here, too
        self.flushed = flushed
        self._open.update(pipelines)
        for pipeline in pipelines:
            pipeline.lock = threading.Lock()


_pipelines = _Pipelines()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pipelines.restart_in_child)


def end_when_unused(handler: logging.Handler, provider: LoggerProvider, delivery: Concluding | None) -> None:
    """Arrange that a pipeline delivers its records, and ends, when its handler or the program does.

    Args:
        handler: whose end is that of the pipeline.
        provider: its `shutdown` ends the pipeline.
        delivery: exporter of the SDK's batch processor, which has no time limit, or None if `shutdown` has its own.

    """
    pipeline = _Pipeline(provider, delivery)
    _pipelines.add(pipeline)
    weakref.finalize(handler, _pipelines.drop, pipeline).atexit = False
    _end_with_program()
    _end_on_sigterm()


def flush_at_exit(handler: logging.Handler) -> None:
    """Arrange that a handler whose provider is somebody else's is flushed at the end of the program."""
    _pipelines.flushed.add(handler)
    _end_with_program()


def _end_with_program() -> None:
    atexit.unregister(_pipelines.end_all)
    atexit.register(_pipelines.end_all)
    if multiprocessing.parent_process() is not None:
        _end_with_child(_pipelines)


_CLOSING: Final = (logging.shutdown.__code__, logging.basicConfig.__code__)


def logging_closes_handlers() -> bool:
    """Tell whether this thread is inside `logging.shutdown`, `dictConfig`, `fileConfig` or `basicConfig`.

    They close handlers, and those that configure hold the lock of `logging` meanwhile. Every `getLogger` needs it,
    also that of an exporter's HTTP library: to wait for the exporter there would be a deadlock.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code not in _CLOSING:
        frame = frame.f_back
    return frame is not None


def _end_on_sigterm() -> None:
    """Let SIGTERM deliver queued records first, in a program without a handler of its own for the signal.

    A program that decides so later replaces this, and ends by itself.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with suppress(ValueError):  # a subinterpreter has no signals
            signal.signal(signal.SIGTERM, _end_and_die)


_is_dying = threading.Event()
_LOCKING: Final = ("jupyter_otel_telemetry", "opentelemetry", "logging")


def _end_and_die(number: int, frame: FrameType | None) -> None:
    if not _is_dying.is_set():
        _is_dying.set()
        wait = _start(lambda: _end_all_and_kill(number))
        if _is_within(_LOCKING, frame):
            return  # with a lock, maybe, that is needed to deliver: it goes on until the signal comes again
        wait(FLUSH_TIMEOUT_S)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # the first process of a container does not die of a signal


def _end_all_and_kill(number: int) -> None:
    _pipelines.end_all()
    os.kill(os.getpid(), number)


def _is_within(packages: tuple[str, ...], frame: FrameType | None) -> bool:
    """Tell whether a frame, or one of those that wait for it, is of one of the packages."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in packages:
            return True
        frame = frame.f_back
    return False


def in_background(function: Callable[[], object]) -> None:
    """Call a function in a thread of its own, and do not wait for it."""
    _start(function)


def call_within(timeout_s: float, function: Callable[[], Any]) -> Any:
    """Call a function and return its result, or None after `timeout_s` seconds."""
    results: list[Any] = []
    _start(lambda: results.append(function()))(timeout_s)
    return results[0] if results else None


def _start(function: Callable[[], object]) -> Callable[[float], None]:
    """Start a thread, and return a function that waits for it with a time limit."""
    thread = threading.Thread(target=function, name="otlp-flush", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # Python 3.12.0 and 3.12.1 start no threads while they exit
        function()
        return lambda _timeout_s: None
    return thread.join


def _end_with_child(pipelines: _Pipelines) -> None:
    """Let pipelines end with a child process of multiprocessing, which does not call functions of atexit."""
    multiprocessing_util.Finalize(None, pipelines.end_all, exitpriority=10)


multiprocessing_util.register_after_fork(_pipelines, _end_with_child)
