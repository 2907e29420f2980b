"""Whatever operation of the disk fails, once or for a while: no record is lost, altered or counted twice."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import FaultyOS, deliver, die, entry, number_of, open_store

from jupyter_otel_telemetry.spool import files
from jupyter_otel_telemetry.spool.journal import Journal

OPERATIONS = (
    "fdatasync",
    "fstat",
    "fsync",
    "ftruncate",
    "listdir",
    "lstat",
    "mkdir",
    "open",
    "pread",
    "pwrite",
    "rename",
    "rmdir",
    "scandir",
    "unlink",
)
ERRORS = (errno.EMFILE, errno.EIO, errno.ESTALE, errno.ENOSPC, errno.EACCES, errno.ENOMEM)


@contextmanager
def failing(*arguments, **options):
    """Let an operation fail inside."""
    faulty = FaultyOS(*arguments, **options)
    files.os = faulty
    try:
        yield faulty
    finally:
        files.os = os


@pytest.fixture
def left(folder):
    """A folder in which a dead process has left records 0 to 9."""
    store = open_store(folder)
    for number in range(10):
        store.append(entry(number))
    die(store)
    return folder


class TestAnyFailure:
    @settings(max_examples=300, deadline=None)
    @given(
        st.sampled_from(OPERATIONS),
        st.sampled_from(ERRORS),
        st.integers(0, 60),
        st.sampled_from([1, 2, 10, 1000]),
        st.sampled_from(["process", "power"]),
        st.sampled_from([0, 3600]),
    )
    def test_loses_nothing(self, name, error, first, count, durability, keep_s):
        """Records of this process and those that another one has left arrive, from this process or the next."""
        with tempfile.TemporaryDirectory() as base:
            path = Path(base) / "spool"
            other = open_store(path)
            for number in range(10):
                other.append(entry(number, 9_000))
            die(other)
            options = {"durability": durability, "keep_acknowledged_s": keep_s}
            store = open_store(path, **options)
            found = []
            with failing(name, error, first, count):
                for number in range(10, 40):
                    store.append(entry(number, 9_000))
                    if number % 5 == 0:
                        found += deliver(store)
            found += deliver(store, 2)
            lost = sum(store.dropped.values())
            store.close()
            following = open_store(path, **options)
            found += deliver(following, 8)
            following.close()

            assert set(found) == set(range(40))
            assert lost == 0 or error in {errno.EIO, errno.EACCES}  # then it is said to be lost, and comes later
            assert Journal.all_in(path / "queue") == []


class TestListing:
    @pytest.mark.parametrize("error", ERRORS)
    @pytest.mark.parametrize("name", ["listdir", "scandir"])
    def test_that_fails_is_not_an_empty_folder(self, left, name, error):
        """The journal stays."""
        store = open_store(left)
        with failing(name, error, count=100):
            assert deliver(store, 3) == []
        assert len(Journal.all_in(left / "queue")) == 1
        store.close()

        assert deliver(open_store(left), 3) == list(range(10))

    def test_that_fails_is_logged_once(self, left, caplog):
        """With the path and the reason."""
        store = open_store(left)
        with failing("listdir", errno.EIO, count=100):
            deliver(store, 3)

        assert caplog.text.count("cannot be sent from, and is left where it is; it is tried again") == 1


class TestJournals:
    @pytest.mark.parametrize("kind", ["folder", "fifo", "link", "loop", "noise", "unreadable"])
    def test_segment_that_cannot_be_read_blocks_nothing(self, left, kind):
        """Neither the rest of its journal nor others; and it stays where it is."""
        [journal] = Journal.all_in(left / "queue")
        odd = journal / "00000000.seg"
        _make(odd, kind, journal)
        store = open_store(left)
        store.append(entry(10))

        assert sorted(deliver(store, 2)) == list(range(11))
        assert kind == "noise" or os.path.lexists(odd)

    def test_records_behind_it_are_not_sent_again(self, left):
        """Though the journal is taken over once more."""
        [journal] = Journal.all_in(left / "queue")
        (journal / "00000000.seg").mkdir()
        store = open_store(left)
        assert deliver(store, 2) == list(range(10))
        store.close()

        assert deliver(open_store(left), 2) == []

    def test_that_is_a_link_is_not_followed(self, left, tmp_path):
        """It may lead anywhere."""
        [journal] = Journal.all_in(left / "queue")
        journal.rename(tmp_path / "elsewhere")
        journal.symlink_to(tmp_path / "elsewhere")

        assert deliver(open_store(left), 2) == []
        assert (tmp_path / "elsewhere" / "00000001.seg").exists()

    def test_record_that_cannot_be_decoded_is_sent_as_it_is(self, left):
        """The receiver decides; it has a right checksum."""
        store = open_store(left)
        store.append(entry(10)._replace(record=b"\xff\xff\xff"))
        batches = [batch for _, batch in store.batches()]

        assert [found.record for batch in batches for found in batch.entries] == [b"\xff\xff\xff"]


def _make(path, kind, journal):
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(journal / "00000001.seg")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "noise":
        path.write_bytes(b"\xff\xfeJS" * 100)
    else:
        path.write_bytes(b"")
        path.chmod(0)
        if os.geteuid() == 0:  # who may read everything
            path.unlink()
            path.symlink_to("/proc/self/mem")


class TestLeftovers:
    def test_journal_has_a_hidden_name_while_it_is_removed(self, left):
        """So a process that is killed meanwhile leaves nothing that looks like a journal without records."""
        store = open_store(left)
        with failing("rmdir", errno.EIO):
            assert deliver(store, 2) == list(range(10))
        [leftover] = (left / "queue").iterdir()

        assert leftover.name.startswith(".")
        os.utime(leftover, (1e9, 1e9))
        deliver(open_store(left))
        assert list((left / "queue").iterdir()) == []

    def test_one_that_is_being_made_is_not_swept(self, left):
        """It is young."""
        (left / "queue" / f".{1:020d}-1-aaaa").mkdir()
        deliver(open_store(left))

        assert (left / "queue" / f".{1:020d}-1-aaaa").exists()

    def test_failed_attempts_leave_nothing(self, folder):
        """A full disk may fail each time."""
        store = open_store(folder)
        with failing("rename", errno.ENOSPC, count=100):
            for number in range(10):
                store.append(entry(number))
        assert list((folder / "queue").iterdir()) == []

        assert deliver(store) == list(range(10))


class TestSync:
    def test_that_fails_has_the_records_written_again(self, folder):
        """To another file, since the system may have forgotten them and say that the next sync worked."""
        store = open_store(folder, durability="power")
        store.append(entry(0))
        with failing("fdatasync", errno.EIO):
            store.append(entry(1))
        [first, second, _] = sorted((folder / "queue").glob("*/*.seg"))
        first.unlink()

        assert second.stat().st_size
        assert number_of(store._own.reader.read(10, 1000).entries[0]) == 1

    def test_comes_before_a_new_file_is_begun(self, folder, monkeypatch):
        """A thread that has written to the old one may still be waiting for its sync."""
        store = open_store(folder, durability="power")
        store.append(entry(0))
        own = store._own
        own.append(entry(1))
        synced = []
        monkeypatch.setattr(files.File, "sync", lambda file: synced.append(file.path))
        own.begin_segment()

        assert len(synced) == 1

    def test_that_fails_again_is_said_truthfully(self, folder, caplog):
        """They are in the file, and may not survive the end of power; nothing is said of memory."""
        store = open_store(folder, durability="power")
        store.append(entry(0))
        with failing("fdatasync", errno.EIO, count=10):
            store.append(entry(1))
            store.append(entry(2))
        assert caplog.text.count("until a sync works, records survive the end of the process, but may not") == 1
        assert "memory" not in caplog.text
        store.maintain(adopt=False)

        assert not store._own.is_failing
        assert set(deliver(store, 2)) == {0, 1, 2}


class TestMode:
    def test_files_are_private(self, left):
        """All of them."""
        paths = [left, *left.rglob("*")]
        assert {stat.S_IMODE(path.lstat().st_mode) & 0o077 for path in paths if path.name != "FORMAT"} == {0}
