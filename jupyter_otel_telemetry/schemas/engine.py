"""The engine of verdicts: jsonschema-rs, in the only way this package uses it.

Its time is linear for most schemas. It matches patterns without backtracking where they allow that; where not, it
gives up after `_BACKTRACK_LIMIT` steps, and the value is invalid. It remembers verdicts at recursive references.
`effort` refuses the schemas for which that is not enough.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import jsonschema
import jsonschema_rs

from jupyter_otel_telemetry.schemas.keywords import REFERENCES, subschemas
from jupyter_otel_telemetry.schemas.metaschema import DEFAULT_DIALECT, validator_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["MAX_DIGITS", "LongIntegerError", "Matcher", "Preselection", "compile_schema", "encodable", "holds"]

MAX_DIGITS: Final = 10_000
"""Digits of an integer that a rule about numbers can judge: the time for more grows with their square."""

_BACKTRACK_LIMIT: Final = 10_000
_SIZE_OF_ALL_PATTERNS: Final = 20_000_000
_SIZES_OF_ONE_PATTERN: Final = (8_000, 10_000_000)
_NUMERIC: Final = frozenset("maximum minimum exclusiveMaximum exclusiveMinimum multipleOf uniqueItems".split())
_LONG: Final = 10**600
"""The engine does not see integers of which Python makes no text, however its limit on digits is set."""
_TYPES: Final = ("array", "boolean", "null", "number", "object", "string")
_URI_KEYWORDS: Final = ("$id", "id", *REFERENCES)
_ANNOTATIONS: Final = ("contentEncoding", "contentMediaType")
"""Keywords that the engine asserts in some drafts; here they are annotations, as for jsonschema."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def compile_schema(
    document: dict[str, Any], needed: Iterable[tuple[str, dict[str, Any]]] = (), name: str = "the schema"
) -> Callable[[Any], bool]:
    """Compile a schema and those that it needs by `$ref`, given with their URIs, to a function that tells validity.

    That function raises a ValueError for an instance that is not `encodable`, or holds too long an integer.

    Raises:
        jsonschema.SchemaError: the engine cannot apply the schema, for instance one of its patterns.

    """
    draft = getattr(jsonschema_rs, validator_class(document).__name__)
    try:
        root = _translated(document)
        others = [(_uri(uri), _translated(other)) for uri, other in needed]
        registry = jsonschema_rs.Registry(others, retriever=_refuse) if others else None
        validator = draft(
            root,
            registry=registry,
            retriever=_refuse,
            validate_formats=False,
            pattern_options=_pattern_options(documents := [root, *(other for _, other in others)]),
        )
    except ValueError as error:
        problem = str(error).partition("\n")[0]
        raise jsonschema.SchemaError(f"{name} cannot be applied: {problem}") from None
    judges_numbers = any(not _NUMERIC.isdisjoint(found) for document in documents for found in subschemas(document))
    return _numeric(validator.is_valid) if judges_numbers else validator.is_valid


def holds(draft: str, keywords: dict[str, Any]) -> Callable[[Any], bool]:
    """Compile keywords without subschemas, by the rules of a draft that is named as jsonschema's class for it."""
    options = _pattern_options([])
    return _numeric(
        getattr(jsonschema_rs, draft)(encodable(keywords), validate_formats=False, pattern_options=options).is_valid
    )


def _numeric(is_valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Let a function that tells validity see long integers."""
    return lambda value: is_valid(_with_decimals(value) if _holds_long_integer(value) else value)


def _holds_long_integer(value: Any) -> bool:
    for item in value.values() if type(value) is dict else value if type(value) is list else (value,):
        kind = type(item)
        if kind is int:
            if not -_LONG < item < _LONG:
                return True
        elif (kind is dict or kind is list) and _holds_long_integer(item):
            return True
    return False


def _with_decimals(value: Any) -> Any:
    kind = type(value)
    if kind is int and not -_LONG < value < _LONG:
        if value.bit_length() > MAX_DIGITS * math.log2(10):
            raise LongIntegerError
        return Decimal(value)
    if kind is dict:
        return {name: _with_decimals(item) for name, item in value.items()}
    return list(map(_with_decimals, value)) if kind is list else value


class LongIntegerError(ValueError):
    """An integer has more than `MAX_DIGITS` digits."""


class Matcher:
    """Finds the patterns of `patternProperties` that a name matches.

    Raises:
        jsonschema.SchemaError: the engine cannot compile a pattern.

    """

    def __init__(self, pattern: str) -> None:
        self._matches = compile_schema({"pattern": pattern})
        self._matches_not = compile_schema({"not": {"pattern": pattern}})

    def matches(self, text: str) -> bool | None:
        """Tell whether the pattern matches anywhere in a text, or None if the engine has given up."""
        try:
            if self._matches(text):
                return True
            return False if self._matches_not(text) else None
        except ValueError:  # a lone surrogate
            return self.matches(_text(text))


class Preselection:
    """Rules out most of many patterns that a name does not match, by asking the engine for groups of them."""

    def __init__(self, patterns: list[str]) -> None:
        size = math.isqrt(len(patterns))
        groups = [patterns[start : start + size] for start in range(0, len(patterns), size)]
        self._groups = [(group, _none_of(group)) for group in groups]

    def candidates(self, name: str) -> Iterator[str]:
        """Yield the patterns that the name may match."""
        for group, matches_none in self._groups:
            if not matches_none(name):
                yield from group


def _none_of(patterns: list[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a name certainly matches none of the patterns."""
    try:
        is_valid = compile_schema({"patternProperties": dict.fromkeys(patterns, False)})
    except jsonschema.SchemaError:  # one of them cannot be compiled; which one, is asked later
        return lambda _name: False

    def matches_none(name: str) -> bool:
        try:
            return is_valid({name: None})  # not where the engine gives up
        except ValueError:  # a lone surrogate
            return False

    return matches_none


def encodable(value: Any) -> Any:
    """Copy a JSON value with lone surrogates, which UTF-8 cannot carry, each replaced by a private character.

    Raises:
        ValueError: two names of an object would become one.

    """
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return [encodable(item) for item in value]
    if isinstance(value, dict):
        copy = {_text(name): encodable(item) for name, item in value.items()}
        if len(copy) != len(value):
            raise ValueError("two names differ by a lone surrogate only")
        return copy
    return value


def _text(text: str) -> str:
    return text if text.isascii() else _SURROGATE.sub(lambda found: chr(ord(found[0]) + 0x102000), text)


def _refuse(uri: str) -> Any:
    raise LookupError(f"{uri} is not registered, and nothing is fetched")


def _pattern_options(documents: list[dict[str, Any]]) -> jsonschema_rs.FancyRegexOptions:
    """Return options by which the time to compile all patterns together is bounded."""
    count = sum(
        ("pattern" in found) + len(found.get("patternProperties", ()))
        for document in documents
        for found in subschemas(document)
    )
    smallest, largest = _SIZES_OF_ONE_PATTERN
    size = min(largest, max(smallest, _SIZE_OF_ALL_PATTERNS // (count or 1)))
    return jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT, size_limit=size)


def _translated(document: dict[str, Any]) -> dict[str, Any]:
    """Copy a schema as the engine must read it to judge as this package does."""
    copy: dict[str, Any] = {"$schema": DEFAULT_DIALECT, **encodable(document)}
    for subschema in subschemas(copy):
        for keyword in _URI_KEYWORDS:
            if isinstance(uri := subschema.get(keyword), str):
                subschema[keyword] = _uri(uri)
        for keyword in _ANNOTATIONS:
            subschema.pop(keyword, None)
        _admit_non_finite_numbers(subschema)
    return copy


def _uri(text: str) -> str:
    """Encode characters that authors write in a `$id` and the engine does not accept in a URI."""
    return quote(re.sub("%(?![0-9A-Fa-f]{2})", "%25", text), safe="%/:?#[]@!$&'()*+,;=-._~")


def _admit_non_finite_numbers(subschema: dict[str, Any]) -> None:
    """Let NaN and infinities be numbers, as for jsonschema; for the engine they have no type and meet any bounds."""
    types = subschema.get("type")
    types = [types] if isinstance(types, str) else types
    if isinstance(types, list) and "number" in types:
        del subschema["type"]
        if others := [name for name in _TYPES if name not in types]:
            subschema["allOf"] = [*subschema.get("allOf", ()), {"not": {"type": others}}]
