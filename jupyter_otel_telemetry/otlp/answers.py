"""What an answer of a receiver means for the records that it was sent.

What is retried and what is not: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-response and #otlphttp-response.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ACCEPTED",
    "DOUBTFUL",
    "REFUSED",
    "RETRY",
    "UNWELCOME",
    "Answer",
    "accepted",
    "failed",
    "grpc_answer",
    "http_answer",
]

ACCEPTED: Final = "accepted"
RETRY: Final = "retry"
"""Nobody has looked at the records, or not now: the same request may be accepted later."""
DOUBTFUL: Final = "doubtful"
"""Either it is the records, or the receiver is ill; which one, only other records tell."""
REFUSED: Final = "refused"
"""The receiver does not want these records, or some of them, ever."""
UNWELCOME: Final = "unwelcome"
"""The receiver does not want anything sent like this, whatever the records are."""

_MAX_RETRY_AFTER_S: Final = 3600.0
_MAX_REASON: Final = 500
_HTTP_RETRY: Final = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
# What says nothing of the records: credentials and addresses.
_HTTP_UNWELCOME: Final = {
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.PAYMENT_REQUIRED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    HTTPStatus.GONE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}
# A Collector answers 500 and INTERNAL to what it can never take, as well as when it is ill.
_HTTP_DOUBTFUL: Final = {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.NOT_IMPLEMENTED}
_GRPC_RETRY: Final = {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
_GRPC_UNWELCOME: Final = {"UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "NOT_FOUND"}
# RESOURCE_EXHAUSTED also means that a message is too large.
_GRPC_DOUBTFUL: Final = {"INTERNAL", "UNKNOWN", "RESOURCE_EXHAUSTED"}


@dataclass(frozen=True)
class Answer:
    """What a receiver said to a request.

    Args:
        verdict: what that means for the records.
        status: HTTP's number or gRPC's name for it, "partial_success", or the name of an exception.
        reason: a text for people.
        retry_after_s: how long the receiver wants to be left alone.
        rejected: of an accepted request, how many of its records were not.

    """

    verdict: str
    status: str = ""
    reason: str = ""
    retry_after_s: float = 0.0
    rejected: int = 0


def failed(error: Exception) -> Answer:
    """Return what an exception means that was raised where an answer was expected."""
    return Answer(RETRY, type(error).__name__, _short(str(error)))


def http_answer(code: int, headers: Mapping[str, str], content: bytes) -> Answer:
    """Return what a response over HTTP means."""
    if 200 <= code < 300:  # noqa: PLR2004 - HTTP's own
        return accepted(content)
    status = str(code)
    retry_after_s = _retry_after_s(headers.get("Retry-After", ""))
    reason = _http_reason(code, content)
    if code in _HTTP_RETRY:
        return Answer(RETRY, status, reason, retry_after_s)
    if code in _HTTP_DOUBTFUL:
        return Answer(DOUBTFUL, status, reason, retry_after_s)
    if code in _HTTP_UNWELCOME:
        return Answer(UNWELCOME, status, reason)
    if 400 <= code < 500:  # noqa: PLR2004 - HTTP's own
        return Answer(REFUSED, status, reason)
    return Answer(RETRY, status, reason, retry_after_s)


def _http_reason(code: int, content: bytes) -> str:
    """Return the text of a `Status` message, which OTLP wants, or what came instead."""
    from google.rpc.status_pb2 import Status  # noqa: PLC0415 - rarely needed

    message = Status()
    try:
        message.ParseFromString(content)
    except Exception:  # noqa: BLE001 - the protobuf backends disagree on what they raise
        message.Clear()
    text = message.message or content.decode("utf-8", "replace")
    try:
        phrase = HTTPStatus(code).phrase
    except ValueError:
        phrase = "an unknown status"
    return f"{phrase}: {_short(text)}" if text.strip() else phrase


def accepted(content: bytes) -> Answer:
    """Return what the response to an accepted request means."""
    answer = ExportLogsServiceResponse()
    try:
        answer.ParseFromString(content)
    except Exception:  # noqa: BLE001 - a receiver that says yes in words of its own has said yes
        return Answer(ACCEPTED)
    partial = answer.partial_success
    if partial.rejected_log_records > 0:
        return Answer(
            ACCEPTED, "partial_success", _short(partial.error_message), rejected=partial.rejected_log_records
        )
    return Answer(ACCEPTED, reason=_short(partial.error_message))


def grpc_answer(error: Any) -> Answer:
    """Return what a `grpc.RpcError` means."""
    status, reason = error.code().name, _short(error.details() or "")
    retry_after_s = _grpc_retry_s(error)
    if status in _GRPC_RETRY or (status == "RESOURCE_EXHAUSTED" and retry_after_s is not None):
        return Answer(RETRY, status, reason, retry_after_s or 0.0)
    if status in _GRPC_DOUBTFUL:
        return Answer(DOUBTFUL, status, reason)
    return Answer(UNWELCOME if status in _GRPC_UNWELCOME else REFUSED, status, reason)


def _grpc_retry_s(error: Any) -> float | None:
    from google.rpc.error_details_pb2 import RetryInfo  # noqa: PLC0415 - rarely needed

    for name, value in error.trailing_metadata() or ():
        if name == "google.rpc.retryinfo-bin":
            info = RetryInfo()
            try:
                info.ParseFromString(value)
            except Exception:  # noqa: BLE001 - as above
                return None
            delay = info.retry_delay
            return _bounded_s(delay.seconds + delay.nanos / 1e9)
    return None


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
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_S)


def _short(text: str) -> str:
    """Shorten a stranger's text, in which nothing may move a terminal's cursor."""
    return "".join(char if char.isprintable() else " " for char in text[:_MAX_REASON]).strip()
