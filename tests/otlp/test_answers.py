"""The meaning of answers: of each kind one by one, and of hostile ones."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from builders import Receiver, serving
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from jupyter_otel_telemetry.otlp.answers import (
    MAX_ANSWER_BYTES,
    MAX_RETRY_AFTER_S,
    OVERSIZED,
    Verdict,
    failed,
    http_answer,
)
from jupyter_otel_telemetry.otlp.settings import ExporterOptions
from jupyter_otel_telemetry.otlp.transport import build_transport

HTML, JSON, PROTOBUF = "text/html", "application/json", "application/x-protobuf"
PARTIAL = ExportLogsServiceResponse(
    partial_success={"rejected_log_records": 3, "error_message": "x" * 70_000}
).SerializeToString()


def partial(rejected):
    """Return the beginning of a response in protobuf with a text of 5 MB."""
    message = {"rejected_log_records": rejected, "error_message": "x" * 5_000_000}
    return ExportLogsServiceResponse(partial_success=message).SerializeToString()[:30]


def answered(content, content_type=None, code=200):
    return http_answer(code, {} if content_type is None else {"Content-Type": content_type}, content)


class TestSuccess:
    @pytest.mark.parametrize(
        "content, content_type",
        [
            (b"", None),
            (b"", PROTOBUF),
            (b"", "text/plain"),
            (b"", JSON),
            (PARTIAL, PROTOBUF),
            (PARTIAL, None),
            (b"{}", JSON),
            (b'{"partialSuccess": {}}', "Application/JSON; charset=utf-8"),
            (b'{"partialSuccess": null, "later": 1}', JSON),
        ],
    )
    def test_otlp_response_acknowledges(self, content, content_type):
        """In protobuf or JSON; the response without partial success is empty."""
        assert answered(content, content_type).verdict is Verdict.ACCEPTED

    @pytest.mark.parametrize(
        "start, content_type, rejected",
        [
            (partial(300), PROTOBUF, 300),
            (partial(3), None, 3),
            (partial(0), PROTOBUF, 0),
            (b'{"partialSuccess": {"rejectedLogRecords": "300", "errorMessage": "', JSON, 300),
            (b'{"partial_success": {"rejected_log_records": 3, "error_message": "', JSON, 3),
            (b'{"partialSuccess": {"errorMessage": "', JSON, 0),
        ],
    )
    def test_beginning_of_a_larger_otlp_response_acknowledges(self, start, content_type, rejected):
        """Records that it accepts would be delivered without end; those that it rejects are not lost."""
        answer = answered((start + b"x" * MAX_ANSWER_BYTES)[:MAX_ANSWER_BYTES], content_type)

        assert (answer.verdict, answer.rejected, answer.reason) == (Verdict.ACCEPTED, rejected, OVERSIZED)

    @pytest.mark.parametrize(
        "start, content_type",
        [(b"<html>", HTML), (partial(3), HTML), (b"<html>", PROTOBUF), (b'{"error": "', JSON), (b"\n", "text/plain")],
    )
    def test_beginning_of_anything_else_does_not_acknowledge(self, start, content_type):
        """However large it is."""
        answer = answered(start + b"x" * MAX_ANSWER_BYTES, content_type)

        assert answer.verdict is Verdict.MISCONFIGURED

    @pytest.mark.parametrize("code", [200, 202, 204])
    def test_every_status_of_success_counts(self, code):
        """Loki answers 204."""
        assert answered(b"", None, code).verdict is Verdict.ACCEPTED

    @pytest.mark.parametrize(
        "content, content_type",
        [
            (b"<!doctype html><title>Log in</title>", HTML),
            (b"", "text/html; charset=utf-8"),
            (b"<html>", None),
            (b"<html>", PROTOBUF),
            (b"OK", "text/plain"),
            (b'{"error": "no such project"}', JSON),
            (b'{"status": "success"}', JSON),
            (b'{"partialSuccess": [1]}', JSON),
            (b"[]", JSON),
            (b"{", JSON),
            (b"\xff", JSON),
            (PARTIAL[:-1], PROTOBUF),
        ],
    )
    def test_anything_else_is_the_answer_of_another_server(self, content, content_type):
        """A login page, a captive portal, another interface: the records wait."""
        answer = answered(content, content_type)

        assert answer.verdict is Verdict.MISCONFIGURED
        assert "not an OTLP response" in answer.reason

    @pytest.mark.parametrize("count", [3, "3"])
    @pytest.mark.parametrize("names", [("partialSuccess", "rejectedLogRecords", "errorMessage")])
    def test_partial_success_in_json(self, names, count):
        """OTLP JSON writes 64-bit numbers as text, and not every receiver does."""
        outer, number, text = names
        answer = answered(json.dumps({outer: {number: count, text: "x" * 70_000}}).encode(), JSON)

        assert (answer.verdict, answer.rejected, answer.reason) == (Verdict.ACCEPTED, 3, "x" * 500)

    def test_partial_success_with_a_long_text(self):
        """It is read, and shortened where it is logged."""
        answer = answered(PARTIAL, PROTOBUF)

        assert (answer.status, answer.rejected, answer.reason) == ("partial_success", 3, "x" * 500)

    @given(
        st.integers(100, 999),
        st.dictionaries(st.sampled_from(["Content-Type", "Retry-After", "Location"]), st.text()),
        st.binary(),
    )
    def test_hostile_answer_raises_nothing(self, code, headers, content):
        """Whatever it says, the reason is short, printable, and the pause bounded."""
        answer = http_answer(code, headers, content)

        assert len(answer.reason) < 1200
        assert answer.reason.isprintable()
        assert 0 <= answer.retry_after_s <= MAX_RETRY_AFTER_S


class TestRedirect:
    @pytest.mark.parametrize(
        "location, shown",
        [
            ("https://me:secret@elsewhere.example.org:8443/a?token=secret", "https://elsewhere.example.org:8443;"),
            ("/login?token=secret", "check the path of the endpoint"),
            ("http://[broken?token=secret", "Permanent Redirect"),
        ],
    )
    def test_is_named_without_secrets(self, location, shown):
        """Scheme, host and port of the target are enough."""
        answer = http_answer(308, {"Location": location}, b"")

        assert answer.verdict is Verdict.MISCONFIGURED
        assert shown in answer.reason
        assert "secret" not in answer.reason


class TestOtherProtocols:
    @pytest.mark.parametrize(
        "content",
        [
            b"Client sent an HTTP request to an HTTPS server.\n",
            b"<center>The plain HTTP request was sent to HTTPS port</center>",
            b"Reason: You're speaking plain HTTP to an SSL-enabled server port.",
        ],
    )
    def test_plain_http_to_a_port_with_tls(self, content):
        """Go, nginx and Apache answer 400, which says nothing of the records."""
        answer = answered(content, HTML, 400)

        assert answer.verdict is Verdict.MISCONFIGURED
        assert "write https://" in answer.reason

    def test_other_bad_request_rejects(self):
        """It is about the records."""
        assert answered(b"bad timestamp", None, 400).verdict is Verdict.REJECTED

    @pytest.mark.parametrize(
        "text, remedy",
        [
            (
                "certificate verify failed: certificate is not valid for '127.0.0.1'",
                "other hosts",
            ),
            ("certificate verify failed: Hostname mismatch, certificate is not valid for 'h'", "other hosts"),
            ("Hostname Verification Check failed.", "other hosts"),
            ("Peer name 127.0.0.1 is not in peer certificate", "other hosts"),
            ("certificate verify failed: self-signed certificate", "set certificate_file"),
            ("[SSL: TLSV1_ALERT_NO_APPLICATION_PROTOCOL] tlsv1 alert no application protocol", "use protocol grpc"),
            ("Received http2 header with status: 404", "use protocol http/protobuf"),
            ("Cannot check peer: missing selected ALPN property.", "use protocol http/protobuf"),
        ],
    )
    def test_other_side_names_the_remedy(self, text, remedy):
        """In the words of OpenSSL and of gRPC, older ones too."""
        answer = failed(OSError(text))

        assert answer.verdict is Verdict.MISCONFIGURED
        assert remedy in answer.reason

    def test_exception_without_a_known_cause_is_retryable(self):
        """A connection that was reset, for instance."""
        assert failed(ConnectionResetError("reset")).verdict is Verdict.RETRYABLE


class Verbose(Receiver):
    """Accepts all records but three, with a text of 5 MB."""

    def do_POST(self):  # http.server's name
        self.rfile.read(int(self.headers["Content-Length"]))
        content = partial(3) + b"x" * 5_000_000
        self.send_response(200)
        self.send_header("Content-Type", PROTOBUF)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class TestOversizedAnswer:
    """Of a real receiver; the first one is logged."""

    def warnings(self, caplog):
        return [message.partition(" ")[2] for message in caplog.messages if "acknowledges records, but" in message]

    def test_over_http(self, caplog):
        """The number of rejected records comes before the text."""
        with serving(Verbose) as server:
            transport = build_transport(ExporterOptions(server.url))
            answers = [transport.send(b"") for _ in range(2)]
            transport.close()

        assert [(answer.verdict, answer.rejected) for answer in answers] == [(Verdict.ACCEPTED, 3)] * 2
        assert len(self.warnings(caplog)) == 1

    def test_over_grpc(self, caplog):
        """gRPC's own error is none of the receiver's about the size of a request."""
        export = grpc.unary_unary_rpc_method_handler(lambda _request, _context: partial(3) + b"x" * 5_000_000)
        service = "opentelemetry.proto.collector.logs.v1.LogsService"
        server = grpc.server(ThreadPoolExecutor(1))
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"Export": export})])
        endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        transport = build_transport(ExporterOptions(endpoint, "grpc"))
        answer = transport.send(b"")
        transport.close()
        server.stop(None).wait(300)

        assert answer.verdict is Verdict.ACCEPTED
        assert len(self.warnings(caplog)) == 1
