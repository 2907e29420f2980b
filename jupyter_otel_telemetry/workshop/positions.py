"""Lines and columns of the keys and values of a document, in YAML or JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_otel_telemetry.schemas.keywords import Path

__all__ = ["Position", "Positions"]


class Position(NamedTuple):
    """Line and column, which begin with 1."""

    line: int
    column: int


class Positions:
    """The position of each path of a document: of a key where there is one, else of the item.

    Args:
        text: a document that was parsed without an error. Of one that was not, only the start has a position.

    """

    def __init__(self, text: str) -> None:
        self._found: dict[Path, Position] = {(): Position(1, 1)}
        self._frames: list[_Frame] = []
        is_json = text.lstrip()[:1] in {"{", "["} and _is_json(text)
        for kind, position, value in _json_tokens(text) if is_json else _yaml_tokens(text):
            self._take(kind, position, value)

    def of(self, path: Path) -> Position:
        """Return the position of a path, or of the nearest one above that the text has: merged mappings have none."""
        return next(self._found[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self._found)

    def _take(self, kind: str, position: Position, value: str) -> None:
        if kind == "end":
            self._frames.pop()
            return
        path = self._next_path(kind, position, value)
        if path is not None and kind != "scalar":
            self._frames.append(_Frame(path, is_list=kind == "list"))

    def _next_path(self, kind: str, position: Position, value: str) -> Path | None:
        """Return the path of the node that begins here, or None if it is the key of the next one."""
        if not self._frames:
            self._found[()] = position
            return ()
        frame = self._frames[-1]
        if frame.is_list:
            frame.count += 1
            path = (*frame.path, frame.count - 1)
        elif frame.key is None and kind == "scalar":
            frame.key = value
            self._found.setdefault((*frame.path, value), position)
            return None
        else:
            path, frame.key = (*frame.path, frame.key or ""), None
        self._found.setdefault(path, position)
        return path


@dataclass(slots=True)
class _Frame:
    """A mapping or list that has begun, at `path`; `key` waits for its value."""

    path: Path
    is_list: bool
    key: str | None = None
    count: int = field(default=0)


_JSON: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]|[^\s{}\[\],:"]+|\n')
_OPENING: Final = {"{": "map", "[": "list"}


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _json_tokens(text: str) -> Iterator[tuple[str, Position, str]]:
    line, start = 1, 0
    for found in _JSON.finditer(text):
        kind = found[0]
        if kind == "\n":
            line, start = line + 1, found.end()
            continue
        position = Position(line, found.start() - start + 1)
        if kind in "{[":
            yield _OPENING[kind], position, ""
        elif kind in "}]":
            yield "end", position, ""
        else:
            yield "scalar", position, json.loads(kind) if kind[0] == '"' else kind


def _yaml_tokens(text: str) -> Iterator[tuple[str, Position, str]]:
    import yaml  # as in yaml12

    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if kind := _token(event, yaml):
                mark: Any = event.start_mark
                yield kind, Position(mark.line + 1, mark.column + 1), getattr(event, "value", "")
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        return  # the document has been refused for it


def _token(event: Any, yaml: Any) -> str | None:
    if isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent)):
        return "scalar"
    if isinstance(event, yaml.SequenceStartEvent):
        return "list"
    if isinstance(event, yaml.MappingStartEvent):
        return "map"
    return "end" if isinstance(event, yaml.CollectionEndEvent) else None
