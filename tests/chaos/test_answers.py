"""Whatever a receiver answers, every event is accepted or rejected, in order, and nothing blocks what follows."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler

import pytest
from builders import ID, serving, tls_context
from receivers import (
    BAD,
    ILL,
    LOGIN_PAGE,
    OK,
    UNAUTHORIZED,
    UNAVAILABLE,
    Receiver,
    Reply,
    alarm,
    grpc_receiver,
    rejected_in,
    talking,
)

from jupyter_otel_telemetry.otlp.answers import Answer, Verdict, http_answer
from jupyter_otel_telemetry.otlp.batch_sender import Backoff
from jupyter_otel_telemetry.otlp.settings import ExporterOptions
from jupyter_otel_telemetry.otlp.transport import build_transport

RECORD_COUNT = 40


def record(log, numbers=range(RECORD_COUNT)):
    for number in numbers:
        log.record_event(ID, 1, {"action": "start", "count": number})


def flush(log, timeout_s=120):
    return log.handlers[0].force_flush(timeout_s)


def rejected(folder):
    """Return the numbers of the events that were rejected, and why."""
    return rejected_in(folder)


class TestRetries:
    @pytest.mark.parametrize(
        "reply",
        [
            UNAVAILABLE,
            Reply(502, "ABORTED"),
            Reply(504, "DEADLINE_EXCEEDED"),
            Reply(408, "CANCELLED"),
            Reply(429, "OUT_OF_RANGE"),
            Reply(302, "DATA_LOSS"),
            Reply(reset=True),
            ILL,
        ],
        ids=lambda reply: "reset" if reply.reset else f"{reply.http}-{reply.grpc}",
    )
    def test_what_may_pass_is_tried_again_in_order(self, receiver, spooling, reply):
        """Once each, when the receiver is well again."""
        answers = iter([reply] * 3)
        receiver.behave = lambda _: next(answers, OK)
        log = spooling(receiver)
        record(log)

        assert flush(log)
        assert receiver.counts == list(range(RECORD_COUNT))

    def test_retry_after_is_honoured(self, receiver, spooling):
        """For at least as long, though somebody waits for a flush."""
        answers = iter([Reply(429, "UNAVAILABLE", retry_after_s=1)])
        receiver.behave = lambda _: next(answers, OK)
        log = spooling(receiver)
        record(log)

        assert flush(log)
        assert receiver.times_s[1] - receiver.times_s[0] >= 1

    def test_receiver_that_never_answers(self, receiver, spooling, monkeypatch):
        """Is asked again after the time limit of a request."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.3")
        answers = iter([Reply(503, "UNAVAILABLE", wait_s=60)])
        receiver.behave = lambda _: next(answers, OK)
        log = spooling(receiver)
        record(log)

        assert flush(log)
        assert receiver.counts == list(range(RECORD_COUNT))

    def test_slow_receiver_gets_all(self, receiver, spooling):
        """In order."""
        receiver.behave = lambda _: Reply(wait_s=0.05)
        log = spooling(receiver)
        for first in range(0, RECORD_COUNT, 10):
            record(log, range(first, first + 10))
            receiver.wait_for(lambda found, last=first + 9: last in found.counts)

        assert receiver.counts == list(range(RECORD_COUNT))

    def test_repeated_delivery_has_the_same_uid(self, http, spooling):
        """By which a receiver that lost its answer can tell it from a second event."""
        seen = []
        http.behave = lambda numbers: seen.append(numbers) or (Reply(reset=True) if len(seen) == 1 else OK)
        log = spooling(http)
        record(log, [1])

        assert flush(log)
        assert seen == [[1], [1]]
        assert len(set(http.uids)) == 1

    def test_login_page_acknowledges_nothing(self, http, spooling, caplog):
        """A proxy's 200: the events wait until the receiver itself answers."""
        answers = iter([LOGIN_PAGE] * 3)
        http.behave = lambda _: next(answers, OK)
        log = spooling(http)
        record(log)

        assert flush(log)
        assert http.counts == list(range(RECORD_COUNT))
        assert "200 not an OTLP response but a web page: check the endpoint" in caplog.text

    def test_nobody_listening(self, spooling):
        """The flush says no, and the event waits."""
        log = spooling("http://127.0.0.1:9")
        record(log, [1])

        assert not flush(log, 0.2)
        assert log.handlers[0]._spool.depth() == 1


class TestOneTimeLimit:
    """It holds for the whole exchange."""

    @pytest.mark.parametrize(
        "parts",
        [
            (b"HTTP/1.1 200 OK\r\nX-A: ", b"a"),
            (b"HTTP/1.1 200 OK\r\n", b"X-A: a\r\n"),
            (b"HTTP/1.1 100 Continue\r\n\r\n",),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"\0"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n\0\r\n"),
            (b"H", b""),
        ],
        ids=["header", "headers", "continue", "body", "chunks", "nothing"],
    )
    def test_answer_that_drips(self, monkeypatch, parts):
        """Without an end, each read is in time; the attempt ends nevertheless, and acknowledges nothing."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
        with talking(*parts, pause_s=0.01) as url, alarm(60):
            transport = build_transport(ExporterOptions(endpoint=url))
            answer = transport.send(b"")
            transport.close()

        assert answer.verdict is Verdict.RETRYABLE

    def test_status_counts_though_its_text_drips(self, monkeypatch):
        """A reason is not worth more than the verdict."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
        with talking(b"HTTP/1.1 401 No\r\nContent-Length: 100000\r\n\r\n", b"x", pause_s=0.01) as url, alarm(60):
            transport = build_transport(ExporterOptions(endpoint=url))
            answer = transport.send(b"")
            transport.close()

        assert answer.verdict is Verdict.MISCONFIGURED


class TestOtherProtocols:
    """A port that speaks another one is recognised, the remedy is part of the reason, and the records wait."""

    def send(self, url, protocol):
        transport = build_transport(ExporterOptions(endpoint=url, protocol=protocol))
        answer = transport.send(b"")
        transport.close()
        assert answer.verdict is Verdict.MISCONFIGURED
        return answer.reason

    def test_http_to_grpc(self):
        """4317 for 4318."""
        with grpc_receiver(Receiver("grpc")) as receiver:
            assert "the port speaks HTTP/2: use protocol grpc" in self.send(receiver.url, "http/protobuf")

    def test_grpc_to_http(self, http):
        """4318 for 4317."""
        assert "the port speaks HTTP/1.1: use protocol http/protobuf" in self.send(http.url, "grpc")

    def test_tls_to_a_port_without_it(self, receiver):
        """Over both."""
        url = receiver.url.replace("http:", "https:")

        assert "the port does not speak TLS: write http://" in self.send(url, receiver.protocol)

    @pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
    def test_certificate_that_is_not_trusted(self, certificate, protocol):
        """Over both."""
        with serving(BaseHTTPRequestHandler, tls_context(certificate)) as server:
            assert "set certificate_file" in self.send(server.url, protocol)


class TestBackoff:
    def test_grows_up_to_half_a_minute_and_begins_anew(self, monkeypatch):
        """At random, between half of it and all."""
        monkeypatch.setattr("jupyter_otel_telemetry.otlp.batch_sender._FIRST_DELAY_S", 0.5)
        monkeypatch.setattr("jupyter_otel_telemetry.otlp.batch_sender._MAX_DELAY_S", 30.0)
        backoff = Backoff()
        delays_s = [backoff.next_s(Answer(Verdict.RETRYABLE)) for _ in range(40)]
        bounds_s = [min(30, 0.5 * 2**number) for number in range(40)]

        assert all(bound / 2 <= delay <= bound for delay, bound in zip(delays_s, bounds_s, strict=True))
        backoff.reset()
        assert backoff.next_s(Answer(Verdict.RETRYABLE)) <= 0.5

    def test_is_never_less_than_the_receiver_asks_for(self):
        """It comes on top."""
        assert Backoff().next_s(Answer(Verdict.RETRYABLE, retry_after_s=7)) >= 7

    @pytest.mark.parametrize(
        "text,seconds",
        [("120", 120), ("", 0), ("soon", 0), ("-5", 0), ("999999999999", 3600), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
    )
    def test_retry_after_may_say_anything(self, text, seconds):
        """An hour is the most that is believed."""
        assert http_answer(503, {"Retry-After": text}, b"").retry_after_s == seconds


class TestRefusals:
    def test_one_bad_event_costs_only_itself(self, receiver, spooling, folder):
        """It is stored with the reason, and all others arrive in order."""
        receiver.behave = lambda numbers: BAD if 17 in numbers else OK
        log = spooling(receiver)
        record(log)

        assert not flush(log)
        assert receiver.counts == [number for number in range(RECORD_COUNT) if number != 17]
        assert rejected(folder) == [(17, "400" if receiver.protocol != "grpc" else "INVALID_ARGUMENT")]

    def test_several_bad_events(self, http, spooling, folder):
        """First, last and neighbours."""
        bad = {0, 7, 8, RECORD_COUNT - 1}
        http.behave = lambda numbers: BAD if bad & set(numbers) else OK
        log = spooling(http)
        record(log)

        assert not flush(log)
        assert http.counts == [number for number in range(RECORD_COUNT) if number not in bad]
        assert {number for number, _ in rejected(folder)} == bad

    @pytest.mark.parametrize(
        "reply", [UNAUTHORIZED, Reply(403, "PERMISSION_DENIED"), Reply(404, "UNIMPLEMENTED"), Reply(405, "NOT_FOUND")]
    )
    def test_wrong_token_or_address_says_nothing_of_the_events(self, receiver, spooling, folder, reply):
        """They wait until it is corrected; each attempt is one request, which is never split."""
        answers = iter([reply] * 12)
        receiver.behave = lambda _: next(answers, OK)
        log = spooling(receiver)
        record(log)

        assert flush(log)
        assert receiver.counts == list(range(RECORD_COUNT))
        assert rejected(folder) == []

    def test_partial_success_is_read(self, receiver, spooling, folder, caplog):
        """Which ones are meant nobody knows: all are stored, none is sent again, and what follows arrives."""
        replies = iter([Reply(rejected=1)])
        receiver.behave = lambda _: next(replies, OK)
        log = spooling(receiver)
        record(log)

        assert not flush(log)
        record(log, [99])
        assert flush(log)
        first = len(receiver.requests[0])
        assert receiver.counts == [*range(RECORD_COUNT), 99]
        assert rejected(folder) == [(number, "partial_success") for number in range(first)]
        assert "rejects log records, 1 to begin with (partial_success some are odd)" in caplog.text

    def test_event_that_makes_the_receiver_ill(self, receiver, spooling, folder):
        """500 and INTERNAL may mean anything: once others are accepted, the event is known to be what is meant."""
        receiver.behave = lambda numbers: ILL if 5 in numbers else OK
        log = spooling(receiver)
        record(log)

        assert not flush(log)
        assert receiver.counts == [number for number in range(RECORD_COUNT) if number != 5]
        assert [number for number, _ in rejected(folder)] == [5]

    @pytest.mark.parametrize(
        "reply", [UNAVAILABLE, Reply(504, "DEADLINE_EXCEEDED"), Reply(500, "RESOURCE_EXHAUSTED"), Reply(reset=True)]
    )
    def test_retryable_answer_that_recurs_for_one_event_while_others_pass(self, http, spooling, folder, reply):
        """It is about the event, whatever the status says; nothing behind it is blocked."""
        http.behave = lambda numbers: reply if 5 in numbers else OK
        log = spooling(http)
        record(log)

        assert not flush(log)
        assert sorted(set(http.counts)) == [number for number in range(RECORD_COUNT) if number != 5]
        assert [number for number, _ in rejected(folder)] == [5]

    @pytest.mark.parametrize("status", ["OUT_OF_RANGE", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL"])
    def test_the_same_over_grpc(self, spooling, folder, status):
        """Small as it is, the event may exceed another limit of the receiver."""
        with grpc_receiver(Receiver("grpc")) as receiver:
            receiver.behave = lambda numbers: Reply(500, status) if 5 in numbers else OK
            log = spooling(receiver)
            record(log)

            assert not flush(log)
            assert sorted(set(receiver.counts)) == [number for number in range(RECORD_COUNT) if number != 5]
            assert [(5, status)] == rejected(folder)

    @pytest.mark.parametrize("status", ["INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE"])
    def test_quota_rejects_nothing(self, receiver, spooling, folder, status):
        """A request now and then is accepted, whatever is in it: the events are not the cause."""
        accepted_s = []

        def behave(_numbers):
            if accepted_s and time.monotonic() < accepted_s[-1] + 0.1:
                return Reply(500, status)
            accepted_s.append(time.monotonic())
            return OK

        log = spooling(receiver)
        receiver.behave = behave
        for first in range(0, 200, 10):
            before = len(receiver.requests)
            record(log, range(first, first + 10))
            receiver.wait_for(lambda found, before=before: len(found.requests) > before)

        assert flush(log, 60)
        assert set(receiver.counts) == set(range(200))
        assert rejected(folder) == []

    def test_receiver_that_is_ill_for_long_gets_all_when_it_is_well(self, http, spooling, folder):
        """Nothing is rejected while nothing at all is accepted; what was in doubt may come last."""
        http.behave = lambda _: ILL
        log = spooling(http)
        record(log)
        http.wait_for(lambda found: len(found.requests) > 60)
        http.behave = lambda _: OK

        assert flush(log)
        assert sorted(http.counts) == list(range(RECORD_COUNT))
        assert rejected(folder) == []

    @pytest.mark.parametrize("status", ["RESOURCE_EXHAUSTED", "OUT_OF_RANGE"])
    def test_batch_that_is_too_large_is_sent_in_parts(self, receiver, spooling, folder, status):
        """gRPC's own servers say RESOURCE_EXHAUSTED for it, as for a quota; tonic says OUT_OF_RANGE."""
        receiver.behave = lambda numbers: Reply(413, status) if len(numbers) > 4 else OK
        log = spooling(receiver)
        record(log)

        assert flush(log)
        assert receiver.counts == list(range(RECORD_COUNT))
        assert rejected(folder) == []

    def test_receiver_that_goes_while_the_bad_event_is_sought(self, http, spooling, folder):
        """What was answered is not sent again."""
        replies = iter([BAD, OK, UNAVAILABLE])
        http.behave = lambda numbers: next(replies, OK) if len(numbers) > 1 else UNAVAILABLE
        log = spooling(http)
        record(log)

        assert flush(log)
        assert http.counts == list(range(RECORD_COUNT))
        assert rejected(folder) == []
