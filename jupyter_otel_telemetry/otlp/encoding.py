"""Serialises the SDK's records one by one, so that no record can affect another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from jupyter_otel_telemetry.otlp.entries import Entry
from jupyter_otel_telemetry.otlp.wire import (
    encode_attributes,
    encode_event_name,
    encode_log_record,
    encode_pairs,
    encode_severity,
    encode_text,
    length_delimited,
)

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord, ReadWriteLogRecord
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

__all__ = ["Encoder", "encode_record", "encode_resource", "encode_scope", "observed_time_ns"]


def encode_record(read_write: ReadWriteLogRecord | ReadableLogRecord) -> bytes:
    """Serialise a `LogRecord` of the SDK."""
    record = read_write.log_record
    number: Any = record.severity_number or 0
    return encode_log_record(
        record.timestamp or 0,
        record.observed_timestamp or 0,
        encode_severity(getattr(number, "value", number), record.severity_text or ""),
        record.body,
        encode_attributes(record.attributes or {}),
        encode_event_name(record.event_name or ""),
        dropped_attributes=read_write.dropped_attributes,
        flags=int(record.trace_flags or 0),
        trace_id=record.trace_id or 0,
        span_id=record.span_id or 0,
    )


class Encoder:
    """Serialises records, and each resource and scope only when it changes."""

    def __init__(self) -> None:
        self._resource: tuple[Any, bytes] = (None, b"")
        self._scope: tuple[Any, bytes] = (None, b"")

    def entry(self, log_record: ReadWriteLogRecord | ReadableLogRecord) -> Entry:
        """Serialise a record with its resource and scope; an object in it may raise anything."""
        return self.entry_of(log_record.resource, log_record.instrumentation_scope, encode_record(log_record))

    def entry_of(self, resource: Resource | None, scope: InstrumentationScope | None, record: bytes) -> Entry:
        """Return a serialised record with its resource and scope."""
        known_resource, known_scope = self._resource, self._scope
        if resource is not known_resource[0]:
            known_resource = self._resource = (resource, encode_resource(resource))
        if scope is not known_scope[0]:
            known_scope = self._scope = (scope, encode_scope(scope))
        return Entry(known_resource[1], known_scope[1], record)


def observed_time_ns(record: bytes) -> int:
    """Return the time when a serialised `LogRecord` was recorded, in nanoseconds since 1970 UTC, or 0 if unknown."""
    return LogRecord.FromString(record).observed_time_unix_nano


def encode_resource(resource: Resource | None) -> bytes:
    """Serialise a `ResourceLogs` that has no scopes."""
    if resource is None:
        return b""
    message = encode_pairs(b"\x0a", resource.attributes)
    return length_delimited(b"\x0a", message) + encode_text(b"\x1a", resource.schema_url)


def encode_scope(scope: InstrumentationScope | None) -> bytes:
    """Serialise a `ScopeLogs` that has no records."""
    if scope is None:
        return b""
    names = encode_text(b"\x0a", scope.name) + encode_text(b"\x12", scope.version)
    message = names + encode_pairs(b"\x1a", scope.attributes or {})
    return length_delimited(b"\x0a", message) + encode_text(b"\x1a", scope.schema_url)
