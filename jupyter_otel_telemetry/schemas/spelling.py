"""Annotations that would have no effect: misspelt ones, and those in a place where no subschema is.

JSON Schema ignores unknown keywords. Most are harmless and pass (`x-…`, `example`, `deprecated`, `personal-data`,
`tittle`). These are refused, because a value would be recorded that was meant to be withheld, or lose its name:

1. a keyword that is nearly `pii`, `categories` or `otel`: another case, number (`category`), separators, letters that
   look alike (full-width, accents, Cyrillic, Greek), one edit with a value that fits; or one with true or false that
   has `pii` as a word (`isPii`);
2. one of these three, also nearly, below a keyword that holds no subschemas (`propertys`, `fields`), unless a `$ref`
   in the schema leads there. Values of events (`const`, `default`, `enum`, `examples`) and `x-…` are not looked at;
3. likewise a `$ref`, which may lead to one, below a keyword that nearly holds subschemas (`item`);
4. a keyword that is nearly `$ref`, with the text of one;
5. `pii`, `categories` or `otel` directly below `properties` and its like with the value of an annotation.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from jupyter_otel_telemetry.jsondata import json_pointer
from jupyter_otel_telemetry.schemas.keywords import DATA, HOLD_LIST, HOLD_MAPPING, HOLD_SCHEMA, REFERENCES, walk
from jupyter_otel_telemetry.schemas.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jupyter_otel_telemetry.schemas.keywords import Path

__all__ = ["ANNOTATIONS", "is_one_edit_away", "spelling_problems"]

ANNOTATIONS: Final = ("pii", "categories", "otel")
_HOLDERS: Final = tuple(sorted(HOLD_SCHEMA | HOLD_LIST | HOLD_MAPPING))
_OTEL_NAMES: Final = frozenset({"attribute", "event_name", "severity"})
_LONGEST: Final = 30
"""Characters of a key that can be nearly a keyword; the longest one has 21."""

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LOOK_ALIKE: Final = str.maketrans("АаСсЕеІіОоРрЅѕТтΑαΕεΙιıΟοΡρΤτϹϲ", "AaCcEeIiOoPpSsTtAaEeIiiOoPpTtCc")
"""Cyrillic and Greek letters that look like those of the annotations, and the dotless i."""


def spelling_problems(document: dict[str, Any]) -> Iterator[Problem]:
    """Yield each annotation, or near-miss of one, that would have no effect, and the keyword that was meant."""
    targets: list[str] | None = None
    for path, subschema in walk(document):
        for keyword, value in subschema.items():
            place = (*path, keyword)
            if keyword in HOLD_MAPPING:
                yield from _name_problems(value, place)
            if not _is_unknown(keyword, value):
                continue
            if meant := _meant_annotation(keyword, value):
                yield Problem(place, f"did you mean {meant}? Written like this, it has no effect")
                continue
            if isinstance(value, str) and "#" in value and _nearly(keyword, ("$ref",)):
                yield Problem(place, "did you mean $ref? Written like this, it has no effect")
                continue
            lost = _lost_below(keyword, value)
            if lost and targets is None:
                targets = _pointers(document)
            if lost and not _leads_into(place, targets or []):
                text = f"{lost[-1]} has no effect below {keyword[:60]!r}{_remedy(keyword)}"
                yield Problem((*place, *lost), text)


def _lost_below(keyword: str, value: Any) -> Path | None:
    """Return the path to an annotation, or to a keyword that may lead to one, below a keyword without subschemas."""
    if not isinstance(value, (dict, list)):
        return None
    return _first(value, _seems_annotation) or (_first(value, _is_reference) if _nearly(keyword, _HOLDERS) else None)


def _is_unknown(keyword: str, value: Any) -> bool:
    """Tell whether no draft gives a keyword, with this kind of value, a meaning that concerns annotations."""
    if keyword in DATA or keyword in ANNOTATIONS or keyword.lower().startswith("x-"):
        return False
    if isinstance(value, list):
        return keyword not in HOLD_LIST
    if isinstance(value, dict):
        return keyword not in HOLD_SCHEMA | HOLD_MAPPING
    return keyword not in _HOLDERS


def _name_problems(names: Any, path: Path) -> Iterator[Problem]:
    """Yield each annotation that stands where names of properties, patterns or definitions do."""
    for name, value in names.items() if isinstance(names, dict) else ():
        meant = _forms(name)[0] if len(name) <= _LONGEST else ""
        is_flag = isinstance(value, bool) and (meant in ("pii", "categories") or _is_about_pii(name))
        if is_flag or (meant == "otel" and _is_otel(value)):
            text = f"{name} is an annotation, and here the name of a property; move it into a property's own schema"
            yield Problem((*path, name), f"{text}, or write {{}} if events have a property of this name")


def _is_otel(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and value.keys() <= _OTEL_NAMES


def _meant_annotation(key: str, value: Any) -> str | None:
    """Return the annotation that an unknown keyword is meant for, or None.

    One edit alone does not tell (`hotel`); the value must be like that of the annotation, too.
    """
    if isinstance(value, bool) and _is_about_pii(key):
        return "pii"
    meant = _nearly(key, ANNOTATIONS)
    if meant is None or _forms(key)[1] == _forms(meant)[1]:
        return meant
    if meant == "otel":
        fits = isinstance(value, dict) and bool(value) and all(isinstance(item, str) for item in value.values())
    else:
        fits = isinstance(value, (bool, str) if meant == "pii" else (list, str))
    return meant if fits else None


def _seems_annotation(key: str, value: Any) -> bool:
    """Tell whether a key and its value, where neither has a meaning, were meant as an annotation."""
    if key == "pii":
        return isinstance(value, (bool, str))
    if isinstance(value, bool) and _is_about_pii(key):
        return True
    meant = key if key in ANNOTATIONS else _nearly(key, ANNOTATIONS)
    if meant == "otel":
        return _is_otel(value)
    return isinstance(value, bool if meant == "pii" else list) if meant else False


def _is_reference(key: str, value: Any) -> bool:
    return key in REFERENCES and isinstance(value, str)


def _first(value: Any, wanted: Callable[[str, Any], bool]) -> Path | None:
    """Return the path below `value` of the first key that is wanted, or None."""
    waiting: list[tuple[Path, Any]] = [((), value)]
    while waiting:
        path, found = waiting.pop()
        items: Any = ()
        if isinstance(found, dict):
            items = found.items()
            for key, item in items:
                if wanted(key, item):
                    return (*path, key)
        elif isinstance(found, list):
            items = enumerate(found)
        waiting += [
            ((*path, step), item) for step, item in items if isinstance(item, (dict, list)) and step not in DATA
        ]
    return None


def _pointers(document: dict[str, Any]) -> list[str]:
    """Return the JSON Pointers of all references in a schema, sorted."""
    found: list[str] = []
    waiting: list[Any] = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            found += [unquote(item.partition("#")[2]) for key, item in value.items() if _is_reference(key, item)]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return sorted(found)


def _leads_into(place: Path, pointers: list[str]) -> bool:
    """Tell whether one of the sorted pointers leads to a place or below it."""
    pointer = json_pointer(place)
    for wanted in (pointer, pointer + "/"):
        index = bisect_left(pointers, wanted)
        if index < len(pointers) and (pointers[index] + "/").startswith(pointer + "/"):
            return True
    return False


def _remedy(keyword: str) -> str:
    if meant := _nearly(keyword, _HOLDERS):
        return f"; did you mean {meant}?"
    return ", which JSON Schema does not know; use properties or items, or $defs and a $ref"


@lru_cache(maxsize=4096)
def _nearly(key: str, words: tuple[str, ...]) -> str | None:
    """Return the word that a key nearly is, or None."""
    if len(key) > _LONGEST or key in words:
        return None
    plain, stem = _forms(key)
    forms = [(word, *_forms(word)) for word in words]
    if same := next((word for word, _, other in forms if stem == other), None):
        return same
    if words == ("$ref",) and not key.startswith("$"):  # as href does not
        return None
    near = (word for word, one, other in forms if is_one_edit_away(plain, one) or is_one_edit_away(stem, other))
    return next(near, None)


@lru_cache(maxsize=4096)
def _is_about_pii(key: str) -> bool:
    """Tell whether `pii` is one of the words of a key: `isPii`, `contains_PII`, `pii-flag`."""
    if len(key) > _LONGEST or not {"p", "P"}.intersection(text := _in_latin(key)):
        return False
    words = [word.lower() for word in _WORDS.findall(text)]
    return "pii" in words or _forms(key)[0] in ("ispii", "haspii")


def _in_latin(text: str) -> str:
    """Return a text without the differences that one does not see: width, accents, letters of other scripts."""
    return unicodedata.normalize("NFKD", text).translate(_LOOK_ALIKE)


@lru_cache(maxsize=256)
def _forms(word: str) -> tuple[str, str]:
    """Return a word in lower case, without separators; and its singular."""
    plain = "".join(filter(str.isalnum, _in_latin(word).casefold()))
    return plain, plain[:-3] + "y" if plain.endswith("ies") else plain.removesuffix("s")


def is_one_edit_away(one: str, other: str) -> bool:
    """Tell whether two words are equal, or become so by inserting, removing, changing or swapping letters once."""
    if abs(len(one) - len(other)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    a, b = one[start:], other[start:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[:2][::-1] and a[2:] == b[2:])
