"""Canonical schemas as unions of shapes, each of one type with bounds that can be compared.

A conjunction is a tuple of canonical schemas that apply to one value. `shapes` returns the union for it. Keywords
that no shape can express (`pattern`, `not`, `contains`, `if` …) become tags: their text. As a description of the
values that occur, a shape without its tags is too wide; as one of those that are accepted, a value is certain to be
accepted only if it was made under the same tag.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.workshop.canonical import IN_PLACE, NotComparableError, key
from jupyter_otel_telemetry.workshop.negation import complement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "Arrays",
    "Conjunction",
    "Numbers",
    "Objects",
    "Shape",
    "Strings",
    "Values",
    "checker",
    "excluded_by",
    "is_empty",
    "key",
    "shapes",
]

Conjunction = tuple[Any, ...]
Tags = frozenset[str]

NOTHING: Final[Conjunction] = (False,)
_MAX_SHAPES: Final = 200
_MAX_TRIED: Final = 1_000
_TOO_MANY: Final = "its branches combine in too many ways"
_TYPES: Final = ("null", "boolean", "number", "string", "array", "object")


@dataclass(frozen=True)
class Values:
    """A list of values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Numbers:
    """Numbers between bounds, None where there is no bound, that are multiples of all `multiples`."""

    low: Fraction | None = None
    high: Fraction | None = None
    is_low_open: bool = False
    is_high_open: bool = False
    multiples: frozenset[Fraction] = frozenset()
    tags: Tags = frozenset()


@dataclass(frozen=True)
class Strings:
    """Strings with between `shortest` and `longest` characters, None without a limit."""

    shortest: int = 0
    longest: int | None = None
    tags: Tags = frozenset()


@dataclass(frozen=True)
class Arrays:
    """Arrays of `fewest` to `most` items; `prefix` has the conjunctions of the first items, `rest` of the others."""

    fewest: int = 0
    most: int | None = None
    prefix: tuple[Conjunction, ...] = ()
    rest: Conjunction = ()
    is_unique: bool = False
    tags: Tags = frozenset()

    def item(self, index: int) -> Conjunction:
        """Return the conjunction of an item."""
        return self.prefix[index] if index < len(self.prefix) else self.rest


@dataclass(frozen=True)
class Objects:
    """Objects. `named` has the conjunctions of described properties, `patterns` and `rest` those of the others."""

    fewest: int = 0
    most: int | None = None
    required: frozenset[str] = frozenset()
    named: dict[str, Conjunction] = field(default_factory=dict)
    patterns: dict[str, Conjunction] = field(default_factory=dict)
    rest: Conjunction = ()
    tags: Tags = frozenset()

    def of(self, name: str) -> Conjunction:
        """Return the conjunction of a property."""
        if name in self.named:
            return self.named[name]
        matching = [found for pattern, found in self.patterns.items() if matches(pattern, name)]
        return tuple(item for found in matching for item in found) if matching else self.rest


Shape = Values | Numbers | Strings | Arrays | Objects


def checker(conjunction: Conjunction) -> Callable[[Any], bool]:
    """Return a function that tells whether a value matches all schemas of a conjunction."""
    return _checker(key(conjunction))


@lru_cache(maxsize=4096)
def _checker(conjunction: str) -> Callable[[Any], bool]:
    import jsonschema_rs  # as in metaschema

    schema = {"allOf": json.loads(conjunction) or [True]}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=False).is_valid


@lru_cache(maxsize=4096)
def matches(pattern: str, name: str) -> bool:
    """Tell whether a pattern of JSON Schema matches a name."""
    return checker(({"pattern": pattern},))(name)


def shapes(conjunction: Conjunction, *, wide: bool) -> list[Shape]:
    """Return the shapes whose union describes a conjunction.

    Args:
        conjunction: of canonical schemas.
        wide: whether closed objects are described by all names in any branch; otherwise, closing is a tag.

    Raises:
        NotComparableError: there are too many.

    """
    return _shapes(key(conjunction), wide=wide)


@lru_cache(maxsize=4096)
def _shapes(text: str, *, wide: bool) -> list[Shape]:
    conjunction = tuple(json.loads(text))
    names = _all_names(conjunction) if wide else None
    found: list[Shape] = []
    for flat in _products(conjunction, names, itertools.count()):
        found += _merged(flat, names)
        if len(found) > _MAX_SHAPES:
            raise NotComparableError(_TOO_MANY)
    return found


def _products(
    conjunction: Conjunction, names: set[str] | None, tried: itertools.count[int]
) -> Iterator[list[dict[str, Any]]]:
    """Yield the ways to choose a branch of each `anyOf`, each as schemas without `anyOf` and `allOf`."""
    if next(tried) > _MAX_TRIED:
        raise NotComparableError(_TOO_MANY)
    flat, choices = _divided(conjunction)
    if flat is None or (choices and not _merged(flat, names)):
        return
    if not choices:
        yield flat
        return
    first, *rest = choices.values()
    for branch in first:
        yield from _products((*flat, branch, *({"anyOf": branches} for branches in rest)), names, tried)


def _divided(conjunction: Conjunction) -> tuple[list[dict[str, Any]] | None, dict[str, list[Any]]]:
    """Return the schemas without branches, None if one is false; and the lists of branches, each once."""
    flat: list[dict[str, Any]] = []
    choices: dict[str, list[Any]] = {}
    waiting = list(conjunction)
    while waiting:
        schema = waiting.pop(0)
        if schema is False:
            return None, {}
        if schema is True:
            continue
        waiting += schema.get("allOf", ())
        rest = {keyword: value for keyword, value in schema.items() if keyword not in IN_PLACE}
        if "not" in rest:
            opposite = complement(rest["not"])
            if key(opposite) != key({"not": rest["not"]}):
                waiting.append(opposite)
                del rest["not"]
        if "anyOf" in schema:
            choices[key(schema["anyOf"])] = schema["anyOf"]
        if rest:
            flat.append(rest)
    return flat, choices


def _merged(flat: list[dict[str, Any]], names: set[str] | None) -> list[Shape]:
    """Return a shape for each type that all of some plain schemas allow."""
    listed = next((values for schema in flat if (values := _listed(schema)) is not None), None)
    whole: Conjunction = tuple(flat)
    if names is not None:  # without the other branches, these would exclude too much
        whole = tuple({keyword: schema[keyword] for keyword in schema.keys() - _UNEVALUATED} for schema in flat)
    if listed is not None:
        possible = tuple(filter(checker(whole), listed))
        return [Values(possible)] if possible else []
    types = [kind for kind in _TYPES if all(kind in _types(schema) for schema in flat)]
    found: list[Shape] = []
    if small := tuple(filter(checker(whole), (value for kind in types for value in _SMALL.get(kind, ())))):
        found.append(Values(small))
    if "number" in types:
        found.append(_numbers(flat))
    if "string" in types:
        found.append(_strings(flat))
    if "array" in types:
        found.append(_arrays(flat, is_wide=names is not None))
    if "object" in types:
        found.append(_objects(flat, names))
    return [shape for shape in found if not is_empty(shape)]


_UNEVALUATED: Final = frozenset({"unevaluatedItems", "unevaluatedProperties"})
_SMALL: Final[dict[str, tuple[Any, ...]]] = {"null": (None,), "boolean": (False, True)}


def _listed(schema: dict[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return schema.get("enum")


def _types(schema: dict[str, Any]) -> set[str]:
    types = set(_TYPES)
    if "type" in schema:
        wanted = schema["type"]
        types = {
            "number" if name == "integer" else name for name in ([wanted] if isinstance(wanted, str) else wanted)
        }
    return types


_GROUPS: Final = (("not",), ("if", "then", "else"))
"""Keywords for all types that no shape expresses; those of a group have a meaning together."""

UNPROVABLE: Final = "unevaluated"
"""A tag that only accepted values have: the meaning of the keyword depends on the branches that a value matches."""


def _tags(flat: Iterable[dict[str, Any]], *groups: tuple[str, ...]) -> Tags:
    """Return the texts of keywords that no shape expresses: groups of one type, and those for all types."""
    found = set()
    for schema in flat:
        for group in (*groups, *_GROUPS):
            if group[0] in schema:
                found.add(key({name: schema[name] for name in group if name in schema}))
    return frozenset(found)


def number_of(value: float) -> Fraction:
    """Return a number as people write it: 0.1 is a tenth."""
    return Fraction(value) if isinstance(value, int) else Fraction(repr(value))


def excluded_by(tag: str) -> list[Any]:
    """Return the values that a tag excludes, if it does nothing else."""
    negated = json.loads(tag).get("not") if tag != UNPROVABLE else None
    if isinstance(negated, dict) and len(negated) == 1:
        return [negated["const"]] if "const" in negated else negated.get("enum", [])
    return []


def _numbers(flat: list[dict[str, Any]]) -> Shape:
    lows: list[tuple[Fraction, bool]] = []
    highs: list[tuple[Fraction, bool]] = []
    multiples: set[Fraction] = set()
    for schema in flat:
        for keyword, bounds, is_open in (
            ("minimum", lows, False),
            ("exclusiveMinimum", lows, True),
            ("maximum", highs, False),
            ("exclusiveMaximum", highs, True),
        ):
            if keyword in schema:
                bounds.append((number_of(schema[keyword]), is_open))
        if "multipleOf" in schema:
            multiples.add(number_of(schema["multipleOf"]))
        wanted = schema.get("type", ())
        names = [wanted] if isinstance(wanted, str) else wanted
        if "integer" in names and "number" not in names:
            multiples.add(Fraction(1))
    low, is_low_open = max(lows, default=(None, False), key=lambda bound: (bound[0], bound[1]))
    high, is_high_open = min(highs, default=(None, False), key=lambda bound: (bound[0], not bound[1]))
    if step := max(multiples, default=None):
        low, is_low_open = None if low is None else _next_multiple(low, step, is_open=is_low_open), False
        high, is_high_open = None if high is None else -_next_multiple(-high, step, is_open=is_high_open), False
    return Numbers(low, high, is_low_open, is_high_open, frozenset(multiples), _tags(flat))


def _next_multiple(bound: Fraction, step: Fraction, *, is_open: bool) -> Fraction:
    """Return the least multiple that is not below a bound, or above it if the bound is open."""
    found = -(-bound // step) * step
    return found + step if is_open and found == bound else found


def _strings(flat: list[dict[str, Any]]) -> Shape:
    fewest, most = _bounds(flat, "minLength", "maxLength")
    if fewest == 0 and not checker(tuple(flat))(""):
        fewest = 1
    return Strings(fewest, most, _tags(flat, ("pattern",)))


def _bounds(flat: Iterable[dict[str, Any]], least: str, greatest: str) -> tuple[int, int | None]:
    low = max((int(schema[least]) for schema in flat if least in schema), default=0)
    return low, min((int(schema[greatest]) for schema in flat if greatest in schema), default=None)


def _arrays(flat: list[dict[str, Any]], *, is_wide: bool) -> Shape:
    fewest, most = _bounds(flat, "minItems", "maxItems")
    length = max((len(schema.get("prefixItems", ())) for schema in flat), default=0)
    prefix = tuple(_together(_item(schema, index) for schema in flat) for index in range(length))
    rest = _together(_item(schema, length) for schema in flat)
    for index, item in enumerate((*prefix, rest)):
        if not is_possible(item):
            most = index if most is None else min(most, index)
            break
    is_unique = any(schema.get("uniqueItems") for schema in flat)
    tags = _tags(flat, ("contains", "minContains", "maxContains"))
    if not is_wide and any("unevaluatedItems" in schema for schema in flat):
        tags |= {UNPROVABLE}
    return Arrays(fewest, most, prefix, rest, is_unique, tags)


def _item(schema: dict[str, Any], index: int) -> Any:
    prefix = schema.get("prefixItems", ())
    return prefix[index] if index < len(prefix) else schema.get("items", True)


def _together(schemas: Iterable[Any]) -> Conjunction:
    """Return the conjunction of some schemas, each once."""
    found = {key(schema): schema for schema in schemas if schema is not True and schema != {}}
    return tuple(found.values())


def _objects(flat: list[dict[str, Any]], names: set[str] | None) -> Shape:
    fewest, most = _bounds(flat, "minProperties", "maxProperties")
    required = frozenset(name for schema in flat for name in schema.get("required", ()))
    structured = [
        schema for schema in flat if schema.keys() & {"properties", "patternProperties", "additionalProperties"}
    ]
    tags = _tags(flat, ("propertyNames",), ("dependentRequired",), ("dependentSchemas",))
    patterned = [schema for schema in structured if "patternProperties" in schema]
    named: dict[str, Conjunction] = {}
    for name in {name: None for schema in flat for name in schema.get("properties", ())} | dict.fromkeys(required):
        named[name] = _together(_property(schema, name) for schema in structured)
    rest = _together(schema.get("additionalProperties", True) for schema in structured)
    patterns: dict[str, Conjunction] = {}
    if len(structured) == 1 and patterned:
        patterns = {pattern: _together([item]) for pattern, item in patterned[0]["patternProperties"].items()}
    elif patterned:
        rest = ()
        tags |= {key({"structured": structured})}
    closing = [schema["unevaluatedProperties"] for schema in flat if "unevaluatedProperties" in schema]
    if closing and names is None:
        tags |= {UNPROVABLE}
    elif False in closing and names is not None and "\0" not in names and not (patterned or rest):
        named = {name: named.get(name, ()) for name in names} | dict.fromkeys(required - names, NOTHING)
        rest = NOTHING
    if most is not None and most <= len(required):
        named = {name: item if name in required else NOTHING for name, item in named.items()}
        rest, patterns = NOTHING, {}
    if not is_possible(rest) and not patterns:
        possible = sum(map(is_possible, named.values()))
        most = possible if most is None else min(most, possible)
    return Objects(max(fewest, len(required)), most, required, named, patterns, rest, tags)


def _property(schema: dict[str, Any], name: str) -> Any:
    own = [schema["properties"][name]] if name in schema.get("properties", {}) else []
    own += [item for pattern, item in schema.get("patternProperties", {}).items() if matches(pattern, name)]
    if not own:
        return schema.get("additionalProperties", True)
    return own[0] if len(own) == 1 else {"allOf": own}


def _all_names(conjunction: Iterable[Any]) -> set[str]:
    """Return the names that any branch describes; with NUL if a branch may evaluate others."""
    names: set[str] = set()
    for schema in conjunction:
        if not isinstance(schema, dict):
            continue
        names |= schema.get("properties", {}).keys()
        if schema.keys() & {"patternProperties", "additionalProperties", "if", "dependentSchemas"}:
            names |= {"\0"}
        for keyword in IN_PLACE:
            names |= _all_names(schema.get(keyword, ()))
    return names


def is_possible(conjunction: Conjunction) -> bool:
    """Tell whether some value may match a conjunction."""
    return not conjunction or bool(shapes(conjunction, wide=True))


def is_empty(shape: Shape) -> bool:
    """Tell whether no value is certain to have a shape."""
    if isinstance(shape, Numbers):
        return _has_no_number(shape)
    if isinstance(shape, Strings):
        return shape.longest is not None and shape.shortest > shape.longest
    if isinstance(shape, (Arrays, Objects)) and shape.most is not None and shape.fewest > shape.most:
        return True
    return isinstance(shape, Objects) and not all(is_possible(shape.of(name)) for name in shape.required)


def _has_no_number(shape: Numbers) -> bool:
    if shape.low is None or shape.high is None:
        return False
    return shape.low > shape.high or (shape.low == shape.high and (shape.is_low_open or shape.is_high_open))
