"""The meaning of a receiver's answer for the records in the request: the one place that decides it.

The specification: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-response and #otlphttp-response. These decisions
are a table in docs/understand/delivery.md.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse

from jupyter_otel_telemetry.jsondata import INT64_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Answer", "Verdict", "accepted", "failed", "grpc_answer", "http_answer"]

MAX_RETRY_AFTER_S: Final = 3600.0
"""Longest pause that a receiver can ask for; a longer one is taken for this one."""
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""Size up to which an answer is read: over HTTP here, over gRPC by gRPC itself."""
OVERSIZED: Final = "the answer is larger than 4 MiB, and only its beginning was read"
_MAX_REASON: Final = 500
_SMALL_REQUEST_BYTES: Final = 64 * 1024
"""Size below which OUT_OF_RANGE and RESOURCE_EXHAUSTED rather concern a quota than the size."""


class Verdict(Enum):
    """The meaning of an answer for the records."""

    ACCEPTED = "accepted"
    RETRYABLE = "retryable"
    """No statement about the records: the same request may be accepted later."""
    MISCONFIGURED = "misconfigured"
    """A wrong address, protocol or credential: any request is accepted once that is corrected."""
    AMBIGUOUS = "ambiguous"
    """Either a fault of the receiver, or of the records."""
    TOO_LARGE = "too large"
    """The request exceeds a limit of the receiver, in bytes or in requests."""
    REJECTED = "rejected"
    """A permanent failure of these records, or of some of them."""


_HTTP: Final = {
    **dict.fromkeys((408, 425, 429), Verdict.RETRYABLE),
    # Credentials, addresses and the form of requests.
    **dict.fromkeys(
        (401, 402, 403, 404, 405, 406, 407, 410, 411, 414, 415, 417, 421, 426, 431, 511), Verdict.MISCONFIGURED
    ),
    413: Verdict.TOO_LARGE,
    # The Collector's answer to records that it can never take, and to failures of its own.
    **dict.fromkeys((500, 501), Verdict.AMBIGUOUS),
}
_GRPC: Final = {
    **dict.fromkeys(("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "UNAVAILABLE", "DATA_LOSS"), Verdict.RETRYABLE),
    **dict.fromkeys(("UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "NOT_FOUND"), Verdict.MISCONFIGURED),
    **dict.fromkeys(("INTERNAL", "UNKNOWN"), Verdict.AMBIGUOUS),
    # Servers' answers to large messages: tonic's and gRPC's own. With RetryInfo it is a quota, or something passing.
    **dict.fromkeys(("OUT_OF_RANGE", "RESOURCE_EXHAUSTED"), Verdict.TOO_LARGE),
}

# One side speaks another protocol than the other: the remedy, by what Python, gRPC, nginx, Apache and Go say then.
_PROTOCOLS: Final = (
    (
        re.compile(r"wrong.version.number|record.layer.failure|packet.length.too.long", re.IGNORECASE),
        "the port does not speak TLS: write http:// in the endpoint",
    ),
    (
        re.compile(r"HTTPS server|HTTPS port|plain HTTP to an SSL|\\x15\\x03", re.IGNORECASE),
        "the port speaks TLS: write https:// in the endpoint",
    ),
    (
        re.compile(r"BadStatusLine\(.*\\x00\\x00|no.application.protocol", re.IGNORECASE),
        "the port speaks HTTP/2: use protocol grpc, or the receiver's port for HTTP (4318)",
    ),
    (
        re.compile(r"http1\.x server|expected SETTINGS frame|missing selected ALPN", re.IGNORECASE),
        "the port speaks HTTP/1.1: use protocol http/protobuf, or the receiver's port for gRPC (4317)",
    ),
    (
        re.compile(r"http2 header with status: 40[45]"),
        "the port speaks HTTP, not gRPC: use protocol http/protobuf, or the receiver's port for gRPC (4317)",
    ),
    (
        re.compile(r"certificate is not valid for|Hostname (?:mismatch|Verif)|in peer cert", re.IGNORECASE),
        "the receiver's certificate is for other hosts: write one of them in the endpoint",
    ),
    (
        re.compile(r"certificate.verify.failed", re.IGNORECASE),
        "the receiver's certificate is not trusted: set certificate_file to that of its certificate authority",
    ),
)
_PARTIAL_SUCCESS_IN_JSON: Final = re.compile(rb'\s*\{\s*"partial_?success"\s*:\s*\{', re.IGNORECASE)
_REJECTED_IN_JSON: Final = re.compile(rb'"rejected_?log_?records"\s*:\s*"?([0-9]{1,18})', re.IGNORECASE)
_PARTIAL_SUCCESS: Final = re.compile(rb"\x0a[\x80-\xff]{3,4}[\x01-\x7f](?:\x08([\x80-\xff]{0,8}[\x00-\x7f]))?\x12")
"""The beginning of a large response in protobuf: field 1, its length, in it the number of rejected records, text."""
_OVERSIZED_FOR_GRPC: Final = "CLIENT: Received message larger than max"
_BODY_OF_ONE_KIND: Final = {"text/html": "a web page", "application/xhtml+xml": "a web page"}


@dataclass(frozen=True)
class Answer:
    """A receiver's answer to a request.

    Args:
        verdict: its meaning for the records.
        status: the HTTP status code, the name of the gRPC status, `partial_success`, or the name of an exception.
        reason: a text for people.
        retry_after_s: pause that the receiver asks for, in seconds.
        rejected: number of rejected records in an accepted request.
        is_connected: False if the receiver was not reached at all.

    """

    verdict: Verdict
    status: str = ""
    reason: str = ""
    retry_after_s: float = 0.0
    rejected: int = 0
    is_connected: bool = True

    @property
    def may_concern_records(self) -> bool:
        """Whether the records may be the cause of a failure: other requests may be accepted now."""
        return self.is_connected and self.verdict is not Verdict.MISCONFIGURED

    @property
    def is_about_size(self) -> bool:
        """Whether a failure is surely one of size: gRPC has no status for that alone, as HTTP has."""
        return self.status == "413"

    def to_request_of(self, size_bytes: int) -> Answer:
        """Return this answer as one to a request of a size, a small one of which is hardly too large."""
        if self.verdict is Verdict.TOO_LARGE and not self.is_about_size and size_bytes < _SMALL_REQUEST_BYTES:
            return replace(self, verdict=Verdict.AMBIGUOUS)
        return self

    def __str__(self) -> str:
        return f"{self.status} {self.reason}".strip()


def failed(error: BaseException, *, is_connected: bool = True) -> Answer:
    """Return the answer for an exception that was raised instead of one."""
    text = str(error)
    remedy = _protocol_remedy(repr(error))
    verdict = Verdict.RETRYABLE if remedy is None else Verdict.MISCONFIGURED
    details = f" ({_short(text)})" if text.isprintable() else ""  # the first bytes of HTTP/2, for instance
    reason = _short(text) if remedy is None else f"{remedy}{details}"
    return Answer(verdict, type(error).__name__, reason, is_connected=is_connected)


def http_answer(code: int, headers: Mapping[str, str], content: bytes) -> Answer:
    """Return the answer that a response over HTTP is."""
    status = str(code)
    if 200 <= code < 300:
        return _http_success(status, headers.get("Content-Type", ""), content)
    if 300 <= code < 400:
        return Answer(Verdict.MISCONFIGURED, status, _redirect(code, headers.get("Location", "")))
    verdict = _HTTP.get(code, Verdict.REJECTED if 400 <= code < 500 else Verdict.RETRYABLE)
    reason = _http_reason(code, content)
    if verdict is Verdict.REJECTED and (remedy := _protocol_remedy(reason)) is not None:
        return Answer(Verdict.MISCONFIGURED, status, remedy)
    return Answer(verdict, status, reason, _retry_after_s(headers.get("Retry-After", "")))


def _http_success(status: str, content_type: str, content: bytes) -> Answer:
    """Return the answer of a response with a status of success: only an OTLP response acknowledges.

    Login pages and captive portals answer 200, too. An empty body is an OTLP response, Loki's with 204 for instance.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in _BODY_OF_ONE_KIND:
        is_json = kind == "application/json"
        response = _from_json(content) if is_json else _from_protobuf(content)
        if response is None and len(content) >= MAX_ANSWER_BYTES:
            response = _from_beginning(content, is_json=is_json)
        if response is not None:
            return _acknowledged(response)
    found = _BODY_OF_ONE_KIND.get(kind, f"{_short(kind) or 'unknown content'}, {len(content)} bytes")
    return Answer(Verdict.MISCONFIGURED, status, f"not an OTLP response but {found}: check the endpoint")


def _from_protobuf(content: bytes) -> ExportLogsServiceResponse | None:
    response = ExportLogsServiceResponse()
    try:
        response.ParseFromString(content)
    except Exception:  # the protobuf backends disagree on what they raise
        return None
    return response


def _from_json(content: bytes) -> ExportLogsServiceResponse | None:
    response = ExportLogsServiceResponse()
    try:
        found = json.loads(content) if content.strip() else {}
        # Any object but one of another interface, an error's for instance.
        if not isinstance(found, dict) or (found and not found.keys() & {"partialSuccess", "partial_success"}):
            return None
        json_format.ParseDict(found, response, ignore_unknown_fields=True)
    except Exception:  # json_format raises whatever a wrong shape trips over
        return None
    return response


def _from_beginning(content: bytes, *, is_json: bool) -> ExportLogsServiceResponse | None:
    """Read the beginning of a large OTLP response; return None if it is not one.

    Sent again, the records would arrive again and get the same answer, without end.
    """
    if is_json:
        if not _PARTIAL_SUCCESS_IN_JSON.match(content):
            return None
        found = _REJECTED_IN_JSON.search(content)
        rejected = int(found[1]) if found else 0
    else:
        found = _PARTIAL_SUCCESS.match(content)
        if not found:
            return None
        rejected = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(found[1] or b""))
    partial = ExportLogsPartialSuccess(rejected_log_records=min(rejected, INT64_MAX), error_message=OVERSIZED)
    return ExportLogsServiceResponse(partial_success=partial)


def accepted(content: bytes) -> Answer:
    """Return the answer of a serialised `ExportLogsServiceResponse` over gRPC, which has its own sign of success."""
    return _acknowledged(_from_protobuf(content) or ExportLogsServiceResponse())


def _acknowledged(response: ExportLogsServiceResponse) -> Answer:
    partial = response.partial_success
    reason = _short(partial.error_message)
    if partial.rejected_log_records > 0:
        return Answer(Verdict.ACCEPTED, "partial_success", reason, rejected=partial.rejected_log_records)
    return Answer(Verdict.ACCEPTED, reason=reason)


def _redirect(code: int, location: str) -> str:
    """Return the reason for a redirect, with the target's scheme and host only: the rest may be secret."""
    try:
        parts = urlsplit(location)
        target = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return _phrase(code)
    if not parts.hostname:
        return f"{_phrase(code)}: check the path of the endpoint" if location else _phrase(code)
    return f"{_phrase(code)}: redirects to {_short(target)}; set the right endpoint"


def _http_reason(code: int, content: bytes) -> str:
    """Return the text of a `Status` message, as OTLP asks for, or the text that came instead."""
    from google.rpc.status_pb2 import Status  # rarely needed

    message = Status()
    try:
        message.ParseFromString(content)
    except Exception:  # the protobuf backends disagree on what they raise
        message.Clear()
    text = _short(message.message or content[: 4 * _MAX_REASON].decode("utf-8", "replace"))
    return f"{_phrase(code)}: {text}" if text else _phrase(code)


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "unknown status"


def grpc_answer(error: Any) -> Answer:
    """Return the answer that a `grpc.RpcError` is."""
    status, details = error.code().name, error.details() or ""
    if _OVERSIZED_FOR_GRPC in details:  # a response, which is a success
        return Answer(Verdict.ACCEPTED, reason=OVERSIZED)
    retry_after_s = _grpc_retry_s(error)
    verdict = _GRPC.get(status, Verdict.REJECTED)
    if verdict is Verdict.TOO_LARGE and retry_after_s is not None:
        verdict = Verdict.RETRYABLE
    reason = _short(details)
    if (remedy := _protocol_remedy(details)) is not None:
        verdict, reason = Verdict.MISCONFIGURED, f"{remedy} ({reason})"
    # gRPC's own status for a receiver that it cannot reach.
    return Answer(verdict, status, reason, retry_after_s or 0.0, is_connected=status != "UNAVAILABLE")


def _grpc_retry_s(error: Any) -> float | None:
    from google.rpc.error_details_pb2 import RetryInfo  # rarely needed

    for name, value in error.trailing_metadata() or ():
        if name == "google.rpc.retryinfo-bin":
            info = RetryInfo()
            try:
                info.ParseFromString(value)
            except Exception:
                return None
            delay = info.retry_delay
            return _bounded_s(delay.seconds + delay.nanos / 1e9)
    return None


def _protocol_remedy(text: str) -> str | None:
    """Return the remedy if an error text shows that the two sides speak different protocols, else None."""
    return next((remedy for pattern, remedy in _PROTOCOLS if pattern.search(text)), None)


def _retry_after_s(text: str) -> float:
    """Read the header, which holds seconds or a date: https://www.rfc-editor.org/rfc/rfc9110#name-retry-after."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return _bounded_s(float(text[:10]))
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return _bounded_s((when - datetime.now(timezone.utc)).total_seconds())


def _bounded_s(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _short(text: str) -> str:
    """Shorten an untrusted text, and replace the characters that move a terminal's cursor."""
    return "".join(char if char.isprintable() else " " for char in text[:_MAX_REASON]).strip()
