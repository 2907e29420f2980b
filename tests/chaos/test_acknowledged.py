"""Records that a receiver has acknowledged stay for a while, and are never in the way of others."""

from __future__ import annotations

import errno
import os
import time
from types import SimpleNamespace

import pytest
from builders import ID
from receivers import BAD, NOWHERE, Reply
from stores import FaultyOS, deliver, die, entry, number_of, open_store

from jupyter_otel_telemetry.spool import SpoolOptions, files, groups, inspection
from jupyter_otel_telemetry.spool.folder import MIN_SIZE_BYTES, SpoolFolder
from jupyter_otel_telemetry.spool.limits import Limits
from jupyter_otel_telemetry.spool.maintenance import requeue_rejected
from jupyter_otel_telemetry.spool.store import Store


def append(store, *numbers, size=0):
    for number in numbers:
        store.append(entry(number, size))


def acknowledge(store):
    """Send what a store has, as its sender does."""
    while batches := list(store.batches()):
        for source, batch in batches:
            store.keep(batch.entries, len(batch.entries))
            store.commit(source, batch, len(batch.entries))


def kept(folder):
    """Return the numbers of the acknowledged records that are kept, in their order."""
    found = inspection.acknowledged(SpoolFolder(SpoolOptions(folder)), pytest.fail)
    return [number_of(one) for group in found for one in group.entries]


def make_old(folder, age_s):
    """Let the files with acknowledged records be as old."""
    for path in (folder / "acknowledged").iterdir():
        os.utime(path, (time.time() - age_s,) * 2)


def forbid(monkeypatch, name):
    """Let a function of the system fail for the folder of acknowledged records, and what is in it."""
    real, forbidden = getattr(os, name), getattr(FaultyOS(name, errno.EACCES, count=10**9), name)

    def call(path):
        return (forbidden if "acknowledged" in (path.name, path.parent.name) else real)(path)

    monkeypatch.setattr(files, "os", SimpleNamespace(**vars(os) | {name: call}))


def event_numbers(folder):
    found = inspection.acknowledged(SpoolFolder(SpoolOptions(folder)), pytest.fail)
    requests = inspection.requests((one for group in found for one in group.entries), pytest.fail)
    return [
        attribute.value.int_value
        for request in requests
        for record in request.resource_logs[0].scope_logs[0].log_records
        for attribute in record.attributes
        if attribute.key == "jupyter.event.count"
    ]


class TestOption:
    def test_is_off_by_default(self, folder):
        """Records are deleted when they are acknowledged; there is no folder for them."""
        store = open_store(folder)
        append(store, 0)
        acknowledge(store)

        assert not (folder / "acknowledged").exists()

    @pytest.mark.parametrize("value", [-1, float("nan"), True, "10m", None])
    def test_must_be_a_number(self, folder, value):
        """Of seconds; an error says so."""
        with pytest.raises(ValueError, match="keep_acknowledged_s must be a number of seconds, 0 or more"):
            SpoolOptions(folder, keep_acknowledged_s=value)

    def test_that_is_switched_off_removes_what_was_kept(self, folder):
        """At the next start; what waits stays."""
        store = open_store(folder, keep_acknowledged_s=3600)
        append(store, 0)
        acknowledge(store)
        append(store, 1)
        die(store)
        store = open_store(folder)

        assert not (folder / "acknowledged").exists()
        assert deliver(store) == [1]

    def test_that_is_switched_off_removes_nothing_behind_a_link(self, folder, tmp_path):
        """The folder may have been replaced."""
        mine = tmp_path / "mine"
        mine.mkdir()
        (mine / "file.seg").touch()
        open_store(folder)
        (folder / "acknowledged").symlink_to(mine)
        open_store(folder)

        assert (mine / "file.seg").exists()

    def test_holds_for_an_application(self, http, folder, spooling):
        """What its receiver accepts is kept."""
        log = spooling(http, keep_acknowledged_s=3600)
        for number in range(3):
            log.record_event(ID, 1, {"action": "a", "count": number})
        assert log.handlers[0].force_flush(120)

        assert event_numbers(folder) == [0, 1, 2]


class TestWhatIsKept:
    def test_is_acknowledged_and_stays_after_a_restart(self, folder):
        """In order."""
        store = open_store(folder, keep_acknowledged_s=3600)
        append(store, *range(10))
        acknowledge(store)
        append(store, *range(10, 20))
        acknowledge(store)
        store.close()
        open_store(folder, keep_acknowledged_s=3600)

        assert kept(folder) == list(range(20))

    def test_does_not_wait(self, folder):
        """The next process does not send it."""
        store = open_store(folder, keep_acknowledged_s=3600)
        append(store, 0, 1)
        acknowledge(store)
        die(store)

        assert deliver(open_store(folder, keep_acknowledged_s=3600), 2) == []

    def test_is_in_the_queue_too_where_a_process_is_killed_at_that_moment(self, folder):
        """So it is sent a second time, kept a second time, and never lost."""
        store = open_store(folder, keep_acknowledged_s=3600)
        append(store, 0, 1)
        [(_, batch)] = store.batches()
        store.keep(batch.entries, 2)
        die(store)

        assert deliver(open_store(folder, keep_acknowledged_s=3600)) == [0, 1]
        assert kept(folder) == [0, 1, 0, 1]

    def test_is_copied_before_it_leaves_the_queue(self, http, folder, spooling, monkeypatch):
        """So there is no moment at which it is in neither."""
        committed, kept_then = Store.commit, []

        def commit(store, source, batch, done):
            kept_then.append(event_numbers(folder))
            committed(store, source, batch, done)

        monkeypatch.setattr(Store, "commit", commit)
        log = spooling(http, keep_acknowledged_s=3600)
        log.record_event(ID, 1, {"action": "a", "count": 0})
        assert log.handlers[0].force_flush(120)

        assert kept_then == [[0]]

    def test_excludes_rejected_records(self, http, folder, spooling):
        """They are in `rejected/`; the others of their batch are kept."""
        http.behave = lambda numbers: BAD if 2 in numbers else Reply()
        log = spooling(http, keep_acknowledged_s=3600)
        for number in range(5):
            log.record_event(ID, 1, {"action": "a", "count": number})
        log.handlers[0].force_flush(120)

        assert sorted(event_numbers(folder)) == [0, 1, 3, 4]

    def test_excludes_requests_that_are_rejected_in_part(self, http, folder, spooling):
        """Nobody says which records are meant: all of them are in `rejected/`."""
        http.behave = lambda _: Reply(rejected=1)
        log = spooling(http, keep_acknowledged_s=3600)
        log.record_event(ID, 1, {"action": "a", "count": 0})
        log.record_event(ID, 1, {"action": "a", "count": 1})
        log.handlers[0].force_flush(120)

        assert event_numbers(folder) == []

    def test_survives_half_a_write(self, folder):
        """As a process that is killed leaves it; the healthy part is read, and what follows is in another file."""
        store = open_store(folder, keep_acknowledged_s=3600)
        append(store, 0)
        acknowledge(store)
        die(store)
        [path] = (folder / "acknowledged").iterdir()
        path.write_bytes(path.read_bytes() * 2)
        os.truncate(path, path.stat().st_size - 3)
        store = open_store(folder, keep_acknowledged_s=3600)
        append(store, 1)
        acknowledge(store)
        told = []
        found = list(inspection.acknowledged(SpoolFolder(SpoolOptions(folder)), told.append))

        assert [number_of(one) for group in found for one in group.entries] == [0, 1]
        assert "bytes could not be read" in told[0]

    def test_includes_what_a_command_sends(self, folder):
        """A command knows no options: it keeps records where the programs of the folder do."""
        die(open_store(folder, keep_acknowledged_s=3600))
        requeue_rejected(SpoolFolder.without_limits(folder))

        assert SpoolFolder.without_limits(folder).options.keep_acknowledged_s > 0
        assert (folder / "acknowledged").exists()


class TestTime:
    def test_that_is_over_lets_records_go(self, folder):
        """Without a count of losses."""
        store = open_store(folder, keep_acknowledged_s=600)
        append(store, 0)
        acknowledge(store)
        make_old(folder, 599)
        store.make_room()
        assert kept(folder) == [0]

        make_old(folder, 601)
        store.make_room()
        assert (kept(folder), store.dropped) == ([], {})

    def test_is_not_prolonged_by_later_records(self, folder, monkeypatch):
        """A new file begins after an eighth of the time, however few records there are."""
        now_s = 1000.0
        monkeypatch.setattr(groups, "time", SimpleNamespace(monotonic=lambda: now_s))
        store = open_store(folder, keep_acknowledged_s=80)
        for number in range(21):
            append(store, number)
            acknowledge(store)
            now_s += 1

        assert len(list((folder / "acknowledged").iterdir())) == 3


class TestLimits:
    def test_acknowledged_records_go_first(self, folder, caplog):
        """The oldest of them; those that wait are all there, though they are older, and nothing counts as lost."""
        store = open_store(folder, keep_acknowledged_s=3600, max_size_bytes=MIN_SIZE_BYTES)
        append(store, *range(100), size=1000)
        for number in range(1000, 1300, 10):
            store.keep([entry(one, 1000) for one in range(number, number + 10)], 10)
        store.maintain(adopt=False)
        found = kept(folder)

        assert sum(path.stat().st_size for path in folder.glob("*/**/*.seg")) <= MIN_SIZE_BYTES
        assert 0 < len(found) < 200
        assert found == list(range(1300 - len(found), 1300))
        assert (store.waiting, store.dropped) == (100, {})
        assert caplog.text.count("acknowledged records are kept shorter than keep_acknowledged_s") == 1

    def test_acknowledged_records_make_way_for_new_ones(self, folder):
        """All of them, if need be; only then do the oldest go that wait."""
        store = open_store(folder, keep_acknowledged_s=3600, max_size_bytes=MIN_SIZE_BYTES)
        append(store, *range(200), size=1000)
        acknowledge(store)
        append(store, *range(200, 400), size=1000)
        assert (store.dropped, store.waiting) == ({}, 200)
        append(store, *range(400, 600), size=1000)

        assert kept(folder) == []
        assert store.dropped["full"] > 0

    def test_acknowledged_records_refuse_no_new_ones(self, folder):
        """Where those that wait are to be kept at the limit."""
        options = {"max_size_bytes": MIN_SIZE_BYTES, "when_full": "refuse_new"}
        store = open_store(folder, keep_acknowledged_s=3600, **options)
        for number in range(0, 1000, 50):
            append(store, *range(number, number + 50), size=1000)
            acknowledge(store)

        assert store.dropped == {}
        assert kept(folder)[-1] == 999

    def test_acknowledged_records_that_cannot_be_removed_cost_no_others(self, folder, monkeypatch):
        """The limit is exceeded then."""
        store = open_store(folder, keep_acknowledged_s=3600, max_size_bytes=MIN_SIZE_BYTES)
        append(store, *range(200), size=1000)
        acknowledge(store)
        forbid(monkeypatch, "unlink")
        append(store, *range(200, 380), size=1000)
        store.make_room()

        assert len(kept(folder)) == 200
        assert (store.dropped, store.waiting) == ({}, 180)

    def test_file_that_another_process_has_removed_is_not_made_up_for(self, folder, monkeypatch):
        """Two processes find the spool too large at the same time; together they remove what is too much."""
        store = open_store(folder, max_size_bytes=64 * MIN_SIZE_BYTES)
        segments = MIN_SIZE_BYTES // 8
        append(store, *range(1000), size=segments // 20)
        for _ in range(8):
            append(store, *range(50), size=segments // 20)
            store._own.begin_segment()
        store.close()
        options = SpoolOptions(folder, max_size_bytes=MIN_SIZE_BYTES * 4)
        one, other = Limits(SpoolFolder(options)), Limits(SpoolFolder(options))
        one.size_bytes(), other.size_bytes()
        monkeypatch.setattr(Limits, "_scan", lambda _: None)

        assert len(one.make_room({})) > 0
        assert other.make_room({}) == []


class TestFullDisk:
    def test_acknowledged_records_make_way_for_new_ones(self, folder, monkeypatch):
        """As many as are needed, the oldest first."""
        store = open_store(folder, keep_acknowledged_s=3600, max_size_bytes=MIN_SIZE_BYTES)
        for number in range(3):
            store.keep([entry(one, 700) for one in range(40 * number, 40 * number + 40)], 40)
        assert len(list((folder / "acknowledged").iterdir())) == 3
        # The record is tried twice, the second time in a new segment, before anything is removed.
        faulty = FaultyOS("pwrite", errno.ENOSPC, count=3)
        monkeypatch.setattr(files, "os", faulty)
        append(store, 120)

        assert faulty.failed == 3
        assert (store.in_memory, store.waiting) == (0, 1)
        assert kept(folder) == list(range(80, 120))

    def test_on_which_nothing_is_acknowledged_is_as_without_the_option(self, folder, monkeypatch):
        """New records wait in memory."""
        store = open_store(folder, keep_acknowledged_s=3600)
        append(store, 0)
        monkeypatch.setattr(files, "os", FaultyOS("pwrite", errno.ENOSPC, count=10**9))
        append(store, 1)

        assert (store.in_memory, store.waiting) == (1, 2)

    def test_delivery_goes_on_where_nothing_can_be_kept(self, folder, monkeypatch, caplog):
        """And the log says so, once, and when it works again."""
        store = open_store(folder, keep_acknowledged_s=3600)
        append(store, 0, 1)
        monkeypatch.setattr(files, "os", FaultyOS("pwrite", errno.ENOSPC, count=10**9))
        acknowledge(store)
        assert store.waiting == 0
        monkeypatch.setattr(files, "os", os)
        append(store, 2)
        acknowledge(store)
        store.maintain(adopt=False)

        assert kept(folder) == [2]
        assert "records are delivered, but cannot be sent again later" in caplog.text
        assert f"keeping acknowledged records in {folder / 'acknowledged'} works again" in caplog.text

    def test_folder_that_cannot_be_listed_keeps_nobody_from_anything(self, folder, monkeypatch):
        """The limits of what waits are kept."""
        store = open_store(folder, keep_acknowledged_s=3600, max_size_bytes=MIN_SIZE_BYTES)
        forbid(monkeypatch, "listdir")
        append(store, *range(400), size=1000)

        assert store.dropped["full"] > 0
        assert store.waiting + store.dropped["full"] == 400


def test_spool_of_an_application_says_what_it_keeps(http, folder, spooling):
    """The size that is measured includes it."""
    log = spooling(http, keep_acknowledged_s=3600)
    log.record_event(ID, 1, {"action": "a", "count": 0})
    assert log.handlers[0].force_flush(120)
    [path] = (folder / "acknowledged").iterdir()

    assert log.handlers[0]._spool.size_bytes() >= path.stat().st_size > 0


def test_receiver_that_is_away_changes_nothing(folder, spooling):
    """Nothing is kept that waits."""
    log = spooling(NOWHERE, keep_acknowledged_s=3600)
    log.record_event(ID, 1, {"action": "a", "count": 0})

    assert not log.handlers[0].force_flush(0.1)
    assert kept(folder) == []
