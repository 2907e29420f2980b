"""How a segment file is made: frames, of which each healthy one can be read whatever became of the others.

A frame is a marker, the kind, the length and the checksum of the payload, and the payload. Where something cannot be
read, reading goes on at the next marker that begins a healthy frame. The marker is no UTF-8, so no text of an event
can look like one.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OVERHEAD_BYTES", "RECORD", "RESOURCE", "SCOPE", "Frame", "frame", "frames"]

RESOURCE: Final = 1
"""A serialised `ResourceLogs` without its scopes; it holds for the records after it."""
SCOPE: Final = 2
"""A serialised `ScopeLogs` without its records; it holds for the records after it."""
RECORD: Final = 3
"""A serialised `LogRecord`."""

_MARKER: Final = b"\xff\xfeJS"
_HEADER: Final = struct.Struct("<4sBII")
OVERHEAD_BYTES: Final = _HEADER.size


class Frame(NamedTuple):
    """A healthy frame; `end` is where it ends in the data it was read from."""

    kind: int
    payload: bytes
    end: int


def frame(kind: int, payload: bytes) -> bytes:
    """Return the bytes of a frame."""
    return _HEADER.pack(_MARKER, kind, len(payload), crc32(payload, kind)) + payload


def frames(data: bytes, *, is_all: bool) -> Iterator[Frame]:
    """Read the healthy frames of what begins a file or follows a frame in it.

    Args:
        data: to read from.
        is_all: nothing follows. Otherwise reading stops where the rest of a frame may be in what follows.

    """
    start = 0
    while (start := data.find(_MARKER, start)) >= 0:
        begin = start + OVERHEAD_BYTES
        end = begin
        if begin <= len(data):
            _, kind, length, checksum = _HEADER.unpack_from(data, start)
            end += length
            if end <= len(data):
                payload = data[begin:end]
                if crc32(payload, kind) == checksum:
                    yield Frame(kind, payload, end)
                    start = end
                    continue
        if not is_all and end >= len(data):
            return
        start += 1
