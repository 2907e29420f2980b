"""Stores without a sender: tests deliver by hand, so that everything happens in a known order."""

from __future__ import annotations

import os

from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from jupyter_otel_telemetry.otlp.entries import Entry
from jupyter_otel_telemetry.spool.folder import MIN_SIZE_BYTES, SpoolFolder, SpoolOptions
from jupyter_otel_telemetry.spool.store import Store

RESOURCE, SCOPE = b"\x1a\x01r", b"\x1a\x01s"


def entry(number, size=0):
    """Return a record that can be told from others."""
    body = AnyValue(string_value=f"{number}:{'x' * size}")
    return Entry(RESOURCE, SCOPE, LogRecord(observed_time_unix_nano=1, body=body).SerializeToString())


def number_of(found):
    """Return the number of a record, and insist that nothing else of it has changed."""
    text = LogRecord.FromString(found.record).body.string_value
    number = int(text.partition(":")[0])
    assert found == entry(number, len(text.partition(":")[2]))
    return number


def open_store(path, **options):
    """Return a store on a folder, which is made as a processor makes it."""
    folder = SpoolFolder(SpoolOptions(path, **{"max_size_bytes": MIN_SIZE_BYTES * 4, **options}))
    folder.prepare()
    return Store(folder)


def die(store):
    """Let a store go as a killed process does: the locks are free, and nothing is tidied."""
    if store._own is not None:
        store._own.journal._lock.close()
        store._own.reader.close()
        store._own.writer._file = None
    store._adopted.close()


def deliver(store, rounds=1):
    """Send what a store has, as its sender does, and return the numbers."""
    found = []
    for _ in range(rounds):
        store.maintain(adopt=True)
        for source, batch in store.batches():
            found += map(number_of, batch.entries)
            store.keep(batch.entries, len(batch.entries))
            store.commit(source, batch, len(batch.entries))
    return found


class FaultyOS:
    """The module `os`, of which one function fails some times.

    Args:
        name: of the function.
        error: number of the error.
        first: how many calls go well before.
        count: how many fail.

    """

    def __init__(self, name, error, first=0, count=1):
        self._name, self._error, self._first, self._count = name, error, first, count
        self.failed = 0

    def __getattr__(self, name):
        real = getattr(os, name)
        if name != self._name:
            return real

        def call(*arguments, **options):
            self._first -= 1
            if self._first < 0 <= self._first + self._count:
                self.failed += 1
                raise OSError(self._error, os.strerror(self._error))
            return real(*arguments, **options)

        return call
