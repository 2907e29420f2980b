"""The handler that sends events, and any other log record, as OpenTelemetry LogRecords."""

from __future__ import annotations

import itertools
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from opentelemetry._logs import NoOpLoggerProvider
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from jupyter_otel_telemetry._version import __version__
from jupyter_otel_telemetry.describing import is_describing
from jupyter_otel_telemetry.errors import configuring
from jupyter_otel_telemetry.events.foreign import is_event_logger
from jupyter_otel_telemetry.events.record import EventRecord
from jupyter_otel_telemetry.export import pipeline
from jupyter_otel_telemetry.export.admission import Admission
from jupyter_otel_telemetry.export.lifecycle import (
    FLUSH_TIMEOUT_S,
    call_within,
    end_when_unused,
    flush_at_exit,
    in_background,
    logging_closes_handlers,
)
from jupyter_otel_telemetry.export.mapping import encoded_record, numbered, otel_record
from jupyter_otel_telemetry.export.startup import (
    log_summary,
    log_switched_off,
    warn_of_personal_data,
    warn_of_unknown_schemas,
)
from jupyter_otel_telemetry.failure_log import FailureLog
from jupyter_otel_telemetry.forks import after_fork_in_child
from jupyter_otel_telemetry.hostlog import use_host_log
from jupyter_otel_telemetry.names import SCOPE_NAME
from jupyter_otel_telemetry.options import check_level, named_options
from jupyter_otel_telemetry.otlp.settings import ExporterOptions, switched_off
from jupyter_otel_telemetry.privacy.policy import Policy, policies_of
from jupyter_otel_telemetry.privacy.pseudonyms import find_pseudonym_key
from jupyter_otel_telemetry.schemas.annotations import LOG_RECORD_NAMES

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from opentelemetry._logs import LoggerProvider
    from opentelemetry.sdk.resources import Resource

    from jupyter_otel_telemetry.export.delivery import Delivery
    from jupyter_otel_telemetry.spool import SpoolLogRecordProcessor, SpoolOptions

__all__ = ["OTLPHandler"]

_KEPT_FIELDS: Final = LOG_RECORD_NAMES - {"msg", "args", "message", "exc_info", "exc_text", "stack_info"}
"""The attributes of a record that filters may read besides the event: its logger, for instance."""

_logger = logging.getLogger(__name__)


class OTLPHandler(LoggingHandler):
    """Sends events over OTLP. It takes those of `EventLog`, `jupyter_events`, `jupyter_telemetry` and binderhub.

    Any other log record passes through as OpenTelemetry's own handler would send it. Arguments win over
    `OTEL_*` environment variables, which win over defaults.

    Args:
        service_name: default: `OTEL_SERVICE_NAME`, else the name of the running program.
        endpoint: base URL of the receiver, default `http://localhost:4318` (4317 with grpc).
        protocol: `http/protobuf` (default) or `grpc`.
        headers: sent with each request, for instance `{"authorization": "Bearer …"}`. A value in a file, which may
            change: `{"authorization": {"file": "/run/secrets/token", "prefix": "Bearer "}}`.
        compression: `gzip`, `deflate` (not with grpc) or `none` (default; with a spool `gzip`).
        certificate_file, client_certificate_file, client_key_file: PEM files for TLS: the authorities to trust, and
            the certificate of this client with its key. They may change at any time.
        proxy: URL of an HTTP proxy. None, the default: no proxy, whatever `HTTP_PROXY` and the like say.
        resource: further resource attributes, or an OpenTelemetry Resource.
        allowed_schemas: ids (`*` stands for any text) of the only schemas whose events may leave, or a mapping
            from ids to options, as in `EventLog.allowed_schemas`; it can only narrow that one. None: all
            that reaches this handler leaves.
        events_only: send nothing but events, no other log records. With `allowed_schemas`, events that were turned
            into text on their way are refused in any case.
        pseudonym_key_file, pseudonym_key: the key of pseudonyms, in a file or as it is, at least 16 bytes;
            default: `JUPYTER_OTEL_PSEUDONYM_KEY_FILE` or `JUPYTER_OTEL_PSEUDONYM_KEY`.
        spool: folder in which records wait until the receiver has accepted them, so that none is lost; or a mapping
            of `SpoolOptions`. None: they wait in memory.
        logger_provider: send through this one, and build nothing.
        level: lowest `logging` level to send.

    Raises:
        ValueError: an argument or environment variable has no meaning, or names a file that cannot be used; the text
            says what to write. Those about `allowed_schemas` and the key are a `PolicyError`.
        OSError: the folder of the spool cannot be written to.

    Both are a `traitlets.TraitError` too, which Jupyter applications report in one line.

    """

    @named_options
    def __init__(  # noqa: PLR0913 - one per setting of an exporter
        self,
        *,
        service_name: str | None = None,
        endpoint: str | None = None,
        protocol: str | None = None,
        headers: Mapping[str, str | Mapping[str, str]] | None = None,
        compression: str | None = None,
        certificate_file: str | None = None,
        client_certificate_file: str | None = None,
        client_key_file: str | None = None,
        proxy: str | None = None,
        resource: Resource | Mapping[str, Any] | None = None,
        allowed_schemas: list[str] | Mapping[str, Any] | None = None,
        events_only: bool = False,
        pseudonym_key_file: str | os.PathLike[str] | None = None,
        pseudonym_key: str | None = None,
        spool: str | os.PathLike[str] | Mapping[str, Any] | SpoolOptions | None = None,
        logger_provider: LoggerProvider | None = None,
        level: int | str = logging.NOTSET,
    ) -> None:
        use_host_log()
        name = type(self).__name__
        find_key = partial(find_pseudonym_key, pseudonym_key, pseudonym_key_file, owner=f"{name} ")
        self.policy = None if allowed_schemas is None else _policy(allowed_schemas, find_key, name)
        self._delivery: Delivery | None = None
        self._spool: SpoolLogRecordProcessor | None = None
        self._flushed = 0
        self._number_from_one()
        after_fork_in_child(self, OTLPHandler._number_from_one)
        self._failure_log = FailureLog(lambda: _logger)
        self._admission = Admission(self.policy, events_only=events_only)
        self._announced: set[bool] = set()
        self.destination = "a logger provider of this program"
        self._off_because: str | None = None
        with configuring(name):
            check_level(level)
            tls = certificate_file, client_certificate_file, client_key_file
            options = ExporterOptions(endpoint, protocol, headers, compression, *tls, proxy)
            if logger_provider is None:
                logger_provider = self._built_provider(options, service_name, resource, spool)
            else:
                is_alone = options == ExporterOptions() and (service_name, resource, spool) == (None, None, None)
                _check_provider(logger_provider, is_alone=is_alone)
                flush_at_exit(self)
            super().__init__(logger_provider=logger_provider)
            self.setLevel(level)
        self._provider = logger_provider
        self._otel_logger = logger_provider.get_logger(SCOPE_NAME, __version__)
        self._spools_directly = self._spool is not None and not pipeline.limits_attributes()

    def _built_provider(
        self,
        options: ExporterOptions,
        service_name: str | None,
        resource: Resource | Mapping[str, Any] | None,
        spool: Any,
    ) -> LoggerProvider:
        if (reason := switched_off()) is not None:
            self.destination, self._off_because = f"nowhere, since {reason}", reason
            _logger.warning("%s sends nothing, since %s", type(self).__name__, reason)
            return NoOpLoggerProvider()
        self.destination = options.destination()
        if is_describing():
            pipeline.check_options(spool, service_name, resource)
            return NoOpLoggerProvider()
        provider: LoggerProvider
        if spool is None:
            provider, self._delivery = pipeline.build_provider(options, service_name, resource)
        else:
            provider, self._spool = pipeline.build_spooling_provider(spool, options, service_name, resource)
        end_when_unused(self, provider, self._delivery)
        return provider

    def _number_from_one(self) -> None:
        """Begin the series of this process; after a fork, its `service.instance.id` is a new one, too."""
        self._numbers = itertools.count(1)

    def announce(self, *wider: Policy) -> None:
        """Log once which events this handler sends where; called when an event logger has taken it.

        Args:
            wider: the policy of that event logger, if it has one.

        """
        if bool(wider) not in self._announced and not is_describing():
            self._announced.add(bool(wider))
            if self._off_because is not None:
                log_switched_off(self._off_because)
                return
            waiting = self._spool or ("without spool" if self._delivery is not None else None)
            log_summary([*wider, *policies_of(self)], self.destination, waiting)
            if not wider:
                warn_of_unknown_schemas(self.policy)
                warn_of_personal_data(self.policy)

    def createLock(self) -> None:
        """Do without a lock: the SDK needs none, and one held during a flush deadlocks with an exporter that logs.

        https://github.com/open-telemetry/opentelemetry-python/pull/4636
        """
        self.lock = None

    def setFormatter(self, fmt: logging.Formatter | None) -> None:
        """Set the formatter of ordinary records' bodies.

        Those that other event libraries put on every handler are ignored: they are for events only, and would drop
        the message of ordinary records, or fail.
        """
        if is_event_logger(getattr(getattr(fmt, "json_serializer", None), "__module__", None)):
            self.announce()
        else:
            super().setFormatter(fmt)

    def handle(self, record: logging.LogRecord) -> bool:
        """Filter and emit, as `logging.Handler.handle` does, but without a lock.

        Filters see of an event no more than the policy of this handler lets be seen.
        """
        if not self.filters:
            self.emit(record)
            return True
        try:
            passed = self._filtered(record)
        except Exception:  # the caller's work must go on
            self.handleError(record)
            return False
        if passed is not None:
            self.emit(passed)
        return passed is not None

    def _filtered(self, record: logging.LogRecord) -> logging.LogRecord | None:
        """Return a record as policy and filters leave it, or None if one of them keeps it back."""
        seen = record if self.policy is None else self._admission.admit(record)
        if seen is None:
            return None
        if seen is not record and isinstance(seen, EventRecord):
            seen.add_fields({name: value for name, value in vars(record).items() if name in _KEPT_FIELDS})
        passed = self.filter(seen)
        return passed if isinstance(passed, logging.LogRecord) else seen if passed else None

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record to the provider. Never raises."""
        try:
            admitted = self._admission.admit(record)
            if type(admitted) is EventRecord:
                self._emit_event(admitted)
            elif admitted is not None and is_instrumentation_enabled():  # else it is an exporter that logs
                # It ends the loop where something below logs to this handler.
                super().emit(numbered(admitted, next(self._numbers)))
            self._failure_log.worked(self)
        except Exception:  # the caller's work must go on
            self.handleError(record)

    def _emit_event(self, record: EventRecord) -> None:
        if self._spool is not None and self._spools_directly:
            logger: Any = self._otel_logger  # the SDK's, whose resource is another one after a fork
            encoded = encoded_record(record, next(self._numbers))
            self._spool.append(logger.resource, logger.instrumentation_scope, encoded)
        else:
            self._otel_logger.emit(otel_record(record, next(self._numbers)))

    def handleError(self, record: logging.LogRecord) -> None:
        """Log, once until it works again, that a record could not be handed over, without its content."""
        self._failure_log.failed(self, f": a record of logger {record.name} could not be handed to OpenTelemetry")

    def flush(self) -> None:
        """Wait until the receiver has accepted all emitted records, at most ten seconds.

        With a spool, a failed attempt to send ends the wait: the records are safe there. Where `logging.shutdown`,
        `dictConfig`, `fileConfig` or `basicConfig` calls this, it does not wait; the records are sent afterwards, at
        the latest when the program ends.
        """
        if logging_closes_handlers():
            if self._spool is None:
                in_background(self._flush_provider)
        elif self._spool is not None:
            self._spool.flush(FLUSH_TIMEOUT_S, give_up=True)
        else:
            self.force_flush(FLUSH_TIMEOUT_S)

    def force_flush(self, timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
        """Wait at most `timeout_s` seconds until all emitted records have been handed over.

        Returns:
            Whether the receiver accepted everything emitted since the last call that was not cut short by its
            time limit. With a `logger_provider` of yours, the result of its `force_flush`.

        """
        if self._spool is not None:
            return self._spool.flush(timeout_s, give_up=False)
        target = self._flushed = self._delivery.emitted if self._delivery is not None else 0
        is_flushed = bool(call_within(timeout_s, lambda: self._flush_provider(timeout_s)))
        if self._delivery is None:
            return is_flushed
        return self._delivery.settle(target, is_worked_off=is_flushed)

    def _flush_provider(self, timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
        """Return the result of the provider's `force_flush`: True if it has none, False if it raises."""
        force_flush = getattr(self._provider, "force_flush", None)
        try:
            is_flushed = force_flush is None or bool(force_flush(int(timeout_s * 1000)))
        except Exception:  # of somebody's processor
            self._failure_log.failed(self._provider, ", and is not flushed")
            return False
        self._failure_log.worked(self._provider)
        return is_flushed

    def close(self) -> None:
        """Flush, unless that was just done.

        The handler goes on to work: `logging.config.dictConfig`, which Jupyter applications call, closes every
        handler that there is. Its pipeline ends with the program, or when the handler is garbage-collected.
        """
        if not logging_closes_handlers() and (self._delivery is None or self._flushed != self._delivery.emitted):
            self.flush()
        super().close()

    def __copy__(self) -> OTLPHandler:
        """Return the handler itself: copies of a configuration share the pipeline."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> OTLPHandler:
        """Return the handler itself, as `__copy__` does."""
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} ({logging.getLevelName(self.level)})>"


def _policy(allowed_schemas: Any, find_key: Callable[[], bytes | None], name: str) -> Policy:
    policy = Policy(allowed_schemas, find_key, f"{name} allowed_schemas")
    policy.check_installed()
    return policy


def _check_provider(provider: Any, *, is_alone: bool) -> None:
    """Check a provider of the program, beside which no other option may choose where records go."""
    if not is_alone:
        raise ValueError("with logger_provider nothing is built: set endpoint, service_name and so on there")
    if not hasattr(provider, "get_logger"):
        raise ValueError(f"logger_provider must be a LoggerProvider, not {type(provider).__name__}")
