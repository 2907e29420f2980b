"""Bounds the work that a schema can make: the subschemas that apply to one value, and their depth within each other.

jsonschema-rs remembers verdicts at recursive references only, and recurses on the stack of the process. So a schema
whose references double at each of 26 steps, or that lead from one to the next a thousand times, is refused before it
meets an event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import jsonschema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jupyter_otel_telemetry.schemas.subschema import Numbers, Subschema

__all__ = ["check_effort"]

MAX_APPLICATIONS: Final = 100_000
"""Applications of subschemas to the values on any one path into an event, recursive references followed once."""
MAX_CHAIN: Final = 50
"""Subschemas that apply to one value by each other."""


def check_effort(subschemas: list[Subschema], root: Numbers, name: str) -> None:
    """Check that a schema, which messages call `name`, makes bounded work only.

    Raises:
        jsonschema.SchemaError: it could make more.

    """
    if problem := _chain_problem(subschemas) or _cost_problem(subschemas, root):
        raise jsonschema.SchemaError(f"{name} is too tangled to be applied: {problem}; use fewer references")


def _chain_problem(subschemas: list[Subschema]) -> str | None:
    chains: dict[int, int] = {}
    for number in _post_order(range(len(subschemas)), lambda number: subschemas[number].in_place):
        subschema = subschemas[number]
        if not chains.keys() >= subschema.in_place - subschema.dynamic:
            return f"{subschema.where} applies itself to the same value without end"
        chains[number] = 1 + max((chains.get(inner, 0) for inner in subschema.in_place), default=0)
        if chains[number] > MAX_CHAIN:
            return f"at {subschema.where}, more than {MAX_CHAIN} subschemas apply to one value by each other"
    return None


def _cost_problem(subschemas: list[Subschema], root: Numbers) -> str | None:
    costs: dict[int, int] = {}

    def cost(numbers: Iterable[int]) -> int:
        return sum(costs.get(number, 1) for number in numbers)

    for number in _post_order(root, lambda number: subschemas[number].held()):
        subschema = subschemas[number]
        named = max(map(cost, subschema.properties.values()), default=0) + sum(map(cost, subschema.patterns.values()))
        others = cost(subschema.additional or ()) + cost(subschema.unevaluated)
        items = max(map(cost, subschema.prefix), default=0) + cost(subschema.rest) + cost(subschema.every_item)
        below = max(named + others, items)
        costs[number] = 1 + cost(subschema.in_place) + cost(subschema.of_the_whole) + below
        if costs[number] > MAX_APPLICATIONS:
            return f"at {subschema.where}, more than {MAX_APPLICATIONS} applications of subschemas are needed"
    return None


def _post_order(starts: Iterable[int], edges: Callable[[int], Iterable[int]]) -> Iterator[int]:
    """Yield all numbers that can be reached, each after those that it leads to, cycles aside."""
    seen: set[int] = set()
    for start in starts:
        if start in seen:
            continue
        seen.add(start)
        stack = [(start, iter(edges(start)))]
        while stack:
            number, waiting = stack[-1]
            for further in waiting:
                if further not in seen:
                    seen.add(further)
                    stack.append((further, iter(edges(further))))
                    break
            else:
                stack.pop()
                yield number
