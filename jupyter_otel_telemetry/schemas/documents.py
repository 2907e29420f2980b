"""Text to schema: YAML 1.2 or JSON from untrusted sources, with bounds on size, depth, nodes and digits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from jupyter_otel_telemetry.errors import SchemaSourceError
from jupyter_otel_telemetry.schemas import yaml12
from jupyter_otel_telemetry.schemas.keywords import MAX_DEPTH, depth
from jupyter_otel_telemetry.schemas.yaml12 import DocumentError

__all__ = ["MAX_SOURCE_BYTES", "TOO_LARGE", "decoded", "parse"]

MAX_SOURCE_BYTES: Final = 1024 * 1024
TOO_LARGE: Final = f"larger than {MAX_SOURCE_BYTES // 1024} KiB"


def parse(content: str | bytes, source: str) -> Mapping[str, Any]:
    """Parse one YAML or JSON document that is a mapping.

    Args:
        content: UTF-8 if bytes, with or without byte order mark.
        source: file or URL, for messages.

    Raises:
        SchemaSourceError: the content is too large, or not one such document.

    """
    text = decoded(content, source)
    try:
        document = _parsed(text)
    except DocumentError as error:
        raise SchemaSourceError(source, str(error)) from None
    if not isinstance(document, Mapping):
        raise SchemaSourceError(source, f"a {type(document).__name__}, not a mapping with $id and version")
    return document


def decoded(content: str | bytes, source: str) -> str:
    """Return the text of a document; raise a SchemaSourceError if it is too large, empty or not UTF-8."""
    if len(content) > MAX_SOURCE_BYTES:
        raise SchemaSourceError(source, TOO_LARGE)
    try:
        data = content.encode() if isinstance(content, str) else content
        text = data.decode("utf-8-sig")
    except UnicodeError as error:
        raise SchemaSourceError(source, f"not UTF-8 at byte {getattr(error, 'start', 0)}") from None
    if not text.strip():
        raise SchemaSourceError(source, "empty")
    return text


def _parsed(text: str) -> Any:
    if text.lstrip()[:1] not in {"{", "["}:
        return yaml12.load(text)
    try:
        return _from_json(text)
    except (ValueError, RecursionError) as error:
        problem = error
    try:
        return yaml12.load(text)  # flow style begins like JSON; and its errors name line and column
    except yaml12.YAMLSyntaxError as error:
        raise (problem if isinstance(problem, DocumentError) else error) from None


class _Float(float):
    """A number with its text."""

    text: str


def _from_json(text: str) -> Any:
    document = json.loads(
        text, object_pairs_hook=_object, parse_int=yaml12.number, parse_float=_float, parse_constant=_no_number
    )
    _check_bounds(document)
    version = document.get("version") if isinstance(document, dict) else None
    if isinstance(version, _Float):
        yaml12.check_version(version.text, float(version))
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise DocumentError(f"the key {twice[:100]!r} is given twice in one object")
    return found


def _float(text: str) -> _Float:
    value = _Float(yaml12.number(text))
    value.text = text
    return value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _check_bounds(document: Any) -> None:
    """Hold JSON to the bounds of YAML."""
    if depth(document) > MAX_DEPTH:
        raise DocumentError(yaml12.TOO_DEEP)
    nodes, waiting = 0, [document]
    while waiting:
        value = waiting.pop()
        nodes += 1
        if isinstance(value, dict):
            nodes += len(value)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    if nodes > yaml12.MAX_NODES:
        raise DocumentError(yaml12.TOO_MANY)
