"""How a segment file is made: frames, of which each healthy one can be read whatever became of the others.

A frame is a marker, the kind, the length and the checksum of the payload, and the payload. Where something cannot be
read, reading goes on at the next marker that begins a healthy frame. The marker is not UTF-8, so no text of an event
can look like one.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from jupyter_otel_telemetry.otlp.entries import Entry

__all__ = [
    "NOTE",
    "OVERHEAD_BYTES",
    "RECORD",
    "RESOURCE",
    "SCOPE",
    "Frame",
    "frame",
    "frames",
    "frames_of",
    "frames_to",
]

RESOURCE: Final = 1
"""A serialised `ResourceLogs` without its scopes; it holds for the records after it."""
SCOPE: Final = 2
"""A serialised `ScopeLogs` without its records; it holds for the records after it."""
RECORD: Final = 3
"""A serialised `LogRecord`."""
NOTE: Final = 4
"""JSON about the records after it: why they were rejected, or when they were acknowledged."""

_MARKER: Final = b"\xff\xfeJS"
_HEADER: Final = struct.Struct("<4sBII")
OVERHEAD_BYTES: Final = _HEADER.size
_BLOCK_BYTES: Final = 256 * 1024


class Frame(NamedTuple):
    """A healthy frame; `end` is where it ends in the data or file it was read from."""

    kind: int
    payload: bytes
    end: int


class Readable(Protocol):
    """A file that can be read at any place."""

    def read(self, size: int, offset: int) -> bytes:
        """Return up to `size` bytes from `offset` on."""


def frame(kind: int, payload: bytes) -> bytes:
    """Return the bytes of a frame."""
    return _HEADER.pack(_MARKER, kind, len(payload), crc32(payload, kind)) + payload


def frames_to(entries: Iterable[Entry]) -> bytes:
    """Return the bytes of frames of records; each resource and scope comes once, before its records."""
    data = bytearray()
    resource = scope = None
    for entry in entries:
        if entry.resource != resource:
            data += frame(RESOURCE, entry.resource)
        if entry.scope != scope:
            data += frame(SCOPE, entry.scope)
        data += frame(RECORD, entry.record)
        resource, scope = entry.resource, entry.scope
    return bytes(data)


def frames(data: bytes, *, is_all: bool) -> Iterator[Frame]:
    """Read the healthy frames of data that begin a file or follow a frame in it.

    Args:
        data: to read from.
        is_all: nothing follows. Otherwise reading stops where the rest of a frame may follow.

    """
    yield from _scan(data, 0, is_all=is_all)


def frames_of(file: Readable, start: int, stop: int) -> Iterator[Frame]:
    """Read the healthy frames between two places of a file, in blocks, however much of it is damaged.

    Raises:
        OSError: the file cannot be read.

    """
    size = _BLOCK_BYTES
    while start < stop:
        wanted = min(size, stop - start)
        data = file.read(wanted, start)
        is_all = len(data) < wanted or start + len(data) >= stop
        done = yield from _scan(data, start, is_all=is_all)
        if is_all:
            return
        start += done
        size = _BLOCK_BYTES if done else size * 2


def _scan(data: bytes, offset: int, *, is_all: bool) -> Generator[Frame, None, int]:
    """Read healthy frames; return how much of the data need not be read again."""
    start = done = 0
    while (start := data.find(_MARKER, start)) >= 0:
        begin = start + OVERHEAD_BYTES
        end = begin
        if begin <= len(data):
            _, kind, length, checksum = _HEADER.unpack_from(data, start)
            end += length
            if end <= len(data):
                payload = data[begin:end]
                if crc32(payload, kind) == checksum:
                    yield Frame(kind, payload, offset + end)
                    start = done = end
                    continue
        if not is_all and end >= len(data):
            return start
        start += 1
    return max(done, len(data) - len(_MARKER) + 1)
