"""OTLP's JSON: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding."""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

__all__ = ["to_json"]


def to_json(request: bytes) -> dict[str, Any]:
    """Return a serialised request as an object for JSON, as OTLP wants it: ids in hex, enums as numbers."""
    message = ExportLogsServiceRequest.FromString(request)
    found: dict[str, Any] = json_format.MessageToDict(message, use_integers_for_enums=True)
    for resource_logs in found.get("resourceLogs", ()):
        for scope_logs in resource_logs.get("scopeLogs", ()):
            for record in scope_logs.get("logRecords", ()):
                for name in ("traceId", "spanId"):
                    if name in record:
                        record[name] = base64.b64decode(record[name]).hex()
    return found
