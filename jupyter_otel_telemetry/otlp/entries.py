"""Builds requests of serialised parts: nothing is decoded on the way out."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs, ScopeLogs

from jupyter_otel_telemetry.otlp.wire import varint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MAX_BATCH_BYTES", "MAX_BATCH_RECORDS", "Entry", "entries_of", "message_of", "request_of"]

MAX_BATCH_RECORDS: Final = 2048
MAX_BATCH_BYTES: Final = 3 * 1024 * 1024
"""gRPC receivers reject 4 MiB by default."""


# Field 1 of ExportLogsServiceRequest, fields 2 of ResourceLogs and ScopeLogs, all of wire type 2.
_RESOURCE_LOGS: Final = b"\x0a"
_SCOPE_LOGS: Final = b"\x12"
_LOG_RECORDS: Final = b"\x12"


class Entry(NamedTuple):
    """A record that waits: three serialised messages, `ResourceLogs` and `ScopeLogs` without their content."""

    resource: bytes
    scope: bytes
    record: bytes

    @property
    def size_bytes(self) -> int:
        """About the size that it adds to a request, if it is the only one of its resource and scope."""
        return len(self.resource) + len(self.scope) + len(self.record)


def request_of(entries: Iterable[Entry]) -> bytes:
    """Return a serialised `ExportLogsServiceRequest` of records, in their order.

    Serialised messages may be concatenated: https://protobuf.dev/programming-guides/encoding/#last-one-wins.
    """
    request = bytearray()
    for (resource, scope), group in groupby(entries, lambda entry: (entry.resource, entry.scope)):
        logs = bytearray(scope)
        for entry in group:
            logs += _LOG_RECORDS + varint(len(entry.record))
            logs += entry.record
        scope_logs = _SCOPE_LOGS + varint(len(logs))
        request += _RESOURCE_LOGS + varint(len(resource) + len(scope_logs) + len(logs))
        request += resource
        request += scope_logs
        request += logs
    return bytes(request)


def message_of(entries: Iterable[Entry]) -> ExportLogsServiceRequest:
    """Return the same, to look into."""
    return ExportLogsServiceRequest.FromString(request_of(entries))


def entries_of(request: ExportLogsServiceRequest) -> Iterator[Entry]:
    """Take a request apart."""
    for resource_logs in request.resource_logs:
        resource = ResourceLogs(resource=resource_logs.resource, schema_url=resource_logs.schema_url)
        for scope_logs in resource_logs.scope_logs:
            scope = ScopeLogs(scope=scope_logs.scope, schema_url=scope_logs.schema_url)
            parts = resource.SerializeToString(), scope.SerializeToString()
            for record in scope_logs.log_records:
                yield Entry(*parts, record.SerializeToString())
