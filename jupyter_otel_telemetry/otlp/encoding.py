"""Serialises a record for itself, so that nothing that is odd about it can concern another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from jupyter_otel_telemetry.jsondata import clean_text, int_text, object_text
from jupyter_otel_telemetry.otlp.entries import Entry

if TYPE_CHECKING:
    from opentelemetry.sdk import resources
    from opentelemetry.sdk._logs import ReadableLogRecord, ReadWriteLogRecord
    from opentelemetry.sdk.util import instrumentation

__all__ = ["Encoder", "encode_record", "encode_resource", "encode_scope", "observed_time_ns"]

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_MAX_DEPTH = 30
"""Receivers stop reading at about a hundred protobuf messages within one another, three of which a level takes."""


def encode_record(read_write: ReadWriteLogRecord | ReadableLogRecord) -> bytes:
    """Serialise a `LogRecord`. What OTLP cannot hold is sent as text."""
    record = read_write.log_record
    number: Any = record.severity_number or 0
    message = LogRecord(
        time_unix_nano=record.timestamp or 0,
        observed_time_unix_nano=record.observed_timestamp or 0,
        severity_number=getattr(number, "value", number),
        severity_text=_text(record.severity_text or ""),
        attributes=_pairs(record.attributes or {}),
        dropped_attributes_count=read_write.dropped_attributes,
        event_name=_text(record.event_name or ""),
        flags=int(record.trace_flags or 0),
    )
    if record.body is not None:
        message.body.CopyFrom(_value(record.body, _MAX_DEPTH))
    if record.trace_id:
        message.trace_id = record.trace_id.to_bytes(16, "big")
    if record.span_id:
        message.span_id = record.span_id.to_bytes(8, "big")
    return message.SerializeToString()


class Encoder:
    """Serialises records, and each resource and scope only when it changes."""

    def __init__(self) -> None:
        self._resource: tuple[Any, bytes] = (None, b"")
        self._scope: tuple[Any, bytes] = (None, b"")

    def entry(self, log_record: ReadWriteLogRecord | ReadableLogRecord) -> Entry:
        """Serialise a record with its resource and scope; an object in it may raise anything."""
        resource, scope = self._resource, self._scope
        if log_record.resource is not resource[0]:
            resource = self._resource = (log_record.resource, encode_resource(log_record.resource))
        if log_record.instrumentation_scope is not scope[0]:
            scope = self._scope = (log_record.instrumentation_scope, encode_scope(log_record.instrumentation_scope))
        return Entry(resource[1], scope[1], encode_record(log_record))


def observed_time_ns(record: bytes) -> int:
    """Return when a serialised `LogRecord` was recorded, in nanoseconds since 1970; 0 if it does not say."""
    return LogRecord.FromString(record).observed_time_unix_nano


def encode_resource(resource: resources.Resource | None) -> bytes:
    """Serialise a `ResourceLogs` that has no scopes."""
    if resource is None:
        return b""
    message = Resource(attributes=_pairs(resource.attributes))
    return ResourceLogs(resource=message, schema_url=resource.schema_url or "").SerializeToString()


def encode_scope(scope: instrumentation.InstrumentationScope | None) -> bytes:
    """Serialise a `ScopeLogs` that has no records."""
    if scope is None:
        return b""
    message = InstrumentationScope(
        name=_text(scope.name or ""), version=_text(scope.version or ""), attributes=_pairs(scope.attributes or {})
    )
    return ScopeLogs(scope=message, schema_url=scope.schema_url or "").SerializeToString()


def _pairs(attributes: Mapping[Any, Any]) -> list[KeyValue]:
    return [KeyValue(key=_text(key), value=_value(value, _MAX_DEPTH)) for key, value in attributes.items()]


def _value(value: Any, depth: int) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=_text(value))
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        if _INT64_MIN <= value <= _INT64_MAX:
            return AnyValue(int_value=value)
        return AnyValue(string_value=int_text(value))
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, (bytes, bytearray)):
        return AnyValue(bytes_value=bytes(value))
    if value is None:
        return AnyValue()
    if depth and isinstance(value, Mapping):
        pairs = [KeyValue(key=_text(key), value=_value(item, depth - 1)) for key, item in value.items()]
        return AnyValue(kvlist_value=KeyValueList(values=pairs))
    if depth and isinstance(value, Sequence):
        return AnyValue(array_value=ArrayValue(values=[_value(item, depth - 1) for item in value]))
    return AnyValue(string_value=object_text(value))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        return object_text(value)
    return value if value.isascii() else clean_text(value)
