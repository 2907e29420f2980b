"""A log record as it arrives over OTLP, read from protobuf or JSON."""

from __future__ import annotations

import base64
import json
import math
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from jupyter_otel_telemetry.otlp.otlpjson import from_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

__all__ = ["ReceivedLog", "logs_of", "logs_of_json", "parse_json", "parse_protobuf"]

_TRACE_ID_BYTES = 16
_SPAN_ID_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedLog:
    """One log record as it arrived, with its resource and scope.

    Times are nanoseconds since the epoch, 0 where unknown. `trace_id` is 32 hex digits, `span_id` 16, both
    empty where there is no valid one. Attributes and body are plain Python values: `str`, `bool`, `int`,
    `float`, `bytes`, `list`, `dict`, `None`.
    """

    timestamp_ns: int
    observed_timestamp_ns: int
    severity_number: int
    severity_text: str
    body: Any
    event_name: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope_name: str
    scope_version: str
    trace_id: str
    span_id: str
    dropped_attributes_count: int

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold, under the names of the OpenTelemetry data model.

        `timestamp` is RFC 3339 in UTC, the observed one where there is no other, `None` without either.
        Bytes become base64; NaN and the infinities `"NaN"`, `"Infinity"`, `"-Infinity"`, as in OTLP's JSON.
        """
        return {
            "timestamp": _rfc3339(self.timestamp_ns or self.observed_timestamp_ns),
            "event_name": self.event_name,
            "severity_text": self.severity_text,
            "severity_number": self.severity_number,
            "body": _jsonable(self.body),
            "attributes": _jsonable(self.attributes),
            "resource": _jsonable(self.resource),
            "scope": {"name": self.scope_name, "version": self.scope_version},
            "trace_id": self.trace_id,
            "span_id": self.span_id,
        }


def parse_protobuf(body: bytes) -> list[ReceivedLog]:
    """Return the logs of a request in OTLP's protobuf encoding.

    Raises:
        ValueError: it is none.

    """
    request = ExportLogsServiceRequest()
    try:
        request.ParseFromString(body)
    except Exception as error:  # the protobuf backends disagree on what they raise
        raise ValueError(f"the body is not OTLP protobuf: {error}") from error
    return list(_logs(request))


def parse_json(body: bytes) -> list[ReceivedLog]:
    """Return the logs of a request in OTLP's JSON encoding.

    https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding.

    Raises:
        ValueError: it is none.

    """
    with _explaining():
        return list(_logs(from_json(json.loads(body))))


def logs_of_json(content: Any) -> list[ReceivedLog]:
    """Return the same of a body that is parsed already."""
    with _explaining():
        return list(_logs(from_json(content)))


@contextmanager
def _explaining() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"the body is not OTLP JSON: {error}") from error
    except RecursionError:
        raise ValueError("the body is not OTLP JSON: it is nested too deeply") from None


def logs_of(request: ExportLogsServiceRequest) -> list[ReceivedLog]:
    """Return the logs of a request."""
    return list(_logs(request))


def _records(request: ExportLogsServiceRequest) -> Iterable[tuple[ResourceLogs, ScopeLogs, LogRecord]]:
    for resource_logs in request.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                yield resource_logs, scope_logs, record


def _logs(request: ExportLogsServiceRequest) -> Iterable[ReceivedLog]:
    for resource_logs, scope_logs, record in _records(request):
        yield ReceivedLog(
            timestamp_ns=record.time_unix_nano,
            observed_timestamp_ns=record.observed_time_unix_nano,
            severity_number=int(record.severity_number),
            severity_text=record.severity_text,
            body=_value(record.body),
            event_name=record.event_name,
            attributes=_attributes(record.attributes),
            resource=_attributes(resource_logs.resource.attributes),
            scope_name=scope_logs.scope.name,
            scope_version=scope_logs.scope.version,
            trace_id=_hex_id(record.trace_id, _TRACE_ID_BYTES),
            span_id=_hex_id(record.span_id, _SPAN_ID_BYTES),
            dropped_attributes_count=record.dropped_attributes_count,
        )


def _hex_id(value: bytes, size_bytes: int) -> str:
    """Return the id, or nothing for an invalid one, which OTLP asks receivers to treat as absent."""
    return value.hex() if len(value) == size_bytes and any(value) else ""


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind)


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _rfc3339(time_ns: int) -> str | None:
    if not time_ns:
        return None
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
