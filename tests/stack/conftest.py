"""Fixtures of the way from an application to where events are kept."""

import gzip
from http.server import BaseHTTPRequestHandler

import pytest
from builders import ID, serving
from programs import starter
from stack import Collector

from jupyter_otel_telemetry import EventLog, OTLPHandler
from jupyter_otel_telemetry.otlp.receiver import OTLPReceiver

started = pytest.fixture(starter, name="started")
start_in_module = pytest.fixture(starter, name="start_in_module", scope="module")


@pytest.fixture
def loki():
    """What stands where Loki would: an OTLP receiver that may be stopped and started again."""
    with OTLPReceiver(max_body_bytes=64 * 1024 * 1024) as receiver:
        yield receiver


@pytest.fixture
def gateway(started, loki, tmp_path, certificate):
    """A gateway that sends to `loki`."""
    tls = {"TLS_CERT_FILE": certificate.cert, "TLS_KEY_FILE": certificate.key}
    return started(Collector, "gateway", tmp_path / "gateway", {"LOKI_URL": loki.endpoint} | tls)


@pytest.fixture
def agent(started, gateway, tmp_path, certificate):
    """An agent that sends to `gateway`, and reads the event files of `tmp_path / "events"`."""
    files = {"EVENT_FILES": f"{tmp_path}/events/*.jsonl", "EVENT_FILES_SERVICE": "filing"}
    where = {"GATEWAY_URL": gateway.endpoint, "GATEWAY_CA_FILE": certificate.cert}
    return started(Collector, "agent", tmp_path / "agent", where | files)


@pytest.fixture
def record(request):
    """A function that records events and sends them somewhere; it returns whether they were taken there."""

    def record(endpoint, *events, service="app", flush_timeout_s=110, **options):
        handler = OTLPHandler(endpoint=endpoint, service_name=service, **options)
        request.addfinalizer(handler.close)
        log = EventLog(handlers=[handler], allowed_schemas=["*"])
        log.register_schema({"$id": ID, "version": 1, "type": "object"})
        for event in events:
            log.record_event(ID, 1, event)
        return handler.force_flush(flush_timeout_s)

    return record


@pytest.fixture(scope="module")
def choosy_loki():
    """A Loki that refuses requests with a certain word for good, as the real one does what is too old."""

    class Choosy(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            accepted = b"refuse-me" not in gzip.decompress(body)
            self.send_response(204 if accepted else 400)
            self.end_headers()

        def log_message(self, *_):
            pass

    with serving(Choosy) as server:
        yield server
