"""YAML 1.2 from untrusted text: the core schema, no other tags, no key twice, bounded work.

Plain scalars have the types of https://yaml.org/spec/1.2.2/#103-core-schema: `on`, `no`, `12:30` and dates are text.
Merge keys (`<<`) are supported although YAML 1.2 lacks them: read as a property, one would lose the flags of the
mapping that it merges.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.schemas.keywords import MAX_DEPTH

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_NODES", "TOO_DEEP", "TOO_MANY", "DocumentError", "YAMLSyntaxError", "load", "number"]

MAX_NODES: Final = 100_000
TOO_DEEP: Final = f"nested deeper than {MAX_DEPTH} levels"
TOO_MANY: Final = f"more than {MAX_NODES} nodes once aliases are expanded"
_MAX_DIGITS: Final = 1_000

_CORE: Final = "tag:yaml.org,2002:"
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {text: text[0] in "tT" for text in "true True TRUE false False FALSE".split()}
_NUMBER = re.compile(
    r"0o[0-7]+|0x[0-9a-fA-F]+|\.(?:nan|NaN|NAN)|[-+]?(?:\.(?:inf|Inf|INF)|"
    r"[0-9]+|(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
)


class DocumentError(ValueError):
    """The text is not an acceptable document; the message says why and, for YAML, begins with line and column."""


class YAMLSyntaxError(DocumentError):
    """The text is not YAML."""


def load(text: str) -> Any:
    """Read one YAML document.

    Raises:
        DocumentError: the text is not one YAML document of the core schema, gives a key twice, or is beyond a bound.

    """
    import yaml  # not needed where schemas are mappings

    composer = _Composer()
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YAMLSyntaxError(f"{_place(mark)}: {error.problem or error.context}") from None
    except (yaml.YAMLError, OverflowError, RecursionError) as error:
        raise YAMLSyntaxError(" ".join(str(error).replace('in "<unicode string>", ', "at ").split())) from None
    except ValueError as error:  # of PyYAML's own scanner, for an escape beyond Unicode
        raise error if isinstance(error, DocumentError) else YAMLSyntaxError(str(error)) from None
    return composer.document


def number(text: str) -> int | float:
    """Read a number of YAML's core schema or of JSON.

    Raises:
        DocumentError: the number has more than a thousand digits, or is beyond the range of a float.

    """
    if len(text) > _MAX_DIGITS:
        raise DocumentError(f"a number of {len(text)} characters; quote it if it is text")
    if text[:2] in {"0o", "0x"}:
        return int(text, 0)
    if text.lstrip("+-").isdecimal():
        return int(text)
    if text[-1] in "fFnN":
        return float(text.replace(".", ""))
    return _finite(text)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise DocumentError(f"the number {text[:20]}… is beyond the range of a float")
    return value


def check_version(text: str, value: object) -> None:
    """Refuse a number under `version` whose text is another than that of the version as registered."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and text != repr(value):
        raise DocumentError(f'version: {text} is the number {value!r}; quote it, version: "{text}", to keep its text')


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


_NO_KEY: Final = object()


@dataclass(slots=True)
class _Open:
    """A collection that has begun: `key` waits for its value, `merged` holds the mappings that its `<<` names."""

    value: dict[str, Any] | list[Any]
    anchor: str | None
    nodes_before: int
    key: Any = _NO_KEY
    merged: list[dict[str, Any]] = field(default_factory=list)


_MERGE: Final = object()


class _Composer:
    """Builds a document of plain dicts, lists and atoms from the events of PyYAML, without recursion."""

    def __init__(self) -> None:
        self.document: Any = None
        self._documents = 0
        self._nodes = 0
        self._open: list[_Open] = []
        self._anchored: dict[str, tuple[Any, int]] = {}

    def take(self, event: Any) -> None:
        """Take the next event.

        Raises:
            DocumentError: the document breaks a rule of this module.

        """
        take: Callable[[Any], None] | None = getattr(self, f"_take_{type(event).__name__}", None)
        if take is None:
            return
        try:
            take(event)
        except DocumentError as error:
            raise DocumentError(f"{_place(event.start_mark)}: {error}") from None

    def _take_DocumentStartEvent(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            raise DocumentError("expected a single document in the stream")
        if event.version not in {None, (1, 2)}:
            raise DocumentError(f"expected YAML 1.2, got {'.'.join(map(str, event.version))}")

    def _take_AliasEvent(self, event: Any) -> None:
        if event.anchor not in self._anchored:
            raise DocumentError(f"the alias *{event.anchor} stands inside its own anchor, or has none")
        value, nodes = self._anchored[event.anchor]
        self._count(nodes)
        self._add(value)

    def _take_ScalarEvent(self, event: Any) -> None:
        self._count(1)
        value = _scalar(event)
        if event.anchor is not None:
            self._anchored[event.anchor] = value, 1
        if self._open and isinstance(self._open[-1].value, dict):
            frame = self._open[-1]
            if frame.key is _NO_KEY and event.value == "<<" and event.implicit[0]:
                value = _MERGE
            elif frame.key == "version" and len(self._open) == 1:
                check_version(event.value, value)
        self._add(value)

    def _take_SequenceStartEvent(self, event: Any) -> None:
        self._begin(event, [], "seq")

    def _take_MappingStartEvent(self, event: Any) -> None:
        self._begin(event, {}, "map")

    def _take_SequenceEndEvent(self, _event: Any) -> None:
        self._end()

    def _take_MappingEndEvent(self, _event: Any) -> None:
        self._end()

    def _begin(self, event: Any, value: dict[str, Any] | list[Any], tag: str) -> None:
        if event.tag not in {None, "!", _CORE + tag}:
            raise DocumentError(_unknown_tag(event.tag))
        if len(self._open) >= MAX_DEPTH:
            raise DocumentError(TOO_DEEP)
        if event.anchor is not None:
            self._anchored.pop(event.anchor, None)
        self._open.append(_Open(value, event.anchor, self._nodes))
        self._count(1)

    def _end(self) -> None:
        frame = self._open.pop()
        for merged in frame.merged:
            for key, value in merged.items():
                frame.value.setdefault(key, value)  # type: ignore[union-attr]  # only mappings have `merged`
        if frame.anchor is not None:
            self._anchored[frame.anchor] = frame.value, self._nodes - frame.nodes_before
        self._add(frame.value)

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise DocumentError(TOO_MANY)

    def _add(self, value: Any) -> None:
        """Put a finished value, or a key, where it belongs."""
        if not self._open:
            self.document = value
            return
        frame = self._open[-1]
        if isinstance(frame.value, list):
            frame.value.append(value)
        elif frame.key is _NO_KEY:
            frame.key = _checked_key(value, frame)
        elif frame.key is _MERGE:
            frame.merged += _mappings(value)
            frame.key = _NO_KEY
        else:
            frame.value[frame.key] = value
            frame.key = _NO_KEY


def _checked_key(key: Any, frame: _Open) -> Any:
    if key is _MERGE:
        if frame.merged:
            raise DocumentError("the key << is given twice in one mapping; merge a list, <<: [*a, *b]")
        return key
    if not isinstance(key, str):
        kind = "a collection" if isinstance(key, (dict, list)) else f"the {type(key).__name__} {key!r}"
        raise DocumentError(f"expected text as key, got {kind.replace('NoneType None', 'null')}; quote it")
    if key in frame.value:
        raise DocumentError(f"the key {key[:100]!r} is given twice in one mapping")
    return key


def _mappings(value: Any) -> list[dict[str, Any]]:
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in found):
        raise DocumentError("<< merges mappings; quote it if it is a name")
    return found


def _scalar(event: Any) -> Any:
    """Return the value of a scalar, by the tag that it has or that the core schema gives it."""
    tag, text = event.tag, event.value
    if tag in {"!", _CORE + "str"} or (tag is None and not event.implicit[0]):
        return text
    if tag is not None and tag not in {_CORE + name for name in ("null", "bool", "int", "float")}:
        raise DocumentError(_unknown_tag(tag))
    value = _resolved(text)
    if tag == _CORE + "float" and type(value) is int:
        return _finite(text)
    if tag is not None and tag.removeprefix(_CORE) != {type(None): "null"}.get(type(value), type(value).__name__):
        raise DocumentError(f"{text[:100]!r} is not a {_shown(tag)}")
    return value


def _resolved(text: str) -> Any:
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    return number(text) if _NUMBER.fullmatch(text) else text


def _shown(tag: str) -> str:
    return f"!!{tag.removeprefix(_CORE)}" if tag.startswith(_CORE) else tag


def _unknown_tag(tag: str) -> str:
    return f"the tag {_shown(tag)[:100]} is not one of YAML's core schema (str, int, float, bool, null, seq, map)"
