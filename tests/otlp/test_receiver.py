from __future__ import annotations

import gzip
import http.client
import json
import math
import socket
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from jupyter_otel_telemetry.otlp.receiver import OTLPReceiver, ReceivedLog

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
TRACE_ID = "5b8efff798038103d269b633813fc60c"
SPAN_ID = "eee19b7ec3c1b174"
TIME_NS = 1_763_850_000_123_456_789


def any_value(value):
    """Encode what has no encoder of its own in a test: None, and nested lists and dicts."""
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
        case dict():
            return AnyValue(kvlist_value=KeyValueList(values=key_values(value)))
        case _:
            return AnyValue(string_value=value)


def key_values(mapping):
    return [KeyValue(key=key, value=any_value(value)) for key, value in mapping.items()]


def protobuf(*records):
    scope_logs = logs_pb2.ScopeLogs(log_records=[logs_pb2.LogRecord(**record) for record in records])
    resource_logs = logs_pb2.ResourceLogs(scope_logs=[scope_logs])
    return ExportLogsServiceRequest(resource_logs=[resource_logs]).SerializeToString()


def otlp_json(*records):
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}).encode()


def connect(receiver):
    return http.client.HTTPConnection(urlsplit(receiver.endpoint).netloc, timeout=10)


def post(receiver, body=b"", content_type=PROTOBUF, path="/v1/logs", method="POST", **headers):
    """Send one request; headers are spelled with underscores. Returns the answer and its body."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = connect(receiver)
    try:
        connection.request(method, path, body, {"Content-Type": content_type, **names})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def raw(receiver, data):
    """Send bytes that are no proper request, and return all that is answered."""
    url = urlsplit(receiver.endpoint)
    with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def head(content_length, content_type=PROTOBUF):
    lines = ("POST /v1/logs HTTP/1.1", "Host: x", f"Content-Type: {content_type}")
    return "\r\n".join([*lines, f"Content-Length: {content_length}", "", ""]).encode()


def is_alive(receiver):
    before = len(receiver.logs)
    return post(receiver, protobuf({}))[0].status == 200 and len(receiver.logs) == before + 1


def log(**changes):
    fields = {
        "timestamp_ns": TIME_NS,
        "observed_timestamp_ns": 0,
        "severity_number": 9,
        "severity_text": "INFO",
        "body": "text",
        "event_name": "event",
        "attributes": {},
        "resource": {},
        "scope_name": "scope",
        "scope_version": "1",
        "trace_id": "",
        "span_id": "",
        "dropped_attributes_count": 0,
    }
    return ReceivedLog(**fields | changes)


@pytest.fixture
def receiver():
    with OTLPReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def shared_receiver():
    with OTLPReceiver() as receiver:
        yield receiver


class TestReceivedLog:
    def test_dict_uses_the_names_of_the_data_model(self):
        """Everything is there, flat, under OpenTelemetry's names."""
        expected = {
            "timestamp": "2025-11-22T22:20:00.123456789Z",
            "event_name": "event",
            "severity_text": "INFO",
            "severity_number": 9,
            "body": "text",
            "attributes": {"a": 1},
            "resource": {"service.name": "hub"},
            "scope": {"name": "scope", "version": "1"},
            "trace_id": TRACE_ID,
            "span_id": SPAN_ID,
        }
        full = log(attributes={"a": 1}, resource={"service.name": "hub"}, trace_id=TRACE_ID, span_id=SPAN_ID)

        assert expected == full.to_dict()

    def test_dict_holds_what_json_can(self):
        """Bytes become base64 and non-finite numbers text, at any depth."""
        values = {"b": b"\x00\xff", "n": [math.nan, {"i": math.inf}], "m": -math.inf, "f": 1.5, "none": None}
        expected = {"b": "AP8=", "n": ["NaN", {"i": "Infinity"}], "m": "-Infinity", "f": 1.5, "none": None}

        assert expected == log(attributes=values).to_dict()["attributes"]

    def test_time_observed_stands_in_for_a_missing_one(self):
        """Without a timestamp the observed one counts."""
        assert log(timestamp_ns=0, observed_timestamp_ns=1).to_dict()["timestamp"] == "1970-01-01T00:00:00.000000001Z"

    def test_unknown_time_is_none(self):
        """A log without any time has none, rather than 1970."""
        assert log(timestamp_ns=0).to_dict()["timestamp"] is None

    def test_last_possible_time_is_printed(self):
        """The largest number the wire can carry is a date like any other."""
        assert log(timestamp_ns=2**64 - 1).to_dict()["timestamp"] == "2554-07-21T23:34:33.709551615Z"


class TestDelivery:
    @pytest.mark.parametrize("compression", list(Compression))
    def test_opentelemetry_exporter_delivers(self, receiver, compression):
        """What OpenTelemetry's own exporter sends arrives whole, compressed or not."""
        exporter = OTLPLogExporter(f"{receiver.endpoint}/v1/logs", compression=compression)
        provider = LoggerProvider(Resource({"service.name": "hub"}), shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        attributes = {"s": "x", "i": 2**62, "f": 0.5, "b": True, "l": ["a", 1], "d": {"e": b"\x00"}}
        record = LogRecord(
            timestamp=TIME_NS, severity_number=SeverityNumber.WARN, event_name="e", body="b", attributes=attributes
        )
        provider.get_logger("scope", "2").emit(record)
        provider.shutdown()

        [received] = receiver.wait_for(1)
        assert (attributes, "hub") == (received.attributes, received.resource["service.name"])
        assert (
            received.event_name,
            received.body,
            received.timestamp_ns,
            received.severity_number,
        ) == ("e", "b", TIME_NS, 13)
        assert (received.scope_name, received.scope_version) == ("scope", "2")

    @pytest.mark.parametrize(
        "value", [None, "", "text", True, False, 0, -(2**63), 1.5, b"\x00\xff", [], [[1], None], {"a": {"b": []}}]
    )
    def test_values_of_every_kind_are_decoded(self, receiver, value):
        """Each kind of value comes back as its Python type."""
        post(receiver, protobuf({"body": any_value(value), "attributes": key_values({"k": value})}))

        [received] = receiver.logs
        assert [value, {"k": value}] == [received.body, received.attributes]
        assert type(value) is type(received.body)

    def test_ids_are_hex(self, receiver):
        """Trace and span ids are written as everybody writes them."""
        post(receiver, protobuf({"trace_id": bytes.fromhex(TRACE_ID), "span_id": bytes.fromhex(SPAN_ID)}))

        assert [(log.trace_id, log.span_id) for log in receiver.logs] == [(TRACE_ID, SPAN_ID)]

    @pytest.mark.parametrize("size", [0, 3, 16, 17])
    def test_invalid_ids_are_absent(self, receiver, size):
        """An id of zeros or of another length is no id."""
        post(receiver, protobuf({"trace_id": bytes(size) + b"\x01" * (size % 16), "span_id": bytes(size)}))

        assert [(log.trace_id, log.span_id) for log in receiver.logs] == [("", "")]

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity", "GZIP"])
    def test_content_encodings_are_undone(self, receiver, encoding):
        """The encodings of OTLP exporters all arrive."""
        compress = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding.lower(), bytes)
        post(receiver, compress(protobuf({"event_name": "e"})), Content_Encoding=encoding)

        assert [log.event_name for log in receiver.logs] == ["e"]

    def test_chunked_bodies_arrive(self, receiver):
        """A body without a known length comes in chunks, and the connection stays in step."""
        body = protobuf({"event_name": "e"})
        connection = connect(receiver)
        for _ in range(2):
            headers = {"Content-Type": PROTOBUF}
            connection.request("POST", "/v1/logs", iter([body[:3], body[3:]]), headers, encode_chunked=True)
            connection.getresponse().read()
        connection.close()

        assert [log.event_name for log in receiver.logs] == ["e", "e"]

    def test_answers_have_the_encoding_of_the_request(self, receiver):
        """Success is an empty response message, as protobuf or as JSON."""
        protobuf_answer, json_answer = post(receiver, protobuf({})), post(receiver, otlp_json({}), JSON)

        assert [a.headers["Content-Type"] for a, _ in (protobuf_answer, json_answer)] == [PROTOBUF, JSON]
        assert [body for _, body in (protobuf_answer, json_answer)] == [b"", b"{}"]

    def test_concurrent_senders_lose_nothing(self, receiver):
        """Each of many simultaneous requests is kept, exactly once."""
        names = [f"event-{number}" for number in range(200)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda name: post(receiver, protobuf({"event_name": name})), names))

        assert sorted(names) == sorted(log.event_name for log in receiver.logs)


class TestJSON:
    def test_example_arrives_whole(self, receiver):
        """Ids are hex, enums numbers, 64-bit numbers text or not, and what is unknown is ignored."""
        values = [{"key": "k", "value": {"intValue": "7"}}, {"key": "b", "value": {"bytesValue": "AP8="}}]
        record = {
            "timeUnixNano": str(TIME_NS),
            "observedTimeUnixNano": TIME_NS,
            "severityNumber": 9,
            "traceId": TRACE_ID,
            "spanId": SPAN_ID.upper(),
            "attributes": values,
            "body": {"doubleValue": "NaN"},
            "fieldOfTheFuture": {"a": [1]},
        }
        post(receiver, otlp_json(record), "application/json; charset=utf-8")

        [received] = receiver.logs
        assert (
            received.timestamp_ns,
            received.observed_timestamp_ns,
            received.severity_number,
        ) == (TIME_NS, TIME_NS, 9)
        assert (received.trace_id, received.span_id) == (TRACE_ID, SPAN_ID)
        assert received.attributes == {"k": 7, "b": b"\x00\xff"}
        assert math.isnan(received.body)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b'"x"',
            b"null",
            b"\xff",
            b'{"resourceLogs": 1}',
            b'{"resourceLogs": [["scopeLogs"]]}',
            otlp_json({"traceId": "not hexadecimal"}),
            otlp_json({"body": {"intValue": "9" * 5000}}),
            otlp_json({"body": {"stringValue": "\ud800"}}),
            b'{"a":' * 100_000,
        ],
        ids=lambda body: body[:20].decode(errors="replace"),
    )
    def test_malformed_bodies_get_a_status(self, receiver, body):
        """Bad JSON is answered with 400 and a Status as JSON, and nothing is kept."""
        answer, text = post(receiver, body, JSON)

        assert (answer.status, receiver.logs) == (400, [])
        assert "OTLP JSON" in json.loads(text)["message"]


class TestRefusals:
    def test_malformed_protobuf_gets_a_status(self, receiver):
        """Bad protobuf is answered with 400 and a Status as protobuf."""
        answer, body = post(receiver, b"\xff\xff\xff")

        assert (answer.status, answer.headers["Content-Type"]) == (400, PROTOBUF)
        assert "OTLP protobuf" in Status.FromString(body).message

    @pytest.mark.parametrize(
        "request_, status",
        [
            ({"path": "/v1/traces"}, 404),
            ({"path": "/"}, 404),
            ({"method": "GET"}, 405),
            ({"method": "HEAD"}, 405),
            ({"method": "DELETE"}, 405),
            ({"content_type": "text/plain"}, 415),
            ({"content_type": ""}, 415),
            ({"Content_Encoding": "br"}, 415),
            ({"Content_Encoding": "gzip, gzip"}, 415),
            ({"Transfer_Encoding": "gzip"}, 501),
            ({"Content_Length": "-1"}, 400),
            ({"Content_Length": "1_0"}, 400),
            ({"Content_Length": "9" * 30}, 413),
            ({"body": b"no gzip", "Content_Encoding": "gzip"}, 400),
            ({"body": gzip.compress(b"")[:-1], "Content_Encoding": "gzip"}, 400),
            ({"body": gzip.compress(b"") + b"more", "Content_Encoding": "gzip"}, 400),
        ],
    )
    def test_each_has_its_status(self, receiver, request_, status):
        """What is not a request for logs is told why not, and harms nobody else."""
        assert status == post(receiver, **request_)[0].status
        assert is_alive(receiver)

    def test_method_not_allowed_names_the_allowed_one(self, receiver):
        """405 comes with the header that HTTP asks for."""
        assert post(receiver, method="PUT")[0].headers["Allow"] == "POST"

    def test_length_is_required(self, receiver):
        """A body of unknown length is not waited for."""
        assert raw(receiver, b"POST /v1/logs HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{}").startswith(
            b"HTTP/1.1 411 "
        )

    def test_huge_length_is_refused_unread(self, receiver):
        """A terabyte is refused at its announcement."""
        assert raw(receiver, head(10**12)).startswith(b"HTTP/1.1 413 ")

    def test_large_body_gets_its_answer_while_sending(self):
        """A sender that writes all before it reads still learns that it was too much."""
        with OTLPReceiver(max_body_bytes=1000) as receiver:
            assert post(receiver, b"x" * 10_000_000)[0].status == 413

    def test_large_chunks_are_refused(self):
        """Chunks count together, however small each is."""
        with OTLPReceiver(max_body_bytes=1000) as receiver:
            assert post(receiver, iter([b"x" * 600] * 2))[0].status == 413

    @pytest.mark.parametrize("encoding, compress", [("gzip", gzip.compress), ("deflate", zlib.compress)])
    def test_bombs_are_not_inflated(self, encoding, compress):
        """A body that decompresses to too much is refused, and one of just the limit is not."""
        limit = 100_000
        with OTLPReceiver(max_body_bytes=limit) as receiver:
            sizes = [limit + 1, limit, 50_000_000]
            answers = [post(receiver, compress(b" " * size), JSON, Content_Encoding=encoding)[0] for size in sizes]

        assert [answer.status for answer in answers] == [413, 400, 413]

    @pytest.mark.parametrize("chunks", [b"xyz\r\n", b"-1\r\n", b"0x1\r\na", b"\r\n", b"1\r\nab\r\n", b"1" * 2000])
    def test_bad_chunks_are_refused(self, receiver, chunks):
        """A body that breaks the rules of chunks ends its connection, nothing else."""
        start = b"POST /v1/logs HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"

        assert raw(receiver, start + chunks).startswith(b"HTTP/1.1 400 ")
        assert is_alive(receiver)


class TestRobustness:
    @settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
    @given(body=st.binary(max_size=300), content_type=st.sampled_from([JSON, PROTOBUF]))
    def test_any_body_is_answered(self, shared_receiver, body, content_type):
        """Whatever the bytes, the answer is success or bad request."""
        assert post(shared_receiver, body, content_type)[0].status in (200, 400)

    @settings(deadline=None, max_examples=200)
    @given(
        content=st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        "resourceLogs logRecords body attributes key value traceId arrayValue values".split()
                    ),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=12,
        )
    )
    def test_any_json_is_answered(self, shared_receiver, content):
        """JSON of the wrong shape, with the right names, is success or bad request."""
        for body in (json.dumps(content).encode(), otlp_json(content)):
            assert post(shared_receiver, body, JSON)[0].status in (200, 400)

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=200))
    def test_any_bytes_leave_the_server_alive(self, shared_receiver, data):
        """Noise instead of HTTP ends its connection, nothing else."""
        raw(shared_receiver, data)

        assert is_alive(shared_receiver)

    def test_truncations_of_a_request_are_silent(self, receiver, capfd):
        """A client that leaves, wherever it stopped, causes neither a log nor a line on stderr."""
        body = protobuf({"event_name": "e"})
        request = head(len(body)) + body
        for end in range(len(request)):
            raw(receiver, request[:end])

        assert (receiver.logs, capfd.readouterr().err) == ([], "")

    def test_reset_connection_is_silent(self, receiver, capfd):
        """A client that resets the connection within a body is as silent."""
        url = urlsplit(receiver.endpoint)
        with socket.create_connection((url.hostname, url.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(head(100) + b"part")
        receiver.stop()

        assert capfd.readouterr().err == ""

    def test_slow_client_holds_nobody_up(self, receiver):
        """While one client pauses within its body others are served, and then it is."""
        body = protobuf({"event_name": "slow"})
        connection = connect(receiver)
        connection.putrequest("POST", "/v1/logs")
        connection.putheader("Content-Type", PROTOBUF)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:3])
        post(receiver, protobuf({"event_name": "fast"}))
        connection.send(body[3:])
        connection.getresponse().read()
        connection.close()

        assert [log.event_name for log in receiver.logs] == ["fast", "slow"]


class TestOTLPReceiver:
    def test_endpoint_needs_a_running_receiver(self):
        """There is no URL before the port is known."""
        with pytest.raises(RuntimeError, match="not running"):
            _ = OTLPReceiver().endpoint

    @pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
    def test_ipv6_endpoint_is_bracketed(self):
        """The URL is one that HTTP clients take."""
        try:
            with OTLPReceiver("::1") as receiver:
                assert receiver.endpoint.startswith("http://[::1]:")
                assert is_alive(receiver)
        except OSError:
            pytest.skip("this machine has no ::1")

    def test_endpoint_of_every_address_is_reachable(self):
        """A receiver at 0.0.0.0 says where to reach it, which is not 0.0.0.0."""
        with OTLPReceiver("0.0.0.0") as receiver:
            assert receiver.endpoint.startswith("http://127.0.0.1:")
            assert is_alive(receiver)

    def test_port_in_use_is_named(self, receiver):
        """The error says which port, and is the operating system's."""
        port = urlsplit(receiver.endpoint).port
        with pytest.raises(OSError, match=f"127.0.0.1 port {port}: .*in use") as caught:
            OTLPReceiver(port=port).start()

        assert caught.value.errno == caught.value.__cause__.errno

    def test_second_start_is_refused(self, receiver):
        """Starting twice would lose the first server."""
        with pytest.raises(RuntimeError, match="already running"):
            receiver.start()

    def test_second_stop_does_no_harm(self, receiver):
        """Stopping in a test and again by the fixture is fine."""
        receiver.stop()
        receiver.stop()

        assert receiver.logs == []

    def test_restart_keeps_port_and_logs(self, receiver):
        """A receiver that was away comes back where it was, with what it had."""
        endpoint = receiver.endpoint
        is_alive(receiver)
        receiver.stop()
        receiver.start()

        assert (endpoint, 1) == (receiver.endpoint, len(receiver.logs))

    def test_stop_ends_kept_alive_connections(self, receiver):
        """A stopped receiver is stopped for those who were connected, too."""
        connection = connect(receiver)
        headers = {"Content-Type": PROTOBUF}
        connection.request("POST", "/v1/logs", protobuf({}), headers)
        connection.getresponse().read()
        receiver.stop()

        assert connection.sock.recv(1) == b""
        connection.close()

    def test_wait_for_returns_when_enough_came(self, receiver):
        """Waiting ends with the log that was missing."""
        sender = threading.Thread(target=post, args=(receiver, protobuf({}, {})))
        sender.start()
        logs = receiver.wait_for(2)
        sender.join()

        assert len(logs) == 2

    def test_wait_for_says_how_many_came(self, receiver):
        """Giving up tells how far it got."""
        is_alive(receiver)
        with pytest.raises(TimeoutError, match=r"1 of 2 logs came within 0\.01 s"):
            receiver.wait_for(2, timeout_s=0.01)

    def test_clear_forgets(self, receiver):
        """After clearing, only what comes later is there."""
        is_alive(receiver)
        receiver.clear()

        assert receiver.logs == []

    def test_logs_are_a_snapshot(self, receiver):
        """Changing the list changes nothing in the receiver."""
        is_alive(receiver)
        receiver.logs.clear()

        assert len(receiver.logs) == 1


class TestOnLog:
    def test_gets_each_log_and_nothing_is_kept(self):
        """A callback sees every log in order; memory does not grow."""
        names = []
        with OTLPReceiver(on_log=lambda log: names.append(log.event_name)) as receiver:
            post(receiver, protobuf({"event_name": "a"}, {"event_name": "b"}))

            assert (names, receiver.logs) == (["a", "b"], [])

    def test_rules_out_wait_for(self):
        """Waiting for what is not kept would never end."""
        with OTLPReceiver(on_log=id) as receiver, pytest.raises(RuntimeError, match="on_log"):
            receiver.wait_for(1)

    def test_error_shows_and_server_survives(self, capfd):
        """A bug of the callback is visible, and costs no more than its request."""

        def fail(log):
            if log.event_name == "bad":
                raise ZeroDivisionError

        with OTLPReceiver(on_log=fail) as receiver:
            with pytest.raises(http.client.RemoteDisconnected):
                post(receiver, protobuf({"event_name": "bad"}))

            assert post(receiver, protobuf({}))[0].status == 200
        assert "ZeroDivisionError" in capfd.readouterr().err
