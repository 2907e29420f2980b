"""Functions that an application adds to an `EventLog`: modifiers before, listeners after the recording."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from jupyter_otel_telemetry.failure_log import is_failure
from jupyter_otel_telemetry.jsondata import copy_again

if TYPE_CHECKING:
    from jupyter_otel_telemetry.failure_log import FailureLog
    from jupyter_otel_telemetry.schemas.schema import Schema

__all__ = ["Listener", "Listeners", "Modifier", "ModifierFailed", "Modifiers"]

Modifier = Callable[[str, str, dict[str, Any]], dict[str, Any]]
"""Called with schema id, version and a copy of the event; returns the event to record."""

Listener = Callable[[str, str, dict[str, Any]], "Awaitable[object] | object"]
"""Called with schema id, version and a copy of the recorded event; a plain or async function."""

F = TypeVar("F", bound=Callable[..., Any])


class ModifierFailed(Exception):
    """An event cannot be recorded, because a modifier failed."""


class _Hooks(Generic[F]):
    """Functions for events of one schema or (None) of all, in the order they were added."""

    def __init__(self, failure_log: FailureLog) -> None:
        self._failure_log = failure_log
        self._lock = threading.RLock()  # a signal handler may add and remove, too
        self.functions: tuple[tuple[F, str | None], ...] = ()

    def add(self, fn: F, schema_id: str | None) -> None:
        if not callable(fn):
            raise TypeError(f"expected a function, got {type(fn).__name__}")
        _check_arguments(fn)
        with self._lock:
            if (fn, schema_id) not in self.functions:
                self.functions = (*self.functions, (fn, schema_id))

    def remove(self, fn: F, schema_id: str | None) -> None:
        with self._lock:
            self.functions = tuple(item for item in self.functions if item != (fn, schema_id))

    def _for(self, schema: Schema) -> list[F]:
        return [fn for fn, schema_id in self.functions if schema_id is None or schema_id == schema.id]


class Modifiers(_Hooks[Modifier]):
    """Change events before they are validated."""

    def apply(self, schema: Schema, event: dict[str, Any]) -> Mapping[str, Any]:
        """Return the result of the modifiers, which get a copy of an event.

        Raises:
            ModifierFailed: one raised, or returned no mapping; that was logged, without the event.

        """
        for fn in self._for(schema):
            problem = " and returned no event, so that one was not recorded"
            try:
                event = fn(schema.id, schema.version, event)
            except BaseException as error:
                if not is_failure(error):
                    raise
                # Without traceback, whose last line may repeat a value that the modifier was to remove.
                problem = f" with {type(error).__name__}, so that an event was not recorded"
                event = None  # type: ignore[assignment]
            if not isinstance(event, Mapping):
                self._failure_log.failed(fn, problem, traceback=False)
                raise ModifierFailed
            self._failure_log.worked(fn)
        return event


class Listeners(_Hooks[Listener]):
    """Hear of events after they were recorded."""

    def __init__(self, failure_log: FailureLog) -> None:
        super().__init__(failure_log)
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, schema: Schema, event: dict[str, Any]) -> None:
        """Call every listener with a copy of an event; their exceptions are logged."""
        for fn in self._for(schema):
            try:
                result = fn(schema.id, schema.version, copy_again(event))
                if inspect.isawaitable(result) and self._has_started(fn, result):
                    continue
            except BaseException as error:
                if not is_failure(error):
                    raise
                self._failure_log.failed(fn, "")
            else:
                self._failure_log.worked(fn)

    def _has_started(self, fn: Listener, result: Awaitable[object]) -> bool:
        """Await the result of an async listener: in a task of the running loop (True), or now if none runs."""
        loop = _running_loop()
        if loop is None:
            # Not asyncio.run, which would take this thread's own event loop away.
            with closing(asyncio.new_event_loop()) as own:
                own.run_until_complete(_wait(result))
            return False
        task = loop.create_task(self._finish(fn, result))
        self._tasks.add(task)  # a loop keeps only weak references
        task.add_done_callback(self._tasks.discard)
        return True

    async def _finish(self, fn: Listener, result: Awaitable[object]) -> None:
        try:
            await result
        except Exception:  # but not CancelledError: somebody has cancelled this task
            self._failure_log.failed(fn, "")
        else:
            self._failure_log.worked(fn)


def _check_arguments(fn: Callable[..., Any]) -> None:
    """Check that a function can be called with schema id, version and event."""
    try:
        signature = inspect.signature(fn)
    except ValueError:  # a function written in C
        return
    try:
        signature.bind("id", "version", {})
    except TypeError as error:
        name = getattr(fn, "__name__", type(fn).__name__)
        raise TypeError(f"expected a function (schema_id, version, event), got {name}{signature}: {error}") from None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _wait(result: Awaitable[object]) -> None:
    await result
