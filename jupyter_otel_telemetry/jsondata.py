"""JSON values: checked copies, and text that is always valid."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "INT64_MAX",
    "INT64_MIN",
    "MAX_DEPTH",
    "NotJSONError",
    "clean_text",
    "first_steps",
    "int_text",
    "json_bytes",
    "json_copy",
    "json_pointer",
    "object_text",
    "short_repr",
    "version_text",
]

MAX_DEPTH = 500
"""Levels of nesting a value may have: half of Python's default recursion limit."""

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
"""Bounds of the integers of OTLP; int_text writes others."""

_ATOMS = frozenset({str, int, bool, float, type(None)})


class NotJSONError(ValueError):
    """A value, or something inside it at `path`, has no place in JSON."""

    def __init__(self, path: tuple[str | int, ...], problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.problem} at {json_pointer(self.path)}" if self.path else self.problem


def json_copy(value: Any) -> Any:
    """Copy a JSON value into dicts, lists and atoms of exactly those types.

    Any mapping becomes a dict, a tuple a list, and an instance of a subclass of str, int or float the plain
    value. NaN and infinities stay: JSON has no text for them, but OTLP can carry them.

    Raises:
        NotJSONError: `value` holds something else, a key that is not a string, something that raises when it is
            read, or more than `MAX_DEPTH` levels (so also one that contains itself).

    """
    try:
        if type(value) is dict:
            copy = value.copy()  # first, since another thread may change the original
            for key, item in copy.items():
                if type(key) is not str or type(item) not in _ATOMS:
                    break
            else:
                return copy  # as most events are: flat
        return _copy(value, MAX_DEPTH)
    except NotJSONError as error:
        raise NotJSONError(_locate(value), error.problem) from None
    except RecursionError:
        raise NotJSONError((), "is nested too deeply for this call stack") from None
    except Exception as error:  # an untrusted mapping or list may raise anything
        raise NotJSONError(_locate(value), f"cannot be read: {type(error).__name__}") from None


def is_mapping(value: object) -> bool:
    """Tell a mapping, also among objects whose class cannot be asked for."""
    try:
        return isinstance(value, Mapping)
    except Exception:  # an untrusted __class__ may raise anything
        return False


def copy_again(value: dict[str, Any]) -> dict[str, Any]:
    """Copy a result of `json_copy`."""
    for item in value.values():
        if type(item) not in _ATOMS:
            copy: dict[str, Any] = _copy(value, MAX_DEPTH)
            return copy
    return value.copy()


def _copy(value: Any, depth: int) -> Any:
    if depth < 0:
        raise NotJSONError((), f"is nested deeper than {MAX_DEPTH} levels")
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is dict or isinstance(value, Mapping):
        return {
            key if type(key) is str else _key(key): item if type(item) in _ATOMS else _copy(item, depth - 1)
            for key, item in value.items()
        }
    if kind is list or isinstance(value, (list, tuple)):
        return [item if type(item) in _ATOMS else _copy(item, depth - 1) for item in value]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__pos__(value)  # not int(value), which a subclass may define otherwise
    if isinstance(value, float):
        return float.__pos__(value)
    raise NotJSONError((), f"is a {kind.__name__}, which JSON cannot hold")


def _key(key: object) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    raise NotJSONError((), f"has a key of type {type(key).__name__}; keys must be strings")


def _locate(value: Any) -> tuple[str | int, ...]:
    """Find the path to the first thing in `value` that JSON cannot hold."""
    path: list[str | int] = []
    with suppress(Exception):
        _visit(value, path)
    # Where depth is the problem, the whole path would hide the message.
    return tuple(path) if len(path) < 20 else ()


def _visit(value: Any, path: list[str | int]) -> None:
    """Raise where `_copy` does; `path` then leads to that place."""
    if not isinstance(value, (Mapping, list, tuple)) or len(path) > MAX_DEPTH:
        _copy(value, 0)
        return
    steps = ((_key(key), item) for key, item in value.items()) if isinstance(value, Mapping) else enumerate(value)
    for step, item in steps:
        path.append(step)
        _visit(item, path)
        path.pop()


def json_pointer(path: tuple[str | int, ...] | list[str | int]) -> str:
    """Format a path as a JSON Pointer (RFC 6901); the whole document is `/`, which reads better than ``."""
    return "/" + "/".join(str(step).replace("~", "~0").replace("/", "~1") for step in path)


def clean_text(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot carry, by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def int_text(number: int) -> str:
    """Decimal text of an integer, or hexadecimal where Python's limit on digits forbids decimal."""
    try:
        return str(number)
    except ValueError:
        return hex(number)


def version_text(version: Any) -> str:
    """Text of a version, by which versions are compared: 1, 1.0 and "1" are the same, "1.0" is another one."""
    if type(version) is str:
        return version
    if type(version) is float and version.is_integer() and abs(version) < 2**53:
        return str(int(version))
    return int_text(version) if type(version) is int else str(version)


def json_bytes(value: Any) -> bytes:
    """Encode as valid JSON, whatever `value` is: UTF-8, without spaces.

    NaN and infinities become null, lone surrogates U+FFFD, and values that JSON cannot hold their text.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
    except TypeError:
        return json.dumps(
            _printable(value, MAX_DEPTH), ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()


def _printable(value: Any, depth: int) -> Any:
    with suppress(Exception):  # an untrusted object may raise anything; its text is left
        if isinstance(value, str):
            return clean_text(str.__str__(value))
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            text = int_text(number := int.__pos__(value))
            return text if text.lstrip("-").startswith("0x") else number
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if depth and isinstance(value, Mapping):
            return {object_text(key): _printable(item, depth - 1) for key, item in value.items()}
        if depth and isinstance(value, (list, tuple, set, frozenset)):
            return [_printable(item, depth - 1) for item in value]
    return object_text(value)


def object_text(value: object) -> str:
    """Text of any object, also of one whose `__str__` fails."""
    try:
        return clean_text(str.__str__(value) if isinstance(value, str) else str(value))
    except Exception:  # an untrusted __str__ may raise anything
        return f"<{type(value).__name__}>"


def short_repr(value: object) -> str:
    """Text of a value for a message about a schema, cut to sixty characters."""
    try:
        text = repr(value[:61] if isinstance(value, str) else value)
    except Exception:  # too deep, too many digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def first_steps(path: str) -> Iterator[tuple[str, str]]:
    """Yield every way to take a first name off a dotted path, with the rest: names may hold dots themselves."""
    yield path, ""
    for index, character in enumerate(path):
        if character == ".":
            yield path[:index], path[index + 1 :]
