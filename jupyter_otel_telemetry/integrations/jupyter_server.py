"""The extension of Jupyter Server: sends the events of its event logger over OTLP.

It does nothing until it is enabled: `jupyter server extension enable jupyter_otel_telemetry`.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from logging.handlers import MemoryHandler
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.services.events.handlers import EventHandler
from jupyter_server.utils import url_path_join
from traitlets import Any as AnyValue
from traitlets import Dict, Enum, HasTraits, TraitError, TraitType, Unicode
from traitlets.config import LoggingConfigurable

from jupyter_otel_telemetry.events.origin import through_events_api
from jupyter_otel_telemetry.export.handler import OTLPHandler
from jupyter_otel_telemetry.export.resource import IDENTITIES, hub_identity
from jupyter_otel_telemetry.handlers import final_handler
from jupyter_otel_telemetry.options import suggestion
from jupyter_otel_telemetry.privacy.pseudonyms import Pseudonymizer, find_pseudonym_key
from jupyter_otel_telemetry.traits import SecretText

if TYPE_CHECKING:
    import logging

    from jupyter_events import EventLogger
    from jupyter_server.serverapp import ServerApp

__all__ = ["OTelTelemetry"]

_HANDLER: Final = (
    *("endpoint", "protocol", "headers", "compression"),
    *("certificate_file", "client_certificate_file", "client_key_file", "proxy"),
    *("service_name", "allowed_schemas", "pseudonym_key", "pseudonym_key_file", "spool"),
)
_MAX_EARLY: Final = 10_000
_CLOSE: Final = 0.85  # of two names of sections: a letter or two differ


class _Headers(TraitType[Any, Any]):
    """A mapping from names to texts, or to files that hold them, which no error shows."""

    def validate(self, obj: HasTraits, value: Any) -> dict[str, Any]:
        if isinstance(value, Mapping) and all(isinstance(item, (str, Mapping)) for item in value.values()):
            return dict(value)
        raise TraitError(
            f'{type(obj).__name__}.{self.name} must be a mapping from names to texts: {{"name": "text"}}'
        )


class OTelTelemetry(LoggingConfigurable):
    """Which events of a Jupyter Server are sent, and where to.

    Its options are the arguments of `OTLPHandler`: those that are not set are left to `OTEL_*` environment
    variables, then to the defaults.
    """

    service_name = Unicode(
        None,
        allow_none=True,
        help="""Name of the service. None, the default: `OTEL_SERVICE_NAME`, else the program's, `jupyter-lab`.""",
    ).tag(config=True)

    endpoint = SecretText(
        None,
        allow_none=True,
        help="""Base URL of the receiver. None, the default: `http://localhost:4318` (4317 with grpc).""",
    ).tag(config=True)

    protocol = Unicode(
        None,
        allow_none=True,
        help="""`http/protobuf` or `grpc`. None, the default: `http/protobuf`.""",
    ).tag(config=True)

    headers = _Headers(
        None,
        allow_none=True,
        help="""Sent with each request: `{"authorization": "Bearer …"}`. None, the default: no others.

        Users can read their server's configuration. A value in a file, which may change:
        `{"authorization": {"file": "/run/secrets/token", "prefix": "Bearer "}}`.
        """,
    ).tag(config=True)

    compression = Unicode(
        None,
        allow_none=True,
        help="""`gzip`, `deflate` (not with grpc) or `none`. None, the default: `none`, with a spool `gzip`.""",
    ).tag(config=True)

    certificate_file = Unicode(
        None,
        allow_none=True,
        help="""PEM file with the certificates to trust. None, the default: those that this machine trusts.""",
    ).tag(config=True)

    client_certificate_file = Unicode(
        None,
        allow_none=True,
        help="""PEM file with the certificate that says who we are. None, the default: there is none.""",
    ).tag(config=True)

    client_key_file = Unicode(
        None,
        allow_none=True,
        help="""PEM file with the key of `client_certificate_file`. None, the default: there is none.""",
    ).tag(config=True)

    proxy = SecretText(
        None,
        allow_none=True,
        help="""URL of an HTTP proxy: `http://proxy:3128`. None, the default: none, whatever `HTTP_PROXY` says.""",
    ).tag(config=True)

    resource = Dict(
        None,
        allow_none=True,
        help="""Further resource attributes: `{"deployment.environment.name": "test"}`. None, the default: no others.

        They win over those of `OTEL_RESOURCE_ATTRIBUTES`.
        """,
    ).tag(config=True)

    allowed_schemas = AnyValue(
        None,
        allow_none=True,
        help="""
        Ids of the only schemas whose events are sent: a list, or a mapping from ids to options.

        `*` in an id stands for any text: `["https://events.jupyter.org/jupyter_server/*"]`. None, the default: all.
        """,
    ).tag(config=True)

    identity = Enum(
        IDENTITIES,
        default_value=None,
        allow_none=True,
        help="""
        Whether resource attributes say whose server this is, where JupyterHub has started it.

        "name": `user.name` and `jupyter.server.name`. "pseudonym": `user.hash` and `jupyter.server.hash`, which
        want a key. None, the default: neither.
        """,
    ).tag(config=True)

    pseudonym_key = SecretText(
        None,
        allow_none=True,
        help="""Key of pseudonyms, at least 16 bytes. None, the default: `JUPYTER_OTEL_PSEUDONYM_KEY`, if set.""",
    ).tag(config=True)

    pseudonym_key_file = Unicode(
        None,
        allow_none=True,
        help="""File with that key. None, the default: `JUPYTER_OTEL_PSEUDONYM_KEY_FILE`, if set.""",
    ).tag(config=True)

    spool = AnyValue(
        None,
        allow_none=True,
        help="""
        Folder in which events wait until the receiver has accepted them, so that none is lost: `"/var/lib/events"`.

        Or a mapping with a `folder` and any of `durability`, `max_size_bytes`, `max_age_s`, `when_full`,
        `keep_acknowledged_s`. None, the default: they wait in memory.
        """,
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # traitlets ignores these at most with a warning, and an allowed_schemas in vain would let everything leave.
        own, known = type(self).__name__, self.trait_names(config=True)
        for section in self.config:
            if section != own and get_close_matches(section.lower(), [own.lower()], 1, _CLOSE):
                raise ValueError(f"the configuration has a section {section!r}; did you mean {own!r}?")
        for name in self._find_my_config(self.config):
            if name not in known:
                hint = suggestion(name, known) or f"; known are {', '.join(sorted(known))}"
                raise ValueError(f"{own} has no option {name!r}{hint}")

    def build_handler(self) -> OTLPHandler:
        """Build the handler that these options describe.

        Raises:
            ValueError: an option has no meaning, or names a file that cannot be used; the text says what to write.
            OSError: the folder of the spool cannot be written to.

        """
        return OTLPHandler(
            resource={**(self.resource or {}), **self._identity()}, **{name: getattr(self, name) for name in _HANDLER}
        )

    def _identity(self) -> dict[str, str]:
        key = (
            find_pseudonym_key(self.pseudonym_key, self.pseudonym_key_file) if self.identity == "pseudonym" else None
        )
        return hub_identity(self.identity, None if key is None else Pseudonymizer(key))


class _EventHandler(EventHandler):
    """Takes the events of clients, which can make up all of them, and says so of each."""

    @property
    def event_logger(self) -> EventLogger:
        return _ClientsLogger(super().event_logger)  # type: ignore[return-value]  # as much of one as is used


class _ClientsLogger:
    """An event logger as clients may use it."""

    def __init__(self, logger: EventLogger) -> None:
        self._logger = logger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)

    def emit(self, *, data: dict[str, Any], **arguments: Any) -> Any:
        """Emit an event.

        Raises:
            ValueError: it has properties that would replace the envelope: schema, version or time.

        """
        if forged := sorted(name for name in data if name.startswith("__")):
            raise ValueError(f"the properties {', '.join(forged)} are reserved: names must not begin with __")
        with through_events_api():
            return self._logger.emit(data=data, **arguments)


class _Early(MemoryHandler):
    """Keeps the events that are emitted before the configuration is complete and the handler can be built.

    `jupyter lab` reads its own configuration files after extensions are linked, and before they are loaded.
    """

    def __init__(self) -> None:
        super().__init__(_MAX_EARLY)

    def shouldFlush(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - logging's name
        """Keep everything until there is a target."""
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, as long as there is room."""
        if len(self.buffer) < self.capacity:
            super().emit(record)

    def hand_over(self, handler: logging.Handler) -> None:
        """Let a handler take the records that were kept."""
        self.setTarget(handler)
        self.flush()


def _link_jupyter_server_extension(serverapp: ServerApp) -> None:
    """Begin to take events: all extensions are linked before the first one is loaded."""
    if serverapp.event_logger is not None:
        serverapp.event_logger.register_handler(_Early())


def _load_jupyter_server_extension(serverapp: ServerApp) -> None:
    """Attach the handler. A mistake in the configuration is logged, and the server starts without."""
    events: EventLogger = serverapp.event_logger  # type: ignore[assignment]  # its trait could be None by type
    early = [handler for handler in events.handlers if isinstance(handler, _Early)]
    for handler in early:
        events.remove_handler(handler)
    try:
        telemetry = OTelTelemetry(parent=serverapp)
        if not _has_handler(events, serverapp.log):
            built = telemetry.build_handler()
            events.register_handler(built)
            for handler in early:
                handler.hand_over(built)
    except (TraitError, ValueError, OSError) as error:
        serverapp.log.error("jupyter_otel_telemetry sends nothing, as OTelTelemetry is configured wrongly: %s", error)  # noqa: TRY400
        return
    route = url_path_join(serverapp.base_url, "api", "events")
    serverapp.web_app.add_handlers(".*$", [(route, _EventHandler)])  # type: ignore[no-untyped-call]  # tornado's


def _has_handler(events: EventLogger, log: logging.Logger) -> bool:
    """Tell whether the configuration has given the event logger an `OTLPHandler` already, and log that."""
    for handler in events.handlers:
        target = final_handler(handler)
        if isinstance(target, OTLPHandler):
            log.warning(
                "jupyter_otel_telemetry: EventLogger.handlers holds an OTLPHandler already, which sends to %s; the "
                "extension adds none, as every event would be sent twice, and the options of OTelTelemetry have no "
                "effect. Remove one of the two; for a second destination, add a handler to EventLogger.handlers",
                target.destination,
            )
            return True
    return False
