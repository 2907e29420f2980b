"""The front door: `EventLog` takes events, and hands valid ones that are allowed to logging handlers."""

from __future__ import annotations

import itertools
import logging
import threading
from threading import get_ident
from typing import IO, TYPE_CHECKING, Any, Final, cast

from traitlets import Enum, default, observe, validate
from traitlets.config import Config, LoggingConfigurable
from traitlets.config.loader import DeferredConfig, LazyConfigValue

from jupyter_otel_telemetry.dispatch import Dispatcher
from jupyter_otel_telemetry.errors import PolicyError, SchemaSourceError
from jupyter_otel_telemetry.events.record import EventRecord
from jupyter_otel_telemetry.failure_log import FailureLog, log_safely
from jupyter_otel_telemetry.handlers import final_handler
from jupyter_otel_telemetry.hooks import Listener, Listeners, Modifier, ModifierFailed, Modifiers
from jupyter_otel_telemetry.hostlog import use_host_log
from jupyter_otel_telemetry.jsondata import copy_again, version_text
from jupyter_otel_telemetry.masking import mask_url
from jupyter_otel_telemetry.metrics import SchemaAttributes, event_counters
from jupyter_otel_telemetry.privacy.censoring import censored
from jupyter_otel_telemetry.privacy.explain import Destination, explanations
from jupyter_otel_telemetry.privacy.policy import Policy, policies_of
from jupyter_otel_telemetry.privacy.pseudonyms import find_pseudonym_key
from jupyter_otel_telemetry.privacy.redaction import NO_PATHS
from jupyter_otel_telemetry.schemas import downloads, sources
from jupyter_otel_telemetry.schemas.folders import register_files
from jupyter_otel_telemetry.schemas.installed import installed_documents
from jupyter_otel_telemetry.schemas.registry import RegisteredSchemas, SchemaRegistry
from jupyter_otel_telemetry.schemas.schema import id_pattern
from jupyter_otel_telemetry.times import datetime_to_ns
from jupyter_otel_telemetry.traits import AllowedSchemasTrait, Handlers, SecretText

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from traitlets import Bunch

    from jupyter_otel_telemetry.privacy.redaction import Redaction
    from jupyter_otel_telemetry.schemas.registry import CompiledSchema, Schemas

__all__ = ["EventLog"]

_CHANGED_HANDLERS: Final = "an in-place change of EventLog.handlers"
_CHANGED_POLICY: Final = "an in-place change of EventLog.allowed_schemas"
_NESTED_EVENT: Final = "an event that a handler, listener or modifier records while it is given another one"

_MAX_NESTING: Final = 5
"""Depth to which handlers, listeners and modifiers may record events for the events that they are given.

Two listeners that record without end make 2 ** 5 events of one.
"""


_depths: dict[int, int] = {}
"""The number of events that a thread is recording, by its identifier: more than one where they are nested."""


class EventLog(LoggingConfigurable):
    """Records structured events: checks them, and hands them to logging handlers.

    Nothing is recorded for a schema that `allowed_schemas` does not list. `record_event` raises for a mistake of
    its caller only, a bad schema or event; exceptions of handlers, listeners and modifiers are logged.

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
        Ids of the schemas whose events are recorded: a list, or a mapping from ids to options.

        `*` in an id stands for any text: `["https://schema.jupyter.org/*"]`. The default, an empty list, means
        that nothing is recorded. Properties that a schema flags as personal (`pii: true`), or as of some
        `categories`, are recorded as null. Options, each a list, change that for one entry:
        `allowed_properties` (top-level properties recorded although flagged), `allowed_categories`,
        `withheld_properties` (null whatever the schema says) and `pseudonymized_properties` (a keyed hash
        instead of the value), the last two with dotted paths:
        `{"https://example.org/login": {"pseudonymized_properties": ["user.name"]}}`.
        """,
    ).tag(config=True)

    pseudonym_key_file = SecretText(
        None,
        allow_none=True,
        help="""
        File with the key of pseudonyms, at least 16 bytes: `"/etc/jupyterhub/pseudonym.key"`.

        None, the default, leaves it to the environment variables JUPYTER_OTEL_PSEUDONYM_KEY_FILE and
        JUPYTER_OTEL_PSEUDONYM_KEY. Another key makes other pseudonyms.
        """,
    ).tag(config=True)

    pseudonym_key = SecretText(
        None,
        allow_none=True,
        help="""
        The key of pseudonyms itself, where it cannot be in a file; see `pseudonym_key_file`.
        """,
    ).tag(config=True)

    lent_option: Any = None
    """The value of `allowed_schemas` that somebody has read last, and so may change in place."""

    on_invalid = Enum(
        ["raise", "log"],
        default_value="raise",
        help="""
        The reaction of `record_event` to an event that is invalid, or whose schema is not registered.

        "raise", the default, raises an error; "log" counts and logs it, and returns None.
        """,
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        self._lock = threading.RLock()  # guards the building of handlers; a signal handler may record meanwhile
        self._failure_log = failure_log = FailureLog(lambda: self.log)
        self._dispatcher = Dispatcher(failure_log)
        self._registry = SchemaRegistry(self._approve)
        self._policy: Policy | None = None
        self._unchecked_ids: set[str] = set()
        self._modifiers = Modifiers(failure_log)
        self._listeners = Listeners(failure_log)
        self._invalid_numbers = itertools.count(1)
        self._counters, self._attributes = event_counters(), SchemaAttributes()
        self._handler_list: list[Any] = []
        self._used_items: list[Any] = []
        use_host_log()
        super().__init__(**kwargs)
        self._policy = self._checked_policy()
        self._announce_handlers()

    @default("log")
    def _default_log(self) -> logging.Logger:
        # traitlets' own default logs nowhere in a program that is not a traitlets application.
        return getattr(self.parent, "log", None) or logging.getLogger("jupyter_otel_telemetry.eventlog")

    @default("allowed_schemas")
    def _default_allowed_schemas(self) -> list[str]:
        return []

    @observe("handlers")
    def _handlers_changed(self, _change: object) -> None:
        self._handler_list = self.handlers if self.handlers is not None else []
        self._use_handlers(list(self._handler_list), self._handler_list)

    def _use_handlers(self, items: list[Any], handlers: list[logging.Handler]) -> None:
        """Hand events to `handlers`, which `items` of the trait described, and close those built for earlier ones."""
        self._dispatcher.set_handlers(handlers)
        self._used_items = items
        built: list[tuple[dict[str, Any], logging.Handler]] = vars(self).get("_built_handlers", [])
        for item in [item for item in built if item[1] not in self._dispatcher.handlers]:
            built.remove(item)
            item[1].close()
        self._announce_handlers()

    def _announce_handlers(self) -> None:
        for handler in self._dispatcher.handlers if self._policy is not None else ():
            if (announce := getattr(final_handler(handler), "announce", None)) is not None:
                announce(self._policy)

    def _use_changed_handlers(self) -> None:
        """Apply an in-place change of `handlers`; one that is invalid is logged, and the earlier handlers stay."""
        with self._lock:
            items = list(self._handler_list)
            if items == self._used_items:
                return
            try:
                handlers = cast("Handlers", self.traits()["handlers"]).build_all(self, items)
                self._checked_policy(handlers=handlers)
                self._use_handlers(items, handlers)
            except Exception as error:  # whatever it is, it is not the fault of who records an event
                self._used_items = items  # else the next event would try the same again
                self._failure_log.failed(
                    _CHANGED_HANDLERS, f", and the earlier handlers stay: {error}", traceback=False
                )
            else:
                self._failure_log.worked(_CHANGED_HANDLERS)

    @validate("handlers", "allowed_schemas", "pseudonym_key", "pseudonym_key_file")
    def _check_privacy(self, proposal: Bunch) -> Any:
        """Refuse a change that would make the policy another one than its author meant, before it takes effect."""
        if self._policy is not None:  # else __init__ will check all of them together
            self._checked_policy(**{proposal.trait.name: proposal.value})
        return proposal.value

    @observe("allowed_schemas", "pseudonym_key", "pseudonym_key_file")
    def _privacy_changed(self, _change: object) -> None:
        if self._policy is not None:
            self._policy = self._checked_policy()

    def _checked_policy(self, **changes: Any) -> Policy:
        """Make the policy of the traits and these changes, and check it against the registered schemas."""

        def value(name: str) -> Any:
            return changes[name] if name in changes else getattr(self, name)

        owner = f"{type(self).__name__}."

        def find_key() -> bytes | None:
            return find_pseudonym_key(value("pseudonym_key"), value("pseudonym_key_file"), owner=owner)

        allowed = cast("AllowedSchemasTrait", self.traits()["allowed_schemas"])
        option = changes["allowed_schemas"] if "allowed_schemas" in changes else allowed.peek(self)
        policy = Policy(option, find_key, f"{owner}allowed_schemas")
        schemas, handlers = self._registry.current, changes.get("handlers", self._dispatcher.handlers)
        self._unchecked_ids = _check(policy, handlers, schemas, {schema_id for schema_id, _ in schemas})
        return policy

    def _approve(self, schemas: Schemas, new_ids: set[str]) -> None:
        """Check the policies for schemas that are about to be registered, or that waited for these."""
        if self._policy is not None:
            self._unchecked_ids = _check(
                self._policy, self._dispatcher.handlers, schemas, new_ids | self._unchecked_ids
            )

    def _load_config(self, cfg: Config, section_names: Any = None, traits: Any = None) -> None:
        """Load from configuration, but without the deep copy of `handlers`, most of which cannot be copied."""
        config = self._find_my_config(cfg)
        allowed = config.get("allowed_schemas")
        if (
            isinstance(allowed, LazyConfigValue) and "update" in allowed.to_dict()
        ):  # c.EventLog.allowed_schemas.update(…)
            # traitlets would update the default, which is a list, and so do nothing.
            config["allowed_schemas"] = allowed.get_value({})
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
        """The registered schemas: `(id, version) -> schema as registered`, read-only."""
        return RegisteredSchemas(self._registry)

    def register_schema(self, schema: Mapping[str, Any]) -> None:
        """Register a JSON schema that has `$id` and `version`.

        The schema is copied. Registering the same again changes nothing; titles and descriptions may differ, and
        the first ones stay.

        Raises:
            jsonschema.SchemaError: the schema is not a valid JSON Schema, or a `$ref` of it points to a place that
                does not exist in it or in a registered schema.
            SchemaConflict: another schema has this id and version.
            ValueError: the schema lacks `$id` or `version`, has a property that begins with `__`, names an unknown
                `$schema`, is not JSON, or has a wrong, misspelt or misplaced annotation.

        """
        self._registry.register(schema)

    def register_schema_file(self, path_or_file: str | os.PathLike[str] | IO[str] | IO[bytes]) -> None:
        """Register a schema from a YAML or JSON file: a path, or an open file.

        Raises:
            SchemaSourceError: the file cannot be read or parsed.
            jsonschema.SchemaError, SchemaConflict, ValueError: see `register_schema`; the message names the file.

        """
        self._registry.register(sources.read_file(path_or_file), sources.file_name(path_or_file))

    def register_schema_url(self, url: str, *, sha256: str | None = None) -> None:
        """Download a schema over https (plain http from this machine only) and register it.

        Args:
            url: the address; it is fetched once, now.
            sha256: hexadecimal digest that the content must have.

        Raises:
            SchemaSourceError: the download fails, takes more than ten seconds, is larger than 1 MiB or incomplete,
                is redirected off https, or has another digest; or the content is not a schema.
            jsonschema.SchemaError, SchemaConflict, ValueError: see `register_schema`; the message names the URL,
                without user, password and query.

        """
        self._registry.register(downloads.read_url(url, sha256), mask_url(url))

    def register_schemas(self, folder: str | os.PathLike[str]) -> list[tuple[str, str]]:
        """Register every `*.yaml`, `*.yml` and `*.json` below a folder, except hidden files and folders.

        Returns:
            Id and version of each, in the order of the paths.

        Raises:
            SchemaSourceError: `folder` cannot be listed, or some files cannot be registered; the others are.
                `problems` has a line for each of these files.

        """
        paths = sources.find_files(folder)
        if not paths:
            self.log.warning("no schemas registered: no *.yaml, *.yml or *.json in %s", folder)
        return register_files(self._registry, str(folder), paths)

    def register_installed_schemas(self, pattern: str = "*") -> list[tuple[str, str]]:
        """Register the schemas that installed packages ship, as far as their ids match a pattern.

        A schema that cannot be used is another package's fault: it is logged as a warning and omitted.

        Args:
            pattern: an id, in which `*` stands for any text.

        Returns:
            Id and version of each, by package.

        """
        matching = id_pattern(pattern)
        documents = {
            path: document for path, document in installed_documents() if matching.fullmatch(str(document.get("$id")))
        }
        try:
            registered = register_files(self._registry, "installed packages", list(documents))
        except SchemaSourceError as error:
            self.log.warning("%s", error)
            keys = [
                (str(document.get("$id")), version_text(document.get("version"))) for document in documents.values()
            ]
            registered = [key for key in keys if key in self._registry.current]
        if not documents:
            self.log.warning("no schemas registered: no installed package ships one whose id matches %s", pattern)
        return registered

    def add_modifier(self, fn: Modifier, schema_id: str | None = None) -> None:
        """Let `fn` change events, of one schema or (None) of all, before they are validated.

        `fn(schema_id, version, event)` gets a copy of the event, and returns the event to record. Modifiers run
        in the order they were added. An event whose modifier raises is not recorded, since what the modifier
        would have removed must not be.
        """
        self._modifiers.add(fn, schema_id)

    def remove_modifier(self, fn: Modifier, schema_id: str | None = None) -> None:
        """Take back an `add_modifier` with the same arguments. Unknown ones are ignored."""
        self._modifiers.remove(fn, schema_id)

    def add_listener(self, fn: Listener, schema_id: str | None = None) -> None:
        """Call `fn(schema_id, version, event)` after an event, of one schema or (None) of all, was recorded.

        `fn` may be async: it then runs as a task of the running event loop; where none runs, it is run to its
        end before `record_event` returns. Its exceptions are logged.
        """
        self._listeners.add(fn, schema_id)

    def remove_listener(self, fn: Listener, schema_id: str | None = None) -> None:
        """Take back an `add_listener` with the same arguments. Unknown ones are ignored."""
        self._listeners.remove(fn, schema_id)

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
            jsonschema.SchemaError: a `$ref` of the schema points to a place that does not exist in another one, which
                was registered after it.
            jsonschema.ValidationError: the event does not match its schema, is not a mapping, is not JSON,
                or has a property that begins with `__`.
            TypeError: `timestamp_override` is not a datetime.
            ValueError: `timestamp_override` lies outside the years 1 to 9999 in UTC.

        """
        policy = self._policy
        lent = self.lent_option
        if policy is None or (
            lent is not None and lent is self._trait_values["allowed_schemas"] and not policy.was_made_from(lent)
        ):
            policy = self._remade_policy()
            if policy is None:
                return None
        if policy.entry_for(schema_id) is None:
            self._counters.withheld.add(1, self._attributes.find(self._registry.current, schema_id, version))
            return None
        if self._handler_list != self._used_items:
            self._use_changed_handlers()
        if not (self._dispatcher.handlers or self._listeners.functions):
            return None
        time_ns = None if timestamp_override is None else datetime_to_ns(timestamp_override)
        thread = get_ident()
        depth = _depths.get(thread, 0)
        if depth >= _MAX_NESTING:
            self._failure_log.failed(_NESTED_EVENT, f": {depth} events are nested already", traceback=False)
            return None
        _depths[thread] = depth + 1
        try:
            return self._record(policy, schema_id, version, event, time_ns)
        finally:
            if depth:
                _depths[thread] = depth
            else:
                del _depths[thread]

    def _record(
        self, policy: Policy, schema_id: str, version: Any, event: Any, time_ns: int | None
    ) -> dict[str, Any] | None:
        """Record an event of a schema that is allowed; see `record_event`."""
        try:
            compiled, redaction, event = self._checked(policy, schema_id, version, event)
        except ModifierFailed:
            return None
        except Exception as error:
            self._counters.invalid.add(1, self._attributes.find(self._registry.current, schema_id, version))
            if self.on_invalid == "raise":
                raise
            self._log_invalid(error)
            return None
        pseudonyms = NO_PATHS
        if redaction is not None:
            event, pseudonyms = redaction.apply(event), redaction.pseudonyms
        self._dispatcher.dispatch(EventRecord(compiled.event_type, event, time_ns, pseudonyms))
        self._counters.recorded.add(1, compiled.metric_attributes)
        if self._listeners.functions:
            self._listeners.tell(compiled.schema, event)
        return copy_again(event)  # since the record may still be waiting in a queue

    def explain(self) -> list[dict[str, Any]]:
        """Explain the outcome for the properties of every registered schema, and why.

        Returns:
            A mapping for each schema and handler (without handlers, for the `EventLog`), as JSON could have it:
            `schema` and `version`; `destination`, the handler; `allowed`, whether it gets events of the schema;
            `because`, the entries that say so, or what says no, such as a `$ref` of the schema to something that is
            not registered; `warnings`, a list of texts; `is_complete`, false only of a schema that describes more
            than ten thousand properties; and `properties`, a list of `property`, `outcome` ("recorded", "withheld" or
            "pseudonymized") and `reason`. A property is a dotted path that passes arrays unseen. `*` stands for any
            property that is not described, `/…/` for those whose name matches the pattern, `[]` for items of an array
            that fare differently from other items.

        Raises:
            PolicyError: `allowed_schemas` was changed in place to an invalid value.

        """
        self._use_changed_handlers()
        policy = self._policy = self._checked_policy()
        destinations = [
            Destination(_shown(handler), (policy, *policies_of(handler))) for handler in self._dispatcher.handlers
        ] or [Destination(type(self).__name__, (policy,))]
        return explanations(self._registry.current, destinations)

    def _remade_policy(self) -> Policy | None:
        """Return the policy after an in-place change of `allowed_schemas`, or None if the new value is invalid."""
        try:
            self._policy = policy = self._checked_policy()
        except PolicyError as error:
            self._failure_log.failed(_CHANGED_POLICY, f", and nothing is recorded: {error}", traceback=False)
            return None
        self._failure_log.worked(_CHANGED_POLICY)
        return policy

    def _checked(
        self, policy: Policy, schema_id: str, version: Any, event: Any
    ) -> tuple[CompiledSchema, Redaction | None, dict[str, Any]]:
        """Return a schema, the redaction of its events, and a copy of a valid event."""
        compiled = self._registry.current.compiled(schema_id, version)
        redaction = policy.redaction(compiled.event_type)
        try:
            if self._modifiers.functions:
                event = self._modifiers.apply(compiled.schema, compiled.validator.json_copy(event))
            return compiled, redaction, compiled.validator.checked(event)
        except Exception as error:
            problem = error if redaction is None else censored(error, redaction, compiled.validator.name)
            if problem is error:
                raise
        raise problem  # out here, where Python does not note the first one with it

    def _log_invalid(self, error: Exception) -> None:
        reason = getattr(error, "message", None) or str(error)
        text = "invalid event, number %d, is not recorded: %s"
        log_safely(lambda: self.log, logging.WARNING, text, next(self._invalid_numbers), reason)


def _check(
    policy: Policy, handlers: Sequence[logging.Handler] | None, schemas: Schemas, schema_ids: set[str]
) -> set[str]:
    """Check an EventLog's policy, and those of its handlers; return the ids that could not be checked yet."""
    policies = [policy, *(narrower for handler in handlers or () for narrower in policies_of(handler))]
    return set().union(*(checked.check(schemas, schema_ids) for checked in policies))


def _shown(handler: logging.Handler) -> str:
    name = type(handler).__name__
    return f"{name} {handler.baseFilename}" if isinstance(handler, logging.FileHandler) else name
