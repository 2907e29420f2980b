"""Receivers that can be told to misbehave, over HTTP and gRPC, and that keep what they have accepted."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from itertools import chain, repeat
from zlib import decompress

import grpc
import pytest
from builders import serving
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from jupyter_otel_telemetry.otlp.entries import message_of
from jupyter_otel_telemetry.otlp.received import logs_of
from jupyter_otel_telemetry.spool import SpoolOptions, inspection
from jupyter_otel_telemetry.spool.folder import SpoolFolder


@dataclass(frozen=True)
class Reply:
    """What to answer: HTTP's status and gRPC's code, for how many records, and after how long."""

    http: int = 200
    grpc: str = "OK"
    retry_after_s: int | None = None
    rejected: int = 0
    wait_s: float = 0.0
    reset: bool = False
    content_type: str = ""
    content: bytes | None = None
    """The body, where it is not an OTLP response."""

    @property
    def accepts(self):
        return self.http == 200 and not self.reset and self.content is None


NOWHERE = "http://127.0.0.1:9"
"""Where nobody listens; no free port, which somebody else might take."""
OK = Reply()
UNAVAILABLE = Reply(503, "UNAVAILABLE")
ILL = Reply(500, "INTERNAL")
BAD = Reply(400, "INVALID_ARGUMENT")
UNAUTHORIZED = Reply(401, "UNAUTHENTICATED")
TOO_LARGE = Reply(413, "OUT_OF_RANGE")
LOGIN_PAGE = Reply(200, content_type="text/html; charset=utf-8", content=b"<!doctype html><title>Log in</title>")


@dataclass
class Receiver:
    """Accepts, unless `behave` says otherwise.

    Args:
        behave: is called with the numbers of the events of a request, and returns a `Reply`.

    """

    protocol: str
    behave: object = lambda _numbers: OK
    url: str = ""
    logs: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    times_s: list = field(default_factory=list)
    max_bytes: int = sys.maxsize
    """Size above which a request is too large, as tonic and HTTP say it."""
    arrived: dict = field(default_factory=dict)
    """The numbers that arrived of each writer, its events' action; as in `logs`, without repeated deliveries."""
    _seen: set = field(default_factory=set)
    released: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, body):
        logs = logs_of(ExportLogsServiceRequest.FromString(body))
        numbers = [log.attributes.get("jupyter.event.count") for log in logs]
        reply = self.behave(numbers) if len(body) <= self.max_bytes else TOO_LARGE
        with self.changed:
            self.requests.append(numbers)
            self.times_s.append(time.monotonic())
            if reply.accepts:
                self._note_arrival(logs)
            self.changed.notify_all()
        self.released.wait(reply.wait_s)
        return reply

    def _note_arrival(self, logs):
        for log in logs:
            uid = log.attributes.get("log.record.uid")  # ordinary records have none
            if uid not in self._seen:
                self._seen |= {uid} - {None}
                self.logs.append(log)
                writer, number = (log.attributes.get(f"jupyter.event.{name}") for name in ("action", "count"))
                self.arrived.setdefault(writer, []).append(number)

    @property
    def counts(self):
        """Return the numbers of all events that were accepted."""
        return [log.attributes.get("jupyter.event.count") for log in self.logs]

    @property
    def uids(self):
        return [log.attributes["log.record.uid"] for log in self.logs]

    def wait_for(self, condition, timeout_s=120):
        """Wait until `condition(self)` is true after a request."""
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self), timeout_s), (len(self.requests), len(self.logs))


def wait_until(condition, timeout_s=120):
    """Wait for what no receiver is told of; a file that is gone while the condition looks at it means: not yet."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        with suppress(FileNotFoundError):
            if condition():
                return
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@contextmanager
def alarm(seconds=20):
    """Raise in the main thread if what is inside hangs."""

    def hang(*_):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def rejected_in(folder):
    """Return the numbers of the events that a spool keeps as rejected, and why."""
    found = inspection.rejected(SpoolFolder(SpoolOptions(folder)), pytest.fail)
    return [
        (log.attributes["jupyter.event.count"], group.why["status"])
        for group in found
        for log in logs_of(message_of(group.entries))
    ]


def _answer(reply):
    partial = ExportLogsPartialSuccess(rejected_log_records=reply.rejected, error_message="some are odd")
    return ExportLogsServiceResponse(partial_success=partial if reply.rejected else None)


@contextmanager
def http_receiver(receiver):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 1  # urllib3 closes what it keeps alive when it is collected, which may be later

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            reply = receiver.take(decompress(body, wbits=31) if packed else body)
            if reply.reset:
                self.connection.setsockopt(*_RESET)
                self.connection.close()
                self.close_connection = True
                return
            answer = _answer(reply).SerializeToString() if reply.accepts else reply.content or b"no"
            self.send_response(reply.http)
            if reply.content_type:
                self.send_header("Content-Type", reply.content_type)
            if reply.retry_after_s is not None:
                self.send_header("Retry-After", str(reply.retry_after_s))
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with serving(Handler) as server:
        receiver.url = server.url
        try:
            yield receiver
        finally:
            receiver.released.set()


_RESET = (1, 13, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # SOL_SOCKET, SO_LINGER on with no time: the end is a reset


@contextmanager
def grpc_receiver(receiver):
    def export(body, context):
        reply = receiver.take(body)
        if reply.accepts:
            return _answer(reply).SerializeToString()
        if reply.retry_after_s is not None:
            info = RetryInfo(retry_delay=Duration(seconds=reply.retry_after_s))
            context.set_trailing_metadata([("google.rpc.retryinfo-bin", info.SerializeToString())])
        return context.abort(getattr(grpc.StatusCode, reply.grpc if not reply.reset else "UNAVAILABLE"), "no")

    handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    service = grpc.method_handlers_generic_handler("opentelemetry.proto.collector.logs.v1.LogsService", handlers)
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([service])
    receiver.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.stop(None).wait(300)


@contextmanager
def talking(*parts, pause_s=0.05):
    """Serve a socket that answers with these bytes, the last of them again and again; return its URL."""
    stopped = threading.Event()

    def answer(connection):
        with connection, suppress(OSError):
            connection.recv(65536)
            for part in chain(parts, repeat(parts[-1])):
                connection.sendall(part)
                if stopped.wait(pause_s):
                    break

    def serve(server, threads):
        while not stopped.is_set():
            with suppress(TimeoutError):
                connection, _ = server.accept()
                threads.submit(answer, connection)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(4) as threads:
        server.settimeout(0.05)
        threads.submit(serve, server, threads)
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            stopped.set()
