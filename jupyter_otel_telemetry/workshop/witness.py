"""Values that one schema describes and another one may refuse: candidates for counterexamples."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.workshop.canonical import key
from jupyter_otel_telemetry.workshop.shapes import (
    Arrays,
    Conjunction,
    Numbers,
    Objects,
    Shape,
    Strings,
    Values,
    checker,
    shapes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Witnesses"]

_MAX_LENGTH: Final = 300
_MAX_OF_PART: Final = 40
"""Candidates for one property or item."""
_MAX_TRIED: Final = 300
_MAX_PARTS: Final = 20_000
"""Properties and items for which candidates are made."""
_COMBINATIONS: Final = 200
_PLAIN: Final[tuple[Any, ...]] = (None, False, True, 0, 1, -1, 0.5, "", "a", [], [0], {}, {"a": 0})


class Witnesses:
    """Generates candidates. `texts` are strings that the schemas mention, of which some may match their patterns."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = list(dict.fromkeys(texts))[:50]
        self._parts = 0
        self._random = random.Random(0)  # noqa: S311 - the same candidates in every run

    def between(self, made: Conjunction, accepted: Conjunction, depth: int = 0) -> Iterator[Any]:
        """Yield values that `made` allows by their type and bounds, first those that `accepted` may refuse.

        Raises:
            NotComparableError: branches combine in too many ways.

        """
        self._parts += 1
        if self._parts > _MAX_PARTS:
            return
        if depth and not made and not accepted:
            yield from _PLAIN
            return
        others = shapes(accepted, wide=True)
        found = [
            self._of(shape, [other for other in others if type(other) is type(shape)], depth)
            for shape in shapes(made, wide=True)
        ]
        yield from _in_turn(found)

    def samples(self, made: Conjunction, depth: int) -> Iterator[Any]:
        """Yield values that match a conjunction."""
        return filter(checker(made), self.between(made, (), depth))

    def _of(self, shape: Shape, others: list[Any], depth: int) -> Iterator[Any]:
        if isinstance(shape, Values):
            known = {key(value) for other in others for value in other.values}
            return iter(sorted(shape.values, key=lambda value: key(value) in known))
        if isinstance(shape, Numbers):
            return _numbers(shape, others)
        if isinstance(shape, Strings):
            return self._strings(shape, others)
        if isinstance(shape, Arrays):
            return self._arrays(shape, others, depth + 1)
        return self._objects(shape, others, depth + 1)

    def _strings(self, shape: Strings, others: list[Strings]) -> Iterator[str]:
        lengths = {shape.shortest, shape.shortest + 1, *([shape.longest] if shape.longest is not None else [])}
        for other in others:
            lengths |= {other.shortest, other.shortest - 1}
            lengths |= {other.longest, other.longest + 1} if other.longest is not None else set()
        fitting = sorted(length for length in lengths if _fits(length, shape.shortest, shape.longest))
        for length in fitting:
            yield "a" * min(length, 100_000)
        yield from self._texts
        for length in (length for length in fitting if 0 < length <= _MAX_LENGTH):
            for text in (*filter(None, self._texts[:10]), "0", "é", "A b"):
                yield from (text.rjust(length, "a"), text.ljust(length, "a"), (text * length)[:length])

    def _arrays(self, shape: Arrays, others: list[Arrays], depth: int) -> Iterator[list[Any]]:
        lengths = {shape.fewest, shape.fewest + 1, len(shape.prefix) + 1, 2}
        lengths |= {shape.most} if shape.most is not None else set()
        for other in others:
            lengths |= {other.fewest, other.fewest - 1, len(other.prefix), len(other.prefix) + 1}
            lengths |= {other.most, other.most + 1} if other.most is not None else set()
        longest = max((len(other.prefix) for other in others), default=0)
        fitting = sorted(one for one in lengths if _fits(one, shape.fewest, shape.most) and one <= _MAX_LENGTH)
        for length in fitting:
            distinct = self._distinct_items(shape, length, depth)
            if len(distinct) == length:
                yield distinct
            if (same := self._equal_items(shape, length, depth)) is not None:
                yield same
        for length in fitting:
            base = self._distinct_items(shape, length, depth)
            if len(base) < length:
                continue
            for index in range(min(length, max(len(shape.prefix), longest) + 1)):
                for value in self._part(shape.item(index), [other.item(index) for other in others], depth):
                    yield [*base[:index], value, *base[index + 1 :]]

    def _distinct_items(self, shape: Arrays, length: int, depth: int) -> list[Any]:
        """Return the first items of an array, different ones where that is possible."""
        found: list[Any] = []
        for index in range(length):
            samples = list(islice(self.samples(shape.item(index), depth), _MAX_OF_PART))
            fresh = [value for value in samples if value not in found]
            if not samples:
                break
            found.append((fresh or samples)[0])
        return found

    def _equal_items(self, shape: Arrays, length: int, depth: int) -> list[Any] | None:
        conjunction = tuple(schema for index in range(length) for schema in shape.item(index))
        value = next(self.samples(conjunction, depth), self)
        return None if value is self else [value] * length

    def _part(self, made: Conjunction, accepted: list[Conjunction], depth: int) -> list[Any]:
        """Return candidates for a property or item: one, or many if one of the others may refuse some."""
        others = {text: one for one in accepted if (text := key(one)) != key(made)}
        if accepted and not others:
            return list(islice(self.samples(made, depth), 1))
        found = [self.between(made, one, depth) for one in others.values()] or [self.between(made, (), depth)]
        return list(islice(filter(checker(made), islice(_in_turn(found), _MAX_TRIED)), _MAX_OF_PART))

    def _objects(self, shape: Objects, others: list[Objects], depth: int) -> Iterator[dict[str, Any]]:
        least = {name: next(self.samples(shape.of(name), depth), ...) for name in sorted(shape.required)}
        if ... in least.values():
            return
        yield least
        wanted = sorted({name for other in others for name in other.required})
        described = dict.fromkeys((*shape.named, *(name for other in others for name in other.named), *wanted))
        names = dict.fromkeys((*described, *_pattern_names(shape, others, self._texts), "other", "x"))
        parts = {name: self._part(shape.of(name), [other.of(name) for other in others], depth) for name in names}
        possible = {name: values for name, values in parts.items() if values}
        if not shape.required <= possible.keys():
            return
        most = {name: values[0] for name, values in possible.items() if name in shape.named}
        yield from _in_turn([_with_each(least, name, values) for name, values in possible.items()])
        yield {name: values[0] for name, values in possible.items()}
        yield from ({other: value for other, value in most.items() if other != name} for name in (*wanted, None))
        yield from _in_turn([_with_each(most, name, values) for name, values in possible.items() if len(values) > 1])
        yield from self._sizes(shape, others, least, possible)
        for _ in range(_COMBINATIONS):
            chosen = [name for name in possible if name in shape.required or self._random.random() < 0.5]
            yield {name: self._random.choice(possible[name]) for name in chosen}

    def _sizes(
        self, shape: Objects, others: list[Objects], least: dict[str, Any], possible: dict[str, list[Any]]
    ) -> Iterator[dict[str, Any]]:
        """Yield objects of as many properties as some bound allows, or one more."""
        sizes = {shape.fewest, *([shape.most] if shape.most is not None else [])}
        for other in others:
            sizes |= {other.fewest - 1} | ({other.most + 1} if other.most is not None else set())
        filler = next(self.samples(shape.rest, depth=1), self)
        spare = [name for name in possible if name not in least]
        if filler is not self:
            spare += [f"p{index}" for index in range(_MAX_LENGTH)]
        for size in sorted(size for size in sizes if len(least) < size <= _MAX_LENGTH):
            chosen = spare[: size - len(least)]
            yield least | {name: possible[name][0] if name in possible else filler for name in chosen}


def _with_each(base: dict[str, Any], name: str, values: list[Any]) -> Iterator[dict[str, Any]]:
    return (base | {name: value} for value in values)


def _fits(length: int, least: int, most: int | None) -> bool:
    return length >= max(0, least) and (most is None or length <= most)


def _numbers(shape: Numbers, others: list[Numbers]) -> Iterator[float]:
    bounds = {bound for one in (shape, *others) for bound in (one.low, one.high) if bound is not None} | {Fraction(0)}
    step = max(shape.multiples, default=None)
    other_steps = {multiple for other in others for multiple in other.multiples}
    steps = {Fraction(1), Fraction(1, 2), *other_steps, *shape.multiples}
    if step is not None:
        # Beside each bound, the multiples of the one that are none of the other.
        bounds |= {bound // step * step for bound in bounds}
        steps = {step, *(one for one in steps if one % step == 0)}
    found = (
        bound + distance * one
        for distance in (0, 1, -1, 2, -2, 3)
        for bound in sorted(bounds)
        for one in sorted(steps)
    )
    yield from map(_plain_number, dict.fromkeys(found))


def _plain_number(value: Fraction) -> float:
    return int(value) if value.denominator == 1 else float(value)


def _pattern_names(shape: Objects, others: list[Objects], texts: list[str]) -> list[str]:
    """Return names for properties that only patterns describe."""
    patterns = [pattern for one in (shape, *others) for pattern in one.patterns]
    return [*(pattern.strip("^$") for pattern in patterns), *(texts if patterns else ())][:_MAX_OF_PART]


def _in_turn(found: Iterable[Iterator[Any]]) -> Iterator[Any]:
    """Yield the first item of each iterator, then the second, and so on."""
    waiting = list(found)
    while waiting:
        for iterator in list(waiting):
            try:
                yield next(iterator)
            except StopIteration:
                waiting.remove(iterator)


def mentioned_texts(schema: Any) -> Iterator[str]:
    """Yield the strings in a schema that may be values, and its patterns without their anchors."""
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for name, item in value.items():
                if name in {"const", "enum"}:
                    yield from (
                        text
                        for text in chain([item] if isinstance(item, str) else item if isinstance(item, list) else ())
                        if isinstance(text, str)
                    )
                elif name == "pattern" and isinstance(item, str):
                    yield item.strip("^$")
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
