"""No secret stands in a log line, an error or a file, in whatever form it was configured and comes back."""

import base64
import http.client
import logging
import os
import traceback
from http.server import BaseHTTPRequestHandler
from urllib.parse import quote

import pytest
from builders import Receiver, free_port, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from traitlets import TraitError
from traitlets.config import Config

from jupyter_otel_telemetry import EventLog, OTLPHandler
from jupyter_otel_telemetry.errors import PolicyError, SchemaSourceError
from jupyter_otel_telemetry.masking import mask_text, mask_url, secrets_of_url
from jupyter_otel_telemetry.otlp.library_logs import masked_library_logs
from jupyter_otel_telemetry.otlp.settings import ExporterOptions
from jupyter_otel_telemetry.otlp.transport import build_transport
from jupyter_otel_telemetry.privacy.pseudonyms import find_pseudonym_key

SECRET = "s3cr3t-t0ken"
secrets = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=8, max_size=40)
# Begun such that no message has it by chance: hypothesis also tries words of the source.
words = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=6, max_size=40).map("q7".__add__)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """No `OTEL_*` variable of this machine disturbs."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def everything_in(error):
    """Return all texts that an exception shows, with those of its causes and contexts."""
    shown = []
    while error is not None:
        shown += [str(error), repr(error), repr(error.args)]
        error = error.__cause__ or error.__context__
    return "\n".join(shown)


def everything_logged(caplog):
    shown = [caplog.text]
    for record in caplog.records:
        shown += [
            repr(record.msg),
            repr(record.args),
            *(traceback.format_exception(*(record.exc_info or (None,) * 3))),
        ]
    return "\n".join(shown)


class Echo(BaseHTTPRequestHandler):
    """Refuses, and repeats what it was sent: the request's line, its headers, and the decoded user and password."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        user = base64.b64decode((self.headers["Authorization"] or "Basic ").removeprefix("Basic ") + "==")
        content = f"{self.path} {list(self.headers.values())} ".encode() + user
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Location", f"http://h/{SECRET}?{SECRET}")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class TestMaskUrl:
    @pytest.mark.parametrize(
        "url, shown",
        [
            ("http://collector:4318", "http://collector:4318"),
            ("https://[::1]:4318/otlp/v1/logs", "https://[::1]:4318/otlp/v1/logs"),
            ("http://h/tok/v1/logs", "http://h/…/v1/logs"),
            ("http://h/otlp?tenant=a", "http://h/otlp?…"),
            ("http://h/#tok", "http://h/?…"),
            ("http://bob:pw@h:4318/", "http://h:4318/"),
            ("//tok@h", "//h"),
            ("tok@h:4317", "h:4317"),
            ("h:4317", "h:4317"),
            ("tok", "…"),
            ("tok@h", "…"),
            ("bob:p?x@h", "…?…"),
            ("http://bob:p?x@h", "http://…?…"),
            ("http://bob:12/ss@h", "http://…/…"),
            ("user:pa/ss@host", "…/…"),
            ("unix:/run/otel.sock", "unix:/run/otel.sock"),
            ("dns:///h:4317", "dns:///h:4317"),
            ("ipv4:10.0.0.1:4317", "ipv4:10.0.0.1:4317"),
            ("https://h/tok/server-action.yaml", "https://h/…/server-action.yaml"),
        ],
    )
    def test_shows_address_and_known_words(self, url, shown):
        """The rest may be a secret."""
        assert mask_url(url) == shown

    @given(
        secrets, st.sampled_from(["{}", "http://{}@h:1/", "{}@h", "//{}@h", "http://u:{}@h/v1/logs", "http://h/?{}"])
    )
    def test_shows_no_secret(self, secret, form):
        """In any position, with any characters in it."""
        if ":" not in secret:  # else it may look like a host and its port
            assert secret not in mask_url(form.format(secret))


class TestMaskText:
    @given(secrets, st.text(), st.sampled_from([str, quote, repr, str.upper, lambda text: quote(text, safe="")]))
    def test_hides_secrets_in_any_encoding(self, secret, text, encoded):
        """As they are, URL-encoded, quoted, in another case."""
        shown = mask_text(f"{text} {encoded(secret)} {text}", [secret])

        assert secret.lower() not in shown.lower().replace(text.lower(), "")

    @given(words, st.integers(4, 40))
    def test_hides_what_is_left_of_a_secret_at_the_end(self, secret, length):
        """Where the text was cut."""
        assert mask_text(f"refused: {secret[:length]}", [secret]) == "refused: …"

    @given(words, st.data())
    def test_hides_a_part_of_a_secret(self, secret, data):
        """Each run of eight characters or more, as receivers show the beginning or the end of a wrong token."""
        secret += "e1gh7more"
        begin = data.draw(st.integers(0, len(secret) - 8))
        part = secret[begin : data.draw(st.integers(begin + 8, len(secret)))]

        assert mask_text(f"token ({part}***) is wrong", [f"Bearer {secret}"]) == "token (…***) is wrong"

    @given(words, st.integers(0, 5), st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]))
    def test_hides_a_secret_in_base64(self, secret, before, encode):
        """Alone, and within a longer text that was encoded."""
        encoded = encode(b"user:"[:before] + f"{secret}~~~".encode()).decode()
        shown = mask_text(f"got {encoded}", [secret])

        # All but the two characters that hold bits of its neighbours, too.
        assert len(shown.replace("…", "")) <= len(f"got {encoded}") - (len(secret) * 8 // 6 - 2)

    @pytest.mark.parametrize("text", ["Bearer authentication is missing", "404: no page /v1/logs", "opentelemetry"])
    def test_leaves_runs_across_words_and_known_words(self, text):
        """They say nothing of a secret, and are in many answers."""
        assert mask_text(text, ["Bearer a7", "/a7/opentelemetry/v1/logs"]) == text

    def test_leaves_the_rest(self):
        """Short values such as 1 are no secrets."""
        assert mask_text("bob has 1 of 12 bobbins", ["1", "bob"]) == "… has 1 of 12 bobbins"

    @given(words, words)
    def test_parts_of_a_url_are_secrets(self, user, password):
        """Each of them, with and without the rest."""
        found = secrets_of_url(f"http://{user}:{password}@h:1/otlp/{user}?a={password}")

        assert {user, password, f"{user}:{password}", f"/otlp/{user}?a={password}"} <= found


class TestAnswers:
    """Of a receiver that repeats what it was sent, and of none at all."""

    @pytest.mark.parametrize("status", [400, 401, 500, 302])
    @pytest.mark.parametrize(
        "options",
        [
            {"headers": {"x-key": SECRET}},
            {"headers": {"authorization": f"Basic {base64.b64encode(f'bob:{SECRET}'.encode()).decode()}"}},
            {"headers": {"authorization": f"Token token={SECRET}"}},
            {"endpoint": "http://bob:{}@{}"},
            {"endpoint": "http://{}@{}"},
            {"endpoint": "http://{1}/otlp/{0}/"},
            {"endpoint": "http://{1}/?key={0}"},
        ],
    )
    def test_shows_no_secret(self, options, status):
        """Neither of headers nor of the URL."""
        with serving(Echo) as server:
            server.status = status
            given = {"endpoint": server.url, **options}
            address = server.url.removeprefix("http://")
            given["endpoint"] = given["endpoint"].format(SECRET, address)
            transport = build_transport(ExporterOptions(**given))
            answer = transport.send(b"")
            transport.close()

        assert answer.status
        assert SECRET not in repr(answer)
        assert "bob" not in repr(answer)

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(words, st.sampled_from(["http/protobuf", "grpc"]))
    def test_secret_is_not_logged_when_nobody_listens(self, caplog, secret, protocol):
        """Errors of HTTP libraries hold the URL."""
        caplog.set_level(logging.DEBUG, logger="jupyter_otel_telemetry")
        endpoint = f"http://{secret}:{secret}@127.0.0.1:{free_port()}/{secret}?{secret}={secret}"
        options = ExporterOptions(endpoint, protocol, {"x-key": secret}, proxy=None)
        transport = build_transport(options)
        answer = transport.send(b"")
        transport.close()

        assert answer.reason
        assert secret not in repr(answer) + repr(options) + repr(options.settings) + options.destination()
        assert secret not in everything_logged(caplog)

    def test_proxy_shows_no_secret(self):
        """Its password, in the error of the HTTP library."""
        proxy = f"http://bob:{SECRET}@127.0.0.1:{free_port()}"
        transport = build_transport(ExporterOptions("http://collector:4318", proxy=proxy))
        answer = transport.send(b"")
        transport.close()

        assert answer.reason
        assert SECRET not in repr(answer)


class TestLibraries:
    """HTTP libraries log requests, and `http.client` prints them, if the program wants it."""

    @pytest.fixture
    def send(self):
        """Return a function that sends a request with secrets to a receiver, in its URL and its headers."""

        def to(handler):
            with serving(handler) as server:
                server.status = 200
                endpoint = f"{server.url.replace('//', f'//bob:{SECRET}@')}/{SECRET}?key={SECRET}"
                transport = build_transport(ExporterOptions(endpoint, headers={"x-key": SECRET}))
                transport.send(b"")
                transport.close()

        return to

    def test_log_of_a_request_shows_no_secret(self, send, caplog):
        """The line of urllib3 has address and status only."""
        caplog.set_level(logging.DEBUG)
        send(Receiver)

        assert '"POST … HTTP/1.1" 200 0' in caplog.text
        assert SECRET not in everything_logged(caplog)

    def test_warning_with_an_exception_shows_no_secret(self, send, caplog):
        """That of an answer whose headers cannot be parsed."""
        send(WrongHeader)

        assert "Failed to parse headers" in caplog.text
        assert SECRET not in everything_logged(caplog)

    @pytest.mark.parametrize(
        "name", ["urllib3.connection", "urllib3.connectionpool", "urllib3.poolmanager", "urllib3.util.retry"]
    )
    def test_each_logger_of_a_library_masks(self, send, caplog, name):
        """While a request is sent, in the sending thread; not the program's own requests."""
        caplog.set_level(logging.DEBUG)
        send(Receiver)
        with masked_library_logs(lambda text: text.replace(SECRET, "…")):
            logging.getLogger(name).info("to %s", SECRET)
        logging.getLogger(name).info("to %s", "elsewhere")

        assert [record.getMessage() for record in caplog.records[-2:]] == ["to …", "to elsewhere"]

    def test_request_within_a_request_leaves_its_mask(self, send, caplog):
        """Of a handler that sends a log message of the outer one right away."""
        send(Receiver)
        with masked_library_logs(lambda text: text.replace(SECRET, "…")):
            with masked_library_logs(str):
                pass
            logging.getLogger("urllib3.connection").warning("to %s", SECRET)

        assert caplog.messages[-1] == "to …"

    def test_message_that_cannot_be_masked_is_dropped(self, send, caplog):
        """Logging would show its arguments."""
        send(Receiver)
        with masked_library_logs(str.lower):
            logging.getLogger("urllib3.connection").warning("%d", SECRET)

        assert SECRET not in everything_logged(caplog)

    def test_prints_of_http_client_show_no_secret(self, send, capsys, monkeypatch):
        """They would hold all headers."""
        monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
        send(Receiver)

        assert capsys.readouterr().out == ""


class WrongHeader(Receiver):
    """Accepts, with a header that is none, after one that repeats the request's line."""

    def end_headers(self):
        self._headers_buffer.append(f"X-Line: {self.path}\r\nno header {self.path}\r\n".encode())
        super().end_headers()


class TestRejected:
    @pytest.fixture
    def reject(self, recording):
        """Return a function that has an event rejected; it returns the handler."""

        def with_spool(spool):
            with serving(Echo) as server:
                server.status = 400
                endpoint = server.url.replace("http://", f"http://bob:{SECRET}@") + f"/{SECRET}?key={SECRET}"
                handler = OTLPHandler(endpoint=endpoint, headers={"x-key": SECRET}, spool=spool)
                recording(handler, {"count": 1})
                handler.force_flush(20)
                handler.close()
            return handler

        return with_spool

    def test_log_shows_no_secret(self, reject, caplog):
        """It names the destination and the receiver's reason."""
        handler = reject(None)

        assert "Bad Request" in caplog.text
        assert SECRET not in repr(handler) + everything_logged(caplog)

    def test_file_shows_no_secret(self, reject, tmp_path, caplog):
        """Likewise."""
        handler = reject(tmp_path)
        content = "".join(path.read_text("latin-1") for path in (tmp_path / "rejected").rglob("*") if path.is_file())

        assert "Bad Request" in content
        assert SECRET not in content + repr(handler) + everything_logged(caplog)


class TestConstruction:
    FORMS = (
        *(
            "http://{}@h:1",
            "http://bob:{}@h",
            "https://h/{}/v1/logs",
            "http://h/?key={}",
            "http://h?{}",
            "http://h/#{}",
        ),
        *(
            "{}@h:4317",
            "//{}@h",
            "bob:{}@h",
            "h:1/{}",
            "dns:///{}@h:1",
            "ftp://{}@h",
            "{}@",
            "http://{}@[::1",
            "{}@h:x",
        ),
    )

    @settings(max_examples=300, deadline=None)
    @given(
        st.text().map("q7xZ{}k3vW".format),
        st.sampled_from(["endpoint", "proxy", "headers"]),
        st.sampled_from(FORMS),
        st.sampled_from(["http/protobuf", "grpc"]),
    )
    def test_nothing_shows_a_secret(self, secret, option, form, protocol):
        """With any characters in it, whether the settings are accepted or not."""
        given_value = {"x-key": f"Bearer {secret}"} if option == "headers" else form.format(secret)
        options = ExporterOptions(protocol=protocol, **{option: given_value})
        try:
            shown = repr(options.settings) + options.destination() + options.settings.mask(f"{given_value} {secret}")
        except ValueError as error:
            shown = everything_in(error)

        assert "q7xZ" not in shown + repr(options)
        assert "k3vW" not in shown + repr(options)

    @pytest.mark.parametrize(
        "options",
        [
            {"endpoint": f"bob:{SECRET}?x@h"},
            {"endpoint": f"bob:{SECRET}@h:99999999"},
            {"endpoint": f"http://bob:1/{SECRET}@h"},
            {"endpoint": f"//{SECRET}@h"},
            {"endpoint": f"http://{SECRET} h"},
            {"endpoint": f"ftp://h/{SECRET}"},
            {"endpoint": [f"http://{SECRET}@h"]},
            {"endpoint": f"h h/{SECRET}", "protocol": "grpc"},
            {"proxy": f"bob:{SECRET}@h"},
            {"headers": {"authorization": f"Bearer {SECRET}\n"}},
            {"headers": {"authorization": f"Bearer {SECRET}\r\nx: y"}},
            {"headers": {"authorization": f"Bearer {SECRET}é"}},
            {"headers": {"authorization": f"Bearer {SECRET}\0"}},
            {"headers": {"authorization": f"Bearer {SECRET}".encode()}},
            {"headers": {"authorization": [SECRET]}},
            {"headers": {"authorization": {"token": SECRET}}},
            {"headers": {f"authorization: {SECRET}": ""}},
            {"headers": {f"{SECRET}\n": "x"}},
            {"headers": [("authorization", SECRET)]},
            {"headers": f"authorization={SECRET}"},
        ],
    )
    def test_mistake_does_not_show_the_secret(self, options):
        """Neither the error nor a cause of it."""
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - each has a text of its own
            OTLPHandler(**options)

        assert SECRET not in everything_in(caught.value)
        assert next(iter(options)) in str(caught.value)

    @pytest.mark.parametrize(
        "text", [f"Bearer {SECRET}", f"a=1,{SECRET}", f"authorization=%0A{SECRET}", f"authorization={SECRET}é"]
    )
    def test_mistake_in_a_variable_does_not_show_the_secret(self, monkeypatch, caplog, text):
        """OpenTelemetry's own parser logs what it cannot read."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", text)
        with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_HEADERS") as caught:
            OTLPHandler()

        assert SECRET not in everything_in(caught.value) + everything_logged(caplog)

    @pytest.mark.parametrize(
        "key", [{"key": SECRET}, {"key": [SECRET]}, {"key": SECRET.encode()}, {"key_file": [SECRET]}]
    )
    def test_key_of_pseudonyms(self, key):
        """Too short, or of a wrong type."""
        with pytest.raises(PolicyError) as caught:
            find_pseudonym_key(**key)

        assert SECRET not in everything_in(caught.value)

    @pytest.mark.parametrize("option", ["pseudonym_key", "pseudonym_key_file"])
    def test_key_of_an_event_log(self, option):
        """Its traits show no value of a wrong type."""
        with pytest.raises(TraitError, match=rf"EventLog\.{option} must be text, not list") as caught:
            EventLog(**{option: [SECRET]})

        assert SECRET not in everything_in(caught.value)


class TestHandlers:
    """Mappings that name a handler hold headers and passwords."""

    @pytest.mark.parametrize(
        "handlers",
        [
            [{"headers": {"authorization": SECRET}}],
            {"class": "jupyter_otel_telemetry.OTLPHandler", "headers": {"authorization": SECRET}},
            f'[{{"headers": {{"authorization": "{SECRET}"}}',
            [f"http://{SECRET}@h"],
            [{"class": "jupyter_otel_telemetry.OTLPHandler", "header": {"authorization": SECRET}}],
            [{"class": "jupyter_otel_telemetry.OTLPHandler", "headers": {"authorization": f"{SECRET}\n"}}],
            [{"class": "jupyter_otel_telemetry.OTLPHandler", "endpoint": f"bob:{SECRET}?@h"}],
            [{"class": "test_masking.Talkative", "password": SECRET}],
            [{"class": "test_masking.Talkative", "options": {"auth": ["bob", SECRET]}}],
            [{"class": "test_masking.Talkative", "url": f"https://bob:{SECRET}@h"}],
        ],
    )
    def test_error_shows_no_secret(self, handlers):
        """In code, configuration, and of a handler that repeats its arguments."""
        for build in (
            lambda: EventLog(handlers=handlers),
            lambda: EventLog(config=Config(EventLog={"handlers": handlers})),
        ):
            with pytest.raises(TraitError) as caught:
                build()
            assert SECRET not in everything_in(caught.value)


class Talkative(logging.Handler):
    """A handler whose errors repeat its arguments."""

    def __init__(self, **arguments):
        raise ValueError(f"cannot use {arguments}")


class TestSchemas:
    @pytest.mark.parametrize(
        "path", [f"/{SECRET}", f"/s.yaml?token={SECRET}", f"/{SECRET}/s.yaml#{SECRET}", f"/{SECRET} x"]
    )
    def test_url_is_masked(self, event_log, path):
        """In the error and in what it keeps."""
        url = f"http://bob:{SECRET}@127.0.0.1:{free_port()}{path}"
        with pytest.raises(SchemaSourceError) as caught:
            event_log.register_schema_url(url)

        assert SECRET not in everything_in(caught.value)
        assert SECRET not in repr(vars(caught.value))

    def test_prints_of_http_client_show_no_secret(self, event_log, capsys, monkeypatch):
        """They would hold user and password."""
        monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
        with serving(Receiver) as server, pytest.raises(SchemaSourceError):
            event_log.register_schema_url(server.url.replace("//", f"//bob:{SECRET}@"))

        assert capsys.readouterr().out == ""
