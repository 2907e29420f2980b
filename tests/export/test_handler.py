"""`OTLPHandler`: how it is built, what it hands over, and that it never harms its host."""

import copy
import gc
import logging
import logging.config
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import grpc
import jupyter_events
import pytest
from builders import ID, Receiver, child_records, free_port, schema, serving, tls_context
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import (
    LogsServiceServicer,
    add_LogsServiceServicer_to_server,
)
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from traitlets.config import Config

from jupyter_otel_telemetry import OTLPHandler
from jupyter_otel_telemetry.otlp import encoding
from jupyter_otel_telemetry.otlp.received import parse_protobuf
from jupyter_otel_telemetry.otlp.receiver import OTLPReceiver


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """No `OTEL_*` variable of this machine disturbs."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def memory():
    """A provider that keeps what it gets in `logs`."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    return SimpleNamespace(
        provider=provider, logs=lambda: [data.log_record for data in exporter.get_finished_logs()], exporter=exporter
    )


@pytest.fixture
def bad_collector():
    """A collector that can be told what to answer; at first it refuses."""
    with serving(Receiver) as server:
        server.status = 400
        yield server


@pytest.fixture(params=["memory", "spool"])
def make(request, tmp_path):
    """Return a function that makes an OTLPHandler, and another time one with a spool."""
    return partial(OTLPHandler, spool=tmp_path / "spool") if request.param == "spool" else OTLPHandler


class EndlessRedirect(BaseHTTPRequestHandler):
    """Redirects, with a body that ends when nobody reads it."""

    enough_bytes = 256 * 1024 * 1024

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example.org/\r\n\r\n")
        self.server.sent_bytes = 0
        try:
            while self.server.sent_bytes < self.enough_bytes:
                self.server.sent_bytes += self.wfile.write(b"x" * 1024 * 1024)
        except OSError:
            pass
        self.server.released.set()

    def log_message(self, *_):
        pass


class TestArguments:
    def send(self, handler, recording, otlp_receiver):
        recording(handler, {"a": 1})
        handler.close()
        return otlp_receiver.wait_for(1)[0]

    @pytest.mark.parametrize("suffix", ["", "/", "/v1/logs"])
    def test_endpoint_is_the_base_url(self, make, otlp_receiver, recording, suffix):
        """The path of the signal is added where it is not there."""
        handler = make(endpoint=otlp_receiver.endpoint + suffix)

        assert self.send(handler, recording, otlp_receiver).event_name == ID

    def test_endpoint_of_the_environment_counts_without_an_argument(
        self, make, otlp_receiver, recording, monkeypatch
    ):
        """`OTEL_EXPORTER_OTLP_ENDPOINT`, like any OpenTelemetry program."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp_receiver.endpoint)

        assert self.send(make(), recording, otlp_receiver).event_name == ID

    def test_argument_wins_over_the_environment(self, make, otlp_receiver, recording, monkeypatch):
        """In every setting."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "from-environment")
        handler = make(endpoint=otlp_receiver.endpoint, protocol="http/protobuf", service_name="argument")

        assert self.send(handler, recording, otlp_receiver).resource["service.name"] == "argument"

    def test_service_name_of_the_environment_wins_over_the_default(self, make, otlp_receiver, recording, monkeypatch):
        """As does one in `OTEL_RESOURCE_ATTRIBUTES`, with all the others there."""
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=hub,deployment.environment.name=test")
        resource = self.send(make(endpoint=otlp_receiver.endpoint), recording, otlp_receiver).resource

        assert resource["service.name"] == "hub"
        assert resource["deployment.environment.name"] == "test"

    @pytest.mark.parametrize("resource", [{"k": "v"}, Resource({"k": "v"})])
    def test_resource_is_added(self, make, otlp_receiver, recording, resource):
        """A mapping, as JSON configuration has it, or OpenTelemetry's object."""
        handler = make(endpoint=otlp_receiver.endpoint, resource=resource)

        assert self.send(handler, recording, otlp_receiver).resource["k"] == "v"

    @pytest.mark.parametrize("compression", ["gzip", "deflate", "none"])
    def test_compression(self, make, otlp_receiver, recording, compression):
        """Each that OTLP/HTTP knows."""
        handler = make(endpoint=otlp_receiver.endpoint, compression=compression)

        assert self.send(handler, recording, otlp_receiver).event_name == ID

    def test_headers_are_sent(self, make, bad_collector, recording, monkeypatch):
        """Names in any case; they join those of the environment."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-env=1")
        bad_collector.status = 200
        handler = make(endpoint=bad_collector.url, headers={"Authorization": "Bearer t"})
        recording(handler, {})
        handler.close()

        _, sent = bad_collector.seen[0]
        assert (sent["authorization"], sent["x-env"]) == ("Bearer t", "1")

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({"endpoint": "collector:4318"}, "endpoint 'collector:4318' is not a URL; write http://host:4318"),
            ({"endpoint": "http://"}, "is not a URL"),
            ({"endpoint": "me:secret@collector"}, "endpoint is not a URL"),
            ({"protocol": "http/json"}, "protocol 'http/json' is not supported; use one of http/protobuf, grpc"),
            (
                {"compression": "zip"},
                "compression 'zip' is not supported over http/protobuf; use one of gzip, deflate, none",
            ),
            ({"compression": "deflate", "protocol": "grpc"}, "not supported over grpc"),
            ({"headers": ["a"]}, "headers must be a mapping"),
            ({"allowed_schemas": ID}, "must be a list of schema ids: write"),
            ({"allowed_schemas": {ID: {"withheld_properties": "x"}}}, r"a list of texts, not 'x'; write \['x'\]"),
            ({"level": "LOUD"}, "level is unknown; write DEBUG"),
            ({"logger_provider": LoggerProvider(), "endpoint": "http://x"}, "with logger_provider nothing is built"),
        ],
    )
    def test_mistake_is_a_value_error_that_says_what_to_write(self, make, arguments, message):
        """When the handler is built, not when the first event is lost."""
        with pytest.raises(ValueError, match=message):
            make(**arguments)

    def test_variable_without_meaning_is_a_value_error(self, monkeypatch):
        """With the name of each."""
        monkeypatch.setenv("OTEL_BLRP_MAX_QUEUE_SIZE", "1")
        monkeypatch.setenv("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "2")

        with pytest.raises(ValueError, match=r"BATCH_SIZE is 2, more than the queue holds; .*_QUEUE_SIZE is 1"):
            OTLPHandler()

    def test_unknown_protocol_of_the_environment_is_named(self, monkeypatch):
        """With the variable."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon")

        with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_PROTOCOL 'carrier-pigeon' is not supported"):
            OTLPHandler()

    def test_attribute_limit_of_the_environment_holds(self, otlp_receiver, recording, monkeypatch):
        """Whoever sets one wants it; what identifies the event stays."""
        monkeypatch.setenv("OTEL_ATTRIBUTE_COUNT_LIMIT", "3")
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint)
        with pytest.warns(match="attributes were dropped"):
            recording(handler, {f"p{number}": 1 for number in range(9)})
        handler.close()

        assert list(otlp_receiver.logs[0].attributes) == [
            "log.record.uid",
            "jupyter.schema.id",
            "jupyter.schema.version",
        ]

    def test_disabled_sdk_sends_nothing(self, otlp_receiver, recording, monkeypatch):
        """`OTEL_SDK_DISABLED` switches off, without error."""
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint)
        recording(handler, {})
        handler.close()

        assert otlp_receiver.logs == []


class TestServiceName:
    @pytest.mark.parametrize(
        "arguments, name",
        [(["-m", "program"], "program"), (["program.py"], "program"), (["-c", "import program"], "python")],
    )
    def test_is_the_running_programs(self, otlp_receiver, tmp_path, arguments, name):
        """`jupyterhub`, not `unknown_service:python3`."""
        (tmp_path / "program.py").write_text(
            "import logging, jupyter_otel_telemetry\n"
            f"handler = jupyter_otel_telemetry.OTLPHandler(endpoint={otlp_receiver.endpoint!r})\n"
            "logging.getLogger('x').addHandler(handler)\n"
            "logging.getLogger('x').error('hello')\n"
        )
        subprocess.run([sys.executable, *arguments], cwd=tmp_path, check=True, timeout=60)

        assert otlp_receiver.wait_for(1)[0].resource["service.name"] == name


class TestEmit:
    def test_allowed_schemas_narrows(self, memory, recording):
        """Only what the handler's own list names leaves."""
        handler = OTLPHandler(logger_provider=memory.provider, allowed_schemas=["https://example.com/*"])
        recording(handler, {})
        recording(handler, {}, id="https://example.com/event")

        assert [log.event_name for log in memory.logs()] == ["https://example.com/event"]

    def test_ordinary_record_passes_as_through_the_stock_handler(self, memory):
        """Message, attributes, severity and the logger's name."""
        logger = logging.getLogger("tests.ordinary")
        handler = OTLPHandler(logger_provider=memory.provider, level="WARNING")
        logger.addHandler(handler)
        logger.error("%s left", "ada", extra={"room": 3})
        logger.info("not at this level")
        logger.removeHandler(handler)
        (log,) = memory.logs()

        assert (log.body, dict(log.attributes), log.severity_text) == (
            "ada left",
            {"room": 3, "jupyter.sequence": 1},
            "ERROR",
        )
        assert memory.exporter.get_finished_logs()[0].instrumentation_scope.name == "tests.ordinary"

    def test_event_of_jupyter_events_is_mapped_like_ours(self, memory, recording):
        """Real EventLogger, whose register_handler replaces the formatter."""
        handler = OTLPHandler(logger_provider=memory.provider)
        foreign = jupyter_events.EventLogger()
        foreign.register_event_schema(schema(version="1"))
        foreign.register_handler(handler)
        foreign.emit(schema_id=ID, data={"action": "start", "count": 3})
        recording(handler, {"action": "start", "count": 3}, version="1")
        theirs, ours = memory.logs()
        unique = {"log.record.uid": "x", "jupyter.sequence": 0}

        assert dict(theirs.attributes) | unique == dict(ours.attributes) | unique
        assert (theirs.event_name, theirs.severity_number) == (ours.event_name, ours.severity_number)
        assert theirs.body == "server-action action=start count=3"

    @pytest.mark.parametrize(
        "capsule",
        [
            {"__schema__": "a", "x": {1, 2}, 3: object(), "t": 2**80, "s": "\ud800"},
            {"__schema__": "a", "__timestamp__": "nonsense", "__schema_version__": None},
            {"__schema__": "a", "__timestamp__": 7},
            {"__schema__": 3},
            {},
        ],
    )
    def test_hostile_foreign_event_does_no_harm(self, memory, capsule, capsys):
        """Nobody has validated it."""
        handler = OTLPHandler(logger_provider=memory.provider)
        handler.handle(logging.LogRecord("foreign", 20, "", 0, capsule, None, None))

        assert len(memory.logs()) == 1
        assert capsys.readouterr().err == ""

    def test_never_raises(self, caplog):
        """A failing pipeline is logged, without the event."""

        class Broken(LoggerProvider):
            def get_logger(self, *_, **__):
                return SimpleNamespace(emit=lambda *_, **__: 1 / 0)

        OTLPHandler(logger_provider=Broken()).handle(
            logging.LogRecord("app", 20, "", 0, {"__schema__": "x", "who": "ada"}, None, None)
        )

        assert "could not be handed to OpenTelemetry" in caplog.text
        assert "ada" not in caplog.text

    def test_exporter_that_logs_to_the_same_handler_ends_in_no_loop(self, bad_collector, recording):
        """The handler on the root logger, a collector that fails, and debug logs of the exporter's HTTP client."""
        root = logging.getLogger()
        handler = OTLPHandler(endpoint=bad_collector.url)
        root.addHandler(handler)
        level, root.level = root.level, logging.DEBUG
        try:
            recording(handler, {})
            assert handler.force_flush(10) is False
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
            handler.close()

    def test_survives_a_deep_copy(self, memory):
        """Jupyter configuration makes them; both are the same handler."""
        handler = OTLPHandler(logger_provider=memory.provider)

        assert copy.deepcopy({"handlers": [handler]})["handlers"][0] is handler
        assert copy.copy(handler) is handler


class TestDelivery:
    def test_flush_waits(self, otlp_receiver, recording):
        """When it returns, the receiver has it."""
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint)
        recording(handler, {}, {}, {})
        handler.flush()

        assert len(otlp_receiver.logs) == 3
        handler.close()

    def test_force_flush_says_whether_it_was_handed_over(self, bad_collector, recording):
        """Refused is not handed over; what comes later is judged on its own."""
        handler = OTLPHandler(endpoint=bad_collector.url)
        recording(handler, {})
        assert handler.force_flush(10) is False
        bad_collector.status = 200
        recording(handler, {})
        assert handler.force_flush(120) is True
        handler.close()

    def test_force_flush_is_true_with_nothing_to_do(self, otlp_receiver):
        """Nothing was lost."""
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint)

        assert handler.force_flush(120) is True
        handler.close()

    def test_force_flush_keeps_its_time_limit(self, bad_collector, recording):
        """A collector that never answers."""
        bad_collector.status = None
        handler = OTLPHandler(endpoint=bad_collector.url)
        recording(handler, {})

        assert handler.force_flush(0.1) is False
        bad_collector.released.set()
        handler.close()

    def test_force_flush_notices_a_full_queue(self, recording, monkeypatch):
        """B26: what the SDK dropped, while the receiver took its time, was not handed over."""
        monkeypatch.setenv("OTEL_BLRP_MAX_QUEUE_SIZE", "2")
        monkeypatch.setenv("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "2")
        gate, arrived = threading.Event(), []
        with OTLPReceiver(on_log=lambda log: (gate.wait(120), arrived.append(log))) as receiver:
            handler = OTLPHandler(endpoint=receiver.endpoint)
            recording(handler, *[{}] * 100)
            gate.set()

            assert handler.force_flush(10) is False
            assert 0 < len(arrived) < 100
            handler.close()

    def test_close_flushes_and_may_be_called_twice(self, otlp_receiver, recording):
        """As logging does at exit."""
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint)
        recording(handler, {})
        handler.close()
        handler.close()

        assert len(otlp_receiver.logs) == 1

    def test_log_record_that_otlp_cannot_hold_arrives_as_text(self, otlp_receiver, recording):
        """Nobody validates what applications log; it costs no other record its place."""
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint)
        recording(handler, {"n": 1})
        handler.handle(logging.LogRecord("app", 30, "", 0, "bad \ud800", None, None))
        recording(handler, {"n": 2})

        assert handler.force_flush(10) is True
        assert [log.attributes.get("jupyter.event.n", log.body) for log in otlp_receiver.logs] == [1, "bad \ufffd", 2]
        handler.close()

    def test_log_record_that_cannot_be_encoded_costs_only_itself(self, otlp_receiver, recording, caplog, monkeypatch):
        """Whatever the reason."""
        encode = encoding.encode_record
        monkeypatch.setattr(
            encoding, "encode_record", lambda data: encode(data) if data.log_record.event_name else 1 / 0
        )
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint)
        recording(handler, {"n": 1})
        handler.handle(logging.LogRecord("app", 30, "", 0, "odd", None, None))
        recording(handler, {"n": 2})

        assert handler.force_flush(10) is False
        assert [log.attributes["jupyter.event.n"] for log in otlp_receiver.logs] == [1, 2]
        assert "1 log records are lost, because they cannot be encoded" in caplog.text
        handler.close()

    def test_survives_the_configuration_of_logging(self, otlp_receiver, recording):
        """dictConfig, which every Jupyter application calls, closes all handlers."""
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint)
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, "incremental": False})
        recording(handler, {})

        assert handler.force_flush(120) is True
        assert len(otlp_receiver.logs) == 1
        handler.close()

    def test_redirect_is_a_failure_that_names_the_target(self, bad_collector, recording, caplog, monkeypatch):
        """An ingress that sends http to https swallows nothing in silence."""
        monkeypatch.setattr(Receiver, "end_headers", _redirecting(Receiver.end_headers))
        bad_collector.status = 308
        handler = OTLPHandler(endpoint=bad_collector.url)
        recording(handler, {})

        assert handler.force_flush(0.5) is False
        assert (
            "308 Permanent Redirect: redirects to https://elsewhere.example.org; set the right endpoint"
            in caplog.text
        )
        handler.close()

    def test_redirect_is_not_read(self, recording, monkeypatch):
        """Its body may be endless."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "10")
        with serving(EndlessRedirect) as server:
            handler = OTLPHandler(endpoint=server.url)
            recording(handler, {})

            assert not handler.force_flush(0.1)
            assert server.released.wait(60)
            assert server.sent_bytes < EndlessRedirect.enough_bytes

    def test_dropped_handler_delivers_and_leaves_no_thread(self, otlp_receiver, recording):
        """Garbage collection ends the pipeline."""
        before = threading.active_count()
        recording(OTLPHandler(endpoint=otlp_receiver.endpoint), {})
        gc.collect()
        assert len(otlp_receiver.wait_for(1)) == 1
        for thread in threading.enumerate():
            if thread.name == "otlp-end":
                thread.join(120)
        otlp_receiver.stop()

        assert threading.active_count() < before

    def test_handler_that_is_collected_starts_no_thread(self, otlp_receiver, recording, monkeypatch):
        """It may happen while `threading` holds its locks, for which a thread that starts would wait for ever."""
        handlers, started = [OTLPHandler(endpoint=otlp_receiver.endpoint)], []
        recording(handlers[0], {})
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", started.append)
            handlers.clear()
            gc.collect()

        assert started == []
        assert len(otlp_receiver.wait_for(1)) == 1

    @pytest.mark.parametrize("start_method", ["fork", "spawn"])
    def test_handler_that_is_gone_before_its_process_ends_delivers(self, otlp_receiver, start_method):
        """In a child of multiprocessing, which calls nothing that atexit knows."""
        context = multiprocessing.get_context(start_method)
        child = context.Process(target=child_records, args=[otlp_receiver.endpoint])
        child.start()
        child.join(180)

        assert [log.attributes["jupyter.event.from"] for log in otlp_receiver.wait_for(1)] == ["child"]

    def test_exit_of_the_program_flushes(self, otlp_receiver, tmp_path):
        """Without a call of close."""
        program = tmp_path / "p.py"
        program.write_text(
            "from jupyter_otel_telemetry import EventLog, OTLPHandler\n"
            f"log = EventLog(handlers=[OTLPHandler(endpoint={otlp_receiver.endpoint!r})], allowed_schemas=['*'])\n"
            "log.register_schema({'$id': 'x', 'version': 1})\n"
            "for number in range(1000): log.record_event('x', 1, {'n': number})\n"
        )
        done = subprocess.run([sys.executable, "-W", "error", program], capture_output=True, timeout=180, check=False)

        assert (done.returncode, done.stderr) == (0, b"")
        assert len(otlp_receiver.wait_for(1000)) == 1000

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 warns of what is tested here
    @pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
    def test_children_deliver_their_own_events(self, otlp_receiver, recording, method):
        """Each event arrives once, also those of a child that just ends, and of a parent with open connections."""
        if method not in multiprocessing.get_all_start_methods():
            pytest.skip(f"{method} is absent")
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint)
        recording(handler, {"from": "parent"})
        handler.flush()
        context = multiprocessing.get_context(method)
        children = [context.Process(target=child_records, args=[otlp_receiver.endpoint]) for _ in range(2)]
        if method == "fork":
            children.append(context.Process(target=recording, args=[handler, {"from": "fork"}]))
        for child in children:
            child.start()
        recording(handler, {"from": "parent"})
        for child in children:
            child.join(180)
        handler.close()

        assert [child.exitcode for child in children] == [0] * len(children)
        senders = sorted(log.attributes["jupyter.event.from"] for log in otlp_receiver.logs)
        assert senders == ["child"] * 2 + ["fork"] * (method == "fork") + ["parent"] * 2

    def test_sigterm_delivers_what_is_queued(self, otlp_receiver):
        """In a program that has not decided what else it does, and that then dies of it."""
        program = (
            "import time; from jupyter_otel_telemetry import EventLog, OTLPHandler\n"
            f"log = EventLog(handlers=[OTLPHandler(endpoint={otlp_receiver.endpoint!r})], allowed_schemas=['*'])\n"
            "log.register_schema({'$id': 'x', 'version': 1})\n"
            "log.record_event('x', 1, {'a': 1})\n"
            "print('recorded', flush=True)\n"
            "while True: time.sleep(0.1)\n"  # a signal just before a long sleep is handled after it
        )
        env = {**os.environ, "OTEL_BLRP_SCHEDULE_DELAY": "600000"}
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=env) as process:
            assert process.stdout.readline() == b"recorded\n"
            process.terminate()
            assert process.wait(180) == -signal.SIGTERM

        assert len(otlp_receiver.wait_for(1)) == 1

    def test_exit_with_a_collector_that_never_answers_is_bounded(self, bad_collector, tmp_path):
        """Whatever is in the queue."""
        bad_collector.status = None
        program = tmp_path / "p.py"
        program.write_text(
            "from jupyter_otel_telemetry import EventLog, OTLPHandler\n"
            f"log = EventLog(handlers=[OTLPHandler(endpoint={bad_collector.url!r})], allowed_schemas=['*'])\n"
            "log.register_schema({'$id': 'x', 'version': 1})\n"
            "for number in range(2000): log.record_event('x', 1, {'n': number})\n"
        )

        assert (
            subprocess.run([sys.executable, program], capture_output=True, timeout=300, check=False).returncode == 0
        )

    def test_large_batch_is_sent_in_parts(self, recording):
        """Together they would exceed what receivers accept."""
        with OTLPReceiver(max_body_bytes=4 * 1024 * 1024) as receiver:
            handler = OTLPHandler(endpoint=receiver.endpoint)
            recording(handler, *[{"text": letter * 1024 * 1024} for letter in "abcdefgh"])

            assert handler.force_flush(120) is True
            assert len(receiver.logs) == 8
            handler.close()


def _redirecting(end_headers):
    def with_location(handler):
        handler.send_header("Location", "https://elsewhere.example.org/")
        end_headers(handler)

    return with_location


class GrpcCollector(LogsServiceServicer):
    """Keeps the names and metadata of what it gets."""

    def __init__(self):
        self.seen = []

    def Export(self, request, context):
        logs = parse_protobuf(request.SerializeToString())
        self.seen += [(log.event_name, dict(context.invocation_metadata())) for log in logs]
        return ExportLogsServiceResponse()


@pytest.fixture
def grpc_collector():
    """Return a function that serves gRPC on a free port, with credentials or without."""
    servers = []

    def serve(credentials=None):
        server, collector = grpc.server(ThreadPoolExecutor(2)), GrpcCollector()
        servers.append(server)
        add_LogsServiceServicer_to_server(collector, server)
        address = "localhost:0"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        server.start()
        collector.endpoint = f"{'https' if credentials else 'http'}://localhost:{port}"
        return collector

    yield serve
    for server in servers:
        server.stop(None).wait(300)


class TestGrpc:
    @pytest.mark.parametrize("compression", ["gzip", "none"])
    def test_headers_and_compression(self, make, grpc_collector, recording, monkeypatch, compression):
        """An http endpoint is plain, whatever the environment says."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_INSECURE", "false")
        collector = grpc_collector()
        headers = {"Authorization": "Bearer t"}
        handler = make(protocol="grpc", endpoint=collector.endpoint, headers=headers, compression=compression)
        recording(handler, {})

        assert handler.force_flush(120) is True
        ((name, metadata),) = collector.seen
        assert (name, metadata["authorization"]) == (ID, "Bearer t")
        handler.close()

    def test_nobody_listening_is_no_error_of_the_caller(self, recording):
        """And close keeps its time limit."""
        handler = OTLPHandler(protocol="grpc", endpoint=f"http://127.0.0.1:{free_port()}")
        recording(handler, {})

        assert handler.force_flush(0.1) is False
        handler.close()


class TestTLS:
    """Of arguments and of environment variables, with and without a certificate of the client."""

    @pytest.fixture(params=["arguments", "environment"])
    def settings(self, request, certificate, monkeypatch):
        """Return a function that makes settings of TLS files, as arguments or in the environment."""

        def use(*, client):
            files = {"certificate_file": certificate.cert}
            if client:
                files |= {"client_certificate_file": certificate.cert, "client_key_file": certificate.key}
            if request.param == "arguments":
                return files
            for name, file in files.items():
                monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name.removesuffix('_file').upper()}", file)
            return {}

        return use

    @pytest.mark.parametrize("client", [False, True])
    def test_http(self, make, certificate, recording, settings, client, monkeypatch):
        """Whatever bundle of authorities requests would take from its own variable."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate.key)
        with serving(Receiver, tls_context(certificate, client=client)) as server:
            server.status = 200
            handler = make(endpoint=server.url, **settings(client=client))
            recording(handler, {})

            assert handler.force_flush(120) is True
            handler.close()

    @pytest.mark.parametrize("client", [False, True])
    def test_grpc(self, make, grpc_collector, certificate, recording, settings, client):
        """The same over gRPC."""
        cert, key = Path(certificate.cert).read_bytes(), Path(certificate.key).read_bytes()
        credentials = grpc.ssl_server_credentials([(key, cert)], cert if client else None, client)
        collector = grpc_collector(credentials)
        handler = make(protocol="grpc", endpoint=collector.endpoint, **settings(client=client))
        recording(handler, {})

        assert handler.force_flush(120) is True
        handler.close()

    def test_certificate_of_a_stranger_is_not_trusted(self, make, grpc_collector, certificate, recording):
        """Without the file, nothing is handed over."""
        cert, key = Path(certificate.cert).read_bytes(), Path(certificate.key).read_bytes()
        collector = grpc_collector(grpc.ssl_server_credentials([(key, cert)]))
        handler = make(protocol="grpc", endpoint=collector.endpoint)
        recording(handler, {})

        assert handler.force_flush(1) is False
        assert collector.seen == []
        handler.close()

    def test_missing_file_is_named(self, make):
        """When the handler is built."""
        with pytest.raises((OSError, ValueError), match=r"no-such\.pem"):
            make(protocol="grpc", endpoint="https://localhost", certificate_file="no-such.pem")


class TestForeignTime:
    @pytest.mark.parametrize(
        "text, microseconds",
        [
            ("1970-01-02T00:00:00.000001+00:00Z", 86_400_000_001),
            ("1970-01-02T00:00:00+00:00Z", 86_400_000_000),
            ("1970-01-02T05:00:00.500000+05:00Z", 86_400_500_000),
            ("1970-01-02T00:00:00.000001Z", 86_400_000_001),
            ("1970-01-02T00:00:00.000001", 86_400_000_001),
            ("1970-01-02T00:00:00.+00001+00:00Z", None),
            ("1970-01-02T00:00:00x000001+00:00Z", None),
            ("1970-01-02 nonsense .000001+00:00Z", None),
            ("0001-01-01T00:00:00+05:00Z", None),
            (["1970-01-02T00:00:00"], None),
        ],
    )
    def test_is_read_in_every_form(self, memory, text, microseconds):
        """jupyter_events' has an offset and a Z; what cannot be read is the time of the record."""
        record = logging.LogRecord("foreign", 20, "", 0, {"__schema__": "a", "__timestamp__": text}, None, None)
        OTLPHandler(logger_provider=memory.provider).handle(record)
        (log,) = memory.logs()

        expected = int(record.created * 1e9) if microseconds is None else microseconds * 1000
        assert log.timestamp == expected


class TestSharedHandler:
    def test_serves_several_event_loggers_of_jupyter_events(self, memory):
        """Configured once, as Jupyter does it; each logger puts a formatter of its own on it."""
        config = Config({"EventLogger": {"handlers": [OTLPHandler(logger_provider=memory.provider)]}})
        loggers = [jupyter_events.EventLogger(config=copy.deepcopy(config)) for _ in range(2)]
        for number, logger in enumerate(loggers):
            logger.register_event_schema(schema(version="1", id=f"https://example.org/{number}"))
        for number, logger in enumerate(loggers):
            logger.emit(schema_id=f"https://example.org/{number}", data={"count": number})

        assert [log.event_name for log in memory.logs()] == ["https://example.org/0", "https://example.org/1"]

    def test_takes_ordinary_records_besides(self, memory):
        """The formatter that an event logger puts on each handler is for its events only."""
        handler = OTLPHandler(logger_provider=memory.provider)
        jupyter_events.EventLogger().register_handler(handler)
        handler.handle(logging.LogRecord("app", 20, "", 0, "%s left", ("ada",), None))

        assert [log.body for log in memory.logs()] == ["ada left"]

    def test_formatter_of_ones_own_stays(self, memory):
        """As in OpenTelemetry's handler, it makes the body."""
        handler = OTLPHandler(logger_provider=memory.provider)
        handler.setFormatter(logging.Formatter("mine: %(message)s"))
        jupyter_events.EventLogger().register_handler(handler)
        handler.handle(logging.LogRecord("app", 20, "", 0, "%s left", ("ada",), None))

        assert [log.body for log in memory.logs()] == ["mine: ada left"]
