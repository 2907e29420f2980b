"""A small OTLP/HTTP receiver of logs, for development and tests.

    with OTLPReceiver() as receiver:
        ...  # whatever exports to receiver.endpoint
        [log] = receiver.wait_for(1)

It authenticates nobody and stores nothing on disk: it does not replace a collector.
"""

from __future__ import annotations

import socket
import string
import sys
import threading
import time
import zlib
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from jupyter_otel_telemetry.otlp.received import ReceivedLog, parse_json, parse_protobuf

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message
    from typing_extensions import Self

__all__ = ["OTLPReceiver", "ReceivedLog"]

_PATH = "/v1/logs"
_JSON = "application/json"
_PROTOBUF = "application/x-protobuf"
_ZLIB_WBITS = {"gzip": 31, "deflate": 15}
_MAX_LENGTH_DIGITS = 18  # int() of a longer text may be slow, or refuse
_MAX_LINE_BYTES = 1024
_STOP_TIMEOUT_S = 2.0
_LINGER_S = 2.0
_LINGER_BYTES = 64 * 1024 * 1024
# A socket bound to every address has to be called at one of them.
_REACHABLE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here


class OTLPReceiver:
    """An OTLP/HTTP server that takes logs at `/v1/logs`, in protobuf and JSON, plain, gzip or deflate.

    `port` 0 takes any free one. A request larger than `max_body_bytes`, before or after decompression, is
    refused. Without `on_log` everything received is kept, in order of arrival. With it nothing is kept, so
    that a receiver can run for days: `on_log` is called from the server's threads with one log at a time, and
    the sender waits for it. Its exceptions are printed to stderr, and cost the sender its connection.

    A stopped receiver may be started again: on the same port, and with its logs.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        on_log: Callable[[ReceivedLog], None] | None = None,
        max_body_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self._host = host
        self._port = port
        self._on_log = on_log
        self._max_body_bytes = max_body_bytes
        self._arrived = threading.Condition()
        self._logs: list[ReceivedLog] = []
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """The URL for `OTEL_EXPORTER_OTLP_ENDPOINT`, as seen from this machine.

        Raises:
            RuntimeError: the receiver is not running.

        """
        if self._server is None:
            raise RuntimeError("the receiver is not running; start() it, or use it in a with statement")
        host, port = self._server.server_address[:2]
        host = _REACHABLE.get(str(host), str(host))
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def logs(self) -> list[ReceivedLog]:
        """The logs received so far, as a new list."""
        with self._arrived:
            return list(self._logs)

    def start(self) -> None:
        """Listen, in a thread of its own.

        Raises:
            RuntimeError: the receiver is already running.
            OSError: the port is in use, or there is no such address; `errno` is kept, the text names both.

        """
        if self._server is not None:
            raise RuntimeError("the receiver is already running")
        try:
            self._server = _Server((self._host, self._port), self._max_body_bytes, self._receive)
        except OSError as error:
            text = f"cannot listen on {self._host} port {self._port}: {error.strerror}"
            raise OSError(error.errno, text) from error
        self._port = self._server.server_port
        name = f"otlp-receiver-{self._port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name=name, daemon=True).start()

    def stop(self) -> None:
        """Answer the requests that were read, hang up, free the port; no log arrives after it. Twice does no harm."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.hang_up(_STOP_TIMEOUT_S)

    def wait_for(self, count: int, timeout_s: float = 60.0) -> list[ReceivedLog]:
        """Return everything received as soon as there are at least `count` logs.

        Raises:
            TimeoutError: fewer came within `timeout_s` seconds.
            RuntimeError: nothing is kept, as the receiver has an `on_log`.

        """
        if self._on_log is not None:
            raise RuntimeError("a receiver with on_log keeps no logs to wait for; count them in on_log")
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self._logs) >= count, timeout_s):
                raise TimeoutError(f"{len(self._logs)} of {count} logs came within {timeout_s} s")
            return list(self._logs)

    def clear(self) -> None:
        """Forget the received logs."""
        with self._arrived:
            self._logs.clear()

    def _receive(self, logs: list[ReceivedLog]) -> None:
        with self._arrived:
            if self._on_log is None:
                self._logs.extend(logs)
                self._arrived.notify_all()
                return
            for log in logs:
                self._on_log(log)


class _Server(ThreadingHTTPServer):
    """The sockets: one thread a connection, all of them closed by `hang_up`."""

    request_queue_size = 128
    allow_reuse_port = False  # True in some Python versions: two receivers would share a port, and the logs

    def __init__(
        self, address: tuple[str, int], max_body_bytes: int, receive: Callable[[list[ReceivedLog]], None]
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.max_body_bytes = max_body_bytes
        self.receive = receive
        self._hung_up = threading.Condition()
        self._connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer's asks the DNS for the name of the host, which can take seconds.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._hung_up:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._hung_up:
            self._connections.discard(request)
            self._hung_up.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client may leave whenever it likes; anything else is a bug, and shows.
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)

    def hang_up(self, timeout_s: float) -> None:
        """End every connection once the request it is busy with is answered, at the latest after `timeout_s`.

        Without it, a sender's kept-alive connection would outlive the receiver.
        """
        self._shutdown_connections(socket.SHUT_RD)
        with self._hung_up:
            finished = self._hung_up.wait_for(lambda: not self._connections, timeout_s)
        if not finished:
            self._shutdown_connections(socket.SHUT_RDWR)

    def _shutdown_connections(self, how: int) -> None:
        with self._hung_up:
            for connection in self._connections:
                with suppress(OSError):  # it may be closed already
                    connection.shutdown(how)


class _RefusedError(Exception):
    """The request is answered with `status` and this text."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    """One connection: requests in, answers as OTLP wants them out."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 60.0
    disable_nagle_algorithm = True  # an answer is two small writes: the second would wait 40 ms for an ACK
    _body_is_read = False

    def _handle(self) -> None:
        self._body_is_read = False
        try:
            logs = self._received_logs()
        except _RefusedError as refusal:
            self._answer(refusal.status, Status(message=str(refusal)))
        else:
            self.server.receive(logs)
            self._answer(HTTPStatus.OK, ExportLogsServiceResponse())

    # The base class' names; without them 405 would be 501.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _handle  # noqa: N815

    def version_string(self) -> str:
        return "jupyter-otel-telemetry"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' name
        """Say nothing: the sender gets the answer, and stderr belongs to the program."""

    def _received_logs(self) -> list[ReceivedLog]:
        if self.path.partition("?")[0] != _PATH:
            raise _RefusedError(HTTPStatus.NOT_FOUND, f"only {_PATH} is served here")
        if self.command != "POST":
            raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, f"{_PATH} takes POST only")
        content_type = self.headers.get_content_type()
        if content_type not in (_PROTOBUF, _JSON):
            text = f"the content type must be {_PROTOBUF} or {_JSON}"
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text)
        encoding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding != "identity" and encoding not in _ZLIB_WBITS:
            text = "the content encoding must be gzip, deflate or identity"
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text)
        body = self._read_body()
        self._body_is_read = True
        if encoding != "identity":
            body = _inflated(body, encoding, self.server.max_body_bytes)
        try:
            return parse_json(body) if content_type == _JSON else parse_protobuf(body)
        except ValueError as error:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error

    def _answer(self, status: HTTPStatus, message: Message) -> None:
        as_protobuf = self.headers.get_content_type() == _PROTOBUF
        body = message.SerializeToString() if as_protobuf else json_format.MessageToJson(message).encode()
        self.send_response(status)
        self.send_header("Content-Type", _PROTOBUF if as_protobuf else _JSON)
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "POST")
        if not self._body_is_read:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if not self._body_is_read:
            self._linger()

    def _linger(self) -> None:
        """Read on for a moment: closing with unread bytes resets the connection, and the answer is lost."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(_LINGER_S)
        deadline_s = time.monotonic() + _LINGER_S
        left_bytes = _LINGER_BYTES
        while left_bytes > 0 and time.monotonic() < deadline_s:
            data = self.connection.recv(64 * 1024)
            if not data:
                return
            left_bytes -= len(data)

    def _read_body(self) -> bytes:
        transfer_encoding = self.headers.get("Transfer-Encoding")
        if transfer_encoding is None:
            return self._read_exactly(self._content_length())
        if transfer_encoding.strip().lower() != "chunked":
            raise _RefusedError(HTTPStatus.NOT_IMPLEMENTED, "the only transfer encoding known is chunked")
        return self._read_chunks()

    def _content_length(self) -> int:
        text = self.headers.get("Content-Length")
        if text is None:
            raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length, or chunks")
        if not (text.isascii() and text.isdigit()):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
        if len(text) > _MAX_LENGTH_DIGITS or int(text) > self.server.max_body_bytes:
            raise _too_large(self.server.max_body_bytes)
        return int(text)

    def _read_chunks(self) -> bytes:
        body = bytearray()
        while size := self._chunk_size():
            if len(body) + size > self.server.max_body_bytes:
                raise _too_large(self.server.max_body_bytes)
            body += self._read_exactly(size)
            if self._read_line():
                raise _RefusedError(HTTPStatus.BAD_REQUEST, "a chunk is longer than it says")
        while self._read_line():
            pass  # trailers
        return bytes(body)

    def _chunk_size(self) -> int:
        digits = self._read_line().partition(b";")[0].strip()
        # int() would also take a sign, underscores and 0x
        if not digits or set(digits) - set(string.hexdigits.encode()):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "a chunk does not say its size")
        return int(digits, 16)

    def _read_line(self) -> bytes:
        line = self.rfile.readline(_MAX_LINE_BYTES)
        if line.endswith(b"\n"):
            return line.rstrip(b"\r\n")
        if len(line) < _MAX_LINE_BYTES:
            raise ConnectionAbortedError("the client left within a line")
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "a line of the chunked body is too long")

    def _read_exactly(self, size_bytes: int) -> bytes:
        data = self.rfile.read(size_bytes)
        if len(data) < size_bytes:
            raise ConnectionAbortedError("the client left within the body")
        return data


def _too_large(max_body_bytes: int) -> _RefusedError:
    return _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {max_body_bytes} bytes")


def _inflated(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Decompress one gzip member or zlib stream, never more than `max_bytes` of it."""
    decompressor = zlib.decompressobj(_ZLIB_WBITS[encoding])
    try:
        data = decompressor.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, f"the body is not {encoding}: {error}") from error
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    if not decompressor.eof or decompressor.unused_data:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, f"the body is not one whole {encoding} stream")
    return data
