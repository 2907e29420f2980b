"""What hardly ever happens: each of these once lost events, stopped the sending, or hung."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import threading
import time

import pytest
from builders import ID
from receivers import BAD, ILL, NOWHERE, OK, UNAVAILABLE, alarm, wait_until

from jupyter_otel_telemetry.otlp.entries import Entry
from jupyter_otel_telemetry.otlp.transport import build_transport
from jupyter_otel_telemetry.spool.folder import MIN_SIZE_BYTES


def record(log, number, **fields):
    log.record_event(ID, 1, {"action": "a", "count": number, **fields})


def spool_of(log):
    return log.handlers[0]._spool


class TestReceivers:
    def test_record_that_grpc_cannot_take_blocks_nothing(self, receiver, spooling):
        """Above four megabytes, it says RESOURCE_EXHAUSTED, as for a quota."""
        log = spooling(receiver)
        record(log, 0, padding="x" * 5_000_000)
        record(log, 1)
        receiver.wait_for(lambda found: 1 in found.counts)

        assert receiver.counts == ([1] if receiver.protocol == "grpc" else [0, 1])

    def test_doubt_about_one_journal_is_solved_by_another(self, http, spooling, leave):
        """What makes the receiver ill is found, though it is alone in its journal and others go on."""
        leave(1)
        http.behave = lambda numbers: ILL if 0 in numbers else OK
        log = spooling(http)
        spool = spool_of(log)
        number = 1
        deadline_s = time.monotonic() + 120
        while not spool.refused and time.monotonic() < deadline_s:
            record(log, number)
            number += 1
            http.wait_for(lambda found, last=number - 1: last in found.counts)

        assert spool.refused == 1

    @pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "abc"])
    def test_time_limit_that_is_none_is_an_error(self, spooling, monkeypatch, value):
        """At the start."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", value)
        with pytest.raises(ValueError, match=f"OTEL_EXPORTER_OTLP_TIMEOUT '{value}' is not a time limit"):
            spooling(NOWHERE)

    def test_endpoint_of_the_environment_is_checked(self, monkeypatch):
        """As an argument is."""
        from jupyter_otel_telemetry.otlp.settings import ExporterOptions

        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")
        with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_ENDPOINT 'collector:4318' is not a URL"):
            build_transport(ExporterOptions())

    def test_flush_that_was_cut_short_forgets_no_refusal(self, http, spooling):
        """The next one tells of it."""
        is_up = threading.Event()
        http.behave = lambda numbers: BAD if numbers == [1] else OK if is_up.is_set() else UNAVAILABLE
        log = spooling(http)
        record(log, 1)
        wait_until(lambda: spool_of(log).refused)
        record(log, 2)

        assert not log.handlers[0].force_flush(0.5)
        is_up.set()
        assert not log.handlers[0].force_flush(120)
        assert log.handlers[0].force_flush(120)


class TestFolders:
    def test_journal_that_cannot_be_opened_blocks_nothing(self, http, folder, spooling):
        """It may be root's."""
        log = spooling(http)
        (folder / "queue" / f"{1:020d}-1-aaaa" / "lock").mkdir(parents=True)
        spool_of(log)._store.adopt()
        record(log, 1)

        assert log.handlers[0].force_flush(120)

    def test_cursor_with_a_flipped_bit_costs_nothing(self, http, spooling, leave):
        """It has a checksum."""
        [segment] = leave(20)
        (segment.parent / "cursor").write_text("9 13 12345\n")
        spooling(http)
        wait_until(lambda: not segment.parent.exists())

        assert http.counts == list(range(20))

    def test_cursor_that_cannot_be_written_counts_nothing_twice(self, http, folder, spooling):
        """A full disk may take none; then what was accepted is not taken for waiting."""
        http.behave = lambda numbers: OK if max(numbers) < 10 else UNAVAILABLE
        log = spooling(http, max_size_bytes=MIN_SIZE_BYTES)
        record(log, 0, padding="x" * 1000)
        (next((folder / "queue").iterdir()) / "cursor.new").mkdir()
        for number in range(1, 10):
            record(log, number, padding="x" * 1000)
        assert log.handlers[0].force_flush(120)
        for number in range(10, 150):
            record(log, number, padding="x" * 1000)
        http.behave = lambda _: OK
        log.handlers[0].force_flush(120)

        assert spool_of(log).depth() == 0
        assert sum(spool_of(log)._store.dropped.values()) + len(set(http.counts)) == 150

    def test_new_records_win_over_old_ones_of_dead_processes(self, folder, spooling, leave):
        """At the limit, the oldest go, whoever had them."""
        [segment] = leave(200)
        for number in range(30):
            copy = folder / "queue" / f"{number:020d}-1-0"
            shutil.copytree(segment.parent, copy)
            os.utime(copy / segment.name, (1e9 + number, 1e9 + number))
        log = spooling(NOWHERE, max_size_bytes=MIN_SIZE_BYTES * 2)
        for number in range(200):
            record(log, number)
        spool_of(log)._store.make_room()

        assert spool_of(log).depth() == 200

    def test_what_was_refused_does_not_keep_new_records_out(self, http, spooling):
        """It goes, where new ones are to be refused only for those that wait."""
        http.behave = lambda numbers: BAD if max(numbers) < 1000 else OK
        log = spooling(http, max_size_bytes=MIN_SIZE_BYTES, when_full="refuse_new")
        for number in range(100):
            record(log, number, padding="x" * 3000)
            log.handlers[0].force_flush(120)
        for number in range(1000, 1010):
            record(log, number)

        assert log.handlers[0].force_flush(120)
        assert http.counts == list(range(1000, 1010))

    def test_newer_format_that_appears_later_raises_nothing(self, folder, spooling):
        """The record is kept in memory."""
        log = spooling(NOWHERE)
        (folder / "FORMAT").write_text("jupyter-otel-telemetry spool, format 2\n")
        spool_of(log)._store.append(Entry(b"", b"", b""))

        assert spool_of(log).depth() == 1

    def test_partly_done_batch_whose_file_has_gone_takes_nothing_else(self, spooling):
        """What follows it is another file's."""
        log = spooling(NOWHERE)
        store = spool_of(log)._store
        spool_of(log)._sender.end(5)
        store._is_closed = False
        for number in range(10):
            record(log, number)
        ((source, batch),) = list(store.batches())
        store._own.writer.begin_segment()
        record(log, 10)
        store._own.reader.removed.add(batch.segment)
        (store._own.journal.path / "00000001.seg").unlink()
        ((source, following),) = list(store.batches())
        store.commit(source, batch, 6)

        assert len(following.entries) == 1
        assert len(next(store.batches())[1].entries) == 1


class TestReentrance:
    def test_signal_handler_may_record_during_a_sync(self, spooling, monkeypatch):
        """In the thread that holds the lock."""
        log = spooling(NOWHERE, durability="power")
        record(log, 0)
        real, signals = os.fdatasync, [signal.SIGUSR1]
        before = signal.signal(signal.SIGUSR1, lambda *_: record(log, 2))
        monkeypatch.setattr("os.fdatasync", lambda fd: (real(fd), signals and signal.raise_signal(signals.pop())))
        with alarm():
            record(log, 1)
        signal.signal(signal.SIGUSR1, before)

        assert spool_of(log).depth() == 3

    def test_failing_sync_may_be_logged_to_the_spool_itself(self, spooling, monkeypatch):
        """By a handler on the root logger."""

        def fail(_fd):
            raise OSError(errno.EIO, "Input/output error")

        log = spooling(NOWHERE, durability="power")
        monkeypatch.setattr("os.fdatasync", fail)
        logging.getLogger().addHandler(log.handlers[0])
        try:
            with alarm():
                record(log, 1)
        finally:
            logging.getLogger().removeHandler(log.handlers[0])

        assert spool_of(log).depth() >= 2

    def test_one_sender_though_a_signal_arrives_while_it_starts(self, spooling, monkeypatch):
        """Two would read the same journal."""
        with monkeypatch.context() as patch:
            patch.setattr("jupyter_otel_telemetry.spool.sender.Sender.start", lambda _sender: None)
            log = spooling(NOWHERE)
        start, signals, started = threading.Thread.start, [signal.SIGUSR1], []

        def start_and_signal(thread):
            started.append(thread)
            start(thread)
            if signals:
                signal.raise_signal(signals.pop())

        before = signal.signal(signal.SIGUSR1, lambda *_: record(log, 2))
        monkeypatch.setattr("threading.Thread.start", start_and_signal)
        record(log, 1)
        signal.signal(signal.SIGUSR1, before)

        assert len(started) == 1

    def test_logging_handler_that_raises_does_not_end_the_sending(self, http, spooling):
        """Whatever it is told."""

        class Raising(logging.Handler):
            def emit(self, _record):
                raise RuntimeError

        replies = iter([UNAVAILABLE, BAD])
        http.behave = lambda _: next(replies, OK)
        log = spooling(http)
        handler = Raising()
        logger = logging.getLogger("jupyter_otel_telemetry")
        logger.addHandler(handler)
        try:
            record(log, 1)
            log.handlers[0].force_flush(120)
            record(log, 2)
            assert log.handlers[0].force_flush(120)
        finally:
            logger.removeHandler(handler)

    def test_power_is_kept_after_the_end_of_sending_too(self, spooling, monkeypatch):
        """A new journal has been synced nowhere yet."""
        log = spooling(NOWHERE, durability="power")
        for number in range(20):
            record(log, number)
        log.handlers[0]._provider.shutdown()
        synced = []
        monkeypatch.setattr("os.fdatasync", synced.append)
        record(log, 20)

        assert synced

    def test_what_is_recorded_after_the_end_is_sent_by_another_handler(self, http, spooling):
        """Though this process goes on."""
        log, other = spooling(http), spooling(http)
        log.handlers[0]._provider.shutdown()
        record(log, 1)
        http.wait_for(lambda found: found.counts == [1])

        assert spool_of(other).depth() == 0
