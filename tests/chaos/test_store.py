"""How a store keeps its promises when the disk, the application or a signal gets in between; each step by hand."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
from pathlib import Path

import pytest
from receivers import wait_until
from stores import FaultyOS, deliver, die, entry, number_of, open_store

from jupyter_otel_telemetry.spool import adopted, files
from jupyter_otel_telemetry.spool.folder import MIN_SIZE_BYTES, SpoolFolder, SpoolOptions
from jupyter_otel_telemetry.spool.frames import frames_of
from jupyter_otel_telemetry.spool.journal import Journal
from jupyter_otel_telemetry.spool.rejected import Rejected, rejected_files, rejected_in

WHY = {"rejected": 1, "status": "400", "reason": "no", "destination": "here", "time": "now"}


@pytest.fixture
def failing(monkeypatch):
    """Return a function that lets an operation fail until the test ends, or `stop` is called on what it returns."""

    def fail(name, error, first=0, count=10**9):
        faulty = FaultyOS(name, error, first, count)
        monkeypatch.setattr(files, "os", faulty)
        return faulty

    return fail


def append(store, *numbers):
    for number in numbers:
        store.append(entry(number))


def on_disk(folder):
    """Return the numbers of the records in all journals, whether they were taken or not."""
    found = []
    for journal in Journal.all_in(folder / "queue"):
        for path in sorted(journal.glob("*.seg")):
            file = files.File(path, os.O_RDONLY)
            records = [one.payload for one in frames_of(file, 0, file.size_bytes()) if one.kind == 3]
            found += [number_of(entry(0)._replace(record=record)) for record in records]
            file.close()
    return found


class TestMemory:
    def test_next_record_takes_along_what_is_in_memory(self, folder, failing, monkeypatch):
        """In order; nobody waits for the sender to look."""
        store = open_store(folder)
        append(store, 0)
        failing("pwrite", errno.ENOSPC)
        append(store, 1, 2)
        monkeypatch.setattr(files, "os", os)
        append(store, 3)

        assert on_disk(folder) == [0, 1, 2, 3]

    def test_record_of_a_signal_handler_is_on_the_disk_when_the_append_returns(self, folder, monkeypatch):
        """And so are all that follow."""
        store = open_store(folder)
        append(store, 0)
        real = os.pwrite
        pending = [1]

        def interrupted(*arguments):
            if pending:
                append(store, pending.pop())
            return real(*arguments)

        monkeypatch.setattr("os.pwrite", interrupted)
        append(store, 2, 3)

        assert on_disk(folder) == [0, 2, 1, 3]

    def test_end_writes_it_though_the_receiver_does_not_answer(self, http, spooling, failing, monkeypatch):
        """The thread that ends does so, since that of the sender waits for an answer."""
        from builders import ID
        from receivers import Reply

        http.behave = lambda _: Reply(wait_s=60)
        log = spooling(http)
        spool = log.handlers[0]._spool
        monkeypatch.setattr("jupyter_otel_telemetry.spool.processor.SHUTDOWN_TIMEOUT_S", 0.1)
        log.record_event(ID, 1, {"action": "a", "count": 0})
        http.wait_for(lambda found: found.requests)
        failing("pwrite", errno.ENOSPC)
        log.record_event(ID, 1, {"action": "a", "count": 1})
        assert spool._store.in_memory == 1
        monkeypatch.setattr(files, "os", os)
        log.handlers[0]._provider.shutdown()

        assert spool._store.in_memory == 0


class TestDescriptors:
    @staticmethod
    def steal(folder, tmp_path):
        """Close all that is open in a folder, as daemons do, and open files of one's own under the same numbers."""
        mine = []
        for link in list(Path("/proc/self/fd").iterdir()):
            if link.is_symlink() and str(link.readlink()).startswith(str(folder)):
                path = tmp_path / f"mine{link.name}"
                path.write_bytes(b"my own data, which is longer than a frame" * 10)
                fd = os.open(path, os.O_RDWR)
                os.dup2(fd, int(link.name))
                os.close(fd)
                mine.append((int(link.name), path))
        return mine

    def test_file_of_the_application_is_not_touched(self, folder, tmp_path):
        """It has the number of one of ours."""
        store = open_store(folder)
        append(store, 0, 1)
        assert len(list(store.batches())) == 1
        mine = self.steal(folder, tmp_path)
        append(store, 2, 3)
        found = deliver(store, 2)
        store.close()

        assert len(mine) >= 3
        assert {path.read_bytes() for _, path in mine} == {b"my own data, which is longer than a frame" * 10}
        assert all(os.fstat(fd).st_ino == path.stat().st_ino for fd, path in mine)
        assert found == [0, 1, 2, 3]
        for fd, _ in mine:
            os.close(fd)

    def test_lock_that_was_lost_meanwhile_is_not_fought_for(self, folder, tmp_path):
        """Another process has taken the journal over and sends from it."""
        store, other = open_store(folder), open_store(folder)
        append(store, 0, 1)
        mine = self.steal(folder, tmp_path)
        assert deliver(other, 1) == [0, 1]
        append(store, 2)

        assert deliver(store, 1) == [2]
        assert store.waiting == 0
        for fd, _ in mine:
            os.close(fd)

    def test_folder_that_was_moved_and_replaced_is_noticed(self, folder, tmp_path):
        """What is recorded from then on is in the new one, with what had not been sent."""
        store = open_store(folder)
        append(store, 0)
        folder.rename(tmp_path / "moved")
        open_store(folder)
        (folder / "queue").rmdir()
        (tmp_path / "moved" / "queue").rename(tmp_path / "elsewhere")
        store.maintain(adopt=False)
        append(store, 1)

        assert on_disk(folder) == [0, 1]

    @pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking is the point
    def test_child_closes_nothing_of_the_application(self, folder, tmp_path):
        """A fork happens after the application has taken our numbers."""
        store = open_store(folder)
        append(store, 0)
        mine = self.steal(folder, tmp_path)
        read, write = os.pipe()
        if not (child := os.fork()):
            alive = all(os.fstat(fd).st_ino == path.stat().st_ino for fd, path in mine)
            os.write(write, b"1" if alive else b"0")
            os._exit(0)
        os.waitpid(child, 0)

        assert os.read(read, 1) == b"1"
        for fd in (read, write, *(fd for fd, _ in mine)):
            os.close(fd)


class TestLeftJournals:
    def test_are_given_back_when_the_receiver_cannot_be_reached(self, folder):
        """Another process may reach it."""
        other = open_store(folder)
        append(other, 0)
        die(other)
        store = open_store(folder)
        store.maintain(adopt=True)
        assert len(list(store.batches())) == 1
        store.give_back()

        assert deliver(open_store(folder), 1) == [0]

    @pytest.mark.parametrize("count", [100, 400])
    def test_are_listed_once(self, folder, count, monkeypatch):
        """However many there are: the cost of each is that of one look at it."""
        for number in range(count):
            other = open_store(folder)
            append(other, number)
            die(other)
        listed = []
        all_in = Journal.all_in
        monkeypatch.setattr(Journal, "all_in", lambda queue: listed.append(queue) or all_in(queue))
        monkeypatch.setattr(adopted, "_SCAN_SHARE", 10**6)
        store = open_store(folder)
        found = []
        while store.adopt():
            for source, batch in store.batches():
                found += map(number_of, batch.entries)
                store.commit(source, batch, len(batch.entries))

        assert found == list(range(count))
        assert len(listed) <= 2

    def test_after_the_end_of_sending_are_one(self, folder):
        """Not one a record; others may take it at any time."""
        store, other = open_store(folder), open_store(folder)
        store.close()
        append(store, 0, 1, 2)
        assert len(Journal.all_in(folder / "queue")) == 1
        delivered = []
        wait_until(
            lambda: delivered.extend(deliver(other)) or delivered == [0, 1, 2]
        )  # slow scans are done less often
        append(store, 3)

        wait_until(lambda: delivered.extend(deliver(other)) or delivered == [0, 1, 2, 3])


class TestRejected:
    def reject(self, store):
        """Reject all that waits, and return how that went."""
        results = []
        while store.waiting:
            for source, batch in store.batches():
                results.append(store.reject(batch.entries, WHY | {"rejected": len(batch.entries)}))
                store.commit(source, batch, len(batch.entries))
        return results

    def test_are_kept_whole(self, folder):
        """With the reason; and they are off the queue."""
        store = open_store(folder)
        append(store, *range(100))

        assert self.reject(store) == [None]
        assert _rejected(folder) == list(range(100))
        store.close()
        assert Journal.all_in(folder / "queue") == []

    def test_take_no_more_room_than_what_waited(self, folder):
        """They are the same frames."""
        store = open_store(folder, max_size_bytes=64 * MIN_SIZE_BYTES)
        append(store, *range(1000))
        [segment] = (folder / "queue").glob("*/*.seg")
        before = segment.stat().st_size
        self.reject(store)

        assert sum(path.stat().st_size for path in rejected_files(folder / "rejected")) < before * 1.01

    def test_go_by_files_at_the_limit_and_are_counted_and_logged(self, folder, caplog):
        """The oldest first; the newest stay."""
        store = open_store(folder, max_size_bytes=MIN_SIZE_BYTES)
        for number in range(0, 1000, 10):
            for one in range(number, number + 10):
                store.append(entry(one, 1000))
            self.reject(store)
            store.make_room()
        kept = _rejected(folder)

        assert kept == list(range(1000 - len(kept), 1000))
        assert store.dropped == {"rejected": 1000 - len(kept)}
        assert "which had been rejected before" in caplog.text

    def test_stay_in_the_queue_until_they_can_be_stored(self, folder, failing, monkeypatch):
        """And block nothing that comes after."""
        store = open_store(folder)
        append(store, 0, 1)
        _forbid_rejected(failing)
        assert isinstance(self.reject(store)[0], OSError)
        append(store, 2)
        assert deliver(store) == [2]
        assert set(on_disk(folder)) >= {0, 1}

        monkeypatch.setattr(files, "os", os)
        store.maintain(adopt=False)
        assert _rejected(folder) == [0, 1]
        store.maintain(adopt=False)
        assert on_disk(folder) == []

    def test_that_could_not_be_stored_outlive_the_process(self, folder, failing, monkeypatch):
        """They are sent again, and rejected again."""
        store = open_store(folder)
        append(store, 0, 1, 2)
        _forbid_rejected(failing)
        self.reject(store)
        store.close()
        monkeypatch.setattr(files, "os", os)

        assert deliver(open_store(folder), 1) == [0, 1, 2]

    def test_file_is_not_appended_to_while_it_is_read(self, folder):
        """A new one is begun."""
        store = open_store(folder)
        append(store, 0)
        self.reject(store)
        [path] = rejected_files(folder / "rejected")
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            append(store, 1)
            self.reject(store)

        assert len(rejected_files(folder / "rejected")) == 2
        assert _rejected(folder) == [0, 1]

    def test_half_a_write_costs_nothing_else(self, folder):
        """As a process that is killed leaves it."""
        store = open_store(folder)
        append(store, 0)
        self.reject(store)
        [path] = rejected_files(folder / "rejected")
        with path.open("ab") as file:
            file.write(path.read_bytes()[:-3])
        append(store, 1)
        self.reject(store)

        assert _rejected(folder) == [0, 1]

    def test_large_ones_are_divided(self, folder):
        """No file is larger than a segment, and no record is counted twice."""
        store = open_store(folder, max_size_bytes=MIN_SIZE_BYTES * 4)
        for number in range(60):
            store.append(entry(number, 10_000))
        self.reject(store)
        paths = rejected_files(folder / "rejected")
        groups = [found for path in paths for found in rejected_in(path) if isinstance(found, Rejected)]

        assert len(paths) > 3
        assert {len(found.entries) == found.why["rejected"] for found in groups} == {True}
        assert sum(found.why["rejected"] for found in groups) == 60


def _forbid_rejected(failing):
    """Let nothing be opened in `rejected`."""
    refused = failing("open", errno.EACCES).open
    files.os.open = lambda path, *more: (refused if "rejected" in str(path) else os.open)(path, *more)


def _rejected(folder):
    return [
        number_of(one)
        for path in rejected_files(folder / "rejected")
        for found in rejected_in(path)
        if isinstance(found, Rejected)
        for one in found.entries
    ]


class TestFolder:
    @pytest.mark.parametrize("content", [b"", bytes(40)])
    def test_format_that_power_has_cut_off_is_repaired(self, folder, content):
        """It keeps nobody from starting."""
        open_store(folder)
        (folder / "FORMAT").write_bytes(content)
        open_store(folder)

        assert (folder / "FORMAT").read_text() == "jupyter-otel-telemetry spool, format 1\n"

    @pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP])
    def test_without_locks_is_refused(self, folder, monkeypatch, error):
        """At the start, with a sentence."""

        def no_lock(_fd, _how):
            raise OSError(error, os.strerror(error))

        opened = SpoolFolder(SpoolOptions(folder))
        opened.prepare()
        monkeypatch.setattr("fcntl.flock", no_lock)
        with pytest.raises(OSError, match=r"file locks do not work here .*; use a folder on a disk of this machine"):
            opened.check_locks()
        assert sorted(path.name for path in folder.iterdir()) == ["FORMAT", "queue", "rejected"]

    def test_whose_locks_keep_nobody_out_is_refused(self, folder, monkeypatch):
        """As some network disks do."""
        opened = SpoolFolder(SpoolOptions(folder))
        opened.prepare()
        monkeypatch.setattr("fcntl.flock", lambda _fd, _how: None)
        with pytest.raises(OSError, match="file locks do not keep other processes out here"):
            opened.check_locks()

    def test_gigabyte_of_zeros_takes_no_memory(self, folder):
        """Reading goes on in blocks."""
        import tracemalloc

        store = open_store(folder)
        append(store, 0)
        die(store)
        [segment] = (folder / "queue").glob("*/*.seg")
        with segment.open("r+b") as file:
            file.truncate(200_000_000)
        tracemalloc.start()
        found = deliver(open_store(folder, max_size_bytes=10**10), 2)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert found == [0]
        assert peak < 20_000_000

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root creates files for others")
    def test_root_creates_nothing_that_its_owner_cannot_use(self, folder):
        """`drain` and `retry-rejected` may run as root."""
        open_store(folder).close()
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 1234, 1235)
        store = open_store(folder)
        append(store, 0, 1)
        for source, batch in store.batches():
            store.reject(batch.entries[:1], WHY)
            store.commit(source, batch, 1)
        store._own.begin_segment()

        assert {(path.stat().st_uid, path.stat().st_gid) for path in (folder, *folder.rglob("*"))} == {(1234, 1235)}


class TestLogging:
    def test_handler_that_records_deadlocks_nobody(self, folder):
        """Messages wait until no lock is held: here, another thread holds that of the handler, and records."""
        store = open_store(folder, max_size_bytes=MIN_SIZE_BYTES)
        handler_lock = threading.RLock()

        class Recording(logging.Handler):
            def emit(self, _record):
                with handler_lock:
                    append(store, -1)

        def record():
            for number in range(300):
                with handler_lock:
                    store.append(entry(number, 2000))

        handler = Recording()
        logging.getLogger("jupyter_otel_telemetry").addHandler(handler)
        thread = threading.Thread(target=record, daemon=True)
        try:
            thread.start()
            while thread.is_alive():
                store.maintain(adopt=False)
                list(store.batches())
            assert store.dropped["full"]
        finally:
            logging.getLogger("jupyter_otel_telemetry").removeHandler(handler)
