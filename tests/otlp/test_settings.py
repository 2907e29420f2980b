"""Arguments, `OTEL_*` variables and defaults: one reading of them, for HTTP and gRPC, in memory and with a spool."""

import base64
import os
import selectors
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import grpc
import pytest
from builders import Receiver, free_port, make_certificate, serving, tls_context
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import (
    LogsServiceServicer,
    add_LogsServiceServicer_to_server,
)
from traitlets.config import Config

from jupyter_otel_telemetry import OTLPHandler
from jupyter_otel_telemetry.otlp.answers import Verdict
from jupyter_otel_telemetry.otlp.settings import ExporterOptions
from jupyter_otel_telemetry.otlp.transport import build_transport

PROTOCOLS = ["http/protobuf", "grpc"]
VARIABLES = [
    *("ENDPOINT", "PROTOCOL", "HEADERS", "COMPRESSION", "TIMEOUT", "INSECURE"),
    *("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"),
]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """No variable of this machine disturbs."""
    for name in [name for name in os.environ if name.startswith("OTEL_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def variable(monkeypatch):
    """Return a function that sets `OTEL_EXPORTER_OTLP_*` variables."""

    def set_variables(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)

    return set_variables


def settings_of(**options):
    return ExporterOptions(**options).settings


def comparable(settings):
    return replace(settings, headers=None), settings.headers.current()


class Tunnel(BaseHTTPRequestHandler):
    """A proxy that opens tunnels, and keeps where to in `server.seen`."""

    def do_CONNECT(self):
        vars(self.server).setdefault("seen", []).append((self.path, dict(self.headers)))
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), 10) as there:
            self.send_response(200)
            self.end_headers()
            pair = {self.connection: there, there: self.connection}
            ready = selectors.DefaultSelector()  # select.select takes no descriptor above 1,023
            for end in pair:
                ready.register(end, selectors.EVENT_READ)
            while keys := ready.select(30):
                for key, _ in keys:
                    if not (data := key.fileobj.recv(65536)):
                        return
                    pair[key.fileobj].sendall(data)

    def log_message(self, *_):
        pass


class GrpcReceiver(LogsServiceServicer):
    """Accepts, and keeps metadata in `seen`."""

    def __init__(self):
        self.seen = []

    def Export(self, _request, context):
        self.seen.append(dict(context.invocation_metadata()))
        return ExportLogsServiceResponse()


@contextmanager
def serving_grpc(address="localhost:0", credentials=None):
    """Serve gRPC; the receiver has a `port`."""
    server, receiver = grpc.server(ThreadPoolExecutor(2)), GrpcReceiver()
    add_LogsServiceServicer_to_server(receiver, server)
    add = partial(server.add_secure_port, server_credentials=credentials) if credentials else server.add_insecure_port
    receiver.port = add(address)
    server.start()
    try:
        yield receiver
    finally:
        server.stop(None).wait(300)


@contextmanager
def receiving(protocol):
    """Serve one of the protocols; yield the endpoint and a function that returns the headers received so far."""
    if protocol == "grpc":
        with serving_grpc() as receiver:
            yield f"http://localhost:{receiver.port}", lambda: receiver.seen
    else:
        with serving(Receiver) as server:
            yield server.url, lambda: [headers for _, headers in vars(server).get("seen", [])]


@contextmanager
def transport_of(**options):
    transport = build_transport(ExporterOptions(**options))
    try:
        yield transport
    finally:
        transport.close()


def send(transport):
    return transport.send(ExportLogsServiceRequest().SerializeToString())


def sent(**options):
    """Send one request; return the answer."""
    with transport_of(**options) as transport:
        return send(transport)


class TestPrecedence:
    @pytest.mark.parametrize("blank", ["", " ", "\n"])
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    @pytest.mark.parametrize("prefix", ["", "LOGS_"])
    @pytest.mark.parametrize("name", VARIABLES)
    def test_blank_variable_is_unset(self, variable, name, prefix, protocol, blank):
        """Templates of containers set all of them."""
        default = comparable(settings_of(protocol=protocol))
        variable(**{f"{prefix}{name}": blank})

        assert comparable(settings_of(protocol=protocol)) == default

    def test_blank_argument_is_unset(self):
        """In every option that is text."""
        names = ("endpoint", "protocol", "compression", "proxy", "certificate_file", "client_key_file")

        assert comparable(settings_of(**dict.fromkeys(names, " "))) == comparable(settings_of())

    @pytest.mark.parametrize(
        "name, value, field, expected",
        [
            ("PROTOCOL", " grpc\n", "protocol", "grpc"),
            ("PROTOCOL", "GRPC", "protocol", "grpc"),
            ("ENDPOINT", "\thttp://h:1\n", "url", "http://h:1/v1/logs"),
            ("COMPRESSION", " GZIP ", "compression", "gzip"),
            ("TIMEOUT", " 3\n", "timeout_s", 3.0),
        ],
    )
    def test_white_space_around_a_value_does_not_count(self, variable, name, value, field, expected):
        """Files that variables are made from end in a newline."""
        variable(**{name: value})

        assert getattr(settings_of(), field) == expected

    @pytest.mark.parametrize(
        "name, values, arguments, field",
        [
            ("PROTOCOL", ("http/protobuf", "grpc"), {"protocol": "http/protobuf"}, "protocol"),
            ("COMPRESSION", ("none", "deflate"), {"compression": "gzip"}, "compression"),
            ("ENDPOINT", ("http://all", "http://logs"), {"endpoint": "http://argument"}, "destination"),
        ],
    )
    def test_argument_wins_over_logs_wins_over_all(self, variable, name, values, arguments, field):
        """For each option alike."""
        found = []
        for setting in ({name: values[0]}, {f"LOGS_{name}": values[1]}):
            variable(**setting)
            found.append(getattr(settings_of(), field).partition(" ")[0])
        found.append(getattr(settings_of(**arguments), field).partition(" ")[0])

        assert found == [*values, *arguments.values()]

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_headers_join_those_of_a_variable(self, variable, protocol):
        """A name in an argument wins, in whatever case; a blank value is unset."""
        variable(HEADERS="a=1%2C2, B = two words ,c=,d=%20x=y%20")
        headers = settings_of(protocol=protocol, headers={"A": "argument", "E": ""}).headers

        assert headers.current() == {"a": "argument", "b": "two words", "d": "x=y"}


class TestEndpoint:
    @pytest.mark.parametrize(
        "endpoint, url",
        [
            ("http://h:4318", "http://h:4318/v1/logs"),
            ("http://h:4318/", "http://h:4318/v1/logs"),
            ("http://h/otlp", "http://h/otlp/v1/logs"),
            ("http://h/otlp?tenant=a", "http://h/otlp/v1/logs?tenant=a"),
            ("http://h?tenant=a", "http://h/v1/logs?tenant=a"),
            ("http://h/v1/logs?tenant=a", "http://h/v1/logs?tenant=a"),
            ("http://h/v1/logs/#part", "http://h/v1/logs"),
            ("https://bob:pw@h/otlp", "https://h/otlp/v1/logs"),
            ("HTTP://h", "http://h/v1/logs"),
        ],
    )
    def test_path_of_logs_comes_before_the_query(self, endpoint, url):
        """It is added where it is not there."""
        assert settings_of(endpoint=endpoint).url == url

    def test_variable_of_logs_is_the_whole_url(self, variable):
        """As the specification has it; that of all signals is the base."""
        variable(ENDPOINT="http://h/v1/logs?a=b")
        assert settings_of().url == "http://h/v1/logs/v1/logs?a=b"
        variable(LOGS_ENDPOINT="http://h/x?a=b")
        assert settings_of().url == "http://h/x?a=b"

    @pytest.mark.parametrize(
        "endpoint, target, is_insecure",
        [
            ("http://h:1", "h:1", True),
            ("https://h:1/", "h:1", False),
            ("https://bob:pw@h:1", "h:1", False),
            ("h:1", "h:1", False),
            ("[::1]:1", "[::1]:1", False),
            ("dns:///h:1", "dns:///h:1", False),
            ("unix:/run/otel.sock", "unix:/run/otel.sock", True),
            ("unix:///run/otel.sock", "unix:///run/otel.sock", True),
        ],
    )
    @pytest.mark.parametrize("source", ["argument", "ENDPOINT", "LOGS_ENDPOINT"])
    def test_grpc_target_is_the_same_from_everywhere(self, variable, source, endpoint, target, is_insecure):
        """Whatever works as a variable works as an argument."""
        if source == "argument":
            settings = settings_of(protocol="grpc", endpoint=endpoint)
        else:
            variable(**{source: endpoint})
            settings = settings_of(protocol="grpc")

        assert (settings.url, settings.is_insecure) == (target, is_insecure)

    @pytest.mark.parametrize("text, is_insecure", [("true", True), ("TRUE\n", True), ("False", False), ("", False)])
    def test_insecure_decides_where_no_scheme_does(self, variable, text, is_insecure):
        """In any case of letters."""
        variable(INSECURE=text)

        assert settings_of(protocol="grpc", endpoint="h:1").is_insecure is is_insecure
        assert settings_of(protocol="grpc", endpoint="https://h:1").is_insecure is False

    def test_unix_socket(self, tmp_path):
        """Plain, since nothing leaves the machine."""
        target = f"unix:{tmp_path}/s"
        with serving_grpc(target) as receiver:
            assert sent(protocol="grpc", endpoint=target).verdict == Verdict.ACCEPTED

        assert len(receiver.seen) == 1

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_user_and_password_are_basic_authorization(self, protocol):
        """Over both protocols; a header that is given wins."""
        with receiving(protocol) as (endpoint, seen):
            with_user = endpoint.replace("://", "://bob:p%40ss@")
            assert sent(protocol=protocol, endpoint=with_user).verdict == Verdict.ACCEPTED
            sent(protocol=protocol, endpoint=with_user, headers={"Authorization": "Bearer t"})

        found = [headers["authorization"] for headers in seen()]
        assert found == [f"Basic {base64.b64encode(b'bob:p@ss').decode()}", "Bearer t"]


class TestMistakes:
    """Each is an error at the start that names the argument or the variable."""

    @pytest.mark.parametrize(
        "text", ["0", "-1", "nan", "inf", "-inf", "1e999", "abc", "700", "600001", "99999999999999999999", "1s"]
    )
    @pytest.mark.parametrize("name", ["TIMEOUT", "LOGS_TIMEOUT"])
    def test_timeout(self, variable, name, text):
        """Between seconds and milliseconds lies nothing that anybody means."""
        variable(**{name: text})
        with pytest.raises(ValueError, match=f"OTEL_EXPORTER_OTLP_{name} '.*' is not a time limit; write seconds"):
            OTLPHandler()

    @pytest.mark.parametrize("text", ["1", "yes", "maybe"])
    def test_insecure(self, variable, text):
        """It decides about encryption."""
        variable(INSECURE=text)
        with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_INSECURE must be true or false"):
            OTLPHandler(protocol="grpc")

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({"protocol": "http/json"}, "protocol 'http/json' is not supported; use one of http/protobuf, grpc"),
            ({"protocol": 1}, "protocol must be text, not int"),
            ({"compression": "deflate", "protocol": "grpc"}, "'deflate' is not supported over grpc; use one of gzip"),
            ({"endpoint": "http://h:0"}, "endpoint 'http://h:0' is not a URL"),
            ({"endpoint": "http://h:65536"}, "is not a URL"),
            ({"endpoint": "http://[::1"}, "is not a URL"),
            ({"endpoint": "http://h/p?mail=a@b"}, "write %40 for an @"),
            ({"endpoint": "h 1", "protocol": "grpc"}, "or unix:/path"),
            ({"endpoint": "h:0", "protocol": "grpc"}, "or unix:/path"),
            ({"endpoint": "h:65536", "protocol": "grpc"}, "or unix:/path"),
            ({"endpoint": "dns:///h:99999", "protocol": "grpc"}, "or unix:/path"),
            ({"endpoint": "ipv4:1.2.3.4:80,1.2.3.5:99999", "protocol": "grpc"}, "or unix:/path"),
            ({"endpoint": "unix:/s"}, "endpoint 'unix:/s' is not a URL"),
            ({"endpoint": "unix:/s", "protocol": "grpc", "proxy": "http://p"}, "proxy has no meaning for a Unix"),
            ({"proxy": "p:3128"}, "proxy 'p:3128' is not a URL"),
            ({"headers": {"x-bin": "x"}, "protocol": "grpc"}, "gRPC cannot send a header of the name x-bin"),
            ({"headers": {"grpc-x": "x"}, "protocol": "grpc"}, "gRPC cannot send"),
            ({"certificate_file": "x.pem"}, "certificate_file has no effect without TLS; write https://"),
            ({"level": "INF"}, "OTLPHandler: level is unknown; write DEBUG, INFO"),
            ({"level": None}, "OTLPHandler: level is unknown"),
            ({"resource": "a=b"}, "OTLPHandler: resource must be a mapping, not str; write {"),
            ({"service_name": 5}, "OTLPHandler: service_name must be text, not int"),
            ({"logger_provider": 5}, "OTLPHandler: logger_provider must be a LoggerProvider, not int"),
            ({"endpont": "http://h"}, "OTLPHandler has no option 'endpont'; did you mean 'endpoint'"),
            ({"timeout": 5}, "OTLPHandler has no option 'timeout'; the options are service_name, endpoint, "),
        ],
    )
    def test_argument(self, arguments, message):
        """With what to write."""
        with pytest.raises(ValueError, match=message):
            OTLPHandler(**arguments)

    def test_unnamed_argument(self):
        """An endpoint is the likeliest one."""
        with pytest.raises(TypeError, match=r"OTLPHandler takes named options only: OTLPHandler\(service_name=…"):
            OTLPHandler("http://h")

    def test_leaves_no_handler_that_fails_at_exit(self):
        """The error is the last line of the program."""
        program = "from jupyter_otel_telemetry import OTLPHandler\nOTLPHandler(level='INF')"
        done = subprocess.run(
            [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120
        )

        assert "level is unknown" in done.stderr.splitlines()[-1]

    @pytest.mark.parametrize("name", ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"])
    def test_certificate_without_tls(self, variable, name):
        """Records would leave in the clear; but a variable may be meant for other exporters of the program."""
        variable(**{name: "x.pem"})
        assert settings_of(endpoint="http://127.0.0.1:4318").files == (None, None, None)
        with pytest.raises(ValueError, match=f"OTEL_EXPORTER_OTLP_{name} has no effect without TLS"):
            OTLPHandler()

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    @pytest.mark.parametrize(
        "files, message",
        [
            ({"certificate_file": "absent.pem"}, "certificate_file 'absent.pem' cannot be read: No such file"),
            ({"certificate_file": "."}, "certificate_file '.' cannot be read: Is a directory"),
            ({"certificate_file": "{other}"}, "certificate_file .* has no certificate in PEM"),
            ({"client_certificate_file": "{cert}"}, "client_certificate_file needs client_key_file as well"),
            ({"client_key_file": "{key}"}, "client_key_file needs client_certificate_file as well"),
            (
                {"client_certificate_file": "{cert}", "client_key_file": "{cert}"},
                "client_certificate_file .* and client_key_file .* are not a certificate and its key",
            ),
        ],
    )
    def test_files(self, certificate, protocol, files, message):
        """OpenSSL would say less, and gRPC nothing."""
        names = {"cert": certificate.cert, "key": certificate.key, "other": __file__}
        files = {name: file.format(**names) for name, file in files.items()}
        with pytest.raises(ValueError, match=message):
            OTLPHandler(endpoint="https://h", protocol=protocol, **files)


class TestTimeout:
    @pytest.mark.parametrize("text, seconds", [("0.5", 0.5), ("10", 10), ("600", 600), ("1000", 1), ("10000", 10)])
    def test_small_numbers_are_seconds_large_ones_milliseconds(self, variable, text, seconds):
        """The former is the Python SDK's reading, the latter the specification's."""
        variable(TIMEOUT=text)

        assert settings_of().timeout_s == seconds

    def test_milliseconds_are_told(self, variable, caplog):
        """At the start, with the seconds."""
        variable(TIMEOUT="10000")
        with transport_of():
            assert "OTEL_EXPORTER_OTLP_TIMEOUT 10000 is read as milliseconds: 10 seconds" in caplog.text


class TestQueue:
    """`OTEL_BLRP_*`: records, and milliseconds."""

    NAMES = ("OTEL_BLRP_MAX_QUEUE_SIZE", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "OTEL_BLRP_SCHEDULE_DELAY")

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("text", ["0", "-1", "1.5", "abc", "²", "9" * 30])
    def test_value_without_meaning_is_an_error(self, monkeypatch, name, text):
        """Where the SDK logs a traceback, and takes its default."""
        monkeypatch.setenv(name, text)
        with pytest.raises(ValueError, match=f"{name} '{text}' is not a number from 1 to"):
            OTLPHandler()

    @pytest.mark.parametrize("blank", ["", " \n"])
    def test_blank_is_unset(self, monkeypatch, caplog, otlp_receiver, recording, blank):
        """In silence."""
        for name in self.NAMES:
            monkeypatch.setenv(name, blank)
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint)
        recording(handler, {})

        assert handler.force_flush(20) is True
        handler.close()
        assert caplog.text == ""

    def test_small_queue_needs_no_second_variable(self, monkeypatch, otlp_receiver, recording):
        """Batches are at most as large as the queue."""
        monkeypatch.setenv("OTEL_BLRP_MAX_QUEUE_SIZE", "1")
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint)
        recording(handler, {})

        assert handler.force_flush(20) is True
        handler.close()


class TestSwitches:
    @pytest.fixture(params=["memory", "spool"])
    def make(self, request, tmp_path):
        return partial(OTLPHandler, spool=tmp_path / "spool") if request.param == "spool" else OTLPHandler

    @pytest.mark.parametrize("name, value", [("OTEL_SDK_DISABLED", " TRUE"), ("OTEL_LOGS_EXPORTER", "none")])
    def test_off_means_off(self, make, monkeypatch, caplog, tmp_path, otlp_receiver, recording, name, value):
        """Nothing is sent, stored or lost; one line says so."""
        monkeypatch.setenv(name, value)
        handler = make(endpoint=otlp_receiver.endpoint)
        recording(handler, *[{"count": number} for number in range(5000)])

        assert handler.force_flush(10) is True
        handler.close()
        assert otlp_receiver.logs == []
        assert not (tmp_path / "spool").exists()
        (record,) = caplog.records
        assert record.getMessage() == f"OTLPHandler sends nothing, since {name} is {value.strip().lower()}"

    @pytest.mark.parametrize(
        "name, value, message",
        [
            ("OTEL_CONFIG_FILE", "otel.yaml", "OTEL_CONFIG_FILE is not read"),
            ("OTEL_BLRP_EXPORT_TIMEOUT", "abc", "OTEL_BLRP_EXPORT_TIMEOUT is not read"),
            ("OTEL_EXPERIMENTAL_CONFIG_FILE", "otel.yaml", "OTEL_EXPERIMENTAL_CONFIG_FILE is not read"),
            ("OTEL_LOGS_EXPORTER", "console", "OTEL_LOGS_EXPORTER has no effect unless it is none"),
            ("OTEL_SDK_DISABLED", "1", "OTEL_SDK_DISABLED is neither true nor false, and has no effect"),
        ],
    )
    def test_variable_without_effect_is_told(self, monkeypatch, caplog, name, value, message):
        """Once, when the way to the receiver is built."""
        monkeypatch.setenv(name, value)
        with transport_of():
            assert caplog.text.count(message) == 1

    def test_ordinary_values_are_not_worth_a_word(self, monkeypatch, caplog):
        """Such as distributions set."""
        monkeypatch.setenv("OTEL_LOGS_EXPORTER", "otlp")
        monkeypatch.setenv("OTEL_SDK_DISABLED", "false")
        with transport_of():
            assert caplog.text == ""


class TestSurroundings:
    """Nothing decides but arguments and `OTEL_*` variables."""

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    @pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "grpc_proxy", "https_proxy"])
    def test_proxy_of_the_environment_gets_nothing(self, monkeypatch, protocol, name):
        """Least of all what is meant for this machine."""
        with serving(Tunnel) as proxy, receiving(protocol) as (endpoint, seen):
            monkeypatch.setenv(name, proxy.url)
            assert sent(protocol=protocol, endpoint=endpoint).verdict == Verdict.ACCEPTED

            assert len(seen()) == 1
            assert "seen" not in vars(proxy)

    def test_netrc_replaces_no_header(self, monkeypatch, tmp_path):
        """That of the user, or the one that NETRC names."""
        netrc = tmp_path / ".netrc"
        netrc.write_text("default login eve password x\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(netrc))
        with serving(Receiver) as server:
            sent(endpoint=server.url, headers={"authorization": "Bearer t"})
            sent(endpoint=server.url)

        assert [headers.get("authorization") for _, headers in server.seen] == ["Bearer t", None]

    @pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
    def test_authorities_of_the_environment_are_not_trusted(self, monkeypatch, certificate, name):
        """But those of `certificate_file` are."""
        monkeypatch.setenv(name, certificate.cert)
        with serving(Receiver, tls_context(certificate)) as server:
            assert sent(endpoint=server.url).verdict != Verdict.ACCEPTED
            monkeypatch.setenv(name, certificate.key)
            assert sent(endpoint=server.url, certificate_file=certificate.cert).verdict == Verdict.ACCEPTED

    def test_proxy_that_is_given_is_used_over_http(self):
        """It gets the whole URL, and its user and password."""
        with serving(Receiver) as proxy:
            address = proxy.url.replace("://", "://bob:pw@")
            assert sent(endpoint="http://collector.invalid", proxy=address).verdict == Verdict.ACCEPTED

        (path, headers) = proxy.seen[0]
        assert path == "http://collector.invalid/v1/logs"
        assert headers["proxy-authorization"] == f"Basic {base64.b64encode(b'bob:pw').decode()}"

    def test_proxy_that_is_given_is_used_over_grpc(self):
        """As a tunnel."""
        with serving(Tunnel) as proxy, serving_grpc() as receiver:
            endpoint = f"http://localhost:{receiver.port}"
            assert sent(protocol="grpc", endpoint=endpoint, proxy=proxy.url).verdict == Verdict.ACCEPTED

            assert [path for path, _ in proxy.seen] == [f"localhost:{receiver.port}"]


class TestHeaderFiles:
    """A value in a file, as Kubernetes mounts secrets: a symbolic link that is swapped."""

    @pytest.fixture
    def mounted(self, tmp_path):
        """Return a function that mounts the next version of a token; it has a `path`."""

        def mount(content):
            version = tmp_path / str(len(list(tmp_path.iterdir())))
            version.mkdir()
            (version / "token").write_text(content, encoding="utf-8")
            link = tmp_path / "new"
            link.symlink_to(version)
            link.rename(tmp_path / "..data")

        mount.path = str(tmp_path / "..data" / "token")
        mount("first\n")
        return mount

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_is_read_again_when_it_changes(self, mounted, protocol):
        """For the next request."""
        headers = {
            "Authorization": {"file": mounted.path, "prefix": "Bearer "},
            "x-key": {"file": Path(mounted.path)},
        }
        with receiving(protocol) as (endpoint, seen):
            with transport_of(protocol=protocol, endpoint=endpoint, headers=headers) as transport:
                send(transport)
                mounted("second")
                send(transport)

            found = [(headers["authorization"], headers["x-key"]) for headers in seen()]
        assert found == [("Bearer first", "first"), ("Bearer second", "second")]

    @pytest.mark.parametrize("content", [None, "", "two\nlines", "é"])
    def test_last_value_stays_when_the_file_cannot_be_used(self, mounted, caplog, content):
        """Told once, until it works again; without its content."""
        headers = {"authorization": {"file": mounted.path}}
        with serving(Receiver) as server:
            with transport_of(endpoint=server.url, headers=headers) as transport:
                if content is None:
                    Path(mounted.path).unlink()
                else:
                    mounted(content)
                send(transport)
                send(transport)
                mounted("third")
                send(transport)

            found = [headers["authorization"] for _, headers in server.seen]
        assert found == ["first", "first", "third"]
        assert caplog.text.count("its last value is still sent") == 1
        assert "lines" not in caplog.text

    @pytest.mark.parametrize(
        "value, message",
        [
            ({"file": "absent"}, "the file of header x, 'absent', cannot be read: No such file"),
            ({"file": os.devnull}, "is empty"),
            ({"file": __file__}, "holds more than one line"),
            ({"file": ""}, "or no file; write text, or"),
            ({"file": os.devnull, "suffix": "x"}, "has other members than file and prefix"),
        ],
    )
    def test_mistake_is_an_error_at_the_start(self, value, message):
        """With the name of the header."""
        with pytest.raises(ValueError, match=message):
            OTLPHandler(headers={"X": value})

    @pytest.mark.parametrize("is_spooling", [False, True])
    def test_of_a_handler(self, mounted, tmp_path_factory, recording, is_spooling):
        """In memory and with a spool."""
        with serving(Receiver) as server:
            folder = tmp_path_factory.mktemp("spool") if is_spooling else None
            headers = {"authorization": {"file": mounted.path, "prefix": "Bearer "}}
            handler = OTLPHandler(endpoint=server.url, spool=folder, headers=headers)
            recording(handler, {})
            assert handler.force_flush(20)
            mounted("second")
            recording(handler, {})
            assert handler.force_flush(20)
            handler.close()

            assert {headers["authorization"] for _, headers in server.seen} == {"Bearer first", "Bearer second"}

    def test_in_the_configuration_of_jupyter_server(self, mounted, tmp_path_factory, recording):
        """As an option of the extension."""
        from jupyter_otel_telemetry.integrations.jupyter_server import OTelTelemetry

        with serving(Receiver) as server:
            options = {"endpoint": server.url, "spool": str(tmp_path_factory.mktemp("spool"))}
            options["headers"] = {"x-key": {"file": mounted.path}}
            handler = OTelTelemetry(config=Config(OTelTelemetry=options)).build_handler()
            recording(handler, {})
            assert handler.force_flush(20)
            handler.close()

            assert server.seen[0][1]["x-key"] == "first"

    def test_answer_shows_neither_the_old_nor_the_new_token(self, mounted):
        """A receiver may repeat either."""
        options = ExporterOptions(headers={"authorization": {"file": mounted.path}})
        mounted("second-token")
        options.settings.headers.current()
        mounted("third-token")
        options.settings.headers.current()

        assert options.settings.mask("second-token third-token") == "… …"


class TestCredentialProviders:
    """Entry points of other packages, which OpenTelemetry's variables name."""

    @pytest.fixture
    def provide(self, monkeypatch, tmp_path):
        """Return a function that installs a provider of a protocol, and chooses it."""

        def install(protocol, source):
            metadata = tmp_path / "provider-1.dist-info"
            metadata.mkdir()
            (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: provider\nVersion: 1\n")
            (metadata / "entry_points.txt").write_text(
                "[opentelemetry_otlp_credential_provider]\nmine = provider_of_tests:make\n"
            )
            (tmp_path / "provider_of_tests.py").write_text(f"import grpc, requests\ndef make():\n    {source}\n")
            monkeypatch.syspath_prepend(tmp_path)
            monkeypatch.delitem(sys.modules, "provider_of_tests", raising=False)
            over = "GRPC" if protocol == "grpc" else "HTTP"
            monkeypatch.setenv(f"OTEL_PYTHON_EXPORTER_OTLP_{over}_CREDENTIAL_PROVIDER", "mine")

        return install

    def test_http(self, provide):
        """A session of requests, which adds a header to every request."""
        provide("http/protobuf", "made = requests.Session(); made.auth = ('bob', 'pw'); return made")
        with serving(Receiver) as server:
            assert sent(endpoint=server.url).verdict == Verdict.ACCEPTED

        assert server.seen[0][1]["authorization"] == f"Basic {base64.b64encode(b'bob:pw').decode()}"

    def test_grpc(self, provide, certificate):
        """Credentials of a channel."""
        cert, key = Path(certificate.cert).read_bytes(), Path(certificate.key).read_bytes()
        provide("grpc", f"return grpc.ssl_channel_credentials({cert})")
        with serving_grpc(credentials=grpc.ssl_server_credentials([(key, cert)])) as receiver:
            assert sent(protocol="grpc", endpoint=f"https://localhost:{receiver.port}").verdict == Verdict.ACCEPTED

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_mistake_names_the_variable(self, monkeypatch, provide, protocol):
        """A provider that is not installed, or makes something else."""
        over = "GRPC" if protocol == "grpc" else "HTTP"
        monkeypatch.setenv(f"OTEL_PYTHON_EXPORTER_OTLP_{over}_LOGS_CREDENTIAL_PROVIDER", "absent")
        with pytest.raises(ValueError, match=f"{over}_LOGS_CREDENTIAL_PROVIDER: no credential provider 'absent'"):
            sent(protocol=protocol, endpoint="https://h")
        provide(protocol, "return 1")
        with pytest.raises(
            ValueError, match=f"{over}_CREDENTIAL_PROVIDER: the credential provider 'mine' makes a int"
        ):
            sent(protocol=protocol, endpoint="https://h")


class TestRotation:
    """Certificates that are replaced while the program runs: a second authority that knows nothing of the first."""

    @pytest.fixture
    def rotating(self, certificate, tmp_path):
        """Files in use, those of `certificate` at first, and a function that replaces them."""
        second = make_certificate(tmp_path)
        files = {
            "certificate_file": tmp_path / "a",
            "client_certificate_file": tmp_path / "c",
            "client_key_file": tmp_path / "k",
        }

        def use(files_of):
            for file, source in zip(files.values(), (files_of.cert, files_of.cert, files_of.key), strict=True):
                shutil.copy(source, file)

        use(certificate)
        return files, partial(use, second), second

    def test_http(self, certificate, rotating):
        """For the next connection."""
        files, rotate, second = rotating
        context = tls_context(certificate, client=True)
        with serving(Receiver, context) as server, transport_of(endpoint=server.url, **files) as transport:
            assert send(transport).verdict == Verdict.ACCEPTED
            context.load_cert_chain(second.cert, second.key)
            context.load_verify_locations(second.cert)
            assert send(transport).verdict != Verdict.ACCEPTED
            rotate()
            assert send(transport).verdict == Verdict.ACCEPTED

    def test_grpc(self, certificate, rotating):
        """By a new channel."""
        files, rotate, second = rotating
        address = f"localhost:{free_port()}"
        with transport_of(protocol="grpc", endpoint=f"https://{address}", **files) as transport:
            with serving_grpc(address, _server_credentials(certificate)):
                assert send(transport).verdict == Verdict.ACCEPTED
            with serving_grpc(address, _server_credentials(second)):
                assert send(transport).verdict != Verdict.ACCEPTED
                rotate()
                assert send(transport).verdict == Verdict.ACCEPTED

    def test_grpc_goes_on_while_a_file_is_absent(self, certificate, rotating):
        """With the channel that it has."""
        files, _, _ = rotating
        with serving_grpc(credentials=_server_credentials(certificate)) as receiver:
            endpoint = f"https://localhost:{receiver.port}"
            with transport_of(protocol="grpc", endpoint=endpoint, **files) as transport:
                send(transport)
                files["client_key_file"].unlink()

                assert send(transport).verdict == Verdict.ACCEPTED


def _server_credentials(certificate):
    cert, key = Path(certificate.cert).read_bytes(), Path(certificate.key).read_bytes()
    return grpc.ssl_server_credentials([(key, cert)], cert, require_client_auth=True)
