"""Proof that every value of one schema is accepted by another one. What is not proven may still be true."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.workshop.canonical import key
from jupyter_otel_telemetry.workshop.shapes import (
    NOTHING,
    Arrays,
    Conjunction,
    Numbers,
    Objects,
    Shape,
    Strings,
    Values,
    checker,
    excluded_by,
    is_empty,
    number_of,
    shapes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Proof"]

_MAX_COUNTED: Final = 500
"""Integers of a range that are tried one by one."""
_MAX_SPLITS: Final = 3
_MAX_STEPS: Final = 20_000


class Proof:
    """Proves inclusions, and remembers them. After `_MAX_STEPS` steps, it proves nothing more."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], bool] = {}
        self._steps = 0

    def holds(self, made: Conjunction, accepted: Conjunction) -> bool:
        """Tell whether it is proven that everything in `made` is in `accepted`.

        Raises:
            NotComparableError: branches combine in too many ways.

        """
        name = key(made), key(accepted)
        if name[0] == name[1] or not accepted:
            return True
        if name not in self._known:
            self._steps += 1
            if self._steps > _MAX_STEPS:
                return False
            self._known[name] = False
            candidates = shapes(accepted, wide=False)
            self._known[name] = all(
                self._is_covered(shape, candidates, accepted, _MAX_SPLITS) for shape in shapes(made, wide=True)
            )
        return self._known[name]

    def _is_covered(self, shape: Shape, candidates: list[Shape], accepted: Conjunction, splits: int) -> bool:
        self._steps += 1
        if self._steps > _MAX_STEPS:
            return False
        if isinstance(shape, Values):
            return all(map(checker(accepted), shape.values))
        if is_empty(shape):
            return True
        alike = [candidate for candidate in candidates if type(candidate) is type(shape)]
        if any(self._is_inside(shape, candidate) for candidate in alike):
            return True
        if isinstance(shape, Numbers):
            return _is_counted(shape, accepted) or _is_line_covered(shape, alike)
        if isinstance(shape, Strings):
            return _is_length_covered(shape, alike) or (shape.longest == 0 and checker(accepted)(""))
        return any(
            all(self._is_covered(part, candidates, accepted, splits - 1) for part in parts)
            for parts in (_splits(shape, alike) if splits and len(alike) > 1 else ())
        )

    def _is_inside(self, shape: Any, candidate: Any) -> bool:
        self._steps += 1
        if not _has_tags(shape, candidate.tags):
            return False
        if isinstance(shape, Numbers):
            return _is_number_inside(shape, candidate)
        if isinstance(shape, Strings):
            return candidate.shortest <= shape.shortest and _is_at_most(shape.longest, candidate.longest)
        if isinstance(shape, Arrays):
            return self._is_array_inside(shape, candidate)
        return self._is_object_inside(shape, candidate)

    def _is_array_inside(self, shape: Arrays, candidate: Arrays) -> bool:
        if not (candidate.fewest <= shape.fewest and _is_at_most(shape.most, candidate.most)):
            return False
        if candidate.is_unique and not shape.is_unique and (shape.most is None or shape.most > 1):
            return False
        length = max(len(shape.prefix), len(candidate.prefix)) + 1
        reached = length if shape.most is None else min(length, shape.most)
        return all(self.holds(shape.item(index), candidate.item(index)) for index in range(reached))

    def _is_object_inside(self, shape: Objects, candidate: Objects) -> bool:
        if not (candidate.required <= shape.required and candidate.fewest <= shape.fewest):
            return False
        if not _is_at_most(shape.most, candidate.most):
            return False
        names = shape.named.keys() | candidate.named.keys()
        return all(self.holds(shape.of(name), candidate.of(name)) for name in names) and all(
            self.holds(made, accepted) for made, accepted in _unnamed(shape, candidate)
        )


def _has_tags(shape: Any, tags: frozenset[str]) -> bool:
    """Tell whether every value of a shape meets the conditions that tags stand for."""
    return all(
        bool(values := excluded_by(tag)) and all(_excludes(shape, value) for value in values)
        for tag in tags - shape.tags
    )


def _excludes(shape: Shape, value: Any) -> bool:
    """Tell whether the bounds of a shape exclude a value."""
    if isinstance(shape, Numbers) and isinstance(value, (int, float)) and not isinstance(value, bool):
        point = number_of(value)
        single = Numbers(point, point)
        return not (
            _starts_inside(single, shape)
            and _ends_inside(single, shape)
            and all(point % one == 0 for one in shape.multiples)
        )
    if isinstance(shape, Strings) and isinstance(value, str):
        return not (shape.shortest <= len(value) and _is_at_most(len(value), shape.longest))
    return isinstance(shape, (Numbers, Strings)) or not isinstance(value, list if isinstance(shape, Arrays) else dict)


def _unnamed(shape: Objects, candidate: Objects) -> Iterator[tuple[Conjunction, Conjunction]]:
    """Yield what properties with other names may be, and what the candidate accepts for these."""
    yield shape.rest, candidate.rest
    for pattern, accepted in candidate.patterns.items():
        if pattern in shape.patterns:
            yield shape.patterns[pattern], accepted
        else:
            yield shape.rest, accepted
            yield from ((made, accepted) for made in shape.patterns.values())
    for pattern, made in shape.patterns.items():
        if pattern not in candidate.patterns:
            yield made, candidate.rest


def _is_at_most(limit: int | None, other: int | None) -> bool:
    """Tell whether one upper limit is at most the other; None is no limit."""
    return other is None or (limit is not None and limit <= other)


def _is_number_inside(shape: Numbers, candidate: Numbers) -> bool:
    return (
        _starts_inside(shape, candidate)
        and _ends_inside(shape, candidate)
        and _are_multiples(shape.multiples, candidate.multiples)
    )


def _starts_inside(shape: Numbers, candidate: Numbers) -> bool:
    if candidate.low is None:
        return True
    if shape.low is None or shape.low < candidate.low:
        return False
    return shape.low > candidate.low or shape.is_low_open or not candidate.is_low_open


def _ends_inside(shape: Numbers, candidate: Numbers) -> bool:
    if candidate.high is None:
        return True
    if shape.high is None or shape.high > candidate.high:
        return False
    return shape.high < candidate.high or shape.is_high_open or not candidate.is_high_open


def _are_multiples(made: frozenset[Fraction], accepted: frozenset[Fraction]) -> bool:
    return all(any(one % other == 0 for one in made) for other in accepted)


def _is_counted(shape: Numbers, accepted: Conjunction) -> bool:
    """Tell whether a shape has few integers only, all of which are accepted."""
    step = max(shape.multiples, default=Fraction(0))
    if step < 1 or step.denominator > 1 or shape.low is None or shape.high is None:
        return False
    first = -(-shape.low // step) * step
    if (shape.high - first) / step > _MAX_COUNTED:
        return False
    is_accepted = checker(accepted)
    return all(is_accepted(int(first + count * step)) for count in range(int((shape.high - first) // step) + 1))


def _is_line_covered(shape: Numbers, candidates: Sequence[Shape]) -> bool:
    """Tell whether several intervals together cover a shape."""
    intervals = [
        candidate
        for candidate in candidates
        if isinstance(candidate, Numbers)
        and _has_tags(shape, candidate.tags)
        and _are_multiples(shape.multiples, candidate.multiples)
    ]
    is_whole = any(multiple.denominator == 1 for multiple in shape.multiples)
    rest = shape
    while True:
        fitting = [interval for interval in intervals if _starts_inside(rest, interval)]
        if any(_ends_inside(rest, interval) for interval in fitting):
            return True
        reaching = [interval for interval in fitting if interval.high is not None and _goes_on(rest, interval)]
        if not reaching:
            return False
        farthest = max(reaching, key=lambda interval: (interval.high, not interval.is_high_open))
        low, is_open = farthest.high, not farthest.is_high_open
        if is_whole and low is not None and is_open:  # the next integer
            low, is_open = Fraction(low.numerator // low.denominator + 1), False
        rest = Numbers(low, shape.high, is_open, shape.is_high_open, shape.multiples, shape.tags)
        intervals.remove(farthest)


def _goes_on(rest: Numbers, interval: Numbers) -> bool:
    """Tell whether an interval that contains the start of the rest reaches beyond it."""
    return rest.low is None or interval.high is None or interval.high >= rest.low


def _is_length_covered(shape: Strings, candidates: Sequence[Shape]) -> bool:
    """Tell whether several ranges of lengths together cover a shape."""
    ranges = [one for one in candidates if isinstance(one, Strings) and _has_tags(shape, one.tags)]
    start = shape.shortest
    while True:
        fitting = [one for one in ranges if one.shortest <= start and (one.longest is None or one.longest >= start)]
        if not fitting:
            return False
        if any(_is_at_most(shape.longest, one.longest) for one in fitting):
            return True
        start = max(one.longest for one in fitting if one.longest is not None) + 1


def _splits(shape: Shape, candidates: Sequence[Shape]) -> Iterator[list[Shape]]:
    """Yield divisions of a shape into parts, each of which may be inside another candidate."""
    if isinstance(shape, Objects):
        yield from _object_splits(shape, [one for one in candidates if isinstance(one, Objects)])
    elif isinstance(shape, Arrays):
        yield from _array_splits(shape, [one for one in candidates if isinstance(one, Arrays)])


def _object_splits(shape: Objects, candidates: list[Objects]) -> Iterator[list[Shape]]:
    names = {name: None for one in candidates for name in (*one.named, *sorted(one.required))}
    for name in names:
        made = shape.of(name)
        parts = [_with_property(shape, name, (*made, *part)) for part in _parts(made, name, candidates)]
        if name not in shape.required:
            parts = [_without_property(shape, name), *(parts or [_with_property(shape, name, made)])]
        if len(parts) > 1:
            yield list(parts)


def _parts(made: Conjunction, name: str, candidates: list[Objects]) -> list[Conjunction]:
    """Return conjunctions that, one after the other, divide what a property may be by the candidates' bounds."""
    alternatives = [one.of(name) for one in candidates]
    found = shapes(made, wide=True)
    if len(found) == 1 and isinstance(found[0], Values) and len(found[0].values) <= 20:
        return [({"const": value},) for value in found[0].values]
    if len(found) > 1:
        return [({"type": kind},) for kind in ("null", "boolean", "number", "string", "array", "object")]
    distinct = {key(one): one for one in alternatives if one and one != NOTHING}
    for one in distinct.values():
        if not all(isinstance(schema, dict) for schema in one):
            continue
        return [one, ({"not": {"allOf": list(one)}},)]
    return []


def _with_property(shape: Objects, name: str, made: Conjunction) -> Objects:
    required = shape.required | {name}
    return Objects(
        max(shape.fewest, len(required)),
        shape.most,
        required,
        shape.named | {name: made},
        shape.patterns,
        shape.rest,
        shape.tags,
    )


def _without_property(shape: Objects, name: str) -> Objects:
    named = shape.named | {name: NOTHING}
    return Objects(shape.fewest, shape.most, shape.required, named, shape.patterns, shape.rest, shape.tags)


def _array_splits(shape: Arrays, candidates: list[Arrays]) -> Iterator[list[Shape]]:
    limits = {one.fewest for one in candidates} | {one.most + 1 for one in candidates if one.most is not None}
    for limit in sorted(limits):
        if limit > shape.fewest and (shape.most is None or limit <= shape.most):
            yield [
                Arrays(shape.fewest, limit - 1, shape.prefix, shape.rest, shape.is_unique, shape.tags),
                Arrays(limit, shape.most, shape.prefix, shape.rest, shape.is_unique, shape.tags),
            ]
