"""Reads log records as stores export them: one flat mapping a record, whatever the store's format."""

from __future__ import annotations

import gzip
import json
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jupyter_otel_telemetry.otlp.received import logs_of_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

__all__ = ["NotReadError", "read_records"]

_SEPARATORS = re.compile(r"[^a-z0-9]+")
_GZIP = b"\x1f\x8b"


class NotReadError(Exception):
    """A file holds a line that is not a record in one of the known formats."""


def read_records(path: Path, read: Callable[[int], object]) -> Iterator[dict[str, Any]]:
    """Yield the records of a file, their fields by names as Loki writes them: lower case, `_` for other characters.

    Known are OTLP JSON lines, JSON lines of LogsQL (VictoriaLogs), answers of Loki's query API, JSON lines of its
    `logcli`, and JSON lines of this package and its commands; each plain or compressed with gzip.

    Args:
        path: the file, or `-` for standard input.
        read: called after each line with its size in bytes.

    Raises:
        NotReadError: a line is not JSON, or not a record.
        OSError: the file cannot be read.

    """
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield from _records(json.loads(line))
                except (ValueError, RecursionError) as error:
                    reason = "not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
                    raise NotReadError(f"{path}, line {number}: {reason}") from None
            read(len(line))


@contextmanager
def _opened(path: Path) -> Iterator[Iterable[bytes]]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    with path.open("rb") as file:
        yield gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == _GZIP else file


def _records(content: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(content, dict):
        raise ValueError("a record must be a JSON object")  # noqa: TRY004 - content, not code
    if "resourceLogs" in content:
        for log in logs_of_json(content):
            yield _named({**log.resource, **log.attributes})
    elif isinstance(content.get("data"), dict) and isinstance(content["data"].get("result"), list):
        for stream in content["data"]["result"]:
            for _, _, *metadata in stream.get("values", ()):
                more = metadata[0] if metadata else {}
                yield _named({**stream.get("stream", {}), **more.get("structuredMetadata", more)})
    else:
        yield _named(content)


def _named(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields under normalised names, those of nested objects without the name of the object."""
    named: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            named |= _named(value)
        else:
            named[_SEPARATORS.sub("_", name.lower()).strip("_")] = value
    return named
