"""The front door: `EventLog` takes events, and hands valid ones that are allowed to logging handlers."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from traitlets import Enum, Unicode, default, observe, validate
from traitlets.config import Config, LoggingConfigurable
from traitlets.config.loader import DeferredConfig, LazyConfigValue

from jupyter_otel_telemetry.dispatch import Dispatcher
from jupyter_otel_telemetry.errors import PolicyError, SchemaSourceError
from jupyter_otel_telemetry.events.record import EventRecord, datetime_to_ns
from jupyter_otel_telemetry.hooks import Listener, Listeners, Modifier, ModifierFailed, Modifiers
from jupyter_otel_telemetry.jsondata import copy_again
from jupyter_otel_telemetry.metrics import SchemaAttributes, event_counters
from jupyter_otel_telemetry.privacy.explain import Destination, explanations
from jupyter_otel_telemetry.privacy.policy import Policy, policies_of
from jupyter_otel_telemetry.privacy.pseudonyms import find_pseudonym_key
from jupyter_otel_telemetry.privacy.redaction import NO_PATHS
from jupyter_otel_telemetry.schemas import sources
from jupyter_otel_telemetry.schemas.registry import RegisteredSchemas, SchemaRegistry
from jupyter_otel_telemetry.traits import AllowedSchemasTrait, Handlers, SecretText
from jupyter_otel_telemetry.trouble import TroubleLog

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from datetime import datetime

    from traitlets import Bunch

    from jupyter_otel_telemetry.privacy.redaction import Redaction
    from jupyter_otel_telemetry.schemas.registry import CompiledSchema, Schemas
    from jupyter_otel_telemetry.schemas.schema import Schema

__all__ = ["EventLog"]


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

    pseudonym_key_file = Unicode(
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
        self._trouble = trouble = TroubleLog(lambda: self.log)
        self._dispatcher = Dispatcher(trouble)
        self._registry = SchemaRegistry(self._approve)
        self._policy: Policy | None = None
        self._unchecked_ids: set[str] = set()
        self._modifiers = Modifiers(trouble)
        self._listeners = Listeners(trouble)
        self._invalid_events = 0
        self._counters, self._attributes = event_counters(), SchemaAttributes()
        super().__init__(**kwargs)
        self._policy = self._checked_policy()

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

    @validate("handlers", "allowed_schemas", "pseudonym_key", "pseudonym_key_file")
    def _check_privacy(self, proposal: Bunch) -> Any:
        """Refuse what would make the policy another one than its author meant, before it counts."""
        if self._policy is not None:  # else __init__ will check all of them together
            self._checked_policy(**{proposal.trait.name: proposal.value})
        return proposal.value

    @observe("allowed_schemas", "pseudonym_key", "pseudonym_key_file")
    def _privacy_changed(self, _change: object) -> None:
        if self._policy is not None:
            self._policy = self._checked_policy()

    def _checked_policy(self, **changes: Any) -> Policy:
        """Make the policy of the traits and these changes, and check it against what is registered."""

        def value(name: str) -> Any:
            return changes[name] if name in changes else getattr(self, name)

        policy = Policy(
            value("allowed_schemas"),
            lambda: find_pseudonym_key(value("pseudonym_key"), value("pseudonym_key_file")),
            f"{type(self).__name__}.allowed_schemas",
        )
        schemas = self._registry.current
        self._unchecked_ids = _check(policy, value("handlers"), schemas, {schema_id for schema_id, _ in schemas})
        return policy

    def _approve(self, schemas: Schemas, new_ids: set[str]) -> None:
        """Check what the policies say of schemas that are about to be registered, or that waited for them."""
        if self._policy is not None:
            self._unchecked_ids = _check(self._policy, self.handlers, schemas, new_ids | self._unchecked_ids)

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
        parsed: list[Schema] = []
        problems: list[str] = []
        for path in sources.read_folder_paths(folder):
            try:
                parsed.append(self._registry.parse(sources.read_file(path)))
            except Exception as error:  # noqa: BLE001 - collected: one bad file must not hide the others
                problems.append(f"{Path(path).relative_to(folder)}: {str(error).splitlines()[0]}")
        self._registry.register_parsed(parsed)
        if problems:
            raise SchemaSourceError(str(folder), f"{len(problems)} bad files; " + "; ".join(problems))
        return [schema.key for schema in parsed]

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
        end before `record_event` returns. What it raises is logged.
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
            jsonschema.ValidationError: the event does not match its schema, is no mapping, holds what JSON cannot,
                or has a property that begins with `__`.
            TypeError: `timestamp_override` is no datetime.
            ValueError: `timestamp_override` lies outside the years 1 to 9999 in UTC.

        """
        policy = self._policy
        if policy is None or not policy.was_made_from(self.allowed_schemas):
            policy = self._remade_policy()
            if policy is None:
                return None
        if policy.entry_for(schema_id) is None:
            self._counters.withheld.add(1, self._attributes.of(self._registry.current, schema_id, version))
            return None
        if not (self._dispatcher.handlers or self._listeners):
            return None
        time_ns = None if timestamp_override is None else datetime_to_ns(timestamp_override)
        try:
            compiled, redaction, event = self._checked(policy, schema_id, version, event)
        except ModifierFailed:
            return None
        except Exception as error:
            self._counters.invalid.add(1, self._attributes.of(self._registry.current, schema_id, version))
            if self.on_invalid == "raise":
                raise
            self._log_invalid(error)
            return None
        pseudonyms = NO_PATHS
        if redaction is not None:
            event, pseudonyms = redaction.apply(event), redaction.pseudonyms
        self._dispatcher.dispatch(EventRecord(compiled.event_type, event, time_ns, pseudonyms))
        self._counters.recorded.add(1, compiled.metric_attributes)
        if self._listeners:
            self._listeners.tell(compiled.schema, event)
        return copy_again(event)  # since the record may still be waiting in a queue

    def explain(self) -> list[dict[str, Any]]:
        """Explain what becomes of the properties of every registered schema, and why.

        Returns:
            A mapping for each schema and handler (without handlers, for the `EventLog`), as JSON could have it:
            `schema` and `version`; `destination`, the handler; `allowed`, whether it gets events of the schema;
            `because`, the entries that say so, or what says no; `is_complete`, false only of a schema that describes
            more than ten thousand properties; and `properties`, a list of `property`, `outcome`
            ("recorded", "withheld" or "pseudonymized") and `reason`. A property is a dotted path that passes arrays
            unseen. `*` stands for any property that is not described, `/…/` for those whose name matches the
            pattern, `[]` for the items of an array where it is not of them all that the same is true.

        Raises:
            SchemaNotRegistered: a schema needs another one, by `$ref`, that is not registered.
            PolicyError: `allowed_schemas` was changed in place to what it must not be.

        """
        policy = self._policy = self._checked_policy()
        destinations = [
            Destination(_shown(handler), (policy, *policies_of(handler))) for handler in self._dispatcher.handlers
        ] or [Destination(type(self).__name__, (policy,))]
        return explanations(self._registry.current, destinations)

    def _remade_policy(self) -> Policy | None:
        """Make the policy anew, since `allowed_schemas` was changed in place; None: to something that is none."""
        try:
            self._policy = policy = self._checked_policy()
        except PolicyError as error:
            self._trouble.failed(self, f", and nothing is recorded: {error}", traceback=False)
            return None
        self._trouble.worked(self)
        return policy

    def _checked(
        self, policy: Policy, schema_id: str, version: Any, event: Any
    ) -> tuple[CompiledSchema, Redaction | None, dict[str, Any]]:
        """Return a schema, what its events lose by the policy, and a copy of an event that is valid."""
        compiled = self._registry.current.compiled(schema_id, version)
        redaction = policy.redaction(compiled.event_type)
        try:
            if self._modifiers:
                event = self._modifiers.apply(compiled.schema, compiled.validator.json_copy(event))
            return compiled, redaction, compiled.validator.checked(event)
        except Exception as error:
            problem = error if redaction is None else compiled.validator.censored(error, redaction)
            if problem is error:
                raise
        raise problem  # out here, where Python does not note the first one with it

    def _log_invalid(self, error: Exception) -> None:
        with self._lock:
            self._invalid_events += 1
        reason = getattr(error, "message", None) or str(error)
        self.log.warning("invalid event, number %d, is not recorded: %s", self._invalid_events, reason)


def _check(
    policy: Policy, handlers: list[logging.Handler] | None, schemas: Schemas, schema_ids: set[str]
) -> set[str]:
    """Check an EventLog's policy, and those of its handlers; return the ids that could not be checked yet."""
    policies = [policy, *(narrower for handler in handlers or () for narrower in policies_of(handler))]
    return set().union(*(checked.check(schemas, schema_ids) for checked in policies))


def _shown(handler: logging.Handler) -> str:
    name = type(handler).__name__
    return f"{name} {handler.baseFilename}" if isinstance(handler, logging.FileHandler) else name
