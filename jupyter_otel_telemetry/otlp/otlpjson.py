"""OTLP's JSON, both ways: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

__all__ = ["from_json", "to_json"]


def to_json(request: ExportLogsServiceRequest) -> dict[str, Any]:
    """Return a request as JSON has it: ids in hex, enums as numbers."""
    content: dict[str, Any] = json_format.MessageToDict(request, use_integers_for_enums=True)
    for resource_logs in content.get("resourceLogs", ()):
        for scope_logs in resource_logs.get("scopeLogs", ()):
            for record in scope_logs.get("logRecords", ()):
                for name in {"traceId", "spanId"} & record.keys():
                    record[name] = base64.b64decode(record[name]).hex()
    return content


def from_json(content: Any) -> ExportLogsServiceRequest:
    """Return the request that JSON stands for; unknown fields are ignored, as OTLP asks for.

    Raises:
        ValueError: it stands for none.

    """
    request = ExportLogsServiceRequest()
    try:
        if not isinstance(content, dict):
            raise TypeError("it is not an object")
        json_format.ParseDict(content, request, ignore_unknown_fields=True)
        for record in _records(request):
            # protobuf's JSON has taken the hex for base64. Encoding again gives the digits back, as their number is
            # a multiple of four.
            record.trace_id = bytes.fromhex(base64.b64encode(record.trace_id).decode())
            record.span_id = bytes.fromhex(base64.b64encode(record.span_id).decode())
    except Exception as error:  # json_format raises whatever a wrong shape trips over
        raise ValueError(f"it is not OTLP JSON: {error}") from error
    return request


def _records(request: ExportLogsServiceRequest) -> Iterator[LogRecord]:
    for resource_logs in request.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            yield from scope_logs.log_records
