"""The rules of `schema check`. docs/reference/schema-rules.md has an example of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jupyter_otel_telemetry.workshop import advice, validity
from jupyter_otel_telemetry.workshop.findings import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jupyter_otel_telemetry.schemas.problems import Problem

__all__ = ["RULES", "Rule"]


class Rule(NamedTuple):
    """A rule.

    `check` yields the problems of one schema; it is None for rules about files and several schemas. With
    `only_valid`, it is called with schemas that can be registered.
    """

    id: str
    level: Level
    check: Callable[[dict[str, Any]], Iterator[Problem]] | None = None
    only_valid: bool = False


RULES: Final = {
    rule.id: rule
    for rule in (
        Rule("unreadable", Level.ERROR),
        Rule("invalid-schema", Level.ERROR, validity.invalid_schema),
        Rule("invalid-annotation", Level.ERROR, validity.invalid_annotation),
        Rule("misspelt-keyword", Level.ERROR, validity.misspelt_keyword),
        Rule("contradiction", Level.ERROR, validity.contradiction),
        Rule("not-registered", Level.ERROR),
        Rule("conflict", Level.ERROR),
        Rule("unresolved-ref", Level.ERROR),
        Rule("no-effect", Level.WARNING, validity.no_effect),
        Rule("unknown-required", Level.WARNING, validity.unknown_required),
        Rule("invalid-example", Level.WARNING, validity.invalid_example, only_valid=True),
        Rule("undecided-privacy", Level.WARNING, advice.undecided_privacy),
        Rule("unbounded", Level.WARNING, advice.unbounded),
        Rule("untyped", Level.WARNING, advice.untyped),
        Rule("no-title", Level.WARNING, advice.no_title),
        Rule("no-description", Level.WARNING, advice.no_description),
        Rule("event-name", Level.WARNING, advice.event_name),
        Rule("attribute-collision", Level.WARNING, advice.attribute_collision),
        Rule("type-conflict", Level.WARNING),
        Rule("expired", Level.WARNING, advice.expired),
    )
}
"""Every rule, by its id, in the order in which the documentation lists them."""
