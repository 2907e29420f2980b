"""Checks that a schema is a valid JSON Schema of its draft, in bounded time and the same in every environment."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.jsondata import json_bytes, json_pointer, short_repr
from jupyter_otel_telemetry.schemas.keywords import walk
from jupyter_otel_telemetry.schemas.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import jsonschema
    from jsonschema.protocols import Validator

    from jupyter_otel_telemetry.schemas.keywords import Path

__all__ = ["DEFAULT_DIALECT", "check_against_metaschema", "metaschema_problems", "validator_class"]

DEFAULT_DIALECT: Final = "http://json-schema.org/draft-07/schema#"

_MAX_PATTERN: Final = 10_000
_MAX_PATTERNS: Final = 100_000
_MAX_EXPLAINED_BYTES: Final = 5_000
"""Size up to which jsonschema, a thousand times slower than jsonschema-rs, explains why a schema is invalid."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")


def validator_class(document: Mapping[str, Any]) -> type[Validator]:
    """Return jsonschema's validator class for the draft that `$schema` names; without it, draft 7.

    Raises:
        ValueError: `$schema` is not one of the drafts from 4 to 2020-12.

    """
    dialect = document.get("$schema", DEFAULT_DIALECT)
    found = _known_dialects().get(dialect.rstrip("#")) if isinstance(dialect, str) else None
    if found is None:
        known = ", ".join(_known_dialects())
        name, unknown = short_repr(document.get("$id")), short_repr(dialect)
        raise ValueError(f"schema {name} names the unknown $schema {unknown}; use one of {known}")
    return found


@cache
def _known_dialects() -> dict[str, type[Validator]]:
    import jsonschema  # costs half of this package's import time, and is needed here first

    classes: list[Any] = [
        jsonschema.Draft4Validator,
        jsonschema.Draft6Validator,
        jsonschema.Draft7Validator,
        jsonschema.Draft201909Validator,
        jsonschema.Draft202012Validator,
    ]
    return {(cls.META_SCHEMA.get("$id") or cls.META_SCHEMA["id"]).rstrip("#"): cls for cls in classes}


def check_against_metaschema(document: dict[str, Any], where: str) -> None:
    """Check a schema against the meta-schema of its draft, and its patterns.

    `format` is not asserted, so that the verdict does not depend on which format checkers are installed.

    Raises:
        jsonschema.SchemaError: the schema is invalid; the message names the first place.
        ValueError: `$schema` names an unknown draft, or the schema holds an integer that Python cannot print.

    """
    cls = validator_class(document)
    fast = _fast_validator(cls)
    checked = _encodable(document, where)
    if not fast.is_valid(checked):
        error = _explained(cls, fast, checked)
        if error is not None:
            raise _invalid(  # one line; the original, in the cause, shows the whole metaschema
                where,
                error.absolute_path,
                _problem(error, list(error.absolute_path)),
                validator=error.validator,
                validator_value=error.validator_value,
                schema=error.schema,
                schema_path=error.absolute_schema_path,
            ) from error
    for problem in _pattern_problems(document):
        raise _invalid(where, problem.path, problem.text)


def _encodable(document: dict[str, Any], where: str) -> Any:
    """Return a schema as UTF-8 can hold it: with lone surrogates replaced, which decide nothing here."""
    try:
        text = json.dumps(document, ensure_ascii=False)
    except ValueError:
        raise ValueError(f"{where} holds an integer of too many digits") from None
    return document if _SURROGATE.search(text) is None else json.loads(_SURROGATE.sub("\ufffd", text))


@cache
def _fast_validator(cls: Any) -> Any:
    """Return jsonschema-rs's validator of schemas."""
    import jsonschema_rs  # see _known_dialects

    return getattr(jsonschema_rs, cls.__name__)(cls.META_SCHEMA, validate_formats=False)


def _explained(cls: Any, fast: Any, document: dict[str, Any]) -> jsonschema.SchemaError | None:
    """Return the first error of an invalid schema, or None if jsonschema, the reference, finds it valid."""
    import jsonschema  # see _known_dialects

    if _is_small(document):
        try:
            error = next(cls(cls.META_SCHEMA).iter_errors(document), None)
        except RecursionError:
            raise jsonschema.SchemaError("nested too deeply to be checked") from None
        return None if error is None else jsonschema.SchemaError.create_from(error)
    error = next(iter(fast.iter_errors(document)))
    return jsonschema.SchemaError(
        error.message,
        validator=str(error.evaluation_path[-1]),
        path=error.instance_path,
        instance=error.instance,
        schema_path=error.evaluation_path,
    )


def _problem(error: Any, path: list[str | int]) -> str:
    instance = error.instance
    names = instance if isinstance(instance, list) else [instance]
    unknown = [name for name in names if isinstance(name, str) and name not in _TYPES]
    if path[-1:] == ["type"] and unknown and getattr(error, "validator", "anyOf") in {"anyOf", "enum"}:
        close = get_close_matches(unknown[0].lower(), _TYPES, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{unknown[0][:100]!r} is not a type; {hint}the types are {', '.join(_TYPES)}"
    message = error.message
    return message if len(message) <= 300 else f"{message[:150]} … {message[-150:]}"


def _invalid(where: str, path: Any, problem: str, **details: Any) -> jsonschema.SchemaError:
    import jsonschema  # see _known_dialects

    message = f"{where} is not a valid JSON Schema: at {json_pointer(list(path))}, {problem}"
    return jsonschema.SchemaError(message, path=path, **details)


def metaschema_problems(document: dict[str, Any]) -> Iterator[Problem]:
    """Yield every place in which a schema is not a valid JSON Schema of its draft.

    Raises:
        ValueError: `$schema` names an unknown draft, or the schema holds an integer that Python cannot print.

    """
    cls: Any = validator_class(document)
    checked = _encodable(document, "the schema")
    if not (fast := _fast_validator(cls)).is_valid(checked):
        errors = cls(cls.META_SCHEMA).iter_errors(checked) if _is_small(checked) else fast.iter_errors(checked)
        for error in errors:
            place = error.absolute_path if hasattr(error, "absolute_path") else error.instance_path
            yield Problem(tuple(place), _problem(error, list(place)))
    yield from _pattern_problems(document)


def _is_small(document: dict[str, Any]) -> bool:
    return len(json_bytes(document)) <= _MAX_EXPLAINED_BYTES


def _pattern_problems(document: dict[str, Any]) -> Iterator[Problem]:
    length = 0
    known: set[str] = set()
    for path, pattern in _patterns(document):
        if pattern in known:
            continue
        known.add(pattern)
        length += len(pattern)
        if len(pattern) > _MAX_PATTERN:
            yield Problem(path[:-1], f"a pattern of {len(pattern)} characters; at most {_MAX_PATTERN} are allowed")
        elif length > _MAX_PATTERNS:
            yield Problem((), f"its patterns have more than {_MAX_PATTERNS} characters together")
            return
        elif problem := _pattern_problem(pattern):
            yield Problem(path, f"{pattern[:200]!r} is not a regular expression: {problem}")


def _patterns(document: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    for path, subschema in walk(document, frozenset({"pattern", "patternProperties"})):
        if isinstance(pattern := subschema.get("pattern"), str):
            yield (*path, "pattern"), pattern
        if isinstance(patterns := subschema.get("patternProperties"), dict):
            yield from (((*path, "patternProperties", pattern), pattern) for pattern in patterns)


_ECMA = re.compile(
    r"\\(?P<class>[pP]\{[^{}\\]*\})|\\u\{[0-9a-fA-F]{1,6}\}|\\c[A-Za-z]|\\k<(?P<back>\w+)>|(?P<group>\(\?<(?![=!]))|\\.",
    re.DOTALL,
)
"""Syntax of ECMA 262 that Python's `re` lacks, and every other escape, so that none is read from its middle."""


def _pattern_problem(pattern: str) -> str | None:
    """Return why a text is not a regular expression of ECMA 262 or Python, or None if it is one.

    By Python's parser, whose time, unlike that of jsonschema-rs's compiler, grows only with the pattern's length.
    """
    for found in _ECMA.finditer(pattern):
        if (name := found["class"]) and not _is_character_class(name):
            return f"there is no Unicode property \\{name}"
    problem = ""
    for candidate in dict.fromkeys((pattern, _ECMA.sub(_in_python, pattern))):
        try:
            re.compile(candidate)
        except Warning:  # of what might mean something else one day, where warnings are errors
            return None
        except (re.error, RecursionError, OverflowError) as error:
            problem = str(error) or type(error).__name__
        else:
            return None
    return problem


def _in_python(found: re.Match[str]) -> str:
    if found["class"]:
        return r"\w"
    if found["back"]:
        return f"(?P={found['back']})"
    if found["group"]:
        return "(?P<"
    return "x" if found[0][1] in "uc" and len(found[0]) > 2 else found[0]  # \u{…}, \cX


@lru_cache(maxsize=1024)
def _is_character_class(name: str) -> bool:
    import jsonschema_rs  # see _known_dialects

    try:
        jsonschema_rs.Draft7Validator({"pattern": f"\\{name}"}, validate_formats=False)
    except ValueError:
        return False
    return True
