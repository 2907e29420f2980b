"""Log records as lines of OTLP JSON, for files that a Collector reads."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry._logs import LogRecord, NoOpLoggerProvider
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs import ReadWriteLogRecord
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from jupyter_otel_telemetry._version import __version__
from jupyter_otel_telemetry.events.foreign import event_of
from jupyter_otel_telemetry.events.formatters import LineFormatter
from jupyter_otel_telemetry.events.record import EventRecord
from jupyter_otel_telemetry.export.mapping import numbered, otel_record
from jupyter_otel_telemetry.export.pipeline import record_limits
from jupyter_otel_telemetry.export.resource import process_resource, program_resource
from jupyter_otel_telemetry.export.sdk_internals import translated
from jupyter_otel_telemetry.forks import after_fork_in_child
from jupyter_otel_telemetry.jsondata import json_bytes, object_text
from jupyter_otel_telemetry.names import SCOPE_NAME
from jupyter_otel_telemetry.otlp.encoding import encode_record, encode_resource, encode_scope
from jupyter_otel_telemetry.otlp.otlpjson import to_json

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from opentelemetry.sdk.resources import Resource

__all__ = ["OTLPJSONFormatter"]

_SCOPE = InstrumentationScope(SCOPE_NAME, __version__)


class OTLPJSONFormatter(LineFormatter):
    """Formats an `EventRecord`, and any other log record, as one line of OTLP JSON.

    The line has the content that `OTLPHandler` sends. It is a whole message, `{"resourceLogs": […]}`, as the
    Collector's `otlp_json_file` receiver reads and its `file` exporter writes it.

    Args:
        fmt, datefmt, style: accepted, since `logging.config.dictConfig` passes them, and ignored.
        service_name: default: `OTEL_SERVICE_NAME`, else the name of the running program.
        resource: further resource attributes, or an OpenTelemetry Resource.

    """

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        *,
        service_name: str | None = None,
        resource: Resource | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(fmt, datefmt, style)
        self._resource = program_resource(service_name, resource)
        self._limits = record_limits()
        self._ordinary = _Translator(logger_provider=NoOpLoggerProvider())
        self._numbers = itertools.count(1)
        after_fork_in_child(self, OTLPJSONFormatter._describe_process)

    def _describe_process(self) -> None:
        self._resource = self._resource.merge(process_resource())
        self._numbers = itertools.count(1)

    def line(self, record: logging.LogRecord) -> str:
        """Return the line, without a line break."""
        event = record if isinstance(record, EventRecord) else event_of(record)
        if event is not None:
            sent, scope = otel_record(event, next(self._numbers)), _SCOPE
        else:
            sent = self._ordinary.translate(numbered(record, next(self._numbers)))
            scope = InstrumentationScope(record.name)
        request = ExportLogsServiceRequest()
        resource_logs = request.resource_logs.add()
        resource_logs.ParseFromString(encode_resource(self._resource))
        scope_logs = resource_logs.scope_logs.add()
        scope_logs.ParseFromString(encode_scope(scope))
        complete = ReadWriteLogRecord(sent, self._resource, scope, self._limits)
        scope_logs.log_records.add().ParseFromString(encode_record(complete))
        return json_bytes(to_json(request)).decode()


class _Translator(LoggingHandler):
    """OpenTelemetry's handler, which translates ordinary records as `OTLPHandler` does, and sends nothing."""

    def translate(self, record: logging.LogRecord) -> LogRecord:
        try:
            return translated(self, record)
        except Exception:  # arguments that do not fit the message, or an object whose text cannot be made
            plain = copy.copy(record)
            plain.msg, plain.args = object_text(record.msg), ()
            return translated(self, plain)
