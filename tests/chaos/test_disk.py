"""Whatever happens to the disk, what can still be read arrives, the application goes on, and losses are counted."""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections import Counter
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from builders import ID
from hypothesis import given
from hypothesis import strategies as st
from receivers import NOWHERE, OK, UNAVAILABLE, wait_until

from jupyter_otel_telemetry.otlp.entries import Entry, message_of
from jupyter_otel_telemetry.otlp.received import logs_of
from jupyter_otel_telemetry.spool import SpoolOptions, inspection
from jupyter_otel_telemetry.spool.folder import MIN_SIZE_BYTES, SpoolFolder
from jupyter_otel_telemetry.spool.frames import OVERHEAD_BYTES, RECORD, frame, frames
from jupyter_otel_telemetry.spool.journal import Journal
from jupyter_otel_telemetry.spool.reader import Reader
from jupyter_otel_telemetry.spool.writer import Writer


def record(log, count, first=0, padding=0):
    for number in range(first, first + count):
        log.record_event(ID, 1, {"action": "a", "count": number, "padding": "x" * padding})


def dropped(log):
    return log.handlers[0]._spool._store.dropped


class TestFrames:
    @given(st.lists(st.binary(max_size=50), min_size=1, max_size=8), st.data())
    def test_damage_costs_only_what_it_touches(self, payloads, data):
        """Wherever bits are flipped, zeros are written or bytes cut out, the other frames are read, in order."""
        whole = b"".join(frame(RECORD, payload) for payload in payloads)
        start = data.draw(st.integers(0, len(whole) - 1))
        size = data.draw(st.integers(1, len(whole) - start))
        middle = data.draw(
            st.sampled_from([b"", bytes(size), bytes(byte ^ 0x55 for byte in whole[start : start + size])])
        )
        untouched, offset = [], 0
        for payload in payloads:
            end = offset + OVERHEAD_BYTES + len(payload)
            if end <= start or offset >= start + size:
                untouched.append(payload)
            offset = end
        data = whole[:start] + middle + whole[start + size :]
        found = [read.payload for read in frames(data, is_all=True) if read.kind == RECORD]

        assert set(found) <= set(payloads)
        rest = iter(found)
        assert all(payload in rest for payload in untouched)

    @given(st.binary())
    def test_anything_can_be_read(self, data):
        """Noise is no frame, and ends."""
        assert list(frames(data, is_all=True)) == []

    @given(st.lists(st.binary(max_size=50), min_size=1, max_size=8), st.data())
    def test_what_is_not_all_there_is_waited_for(self, payloads, data):
        """A prefix holds the frames that are whole in it."""
        whole = b"".join(frame(RECORD, payload) for payload in payloads)
        found = list(frames(whole[: data.draw(st.integers(0, len(whole)))], is_all=False))

        assert [read.payload for read in found] == payloads[: len(found)]


class TestDamage:
    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: data[:-7],
            lambda data: data[:-300] + bytes(300),
            lambda data: data + bytes(4096),
            lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
            lambda data: bytes(200) + data[200:],
            lambda data: data[:5000] + b"\xff\xfeJS" * 50 + data[5200:],
        ],
        ids=["truncated", "zero-filled", "zeros after", "one bit", "no resource", "false markers"],
    )
    def test_healthy_rest_is_delivered(self, http, spooling, leave, damage):
        """With its resource, in order, and what is lost is said."""
        [segment] = leave(50)
        segment.write_bytes(damage(segment.read_bytes()))
        spooling(http)
        http.wait_for(lambda found: 49 in found.counts or 47 in found.counts)

        assert len(http.counts) >= 47
        assert http.counts == sorted(http.counts)
        assert all("service.name" in log.resource for log in http.logs)

    def test_is_said(self, http, spooling, leave, caplog):
        """Once a journal, in bytes."""
        [segment] = leave(5)
        segment.write_bytes(segment.read_bytes()[:-7])
        spooling(http)
        http.wait_for(lambda found: found.counts == [0, 1, 2, 3])
        wait_until(lambda: "bytes in" in caplog.text)

        assert "could not be read, and are skipped" in caplog.text

    @pytest.mark.parametrize("content", [b"", b"1", b"x y", b"99 0\n", b"1 7\n", b"-1 -1"])
    def test_cursor_may_say_anything(self, http, spooling, leave, content):
        """What has no right checksum says nothing, and at worst events are sent again."""
        [segment] = leave(5)
        (segment.parent / "cursor").write_bytes(content)
        spooling(http)
        wait_until(lambda: not segment.parent.exists())

        assert http.counts == list(range(5))

    def test_foreign_files_do_no_harm(self, http, folder, spooling, leave):
        """Nor are they removed."""
        leave(5)
        (folder / "queue" / "notes.txt").write_text("mine")
        (folder / "queue" / "empty").mkdir()
        spooling(http)
        http.wait_for(lambda found: len(found.counts) == 5)

        assert (folder / "queue" / "notes.txt").read_text() == "mine"


@contextmanager
def file_size_limit(size_bytes):
    """Let no file of this process grow beyond a size, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestJournal:
    def test_segment_that_is_just_being_begun_is_left_alone(self, folder):
        """The file is there a moment before its writer says so, maybe with half a frame in it."""
        folder.mkdir()
        journal = Journal.create(folder)
        writer = Writer(journal, 1000)
        reader = Reader(journal, writer)
        writer.begin_segment()
        writer.append(Entry(b"r", b"s", b"one"))
        reader.commit(reader.read(10, 1000))
        newer = journal.path / "00000002.seg"
        newer.write_bytes(frame(RECORD, b"two")[:-1])

        assert reader.read(10, 1000) is None
        assert newer.exists()

    def test_many_dead_ones_are_taken_over_at_once(self, http, folder, spooling, leave):
        """More than may be open at a time."""
        [segment] = leave(3)
        for number in range(100):
            shutil.copytree(segment.parent, folder / "queue" / f"{number:020d}-1-0")
        spooling(http)
        wait_until(lambda: len(list((folder / "queue").iterdir())) == 0)

        assert sorted(number for numbers in http.requests for number in numbers) == sorted([0, 1, 2] * 101)


class TestDiskThatTakesNothing:
    def test_events_are_kept_in_memory_and_delivered(self, http, spooling, caplog):
        """Though nothing can be written; it is said once."""
        log = spooling(http)
        http.behave = lambda _: UNAVAILABLE
        record(log, 10)
        with file_size_limit(0):
            record(log, 10, first=10)
            http.behave = lambda _: OK
            assert log.handlers[0].force_flush(120)

        assert http.counts == list(range(20))
        assert caplog.text.count("records are kept in memory until it works again") == 1

    def test_what_was_in_memory_is_written_when_it_works_again(self, http, folder, spooling):
        """Then it survives the process, too, and order is kept."""
        log = spooling(http)
        http.behave = lambda _: UNAVAILABLE
        record(log, 5)
        with file_size_limit(0):
            record(log, 5, first=5)
        wait_until(lambda: not len(log.handlers[0]._spool._store._memory))
        record(log, 5, first=10)
        [journal] = (folder / "queue").iterdir()
        waiting = logs_of(message_of(inspection.waiting(journal, pytest.fail)))
        assert [log.attributes["jupyter.event.count"] for log in waiting] == list(range(15))

        http.behave = lambda _: OK
        assert log.handlers[0].force_flush(120)
        assert sorted(http.counts) == list(range(15))

    def test_memory_is_bounded_and_losses_are_counted(self, spooling, monkeypatch):
        """The oldest go."""
        monkeypatch.setattr("jupyter_otel_telemetry.spool.memory.MAX_MEMORY_BYTES", 20_000)
        log = spooling(NOWHERE)
        with file_size_limit(0):
            record(log, 100)
            lost = dropped(log)["memory"]
            assert 50 < lost < 100
            assert log.handlers[0]._spool.depth() == 100 - lost

    def test_limit_of_the_size_of_a_file_is_no_loss(self, http, spooling):
        """A new file is begun."""
        log = spooling(http)
        http.behave = lambda _: UNAVAILABLE
        with file_size_limit(10_000):
            record(log, 100)
            http.behave = lambda _: OK
            assert log.handlers[0].force_flush(120)

        assert http.counts == list(range(100))

    def test_folder_that_vanishes(self, http, folder, spooling):
        """What is in the file that is being written is still there, and a new folder is made."""
        http.behave = lambda _: UNAVAILABLE
        log = spooling(http)
        record(log, 10)
        shutil.rmtree(folder)
        record(log, 10, first=10)
        wait_until(lambda: list((folder / "queue").glob("[!.]*/*.seg")))
        record(log, 10, first=20)
        http.behave = lambda _: OK

        assert log.handlers[0].force_flush(120)
        assert http.counts == list(range(30))

    def test_folder_that_cannot_be_made_is_an_error_at_the_start(self, spooling, folder):
        """When somebody is there to read it."""
        folder.write_text("a file")
        with pytest.raises(OSError, match=r"spool"):
            spooling(NOWHERE)

    def test_folder_that_cannot_be_written_is_an_error_at_the_start(self, folder, spooling, monkeypatch):
        """Root may write anywhere, so the system's answer is made up."""
        monkeypatch.setattr("os.access", lambda path, _mode: path.name != "queue")
        with pytest.raises(
            OSError, match=r"spool folder .* cannot be used: Permission denied at .*queue. .*queue belongs"
        ):
            spooling(NOWHERE)
        assert not list((folder / "queue").iterdir())


class TestBounds:
    def test_oldest_go(self, http, spooling):
        """And are counted; what is newest is there."""
        http.behave = lambda _: UNAVAILABLE
        log = spooling(http, max_size_bytes=MIN_SIZE_BYTES)
        record(log, 200, padding=4000)
        lost = dropped(log)["full"]
        size_bytes = log.handlers[0]._spool.size_bytes()
        http.behave = lambda _: OK

        assert size_bytes <= MIN_SIZE_BYTES * 9 / 8
        assert not log.handlers[0].force_flush(120)
        assert set(http.counts) >= set(range(lost, 200))
        assert http.counts == sorted(http.counts)
        assert log.handlers[0]._spool.depth() == 0

    def test_new_ones_are_refused_where_that_is_chosen(self, http, spooling, caplog):
        """Until there is room again; it is said once."""
        http.behave = lambda _: UNAVAILABLE
        log = spooling(http, max_size_bytes=MIN_SIZE_BYTES, when_full="refuse_new")
        record(log, 200, padding=4000)
        lost = dropped(log)["full"]
        assert 100 < lost < 180
        http.behave = lambda _: OK

        assert not log.handlers[0].force_flush(120)
        assert http.counts == list(range(200 - lost))
        record(log, 10, first=1000)
        assert log.handlers[0].force_flush(120)
        assert caplog.text.count("it is full, and new records are refused") == 1

    def test_what_is_too_old_goes(self, http, spooling, leave):
        """Also where it was left by others."""
        [segment] = leave(5)
        os.utime(segment, (time.time() - 3600, time.time() - 3600))
        log = spooling(http, max_age_s=1800)
        wait_until(lambda: dropped(log)["age"] == 5)
        record(log, 1)

        assert not log.handlers[0].force_flush(120)
        assert http.counts == [0]

    def test_half_an_hour_is_no_age(self, http, spooling, leave):
        """An old spool is replayed with the times at which its events happened."""
        happened = datetime.now(timezone.utc) - timedelta(minutes=30)
        for segment in leave(20, happened):
            os.utime(segment, (happened.timestamp(), happened.timestamp()))
        spooling(http)
        http.wait_for(lambda found: found.counts == list(range(20)))

        assert {log.timestamp_ns // 1000 for log in http.logs} == {int(happened.timestamp() * 1_000_000)}

    @pytest.mark.parametrize("jump_s", [10 * 365 * 86400, -10 * 365 * 86400])
    def test_clock_that_jumps(self, http, spooling, monkeypatch, jump_s):
        """Costs nothing, and order within a process is kept."""
        http.behave = lambda _: UNAVAILABLE
        log = spooling(http)
        record(log, 10)
        now_ns = time.time_ns
        monkeypatch.setattr("time.time_ns", lambda: now_ns() + jump_s * 10**9)
        monkeypatch.setattr("jupyter_otel_telemetry.events.record.time_ns_now", lambda: now_ns() + jump_s * 10**9)
        record(log, 10, first=10)
        http.behave = lambda _: OK

        assert log.handlers[0].force_flush(120)
        assert http.counts == list(range(20))

    def test_accepted_events_leave_the_disk(self, http, folder, spooling):
        """All of them, though the process goes on."""
        log = spooling(http)
        record(log, 100)
        assert log.handlers[0].force_flush(120)

        wait_until(lambda: not list((folder / "queue").glob("[!.]*/*.seg")))

    def test_memory_does_not_grow_with_what_waits(self, spooling):
        """Sixty thousand events are eighty megabytes on the disk; what one attempt to send takes is there before."""
        log = spooling(NOWHERE)
        record(log, 5000, padding=1000)
        log.handlers[0].flush()
        before = _resident_bytes()
        record(log, 60_000, padding=1000)

        assert log.handlers[0]._spool.size_bytes() > 80e6
        assert _resident_bytes() - before < 40e6

    def test_largest_events_arrive(self, receiver, spooling):
        """Each in a request of its own where it must; here gRPC's usual limit holds, too."""
        log = spooling(receiver)
        for number, size in enumerate([3_900_000, 10, 3_900_000]):
            log.record_event(ID, 1, {"action": "a", "count": number, "text": "x" * (size // 2)})

        assert log.handlers[0].force_flush(120)
        assert receiver.counts == [0, 1, 2]


def _resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class TestDurability:
    def test_power_syncs_before_record_event_returns(self, spooling, monkeypatch):
        """One `fdatasync` at least for each that is recorded alone."""
        calls = Counter()
        real = os.fdatasync
        log = spooling(NOWHERE, durability="power")
        monkeypatch.setattr("os.fdatasync", lambda fd: calls.update(["sync"]) or real(fd))
        record(log, 3)
        assert calls["sync"] == 3

    def test_process_does_not(self, spooling, monkeypatch):
        """The default is quick."""
        log = spooling(NOWHERE)
        monkeypatch.setattr("os.fdatasync", lambda _: pytest.fail("synced"))
        record(log, 3)


class TestOptions:
    @pytest.mark.parametrize(
        "options,message",
        [
            ({"durability": "forever"}, "spool durability 'forever' is unknown; use one of process, power"),
            ({"when_full": "panic"}, "spool when_full 'panic' is unknown; use one of drop_oldest, refuse_new"),
            ({"max_size_bytes": 10}, f"spool max_size_bytes must be a number of at least {MIN_SIZE_BYTES}"),
            ({"max_size_bytes": True}, f"spool max_size_bytes must be a number of at least {MIN_SIZE_BYTES}"),
            ({"max_age_s": 0}, "spool max_age_s must be a positive number of seconds, or None"),
            ({"max_age_s": "1h"}, "spool max_age_s must be a positive number of seconds, or None"),
            ({"size": 1}, "spool has no option 'size'; the options are folder, durability, max_size_bytes"),
            ({"durabilty": "power"}, "spool has no option 'durabilty'; did you mean 'durability'?"),
        ],
    )
    def test_mistake_says_what_to_write(self, spooling, options, message):
        """Before anything is created."""
        with pytest.raises(ValueError, match=message):
            spooling(NOWHERE, **options)

    def test_misspelt_folder_is_named(self):
        """Whatever else is there."""
        with pytest.raises(ValueError, match=r"a folder and any of durability, .*; did you mean 'folder'"):
            SpoolOptions.from_argument({"foldr": "x", "durability": "power"})

    @pytest.mark.parametrize("spool", [5, "", [], {"folder": None}])
    def test_folder_must_be_one(self, spool):
        """Whatever else it is."""
        with pytest.raises(ValueError, match="spool"):
            SpoolOptions.from_argument(spool)

    def test_newer_format_is_left_alone(self, folder, spooling):
        """It is named, and nothing in it is touched."""
        folder.mkdir()
        (folder / "FORMAT").write_text("jupyter-otel-telemetry spool, format 2\n")
        with pytest.raises(ValueError, match=r"format 2.*which this version cannot read"):
            spooling(NOWHERE)
        assert [path.name for path in folder.iterdir()] == ["FORMAT"]

    def test_nobody_else_may_look_into_it(self, folder, spooling):
        """Events are private."""
        record(spooling(NOWHERE), 1)
        paths = [folder, folder / "queue", folder / "rejected", *(folder / "queue").glob("*/*.seg")]
        assert {path.stat().st_mode & 0o077 for path in paths} == {0}

    def test_absolute_folder_outlives_a_change_of_directory(self, tmp_path, monkeypatch):
        """Daemons go to the root."""
        monkeypatch.chdir(tmp_path)
        folder = SpoolFolder(SpoolOptions("relative"))
        monkeypatch.chdir("/")
        assert folder.path == tmp_path / "relative"
