"""Wherever power is lost, a spool with durability "power" has each record that it has to have.

`CRASH_STATES` says how many states of the disk are looked at, `CRASH_SEED` which.
"""

from __future__ import annotations

import os
import random
import shutil
from contextlib import contextmanager

import pytest
from disk_model import Note, RecordingOS, UnsyncedOS, Write, lay_out, state
from stores import RESOURCE, die, entry, number_of, open_store

from jupyter_otel_telemetry.spool import files, inspection
from jupyter_otel_telemetry.spool.folder import MIN_SIZE_BYTES, SpoolFolder, SpoolOptions
from jupyter_otel_telemetry.spool.maintenance import requeue_rejected

STATES = int(os.environ.get("CRASH_STATES", "1200"))
WORKLOADS = 40
SEED = int(os.environ.get("CRASH_SEED", "20261125"))


@contextmanager
def using(system):
    files.os = system
    try:
        yield system
    finally:
        files.os = os


class Workload:
    """What some processes do with a spool, one after the other and at random."""

    def __init__(self, base, chance, **options):
        self._path = base / "spool"
        self._options = options
        self._chance = chance
        self._count = 0

    def run(self, steps):
        with using(RecordingOS(self._path.parent)) as self._recorder:
            self._open()
            for _ in range(steps):
                self._chance.choice(self._STEPS)(self)
        die(self._store)
        return self._recorder

    def _open(self):
        self._store = open_store(
            self._path, max_size_bytes=self._chance.choice([4, 64]) * MIN_SIZE_BYTES, **self._options
        )

    def _append(self):
        for _ in range(self._chance.randrange(1, 6)):
            self._store.append(entry(self._count, self._chance.choice([0, 30, 700, 5_000])))
            self._recorder.note("returned", self._count)
            self._count += 1

    def _deliver(self):
        self._store.maintain(adopt=True)
        for source, batch in self._store.batches():
            done = self._chance.choice([len(batch.entries), 1])
            numbers = tuple(map(number_of, batch.entries[:done]))
            self._recorder.note("accepted", *numbers)
            self._store.keep(batch.entries[:done], done)
            self._recorder.note("kept", *numbers)
            self._store.commit(source, batch, done)

    def _reject(self):
        for source, batch in self._store.batches():
            done = self._chance.randrange(1, len(batch.entries) + 1)
            self._store.reject(batch.entries[:done], {"rejected": done, "status": "400"})
            self._store.commit(source, batch, done)

    def _requeue(self):
        requeue_rejected(self._store.folder)

    def _rotate(self):
        if self._store._own is not None:
            self._store._own.begin_segment()

    def _next_process(self):
        (die if self._chance.random() < 0.5 else type(self._store).close)(self._store)
        self._open()

    _STEPS = (_append, _append, _append, _append, _deliver, _reject, _requeue, _rotate, _next_process)


def found_in(path, **options):
    """Start on what a crash has left; return the records that are delivered or kept as rejected, by number."""
    with using(UnsyncedOS()):
        store = open_store(path, **options)
        found = []
        while batches := list(_taken(store)):
            found += [one for batch in batches for one in batch.entries]
        store.close()
        rejected = inspection.rejected(SpoolFolder(SpoolOptions(path)), lambda _: None)
        found += [one for group in rejected for one in group.entries]
    by_number = {}
    for one in found:
        # A record that was not synced may have lost its resource and scope; it is as it was otherwise.
        by_number.setdefault(number_of(_like(one)), []).append(one)
    return by_number


def _taken(store):
    store.adopt()
    for source, batch in store.batches():
        store.commit(source, batch, len(batch.entries))
        yield batch


def due(operations):
    """Return the numbers of the records that must be there: returned, and not accepted."""
    return noted(operations, "returned") - noted(operations, "accepted")


def noted(operations, what):
    """Return the numbers of the records of which this is noted."""
    notes = [operation for operation in operations if isinstance(operation, Note)]
    return {number for note in notes if note.what == what for number in note.numbers}


def acknowledged_in(path):
    """Return the numbers of the records that are kept though acknowledged."""
    found = inspection.acknowledged(SpoolFolder(SpoolOptions(path)), lambda _: None)
    return {number_of(_like(one)) for group in found for one in group.entries}


def crashes(folder, workload, crash, **options):
    """Yield operations of a workload up to a random moment, and the folder that a crash then leaves.

    `crash(operations, chance)` returns the state of the disk.
    """
    chance = random.Random(SEED + workload)
    base, after = folder / "base", folder / "after"
    base.mkdir()
    recorder = Workload(base, chance, **options).run(steps=25)
    for _ in range(STATES // WORKLOADS):
        operations = recorder.operations[: chance.randrange(len(recorder.operations) + 1)]
        after.mkdir()
        lay_out(crash(operations, chance), recorder.folders, after)
        yield operations, after / "spool"
        shutil.rmtree(after)


def killed(operations, chance):
    """Return what the system has when a process is killed: everything, but for the rest of a write."""
    last = operations[-1:]
    if isinstance(last[:1] and last[0], Write):
        cut = chance.randrange(len(last[0].data) + 1)
        operations[-1] = Write(last[0].file, last[0].offset, last[0].data[:cut])
    return state(operations, chance, 1)


class TestPower:
    @pytest.mark.parametrize("workload", range(WORKLOADS))
    def test_loses_no_record_that_was_returned(self, tmp_path, workload):
        """And never refuses to start, and never makes a record up."""

        def crash(operations, chance):
            return state(operations, chance, chance.choice([0, 0, 0.3, 0.7, 1]))

        for operations, path in crashes(tmp_path, workload, crash, durability="power"):
            found = found_in(path)
            whole = {number for number, copies in found.items() if any(one == _like(one) for one in copies)}

            assert due(operations) <= whole


class TestProcess:
    @pytest.mark.parametrize("workload", range(WORKLOADS // 4))
    def test_that_is_killed_loses_no_record_that_was_returned(self, tmp_path, workload):
        """Even in the middle of a write."""
        for operations, path in crashes(tmp_path, workload, killed):
            assert due(operations) <= found_in(path).keys()

    @pytest.mark.parametrize("workload", range(WORKLOADS // 4))
    def test_without_power_starts_again(self, tmp_path, workload):
        """What had not been written by the system is lost; nothing is made up."""

        def crash(operations, chance):
            return state(operations, chance, chance.random())

        for operations, path in crashes(tmp_path, workload, crash):
            returned = {number for one in operations if isinstance(one, Note) for number in one.numbers}
            being_written = max(returned, default=-1) + 1

            assert found_in(path).keys() <= returned | {being_written}


class TestKeeping:
    """With `keep_acknowledged_s`."""

    @pytest.mark.parametrize("workload", range(WORKLOADS // 4))
    def test_process_that_is_killed_loses_neither_waiting_nor_acknowledged_records(self, tmp_path, workload):
        """Whatever is acknowledged is kept from the moment at which it leaves the queue."""
        for operations, path in crashes(tmp_path, workload, killed, keep_acknowledged_s=3600):
            waiting = found_in(path, keep_acknowledged_s=3600).keys()
            kept = acknowledged_in(path)

            assert due(operations) <= waiting
            assert noted(operations, "kept") <= kept
            assert noted(operations, "returned") <= waiting | kept

    @pytest.mark.parametrize("workload", range(WORKLOADS // 4))
    def test_power_loses_neither_waiting_nor_acknowledged_records(self, tmp_path, workload):
        """With durability "power"."""

        def crash(operations, chance):
            return state(operations, chance, chance.choice([0, 0, 0.3, 0.7, 1]))

        options = {"durability": "power", "keep_acknowledged_s": 3600}
        for operations, path in crashes(tmp_path, workload, crash, **options):
            waiting = found_in(path, **options).keys()
            kept = acknowledged_in(path)

            assert due(operations) <= waiting
            assert noted(operations, "kept") <= kept
            assert noted(operations, "returned") <= waiting | kept


def _like(one):
    """Return a record as it was appended."""
    return one._replace(resource=RESOURCE, scope=entry(0).scope)
