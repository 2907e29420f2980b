"""Whatever a receiver answers, every event is accepted or set aside, in order, and nothing blocks what follows."""

from __future__ import annotations

import pytest
from builders import ID
from receivers import BAD, ILL, OK, UNAUTHORIZED, UNAVAILABLE, Reply, rejected_in

from jupyter_otel_telemetry.otlp.answers import Answer, http_answer
from jupyter_otel_telemetry.spool.courier import Backoff

RECORD_COUNT = 40


def record(log, numbers=range(RECORD_COUNT)):
    for number in numbers:
        log.record_event(ID, 1, {"action": "start", "count": number})


def flush(log, timeout_s=20):
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

    def test_nobody_listening(self, spooling):
        """The flush says no, and the event waits."""
        log = spooling("http://127.0.0.1:9")
        record(log, [1])

        assert not flush(log, 0.2)
        assert log.handlers[0]._spool.depth() == 1


class TestBackoff:
    def test_grows_up_to_half_a_minute_and_begins_anew(self, monkeypatch):
        """At random, between half of it and all."""
        monkeypatch.setattr("jupyter_otel_telemetry.spool.courier._FIRST_DELAY_S", 0.5)
        monkeypatch.setattr("jupyter_otel_telemetry.spool.courier._MAX_DELAY_S", 30.0)
        backoff = Backoff()
        delays_s = [backoff.next_s(Answer("retry")) for _ in range(40)]
        bounds_s = [min(30, 0.5 * 2**number) for number in range(40)]

        assert all(bound / 2 <= delay <= bound for delay, bound in zip(delays_s, bounds_s, strict=True))
        backoff.reset()
        assert backoff.next_s(Answer("retry")) <= 0.5

    def test_is_never_less_than_the_receiver_asks_for(self):
        """It comes on top."""
        assert Backoff().next_s(Answer("retry", retry_after_s=7)) >= 7

    @pytest.mark.parametrize(
        "text,seconds",
        [("120", 120), ("", 0), ("soon", 0), ("-5", 0), ("999999999999", 3600), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
    )
    def test_retry_after_may_say_anything(self, text, seconds):
        """An hour is the most that is believed."""
        assert http_answer(503, {"Retry-After": text}, b"").retry_after_s == seconds


class TestRefusals:
    def test_one_bad_event_costs_only_itself(self, receiver, spooling, folder):
        """It is set aside with the reason, and all others arrive in order."""
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

    def test_wrong_token_sets_all_aside_and_asks_once_a_batch(self, receiver, spooling, folder):
        """It says nothing of the events, so there is none to look for."""
        receiver.behave = lambda _: UNAUTHORIZED
        log = spooling(receiver)
        record(log)

        assert not flush(log)
        assert [number for number, _ in rejected(folder)] == list(range(RECORD_COUNT))
        assert sum(map(len, receiver.requests)) == RECORD_COUNT

    def test_partial_success_is_read(self, receiver, spooling, folder, caplog):
        """Which ones are meant nobody knows: all are set aside, none is sent again, and what follows arrives."""
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
        assert "rejects log records for good, 1 to begin with (partial_success some are odd)" in caplog.text

    def test_event_that_makes_the_receiver_ill(self, receiver, spooling, folder):
        """500 and INTERNAL may mean anything: once others are accepted, the event is known to be what is meant."""
        receiver.behave = lambda numbers: ILL if 5 in numbers else OK
        log = spooling(receiver)
        record(log)

        assert not flush(log)
        assert receiver.counts == [number for number in range(RECORD_COUNT) if number != 5]
        assert [number for number, _ in rejected(folder)] == [5]

    def test_receiver_that_is_ill_for_long_gets_all_when_it_is_well(self, http, spooling, folder):
        """Nothing is set aside while nothing at all is accepted; what was in doubt may come last."""
        http.behave = lambda _: ILL
        log = spooling(http)
        record(log)
        http.wait_for(lambda found: len(found.requests) > 60)
        http.behave = lambda _: OK

        assert flush(log)
        assert sorted(http.counts) == list(range(RECORD_COUNT))
        assert rejected(folder) == []

    def test_batch_that_is_too_large_is_sent_in_parts(self, receiver, spooling, folder):
        """gRPC says RESOURCE_EXHAUSTED for it, as for a quota."""
        receiver.behave = lambda numbers: Reply(413, "RESOURCE_EXHAUSTED") if len(numbers) > 4 else OK
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
