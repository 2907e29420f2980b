"""Sends serialised requests over HTTP or gRPC, and tells exactly what became of them.

The SDK's exporters retry for themselves, then say no more than that it failed; so they cannot be used here. What is
retried and what is not: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-response and #otlphttp-response.
"""

from __future__ import annotations

import math
import os
import time
import zlib
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.util.re import parse_env_headers

from jupyter_otel_telemetry._version import __version__
from jupyter_otel_telemetry.delivery import after_fork_in_child
from jupyter_otel_telemetry.pipeline import CREDENTIAL_PROVIDERS, check_url, http_session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jupyter_otel_telemetry.pipeline import ExporterOptions

__all__ = ["Answer", "Transport", "build_transport"]

ACCEPTED: Final = "accepted"
RETRY: Final = "retry"
"""Nobody has looked at the records, or not now: the same request may be accepted later."""
DOUBTFUL: Final = "doubtful"
"""Either it is the records, or the receiver is ill; which one, only other records tell."""
REFUSED: Final = "refused"
"""The receiver does not want these records, or some of them, ever."""
UNWELCOME: Final = "unwelcome"
"""The receiver does not want anything sent like this, whatever the records are."""

_USER_AGENT: Final = f"jupyter-otel-telemetry/{__version__}"
_DEFAULT_TIMEOUT_S: Final = 10.0
_MAX_RETRY_AFTER_S: Final = 3600.0
_MAX_ANSWER_BYTES: Final = 64 * 1024
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
_GRPC_CREDENTIAL_PROVIDERS: Final = (
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_LOGS_CREDENTIAL_PROVIDER",
)
_channels_of_parents: Final[list[Any]] = []
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


class Transport(Protocol):
    """A way to a receiver."""

    def send(self, request: bytes) -> Answer:
        """Send a serialised `ExportLogsServiceRequest`. Never raises."""

    def close(self) -> None:
        """Give back connections."""


def build_transport(options: ExporterOptions) -> Transport:
    """Build the way to a receiver of arguments, `OTEL_EXPORTER_OTLP_*` variables and defaults.

    Raises:
        ValueError: one of them has no meaning.
        OSError: a certificate file cannot be read.

    """
    return (_GRPCTransport if options.chosen_protocol() == "grpc" else _HTTPTransport)(options)


class _HTTPTransport:
    def __init__(self, options: ExporterOptions) -> None:
        self._url = _http_url(options)
        self._timeout_s = _timeout_s()
        self._compression = _compression(options, ("gzip", "deflate", "none"))
        self._headers = {
            "Content-Type": "application/x-protobuf",
            "User-Agent": _USER_AGENT,
            **_headers(options),
        }
        if self._compression != "none":
            self._headers["Content-Encoding"] = self._compression
        self._session: Any = http_session() or _session_of_provider()
        certificate = _file(options.certificate_file, "CERTIFICATE")
        self._session.verify = certificate or True
        files = (
            _file(options.client_certificate_file, "CLIENT_CERTIFICATE"),
            _file(options.client_key_file, "CLIENT_KEY"),
        )
        self._session.cert = files if all(files) else files[0]
        for file in (certificate, *files):
            if file:
                Path(file).read_bytes()

    def send(self, request: bytes) -> Answer:
        body = _compressed(request, self._compression)
        try:
            response = self._session.post(
                self._url,
                data=body,
                headers=self._headers,
                timeout=self._timeout_s,
                allow_redirects=False,
                stream=True,
            )
            with response:
                content = _bounded(response.raw, time.monotonic() + self._timeout_s)
        except Exception as error:  # noqa: BLE001 - requests, urllib3 and a stranger's server raise much
            return Answer(RETRY, type(error).__name__, _short(str(error)))
        return _http_answer(response.status_code, response.headers, content)

    def close(self) -> None:
        self._session.close()


def _bounded(stream: Any, deadline_s: float) -> bytes:
    """Read an answer as far as a size and a time allow: byte after byte, as each read may take all of the time."""
    content = bytearray()
    while len(content) < _MAX_ANSWER_BYTES and time.monotonic() < deadline_s:
        if not (byte := stream.read(1, decode_content=True)):
            break
        content += byte
    return bytes(content)


def _session_of_provider() -> Any:
    """Return the session of the credential provider that the SDK's variable names, as its exporter would."""
    name = next(filter(None, map(os.environ.get, CREDENTIAL_PROVIDERS)))
    for provider in entry_points(group="opentelemetry_otlp_credential_provider", name=name):
        return provider.load()()
    raise ValueError(f"{CREDENTIAL_PROVIDERS[0]} names {name!r}, and no such credential provider is installed")


def _http_answer(code: int, headers: Mapping[str, str], content: bytes) -> Answer:
    if 200 <= code < 300:  # noqa: PLR2004 - HTTP's own
        return _accepted(content)
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


def _accepted(content: bytes) -> Answer:
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


class _GRPCTransport:
    def __init__(self, options: ExporterOptions) -> None:
        import grpc  # noqa: PLC0415 - large

        for variable in _GRPC_CREDENTIAL_PROVIDERS:
            if os.environ.get(variable):
                raise ValueError(f"{variable} is not supported with a spool; use headers or certificates")
        self._grpc = grpc
        self._timeout_s = _timeout_s()
        compression = _compression(options, ("gzip", "none"))
        self._compression = grpc.Compression.Gzip if compression == "gzip" else grpc.Compression.NoCompression
        self._metadata = tuple(_headers(options).items())
        self._target, is_insecure = _grpc_target(options)
        self._credentials = None if is_insecure else grpc.ssl_channel_credentials(*_grpc_files(options))
        self._channel: Any = None
        after_fork_in_child(self, _GRPCTransport._leave_to_parent)

    def _leave_to_parent(self) -> None:
        """Forget the channel in a child; it is kept, since its end would wait for threads that are not here."""
        _channels_of_parents.append(self._channel)
        self._channel = None

    def send(self, request: bytes) -> Answer:
        grpc = self._grpc
        try:
            content = self._call()(
                request, timeout=self._timeout_s, metadata=self._metadata, compression=self._compression
            )
        except grpc.RpcError as error:
            return _grpc_answer(error)
        except Exception as error:  # noqa: BLE001 - a header that gRPC does not take, for instance
            return Answer(RETRY, type(error).__name__, _short(str(error)))
        return _accepted(content)

    def _call(self) -> Any:
        if self._channel is None:
            # gRPC waits up to two minutes between attempts to connect; we decide when to try.
            options = (
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
                ("grpc.primary_user_agent", _USER_AGENT),
            )
            if self._credentials is None:
                self._channel = self._grpc.insecure_channel(self._target, options=options)
            else:
                self._channel = self._grpc.secure_channel(self._target, self._credentials, options=options)
        return self._channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _grpc_answer(error: Any) -> Answer:
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


def _compressed(request: bytes, compression: str) -> bytes:
    if compression == "none":
        return request
    # Level 1: twice as fast as the usual 6, for a tenth more bytes.
    packer = zlib.compressobj(1, wbits=31 if compression == "gzip" else 15)
    return packer.compress(request) + packer.flush()


def _variable(name: str) -> str:
    """Return an `OTEL_EXPORTER_OTLP_*` variable, that of logs before that of all signals."""
    logs = os.environ.get(f"OTEL_EXPORTER_OTLP_LOGS_{name}", "").strip()
    return logs or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip()


def _file(argument: str | None, variable: str) -> str | None:
    return argument or _variable(variable) or None


def _headers(options: ExporterOptions) -> dict[str, str]:
    found = dict(parse_env_headers(_variable("HEADERS"), liberal=True))  # whose names are in lower case
    return found | {name.lower(): value for name, value in (options.headers or {}).items()}


def _compression(options: ExporterOptions, offered: tuple[str, ...]) -> str:
    chosen = options.compression or _variable("COMPRESSION").lower() or "gzip"
    if chosen not in offered:
        over = "grpc" if "deflate" not in offered else "http/protobuf"
        raise ValueError(f"compression {chosen!r} is not offered over {over}; use one of {', '.join(offered)}")
    return chosen


def _timeout_s() -> float:
    text = _variable("TIMEOUT")
    try:
        seconds = float(text) if text else _DEFAULT_TIMEOUT_S
    except ValueError:
        seconds = math.nan
    if 0 < seconds < math.inf:
        return seconds
    raise ValueError(f"OTEL_EXPORTER_OTLP_TIMEOUT {text!r} is no number of seconds that one can wait")


def _http_url(options: ExporterOptions) -> str:
    endpoint = options.endpoint
    if endpoint is None:
        for variable in ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
            check_url(variable, os.environ.get(variable, "").strip() or None)
        if whole := os.environ.get("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "").strip():
            return whole
        endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip() or "http://localhost:4318"
    elif endpoint.rstrip("/").endswith("/v1/logs"):
        return endpoint
    return endpoint.rstrip("/") + "/v1/logs"


def _grpc_target(options: ExporterOptions) -> tuple[str, bool]:
    endpoint = options.endpoint or _variable("ENDPOINT") or "http://localhost:4317"
    parts = urlsplit(endpoint)
    if parts.scheme in ("http", "https") and parts.netloc:
        return parts.netloc, parts.scheme == "http"
    return endpoint, _variable("INSECURE").lower() == "true"


def _grpc_files(options: ExporterOptions) -> tuple[bytes | None, ...]:
    files = (
        _file(options.certificate_file, "CERTIFICATE"),
        _file(options.client_key_file, "CLIENT_KEY"),
        _file(options.client_certificate_file, "CLIENT_CERTIFICATE"),
    )
    return tuple(Path(file).read_bytes() if file else None for file in files)
