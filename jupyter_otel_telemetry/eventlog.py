"""The front door: `EventLog` takes events, and hands valid ones that are allowed to logging handlers."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from traitlets import Enum, default, observe
from traitlets.config import Config, LoggingConfigurable
from traitlets.config.loader import DeferredConfig, LazyConfigValue

from jupyter_otel_telemetry import sources
from jupyter_otel_telemetry.dispatch import Dispatcher, TroubleLog
from jupyter_otel_telemetry.errors import SchemaSourceError
from jupyter_otel_telemetry.jsondata import copy_again
from jupyter_otel_telemetry.privacy import AllowedSchemas
from jupyter_otel_telemetry.record import EventRecord, datetime_to_ns
from jupyter_otel_telemetry.registry import RegisteredSchemas, SchemaRegistry
from jupyter_otel_telemetry.traits import AllowedSchemasTrait, Handlers

if TYPE_CHECKING:
    import os
    from datetime import datetime

    from jupyter_otel_telemetry.schema import Schema
    from jupyter_otel_telemetry.validation import EventValidator

__all__ = ["EventLog", "Listener", "Modifier"]

Modifier = Callable[[str, str, dict[str, Any]], dict[str, Any]]
"""Called with schema id, version and a copy of the event; returns the event to record."""

Listener = Callable[[str, str, dict[str, Any]], Awaitable[object] | object]
"""Called with schema id, version and a copy of what was recorded; a plain or async function."""


class EventLog(LoggingConfigurable):
    """Records structured events: checks them, and hands them to logging handlers.

    Nothing is recorded for a schema that `allowed_schemas` does not list. `record_event` raises for a mistake of
    its caller only, a bad schema or event; what a handler, listener or modifier raises is logged.

    May be used from any thread. Configured by traitlets: in code, in a `.py` or JSON configuration file, on the
    command line, or through an application (`EventLog(parent=app)`).
    """

    handlers = Handlers(
        default_value=None,
        allow_none=True,
        help="""
        Where events go: a list of logging handlers, or a callable that returns one.

        An item may also be a mapping that names a handler's class and its arguments, and its level:
        `{"class": "logging.FileHandler", "filename": "events.jsonl"}` or
        `{"class": "jupyter_otel_telemetry.OTLPHandler", "endpoint": "http://collector:4318", "level": "INFO"}`.
        A handler without formatter writes JSON lines. None, the default, and an empty list discard all events.
        """,
    ).tag(config=True)

    allowed_schemas = AllowedSchemasTrait(
        help="""
        Ids of the schemas whose events are recorded: a list, or a mapping whose keys are the ids.

        `*` in an id stands for any text: `["https://schema.jupyter.org/*"]`. The default, an empty list, means
        that nothing is recorded.
        """,
    ).tag(config=True)

    on_invalid = Enum(
        ["raise", "log"],
        default_value="raise",
        help="""
        What `record_event` does with an event that is invalid, or whose schema is not registered.

        "raise", the default, raises an error; "log" counts and logs it, and returns None.
        """,
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        self._lock = threading.Lock()
        self._trouble = TroubleLog(lambda: self.log)
        self._dispatcher = Dispatcher(self._trouble)
        self._registry = SchemaRegistry()
        self._allowed = AllowedSchemas([])
        self._modifiers: tuple[tuple[Modifier, str | None], ...] = ()
        self._listeners: tuple[tuple[Listener, str | None], ...] = ()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._invalid_events = 0
        super().__init__(**kwargs)

    @default("log")
    def _default_log(self) -> logging.Logger:
        # traitlets' own default logs nowhere in a program that is no traitlets application.
        return getattr(self.parent, "log", None) or logging.getLogger("jupyter_otel_telemetry.eventlog")

    @default("allowed_schemas")
    def _default_allowed_schemas(self) -> list[str]:
        return []

    @observe("handlers")
    def _handlers_changed(self, _change: object) -> None:
        self._dispatcher.set_handlers(self.handlers or ())
        built: list[tuple[dict[str, Any], logging.Handler]] = vars(self).get("_built_handlers", [])
        for item in [item for item in built if item[1] not in self._dispatcher.handlers]:
            built.remove(item)
            item[1].close()

    def _load_config(self, cfg: Config, section_names: Any = None, traits: Any = None) -> None:
        """Load from configuration, but without the deep copy of `handlers`, most of which cannot be copied."""
        config = self._find_my_config(cfg)
        if "handlers" in config:
            handlers = config["handlers"]
            if isinstance(handlers, LazyConfigValue):  # c.EventLog.handlers.append(…)
                handlers = handlers.get_value([])
            elif isinstance(handlers, DeferredConfig):  # --EventLog.handlers=…
                handlers = handlers.get_value(self.traits()["handlers"])
            config["handlers"] = lambda: handlers() if callable(handlers) else handlers  # functions are not copied
        super()._load_config(Config({type(self).__name__: config}), section_names, traits)

    @property
    def schemas(self) -> Mapping[tuple[str, str], dict[str, Any]]:
        """What is registered: `(id, version) -> schema as registered`, read-only."""
        return RegisteredSchemas(self._registry)

    def register_schema(self, schema: Mapping[str, Any]) -> None:
        """Register a JSON schema that has `$id` and `version`.

        The schema is copied. Registering the same again changes nothing.

        Raises:
            jsonschema.SchemaError: it is no valid JSON Schema.
            SchemaConflict: another schema has this id and version.
            ValueError: it lacks `$id` or `version`, has a property that begins with `__`, names an unknown
                `$schema`, is not JSON, or annotates something wrongly under `otel`.

        """
        self._registry.register(schema)

    def register_schema_file(self, path_or_file: str | os.PathLike[str] | IO[str] | IO[bytes]) -> None:
        """Register a schema from a YAML or JSON file: a path, or an open file.

        Raises:
            SchemaSourceError: it cannot be read or parsed.
            jsonschema.SchemaError, SchemaConflict, ValueError: see `register_schema`.

        """
        self._registry.register(sources.read_file(path_or_file))

    def register_schema_url(self, url: str, *, sha256: str | None = None) -> None:
        """Download a schema over https (plain http from this machine only) and register it.

        Args:
            url: the address; it is fetched once, now.
            sha256: hexadecimal digest that the content must have.

        Raises:
            SchemaSourceError: it cannot be had within ten seconds and 1 MiB, redirects off https, has another
                digest, or is no schema.
            jsonschema.SchemaError, SchemaConflict, ValueError: see `register_schema`.

        """
        self._registry.register(sources.read_url(url, sha256))

    def register_schemas(self, folder: str | os.PathLike[str]) -> list[tuple[str, str]]:
        """Register every `*.yaml`, `*.yml` and `*.json` below a folder.

        Returns:
            Id and version of each, in the order of the paths.

        Raises:
            SchemaSourceError: `folder` is no folder, or some files hold no schema; the others are registered.

        """
        registered: list[tuple[str, str]] = []
        problems: list[str] = []
        for path in sources.read_folder_paths(folder):
            try:
                schema = self._registry.register(sources.read_file(path))
                registered.append(schema.key)
            except Exception as error:  # noqa: BLE001 - collected: one bad file must not hide the others
                problems.append(f"{Path(path).relative_to(folder)}: {str(error).splitlines()[0]}")
        if problems:
            raise SchemaSourceError(str(folder), f"{len(problems)} bad files; " + "; ".join(problems))
        return registered

    def add_modifier(self, fn: Modifier, schema_id: str | None = None) -> None:
        """Let `fn` change events, of one schema or (None) of all, before they are validated.

        `fn(schema_id, version, event)` gets a copy of the event, and returns the event to record. Modifiers run
        in the order they were added. An event whose modifier raises is not recorded, since what the modifier
        would have removed must not be.
        """
        self._modifiers = self._with(self._modifiers, fn, schema_id)

    def remove_modifier(self, fn: Modifier, schema_id: str | None = None) -> None:
        """Take back an `add_modifier` with the same arguments. Unknown ones are ignored."""
        self._modifiers = self._without(self._modifiers, fn, schema_id)

    def add_listener(self, fn: Listener, schema_id: str | None = None) -> None:
        """Call `fn(schema_id, version, event)` after an event, of one schema or (None) of all, was recorded.

        `fn` may be async: it then runs as a task of the running event loop; where none runs, it is run to its
        end before `record_event` returns. What it raises is logged.
        """
        self._listeners = self._with(self._listeners, fn, schema_id)

    def remove_listener(self, fn: Listener, schema_id: str | None = None) -> None:
        """Take back an `add_listener` with the same arguments. Unknown ones are ignored."""
        self._listeners = self._without(self._listeners, fn, schema_id)

    def _with(self, functions: tuple[Any, ...], fn: Any, schema_id: str | None) -> tuple[Any, ...]:
        if not callable(fn):
            raise TypeError(f"a function is wanted, not {type(fn).__name__}")
        with self._lock:
            return functions if (fn, schema_id) in functions else (*functions, (fn, schema_id))

    def _without(self, functions: tuple[Any, ...], fn: Any, schema_id: str | None) -> tuple[Any, ...]:
        with self._lock:
            return tuple(item for item in functions if item != (fn, schema_id))

    def record_event(
        self,
        schema_id: str,
        version: int | str,
        event: Mapping[str, Any],
        timestamp_override: datetime | None = None,
    ) -> dict[str, Any] | None:
        """Record an event.

        Args:
            schema_id: `$id` of its schema.
            version: version of its schema; `1` and `"1"` are the same.
            event: its properties. They are copied.
            timestamp_override: when it happened, if not now; a naive datetime is taken as UTC.

        Returns:
            The event as it was recorded, modified and withheld properties included; None where nothing was
            recorded: the schema is not allowed, or there is neither handler nor listener.

        Raises:
            SchemaNotRegistered: the schema, or one that it needs, is not registered.
            jsonschema.ValidationError: the event does not match its schema, is no mapping, holds what JSON cannot,
                or has a property that begins with `__`.
            TypeError: `timestamp_override` is no datetime.

        """
        if not self._is_allowed(schema_id) or not (self._dispatcher.handlers or self._listeners):
            return None
        time_ns = None if timestamp_override is None else datetime_to_ns(timestamp_override)
        try:
            schema, validator = self._registry.find(schema_id, version)
            checked = validator.checked(self._modified(schema, validator, event) if self._modifiers else event)
        except _ModifierFailed:
            return None
        except Exception as error:
            if self.on_invalid == "raise":
                raise
            self._log_invalid(error)
            return None
        self._dispatcher.dispatch(EventRecord(schema.event_type, checked, time_ns))
        for fn, only_id in self._listeners:
            if only_id in {None, schema.id}:
                self._tell(fn, schema, checked)
        return copy_again(checked)  # since the record may still be waiting in a queue

    def _is_allowed(self, schema_id: str) -> bool:
        option = self.allowed_schemas
        if not self._allowed.was_made_from(option):  # assigned anew, or changed in place
            self._allowed = AllowedSchemas(option)
        return self._allowed.allows(schema_id)

    def _modified(self, schema: Schema, validator: EventValidator, event: Any) -> Any:
        event = validator.json_copy(event)
        for fn, only_id in self._modifiers:
            if only_id not in (None, schema.id):
                continue
            try:
                event = fn(schema.id, schema.version, event)
                if not isinstance(event, Mapping):
                    raise TypeError(f"it returned a {type(event).__name__}, not the event")
            except Exception as error:  # noqa: BLE001 - nobody knows what a modifier raises
                # Without traceback, whose last line may repeat what the modifier was to remove.
                what = str(error) if isinstance(error, TypeError) and not isinstance(event, Mapping) else ""
                message = f"modifier {fn!r} failed ({type(error).__name__} {what}), an event was not recorded"
                self._trouble.failed(fn, message, traceback=False)
                raise _ModifierFailed from None
            self._trouble.worked(fn)
        return event

    def _log_invalid(self, error: Exception) -> None:
        with self._lock:
            self._invalid_events += 1
        reason = getattr(error, "message", None) or str(error)
        self.log.warning("invalid event, number %d, is not recorded: %s", self._invalid_events, reason)

    def _tell(self, listener: Listener, schema: Schema, event: dict[str, Any]) -> None:
        async def wait_for(result: Awaitable[object]) -> None:
            with self._listener_guard(listener):
                await result

        with self._listener_guard(listener):
            result = listener(schema.id, schema.version, copy_again(event))
            if inspect.isawaitable(result):
                self._run(wait_for(result))

    @contextmanager
    def _listener_guard(self, listener: Listener) -> Iterator[None]:
        try:
            yield
        except Exception:  # noqa: BLE001 - nobody knows what a listener raises
            self._trouble.failed(listener, f"listener {listener!r} failed")
        else:
            self._trouble.worked(listener)

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            task = asyncio.get_running_loop().create_task(coroutine)
        except RuntimeError:
            # Not asyncio.run, which would take this thread's own event loop away.
            with closing(asyncio.new_event_loop()) as loop:
                loop.run_until_complete(coroutine)
            return
        self._tasks.add(task)  # a loop keeps only weak references
        task.add_done_callback(self._tasks.discard)


class _ModifierFailed(Exception):
    """Ends the recording of an event."""
