"""The handler that sends events, and any other log record, as OpenTelemetry LogRecords."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from opentelemetry._logs import LoggerProvider, LogRecord, NoOpLoggerProvider, SeverityNumber
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import NonRecordingSpan, get_current_span, set_span_in_context

from jupyter_otel_telemetry._version import __version__
from jupyter_otel_telemetry.events.record import SCOPE_NAME, EventRecord, has_lost_its_form
from jupyter_otel_telemetry.export.lifecycle import FLUSH_TIMEOUT_S, end_when_unused, within
from jupyter_otel_telemetry.metrics import event_counters, of_schema
from jupyter_otel_telemetry.otlp.settings import ExporterOptions, switched_off
from jupyter_otel_telemetry.privacy.policy import Policy
from jupyter_otel_telemetry.privacy.pseudonyms import find_pseudonym_key
from jupyter_otel_telemetry.trouble import TroubleLog

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from opentelemetry.sdk.resources import Resource

    from jupyter_otel_telemetry.export.delivery import Delivery
    from jupyter_otel_telemetry.spool import SpoolLogRecordProcessor, SpoolOptions

__all__ = ["OTLPHandler"]

_SEVERITY_NUMBERS: Final = list(SeverityNumber)

_EVENT_LOGGERS: Final = ("jupyter_events.logger", "jupyter_telemetry.eventlog")

_logger = logging.getLogger(__name__)


class OTLPHandler(LoggingHandler):
    """Sends events over OTLP. It takes those of `EventLog`, `jupyter_events` and `jupyter_telemetry`.

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
            from ids to options, as in `EventLog.allowed_schemas`; it can only narrow what is recorded. None: all
            that reaches this handler leaves.
        pseudonym_key_file, pseudonym_key: the key of pseudonyms, in a file or as it is, at least 16 bytes;
            default: `JUPYTER_OTEL_PSEUDONYM_KEY_FILE` or `JUPYTER_OTEL_PSEUDONYM_KEY`.
        spool: folder in which records wait until the receiver has accepted them, so that none is lost; or a mapping
            of `SpoolOptions`. None: they wait in memory.
        logger_provider: send through this one, and build nothing.
        level: lowest `logging` level to send.

    Raises:
        ValueError: an argument or environment variable has no meaning, or names a file that cannot be used; the text
            says what to write. What concerns `allowed_schemas` and the key is a `PolicyError`.
        OSError: the folder of the spool cannot be written to.

    """

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
        pseudonym_key_file: str | os.PathLike[str] | None = None,
        pseudonym_key: str | None = None,
        spool: str | os.PathLike[str] | Mapping[str, Any] | SpoolOptions | None = None,
        logger_provider: LoggerProvider | None = None,
        level: int | str = logging.NOTSET,
    ) -> None:
        # Imported late, as the SDK is.
        from jupyter_otel_telemetry.export import pipeline  # noqa: PLC0415

        self.policy: Policy | None = None
        if allowed_schemas is not None:
            where = f"{type(self).__name__} allowed_schemas"
            self.policy = Policy(
                allowed_schemas, lambda: find_pseudonym_key(pseudonym_key, pseudonym_key_file), where
            )
        self._delivery: Delivery | None = None
        self._spool: SpoolLogRecordProcessor | None = None
        self._flushed = 0
        self._trouble = TroubleLog(lambda: _logger)
        options = ExporterOptions(
            endpoint,
            protocol,
            headers,
            compression,
            certificate_file,
            client_certificate_file,
            client_key_file,
            proxy,
        )
        if logger_provider is not None:
            if options != ExporterOptions() or (service_name, resource, spool) != (None, None, None):
                raise ValueError("with logger_provider nothing is built: set endpoint, service_name and so on there")
        elif (reason := switched_off()) is not None:
            _logger.warning("OTLPHandler sends nothing, since %s", reason)
            logger_provider = NoOpLoggerProvider()
        else:
            if spool is None:
                logger_provider, self._delivery = pipeline.build_provider(options, service_name, resource)
            else:
                logger_provider, self._spool = pipeline.build_spooling_provider(
                    spool, options, service_name, resource
                )
            end_when_unused(self, logger_provider, self._delivery)
        self._provider = logger_provider
        self._otel_logger = logger_provider.get_logger(SCOPE_NAME, __version__)
        super().__init__(logger_provider=logger_provider)
        self.setLevel(level)

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """Do without a lock: the SDK needs none, and one held during a flush deadlocks with an exporter that logs.

        https://github.com/open-telemetry/opentelemetry-python/pull/4636
        """
        self.lock = None

    def setFormatter(self, fmt: logging.Formatter | None) -> None:  # noqa: N802 - logging's name
        """Set the formatter of ordinary records' bodies.

        Those that jupyter_events and jupyter_telemetry put on every handler are ignored: they are for events only,
        and would drop the message of ordinary records, or fail.
        """
        if getattr(getattr(fmt, "json_serializer", None), "__module__", None) not in _EVENT_LOGGERS:
            super().setFormatter(fmt)

    def handle(self, record: logging.LogRecord) -> bool:
        """Filter and emit, as `logging.Handler.handle` does, but without a lock."""
        if not self.filters:
            self.emit(record)
            return True
        passed = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record to the provider. Never raises."""
        try:
            event = record if type(record) is EventRecord else EventRecord.from_foreign(record)
            if event is not None:
                if self.policy is not None:
                    event = _seen_through(self.policy, event, is_foreign=event is not record)
                if event is not None:
                    self._emit_event(event)
            elif self.policy is not None and has_lost_its_form(record):
                raise ValueError("an event that another handler has made an ordinary record of passes no policy")
            elif is_instrumentation_enabled():  # else it is an exporter that logs
                super().emit(record)  # which ends the loop where something below logs to this handler
            self._trouble.worked(self)
        except Exception:  # noqa: BLE001 - the caller's work must go on
            self.handleError(record)

    def _emit_event(self, record: EventRecord) -> None:
        event_type = record.event_type
        span_context = record.span_context
        self._otel_logger.emit(
            LogRecord(
                timestamp=record.otlp_time_ns,
                # The span in which the event was recorded, maybe in another thread.
                context=None
                if span_context is None or span_context is get_current_span().get_span_context()
                else set_span_in_context(NonRecordingSpan(span_context)),
                severity_number=_SEVERITY_NUMBERS[event_type.severity.number],
                severity_text=event_type.severity.text,
                body=record.getMessage(),
                attributes=record.otlp_attributes(),
                event_name=event_type.event_name,
            )
        )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Log, once until it works again, that a record could not be handed over, without its content."""
        self._trouble.failed(self, f": a record of logger {record.name} could not be handed to OpenTelemetry")

    def flush(self) -> None:
        """Wait until what was emitted has been handed over, at most ten seconds.

        With a spool, an attempt to send that fails ends it: what waits there is safe.
        """
        if self._spool is not None:
            self._spool.flush(FLUSH_TIMEOUT_S, give_up=True)
        else:
            self.force_flush(FLUSH_TIMEOUT_S)

    def force_flush(self, timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
        """Wait at most `timeout_s` seconds until what was emitted has been handed over.

        Returns:
            Whether the receiver accepted everything emitted since the last call that was not cut short by its
            time limit. With a `logger_provider` of yours, what its `force_flush` says.

        """
        if self._spool is not None:
            return self._spool.flush(timeout_s, give_up=False)
        provider_flush = getattr(self._provider, "force_flush", None)
        if provider_flush is None:
            return True
        target = self._flushed = self._delivery.emitted if self._delivery is not None else 0
        flushed = within(timeout_s, lambda: provider_flush(int(timeout_s * 1000)))
        if self._delivery is None:
            return bool(flushed)
        return self._delivery.settle(target, is_worked_off=bool(flushed))

    def close(self) -> None:
        """Flush, unless that was just done.

        The handler goes on to work: `logging.config.dictConfig`, which Jupyter applications call, closes every
        handler that there is. Its pipeline ends with the program, or when nobody has the handler any more.
        """
        if self._delivery is None or self._flushed != self._delivery.emitted:
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


def _seen_through(policy: Policy, record: EventRecord, *, is_foreign: bool) -> EventRecord | None:
    """Return what a policy lets leave of a record; None: nothing."""
    event_type = record.event_type
    if policy.entry_for(event_type.id) is None:
        event_counters().withheld.add(1, of_schema(event_type.id, event_type.version_text))
        return None
    redaction = policy.redaction(event_type, record.pseudonyms)
    if redaction is None:
        return record
    event: Any = record.event
    return record.with_event(redaction.apply_to_foreign(event) if is_foreign else redaction.apply(event))
