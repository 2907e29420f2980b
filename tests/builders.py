"""What tests are built from."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

ID = "https://example.org/server-action"


def schema(**changes):
    """Build a valid schema; keyword arguments replace its keywords, `id` its `$id`."""
    built = {
        "$id": changes.pop("id", ID),
        "version": 1,
        "title": "Server action",
        "type": "object",
        "properties": {"action": {"type": "string"}, "count": {"type": "integer"}},
    }
    return built | changes


def absent(what):
    """Skip a test whose real part is not here; under CI everything must be."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is absent, and CI must have it")
    pytest.skip(f"{what} is absent")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_certificate(folder):
    """Make a certificate for localhost that vouches for itself; it has files `cert` and `key`."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        absent("openssl")
    return SimpleNamespace(cert=str(folder / "cert.pem"), key=str(folder / "key.pem"))


def tls_context(certificate, *, client=False):
    """Return what a server with a certificate needs; it may want one of its clients, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    if client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate.cert)
    return context


class Receiver(BaseHTTPRequestHandler):
    """Answers `server.status`, 200 unless set, or not at all if None; keeps path and headers in `server.seen`."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        names = {name.lower(): value for name, value in self.headers.items()}
        vars(self.server).setdefault("seen", []).append((self.path, names))
        status = getattr(self.server, "status", 200)
        if status is None:
            self.server.released.wait()
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class _Server(ThreadingHTTPServer):
    """Gives up connections on which nothing comes: closing the server waits for all of them."""

    def get_request(self):
        connection, address = super().get_request()
        connection.settimeout(300)
        return connection, address


@contextmanager
def serving(handler, tls=None):
    """Serve HTTP on a free port, or HTTPS with an SSL context; the server has a `url`.

    Its `released` is set when its answers need not wait.
    """
    server = _Server(("127.0.0.1", 0), handler)
    if tls is not None:
        # Before the thread begins, since wrapping takes the descriptor away from the first socket.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.daemon_threads = False  # so that closing waits for them
    server.handle_error = lambda *_: None  # clients that leave are what some tests are about
    scheme, host = ("http", "127.0.0.1") if tls is None else ("https", "localhost")
    server.url, server.released = f"{scheme}://{host}:{server.server_port}", threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def child_records(endpoint):
    """Record an event in a process of its own, and just end."""
    from jupyter_otel_telemetry import EventLog, OTLPHandler

    log = EventLog(handlers=[OTLPHandler(endpoint=endpoint)], allowed_schemas=["*"])
    log.register_schema(schema())
    log.record_event(ID, 1, {"from": "child"})


def write_lines(path, writer, count):
    """Record long events to a file, in a process of its own."""
    import logging

    from jupyter_otel_telemetry import EventLog

    log = EventLog(handlers=[logging.FileHandler(path, encoding="utf-8")], allowed_schemas=["*"])
    log.register_schema(schema())
    for _ in range(count):
        log.record_event(ID, 1, {"writer": writer, "padding": "x" * 100_000})


def read_terminal(descriptor, chunks):
    """Add to `chunks` what a program writes to its terminal, until nobody holds the other end."""
    while True:
        try:
            chunks.append(os.read(descriptor, 65536))
        except OSError:  # Linux' way of saying that nobody holds the other end
            return
        if not chunks[-1]:
            return
