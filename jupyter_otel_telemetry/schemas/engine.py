"""The engine of verdicts: jsonschema-rs, in the only way this package uses it.

Its time is linear in most events and bounded in all: it matches patterns without backtracking where they allow it, gives
up after `_BACKTRACK_LIMIT` steps where they do not (the value is then invalid), and remembers verdicts below recursive
references.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import jsonschema
import jsonschema_rs

from jupyter_otel_telemetry.schemas.schema import DEFAULT_DIALECT, validator_class, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Matcher", "compile_schema", "encodable", "holds"]

_BACKTRACK_LIMIT: Final = 10_000
_SIZE_OF_ALL_PATTERNS: Final = 20_000_000
_SIZES_OF_ONE_PATTERN: Final = (8_000, 10_000_000)
_TYPES: Final = ("array", "boolean", "null", "number", "object", "string")
_URI_KEYWORDS: Final = ("$id", "id", "$ref", "$dynamicRef", "$recursiveRef")
_ANNOTATIONS: Final = ("contentEncoding", "contentMediaType")
"""Keywords that the engine asserts in some drafts; here they are annotations, as for jsonschema."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def compile_schema(
    document: dict[str, Any], needed: Iterable[tuple[str, dict[str, Any]]] = (), name: str = "the schema"
) -> Callable[[Any], bool]:
    """Compile a schema and those that it needs by `$ref`, given with their URIs, to a function that tells validity.

    That function raises a ValueError for an instance that is not `encodable`.

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
            pattern_options=_pattern_options([root, *(other for _, other in others)]),
        )
    except ValueError as error:
        problem = str(error).partition("\n")[0]
        raise jsonschema.SchemaError(f"{name} cannot be applied: {problem}") from None
    return validator.is_valid  # type: ignore[no-any-return]


def holds(draft: str, keywords: dict[str, Any]) -> Callable[[Any], bool]:
    """Compile keywords that hold no subschema, by the rules of a draft, which is named as jsonschema's class for it."""
    return getattr(jsonschema_rs, draft)(  # type: ignore[no-any-return]
        encodable(keywords), validate_formats=False, pattern_options=_pattern_options([])
    ).is_valid


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


def encodable(value: Any) -> Any:
    """Copy a JSON value with each lone surrogate, which UTF-8 cannot carry, replaced by a private character of its own.

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
        for _, found in walk(document)
    )
    smallest, largest = _SIZES_OF_ONE_PATTERN
    size = min(largest, max(smallest, _SIZE_OF_ALL_PATTERNS // (count or 1)))
    return jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT, size_limit=size)


def _translated(document: dict[str, Any]) -> dict[str, Any]:
    """Copy a schema as the engine must read it to judge as this package does."""
    copy: dict[str, Any] = {"$schema": DEFAULT_DIALECT, **encodable(document)}
    for _, subschema in list(walk(copy)):
        for keyword in _URI_KEYWORDS:
            if isinstance(uri := subschema.get(keyword), str):
                subschema[keyword] = _uri(uri)
        for keyword in _ANNOTATIONS:
            subschema.pop(keyword, None)
        _admit_non_finite_numbers(subschema)
    return copy


def _uri(text: str) -> str:
    """Encode what the engine, unlike most people who write a `$id`, does not take in a URI."""
    return quote(re.sub("%(?![0-9A-Fa-f]{2})", "%25", text), safe="%/:?#[]@!$&'()*+,;=-._~")


def _admit_non_finite_numbers(subschema: dict[str, Any]) -> None:
    """Let NaN and infinities be numbers, as for jsonschema; for the engine they are of no type, and within any bounds."""
    types = subschema.get("type")
    types = [types] if isinstance(types, str) else types
    if isinstance(types, list) and "number" in types:
        del subschema["type"]
        if others := [name for name in _TYPES if name not in types]:
            subschema["allOf"] = [*subschema.get("allOf", ()), {"not": {"type": others}}]
