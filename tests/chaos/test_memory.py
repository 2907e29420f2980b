"""Without a spool: the newest records wait while the receiver is away, and every loss is counted and logged."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
import time

import pytest
from builders import ID
from receivers import BAD, ILL, LOGIN_PAGE, NOWHERE, OK, UNAUTHORIZED, UNAVAILABLE, Reply, wait_until

from jupyter_otel_telemetry.export import delivery


def record(log, *numbers, **fields):
    for number in numbers:
        log.record_event(ID, 1, {"action": "a", "count": number, **fields})


def flush(log, timeout_s=30):
    return log.handlers[0].force_flush(timeout_s)


def end(log):
    log.handlers[0]._delivery.give_up_in(0)
    log.handlers[0]._provider.shutdown()


def lost(caplog):
    """Return the numbers of lost records that the end of a pipeline logs, by reason."""
    (text,) = re.findall("has ended; lost log records: (.*)", caplog.text)
    return {why: int(count) for count, why in re.findall(r"(\d+) because (the \w+|they \w+)", text)}


class TestOutages:
    @pytest.mark.parametrize("reply", [UNAVAILABLE, UNAUTHORIZED, Reply(reset=True), ILL, Reply(429, "ABORTED")])
    def test_records_wait_until_the_receiver_is_back(self, receiver, remembering, reply):
        """However long that is."""
        receiver.behave = lambda _: reply
        log = remembering(receiver)
        record(log, *range(100))
        receiver.wait_for(lambda found: len(found.requests) > 20)
        receiver.behave = lambda _: OK

        assert flush(log)
        assert sorted(receiver.counts) == list(range(100))

    def test_login_page_acknowledges_nothing(self, http, remembering):
        """A proxy's 200."""
        answers = iter([LOGIN_PAGE] * 3)
        http.behave = lambda _: next(answers, OK)
        log = remembering(http)
        record(log, 1)

        assert flush(log)
        assert http.counts == [1]

    def test_newest_that_the_queue_holds_wait(self, receiver, remembering, caplog):
        """And the batch that was on its way; the number of the others is logged."""
        receiver.behave = lambda _: UNAVAILABLE
        log = remembering(receiver, queue_size=64)
        record(log, *range(64))
        receiver.wait_for(lambda found: len(found.requests) > 1)
        record(log, *range(64, 500))
        receiver.behave = lambda _: OK

        assert not flush(log)
        assert set(receiver.counts) >= set(range(500 - 64, 500))
        end(log)
        assert lost(caplog) == {"the queue": 500 - len(set(receiver.counts))}

    def test_outage_is_logged_once_with_its_end(self, receiver, remembering, caplog):
        """Not each attempt; the counts are there."""
        receiver.behave = lambda _: UNAVAILABLE
        log = remembering(receiver)
        record(log, *range(10))
        receiver.wait_for(lambda found: len(found.requests) > 10)
        receiver.behave = lambda _: OK

        assert flush(log)
        wait_until(lambda: "works again" in caplog.text)
        assert caplog.text.count("further failures are counted, and reported once an hour") == 1
        assert re.search(r"works again; it failed .* in .*; log records lost so far: 0", caplog.text)

    def test_full_queue_is_logged_once(self, receiver, remembering, caplog):
        """By the one who counts; the SDK warns again and again, also where nothing is lost."""
        receiver.behave = lambda _: UNAVAILABLE
        log = remembering(receiver, queue_size=16)
        record(log, *range(500))
        end(log)

        assert "opentelemetry.sdk" not in {record.name.rpartition(".")[0] for record in caplog.records}
        assert sum(lost(caplog).values()) == 500

    def test_full_queue_of_another_processor_is_logged_by_the_sdk(self, caplog):
        """Its warnings are not ours."""
        logging.getLogger("opentelemetry.sdk._shared_internal").warning("Queue full, dropping %s.", "Span")

        assert "Queue full, dropping Span." in caplog.text

    def test_record_after_the_end_is_lost_for_that_reason(self, receiver, remembering, caplog):
        """The queue is not to blame."""
        log = remembering(receiver)
        record(log, 1)
        log.handlers[0]._provider._multi_log_record_processor.shutdown()
        record(log, 2, 3)

        assert "1 log records are lost, because they were emitted after the end of the export pipeline" in caplog.text
        assert "the queue was full" not in caplog.text


class TestEnds:
    def test_flush_keeps_its_time_limit_and_leaves_no_threads(self, http, remembering):
        """In an outage: one thread may go on, however often somebody flushes."""
        http.behave = lambda _: UNAVAILABLE
        log = remembering(http)
        record(log, 1)
        for _ in range(20):
            assert not flush(log, 0.05)

        wait_until(lambda: [thread.name for thread in threading.enumerate()].count("otlp-flush") <= 1)

    @pytest.mark.parametrize("seconds", [30, 999_999])
    def test_nobody_waits_for_what_a_receiver_asks_for(self, receiver, remembering, caplog, seconds):
        """The end of a pipeline comes before `Retry-After` has passed: the records are lost at once."""
        receiver.behave = lambda _: Reply(503, "UNAVAILABLE", retry_after_s=seconds)
        log = remembering(receiver)
        record(log, *range(3))
        receiver.wait_for(lambda found: found.requests)
        began_s = time.monotonic()
        log.handlers[0]._provider.shutdown()

        assert time.monotonic() - began_s < delivery.FLUSH_TIMEOUT_S - 1
        assert lost(caplog) == {"the receiver": 3}

    def test_end_of_a_program_says_how_many_are_lost(self):
        """On its standard error, where nobody has configured logging."""
        program = (
            "from jupyter_otel_telemetry import EventLog, OTLPHandler\n"
            f"log = EventLog(handlers=[OTLPHandler(endpoint={NOWHERE!r})], allowed_schemas=['*'])\n"
            "log.register_schema({'$id': 'x', 'version': 1})\n"
            "for number in range(1234): log.record_event('x', 1, {'n': number})\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=90, check=False
        )

        assert done.returncode == 0
        assert "lost log records: 1234 because the receiver did not accept them before the end" in done.stderr
        assert "queue" not in done.stderr.partition("lost log records")[2]

    def test_records_after_the_end_are_counted_as_that(self, http, remembering, caplog):
        """Not as a full queue."""
        log = remembering(http)
        record(log, 1)
        assert flush(log)
        end(log)
        record(log, 2)
        log.handlers[0].close()

        assert "1 log records are lost, because they were emitted after the end" in caplog.text
        assert "queue" not in caplog.text

    def test_logger_of_ordinary_records_that_is_disabled_loses_nothing(self, http, remembering, caplog):
        """A record that a filter keeps back never was in the queue."""
        log = remembering(http)
        log.handlers[0].addFilter(lambda _: False)
        log.handlers[0].handle(logging.LogRecord("app", 30, "", 0, "x", None, None))

        assert flush(log)
        assert caplog.messages == []


class TestRecordsThatAreTheCause:
    def test_rejected_record_costs_only_itself(self, receiver, remembering, caplog):
        """The number and the receiver's reason are logged."""
        receiver.behave = lambda numbers: BAD if 17 in numbers else OK
        log = remembering(receiver)
        record(log, *range(40))

        assert not flush(log)
        assert receiver.counts == [number for number in range(40) if number != 17]
        assert "1 log records are lost, because the receiver rejected them (" in caplog.text
        assert flush(log)

    def test_record_that_makes_the_receiver_fail_is_found(self, receiver, remembering):
        """While others are accepted."""
        receiver.behave = lambda numbers: ILL if 5 in numbers else OK
        log = remembering(receiver)
        record(log, *range(20))

        assert not flush(log)
        assert sorted(set(receiver.counts)) == [number for number in range(20) if number != 5]

    def test_lone_record_that_never_passes_blocks_others_for_a_bounded_time(self, http, remembering, monkeypatch):
        """Nothing else is here to be compared with it."""
        monkeypatch.setattr(delivery, "_LONE_RECORD_S", 0.5)
        http.behave = lambda numbers: UNAVAILABLE if 0 in numbers else OK
        log = remembering(http)
        record(log, 0)
        http.wait_for(lambda found: found.requests)
        record(log, 1)

        assert not flush(log)
        assert http.counts == [1]

    def test_partial_success_is_counted(self, receiver, remembering, caplog):
        """The receiver does not say which records it means."""
        receiver.behave = lambda _: Reply(rejected=2)
        log = remembering(receiver)
        record(log, *range(5))

        assert not flush(log)
        assert (
            "2 log records are lost, because the receiver rejected them (partial_success some are odd)" in caplog.text
        )


class TestSizes:
    def test_requests_are_split_by_their_measured_size(self, receiver, remembering):
        """390 records with attributes of 20 kB each, to a receiver that takes 4 MiB."""
        receiver.max_bytes = 4 * 1024 * 1024
        log = remembering(receiver)
        for number in range(390):
            ordinary = logging.LogRecord("app", 30, "", 0, "short", None, None)
            vars(ordinary).update(number=number, padding="x" * 20_000)
            log.handlers[0].handle(ordinary)

        assert flush(log)
        assert sorted(entry.attributes["number"] for entry in receiver.logs) == list(range(390))
        assert len(receiver.requests) < 10

    def test_receiver_with_a_smaller_limit_gets_smaller_requests(self, receiver, remembering):
        """Whichever status it has for that."""
        receiver.max_bytes = 100_000
        log = remembering(receiver)
        record(log, *range(100), padding="x" * 10_000)

        assert flush(log)
        assert receiver.counts == list(range(100))

    def test_single_record_that_is_too_large_is_lost_alone(self, receiver, remembering, caplog):
        """Counted and logged."""
        receiver.max_bytes = 4 * 1024 * 1024
        log = remembering(receiver)
        record(log, 0)
        record(log, 1, padding="x" * 5_000_000)
        record(log, 2)

        assert not flush(log)
        assert receiver.counts == [0, 2]
        assert "1 log records are lost, because the receiver rejected them (" in caplog.text
