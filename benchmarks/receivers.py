"""Receivers of the benchmarks, each in a process of its own: a real collector, and one that counts records."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator


UID = "log.record.uid"
SAME_UID = "same-for-all-in-a-benchmark"


class Count:
    """A receiver that counts the records it gets, by `log.record.uid` where they have one.

    Args:
        delay_s: seconds until it answers a request.

    """

    def __init__(self, delay_s: float = 0.0) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_count, args=(theirs, delay_s), daemon=True)
        self._process.start()
        self.endpoint = f"http://127.0.0.1:{self._pipe.recv()}"

    @property
    def received(self) -> int:
        """Number of different records so far."""
        self._pipe.send("count")
        return self._pipe.recv()

    def wait_for(self, count: int, idle_s: float = 3.0) -> int:
        """Wait until `count` records are here, or none has come for some seconds; return their number."""
        seen, last_s = -1, time.monotonic()
        while (now := self.received) < count and time.monotonic() - last_s < idle_s:
            if now != seen:
                seen, last_s = now, time.monotonic()
            time.sleep(0.02)
        return now

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()


def records_of(request):
    return (record for logs in request.resource_logs for scope in logs.scope_logs for record in scope.log_records)


def _count(pipe, delay_s: float) -> None:
    uids: set[str] = set()
    others = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            nonlocal others
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            for record in records_of(ExportLogsServiceRequest.FromString(body)):
                uid = next((pair.value.string_value for pair in record.attributes if pair.key == UID), SAME_UID)
                if uid == SAME_UID:
                    others += 1
                else:
                    uids.add(uid)
            time.sleep(delay_s)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(server.server_address[1])
    while pipe.recv() == "count":
        pipe.send(len(uids) + others)


@contextmanager
def counting(delay_s: float = 0.0) -> Iterator[Count]:
    count = Count(delay_s)
    try:
        yield count
    finally:
        count.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def collector(forward_to: str | None = None) -> Iterator[str]:
    """Run `rotel-agent`, of the wheel `rotel` or of ROTEL_AGENT; it forwards records, or discards them."""
    agent = os.environ.get("ROTEL_AGENT") or shutil.which("rotel-agent")
    if agent is None:
        sys.exit("rotel-agent is not here: pip install rotel, or set ROTEL_AGENT")
    http, grpc = free_port(), free_port()
    command = [
        agent,
        "start",
        "--otlp-http-endpoint",
        f"127.0.0.1:{http}",
        "--otlp-grpc-endpoint",
        f"127.0.0.1:{grpc}",
    ]
    if forward_to is None:
        command += ["--exporter", "blackhole"]
    else:
        command += ["--exporter", "otlp", "--otlp-exporter-endpoint", forward_to, "--otlp-exporter-protocol", "http"]
    with ExitStack() as stack:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", http)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{http}"
