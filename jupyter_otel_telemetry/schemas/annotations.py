"""Annotations of schemas: `otel`, `pii` and `categories`, checked and understood."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jupyter_otel_telemetry.jsondata import json_pointer, short_repr
from jupyter_otel_telemetry.schemas.keywords import walk
from jupyter_otel_telemetry.schemas.problems import Problem, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "RESERVED_ATTRIBUTES",
    "PropertyNames",
    "Severity",
    "annotation",
    "annotation_problems",
    "are_categories",
    "attribute_problems",
    "check_text",
    "flag_problems",
    "property_names",
    "severity",
    "severity_problem",
    "text_problem",
]

RESERVED_ATTRIBUTES = ("jupyter.", "log.record.", "otel.", "event.name", "exception.")
"""Beginnings of attribute names that this package, or OpenTelemetry's logging handler, sets itself."""

_ATTRIBUTE_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
LOG_RECORD_NAMES = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})

PropertyNames = Mapping[str, tuple[str | None, "PropertyNames"]]
"""Per property: its attribute (None for the usual one), and the same for the properties below it."""


class Severity(NamedTuple):
    """An OpenTelemetry severity, and the Python logging level that stands for it.

    `level` is the one that OpenTelemetry's logging handlers translate back to `number`: 20 for INFO, 21 for INFO2.
    They know none for TRACE (5 to 8 here), which only `OTLPHandler` sends as such. `level_name` is Python's own
    where it has one (WARNING), else OpenTelemetry's (INFO2).
    """

    number: int
    text: str
    level: int
    level_name: str


def _severity_of(number: int, text: str) -> Severity:
    group, step = divmod(number - 1, 4)
    level = group * 10 + step if group else 5 + step
    name = str(logging.getLevelName(level))
    return Severity(number, text, level, text if name.startswith("Level ") else name)


SEVERITIES: Final = {
    text: _severity_of(group * 4 + step, text)
    for group, name in enumerate(("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"))
    for step in range(1, 5)
    for text in [name if step == 1 else f"{name}{step}"]
}
"""OpenTelemetry's severities by their short names.
https://opentelemetry.io/docs/specs/otel/logs/data-model/#displaying-severity"""


MAX_NAME: Final = 256
"""Characters of an event name, version or attribute name."""


def check_text(text: str, name: str, most: int = MAX_NAME) -> None:
    """Refuse a text that receivers cannot take as a name.

    Raises:
        ValueError: the text is longer than `most` characters, or holds a control character or a lone surrogate.

    """
    if problem := text_problem(text, name, most):
        raise ValueError(problem)


def text_problem(text: str, name: str, most: int = MAX_NAME) -> str | None:
    """Return the reason why receivers cannot take a text as a name, or None if they can; see `check_text`."""
    if len(text) > most:
        return f"{name} has {len(text)} characters; at most {most} are allowed"
    for index, character in enumerate(text):
        if unicodedata.category(character) in {"Cc", "Cs"}:
            kind = "control character" if ord(character) < 0xD800 else "lone surrogate"
            return f"{name} holds a {kind}, U+{ord(character):04X}, at index {index}; remove it"
    return None


def flag_problems(document: dict[str, Any]) -> Iterator[Problem]:
    """Yield each flag in a form that has no meaning."""
    for path, subschema in walk(document, frozenset({"pii", "categories"})):
        if "pii" in subschema and not isinstance(subschema["pii"], bool):
            yield Problem(path, f"pii must be true or false, not {short_repr(subschema['pii'])}")
        if "categories" in subschema and not are_categories(subschema["categories"]):
            text = 'categories must be a list of texts, such as ["category.jupyter.org/user-identifier"]'
            yield Problem(path, f"{text}, not {short_repr(subschema['categories'])}")


def are_categories(value: Any) -> bool:
    """Tell whether this can stand under `categories`."""
    return isinstance(value, list) and all(isinstance(category, str) and category for category in value)


def annotation(subschema: Mapping[str, Any], where: str, allowed: tuple[str, ...]) -> dict[str, Any]:
    """Return the mapping under `otel`: texts under allowed names only."""
    otel: dict[str, Any] = subschema.get("otel", {})
    for text in annotation_problems(otel, allowed):
        raise ValueError(f"{where}: {text}")
    return otel


def annotation_problems(otel: Any, allowed: tuple[str, ...]) -> Iterator[str]:
    """Yield a text for each problem of the value of `otel`."""
    if not isinstance(otel, dict):
        yield f"otel must be a mapping, not {short_repr(otel)}"
        return
    for name, value in otel.items():
        if name not in allowed:
            close = get_close_matches(name, allowed, 1)
            hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(allowed)}"
            yield f"unknown annotation otel.{name[:100]}; {hint}"
        elif not isinstance(value, str) or not value:
            yield f"otel.{name} must be a text, not {short_repr(value)}"
        elif problem := text_problem(value, f"otel.{name}"):
            yield problem


def severity(name: str, where: str) -> Severity:
    """Return the severity of a name.

    Raises:
        ValueError: OpenTelemetry has no severity of this name.

    """
    if problem := severity_problem(name):
        raise ValueError(f"{where}: {problem}")
    return SEVERITIES[name]


def severity_problem(name: str) -> str | None:
    """Return the reason why OpenTelemetry has no severity of a name, or None if it has."""
    if name in SEVERITIES:
        return None
    close = {"WARNING": "WARN", "CRITICAL": "FATAL"}.get(name.upper(), name.upper())
    guess = get_close_matches(close, SEVERITIES, 1)
    hint = f"did you mean {guess[0]}?" if guess else "use TRACE, DEBUG, INFO, WARN, ERROR or FATAL"
    return f"unknown otel.severity {name!r}; {hint}"


def property_names(document: dict[str, Any], where: str) -> PropertyNames:
    """Read every `otel.attribute`.

    Raises:
        ValueError: one stands where it could have no effect, or names an attribute that is invalid or taken.

    """
    refuse(attribute_problems(document), where)
    return _names_below(document)


def attribute_problems(document: dict[str, Any]) -> Iterator[Problem]:
    """Yield each problem of the annotations `otel` below the root."""
    names = _AttributeNames()
    for path, subschema in walk(document, frozenset({"otel"})):
        if not path or "otel" not in subschema:
            continue
        if any(keyword != "properties" for keyword in path[::2]):
            yield Problem(path, "otel has no effect here; only properties, also nested ones, can have it")
            continue
        problems = list(annotation_problems(subschema["otel"], ("attribute",)))
        yield from (Problem(path, text) for text in problems)
        if problems or "attribute" not in subschema["otel"]:
            continue
        name = subschema["otel"]["attribute"]
        if problem := names.problem_of(name):
            yield Problem(path, f"otel.attribute {name!r} {problem}")
        else:
            names.take(name, json_pointer(path))


def _names_below(subschema: Any) -> PropertyNames:
    properties = subschema.get("properties", {}) if isinstance(subschema, dict) else {}
    names: dict[str, tuple[str | None, PropertyNames]] = {}
    for name, below in properties.items():
        attribute = below.get("otel", {}).get("attribute") if isinstance(below, dict) else None
        deeper = _names_below(below)
        if attribute or deeper:
            names[name] = (attribute, deeper)
    return names


class _AttributeNames:
    """The attribute names of one schema: no name is taken twice, or is the namespace of another one.

    https://opentelemetry.io/docs/specs/semconv/general/naming/
    """

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}
        self._below: dict[str, str] = {}

    def take(self, name: str, owner: str) -> None:
        """Note that a place in the schema has this name."""
        self._taken[name] = owner
        self._below |= dict.fromkeys(_namespaces(name), name)

    def problem_of(self, name: str) -> str | None:
        """Return why a name cannot be taken, or None if it can."""
        if not _ATTRIBUTE_NAME.fullmatch(name):
            return "is not an attribute name; write lower-case words joined by dots, such as user.name"
        if name.startswith(RESERVED_ATTRIBUTES) or name in LOG_RECORD_NAMES:
            return "is reserved; choose another name"
        above = (other for other in [*_namespaces(name), name] if other in self._taken)
        other = next(above, self._below.get(name))
        return other and f"clashes with {other!r} of {self._taken[other]}; choose another name"


def _namespaces(name: str) -> list[str]:
    return [name[:index] for index, character in enumerate(name) if character == "."]
