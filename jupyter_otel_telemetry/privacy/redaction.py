"""The outcome for an event: which values are recorded, withheld (null) or pseudonymized, and why."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.failure_log import log_safely
from jupyter_otel_telemetry.jsondata import NotJSONError, first_steps, json_copy

if TYPE_CHECKING:
    from jupyter_otel_telemetry.schemas.flags import Location

__all__ = ["NO_PATHS", "Options", "Outcome", "Redaction", "RedactionNode"]

UNRESTRICTED: Final = frozenset({"unrestricted", "category.jupyter.org/unrestricted"})
"""Categories that are always allowed."""

Paths = frozenset[str]
Pseudonymize = Callable[[Any], Any]
NO_PATHS: Final[Paths] = frozenset()
NOT_FLAGGED: Final = "not flagged"
_MAX_KEPT: Final = 10_000
_UNDECIDED: Final = (
    "events of schema %s: too many properties for the number of patterns in the schema; properties that no pattern "
    "was tried on are withheld; further such events are not logged"
)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """The options of an entry of `allowed_schemas`.

    Properties are named by dotted paths, which pass arrays unseen; in `allowed_properties` by name, at the top level.
    """

    allowed_properties: Paths = NO_PATHS
    allowed_categories: frozenset[str] = NO_PATHS
    withheld_properties: Paths = NO_PATHS
    pseudonymized_properties: Paths = NO_PATHS

    def properties(self) -> Iterator[tuple[str, str]]:
        """Yield every property that an option names, after the name of the option."""
        for option in ("allowed_properties", "withheld_properties", "pseudonymized_properties"):
            for path in sorted(getattr(self, option)):
                yield option, path

    @property
    def names_properties(self) -> bool:
        """Whether there is any."""
        return bool(self.allowed_properties or self.withheld_properties or self.pseudonymized_properties)

    def summary(self) -> list[str]:
        """Return each option that is not empty in a few words."""
        named = {field.name.partition("_")[0]: getattr(self, field.name) for field in fields(self)}
        named["allowed"] = self.allowed_properties | self.allowed_categories
        return [f"{verb} {', '.join(sorted(names))}" for verb, names in named.items() if names]


class Outcome(Enum):
    """The outcome for a value."""

    RECORDED = "recorded"
    WITHHELD = "withheld"
    PSEUDONYMIZED = "pseudonymized"


@dataclass(frozen=True)
class _Rules:
    """The options for the values below a place: the rests of their paths.

    Values at `kept` are pseudonyms already. Values at `allowed` are recorded although flagged.
    """

    withheld: Paths = NO_PATHS
    pseudonymized: Paths = NO_PATHS
    kept: Paths = NO_PATHS
    allowed: Paths = NO_PATHS

    def __bool__(self) -> bool:
        return bool(self.withheld or self.pseudonymized or self.kept or self.allowed)

    def below(self, name: str) -> _Rules:
        """Return the rules below a property. Names may hold dots, so every rest of a path counts."""
        if not self:
            return self
        return _Rules(*(_rests(paths, f"{name}.") for paths in (self.withheld, self.pseudonymized, self.kept)))

    def joined(self, other: _Rules) -> _Rules:
        """Return the rules of both."""
        if not (self and other):
            return self or other
        return _Rules(
            self.withheld | other.withheld,
            self.pseudonymized | other.pseudonymized,
            self.kept | other.kept,
            self.allowed | other.allowed,
        )

    def exceptions(self) -> _Rules:
        """Return the rules that still count where all values are withheld: none, if no value may be seen."""
        return self if self.pseudonymized or self.kept or self.allowed else NO_RULES

    def first_names(self) -> set[str]:
        """Return every name that a path could begin with."""
        paths = self.withheld | self.pseudonymized | self.kept | self.allowed
        return {name for path in paths for name, _ in first_steps(path)}


NO_RULES: Final = _Rules()


def _rests(paths: Paths, beginning: str) -> Paths:
    return frozenset(path[len(beginning) :] for path in paths if path.startswith(beginning))


class Redaction:
    """Applies one entry of a policy to the events of one schema.

    Args:
        options: the entry.
        location: the flags of the schema, or None if it has none or is unknown.
        pseudonymize: makes pseudonyms.
        pseudonyms: paths at which the events hold pseudonyms already, which are not made twice.
        schema_id: names the schema in messages.

    """

    def __init__(
        self,
        options: Options,
        location: Location | None,
        pseudonymize: Pseudonymize,
        pseudonyms: Paths = NO_PATHS,
        *,
        schema_id: str = "",
    ) -> None:
        self._schema_id = schema_id
        self.allowed_categories = options.allowed_categories | UNRESTRICTED
        self.pseudonymize = pseudonymize
        self.pseudonyms = options.pseudonymized_properties
        rules = _Rules(
            withheld=options.withheld_properties,
            pseudonymized=options.pseudonymized_properties - pseudonyms,
            kept=options.pseudonymized_properties & pseudonyms,
            allowed=options.allowed_properties,
        )
        self._nodes: dict[tuple[Any, ...], RedactionNode] = {}
        location = location and location.unwrapped  # an event is not an array
        self._patterned = location if location is not None and location.flags.has_patterns else None
        self._has_warned = False
        self.root = RedactionNode(self, location, rules, Outcome.RECORDED, NOT_FLAGGED).at(location, rules)

    def apply(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return the visible part of an event: a new dict that shares unchanged values with the event."""
        if self._patterned is None:
            return self._apply(event)
        with self._bounded(self._patterned):
            return self._apply(event)

    @contextmanager
    def _bounded(self, location: Location) -> Iterator[None]:
        """Bound the work on patterns, and log the first event that needs more of it."""
        with location.flags.bounded_trials():
            yield
            if location.flags.are_trials_spent and not self._has_warned:
                self._has_warned = True
                log_safely(lambda: _logger, logging.WARNING, _UNDECIDED, self._schema_id)

    def _apply(self, event: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.root.apply_to_object(event)
        except RecursionError:  # an event nearly as deep as the call stack allows
            return dict.fromkeys(filter(self.root.shows_name, event))

    def apply_to_foreign(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Do the same for an unchecked event; values that are not JSON are withheld, except in plain places."""
        if self._patterned is None:
            return self.apply(self._checked(event))
        with self._bounded(self._patterned):
            return self._apply(self._checked(event))

    def _checked(self, event: Mapping[str, Any]) -> dict[str, Any]:
        checked = {}
        for name, value in event.items():
            try:
                checked[name] = value if self.root.of_property(name).is_plain else json_copy(value)
            except NotJSONError:
                checked[name] = None
        return checked

    def node(self, *key: Any) -> RedactionNode:
        """Return the node made of these arguments, one for all places of a recursive schema that are alike."""
        found = self._nodes.get(key)
        if found is None:
            found = RedactionNode(self, *key)
            if len(self._nodes) < _MAX_KEPT:
                self._nodes[key] = found
        return found

    def hidden_on(self, path: tuple[str | int, ...]) -> tuple[str | int, ...] | None:
        """Return the prefix of `path` that ends at the first redacted value, or None if nothing on it is redacted."""
        node = self.root
        for end, name in enumerate(path):
            if node.outcome is not Outcome.RECORDED:
                return path[:end]
            node = node.of_item(name) if isinstance(name, int) else node.unwrapped.of_property(name)
        return None if node.unwrapped.outcome is Outcome.RECORDED else path


class RedactionNode:
    """The outcome for the values at one place, and the way to the places below it.

    `reason` names the option or flag that is the cause. `is_plain`: the values are recorded as they are, with
    everything they hold.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - all that can matter at a place
        self,
        redaction: Redaction,
        location: Location | None,
        rules: _Rules,
        outcome: Outcome,
        reason: str,
        is_allowed: bool = False,  # noqa: FBT001, FBT002 - only called below
    ) -> None:
        self._redaction = redaction
        self.location = location
        self.outcome = outcome
        self.reason = reason
        self._rules = rules.exceptions() if outcome is Outcome.WITHHELD else rules
        self._is_allowed = is_allowed
        self._properties: dict[str, RedactionNode] = {}
        self._others: dict[Location | None, RedactionNode] = {}
        self._items: dict[Location | None, RedactionNode] = {}
        self.names = dict.fromkeys([*(location.names if location else ()), *sorted(self._rules.first_names())])
        flags_matter = not (is_allowed or location is None or location.is_plain)
        self.is_plain = outcome is Outcome.RECORDED and not self._rules and not flags_matter
        self._transform = self._chosen_transform()

    def of_property(self, name: str) -> RedactionNode:
        """Return the node of a property."""
        node = self._properties.get(name)
        if node is None:
            location = self.location and self.location.of_property(name)
            if name in self.names:
                node = self._named(name, location)
                if self.location is None or not self.location.flags.are_trials_spent:
                    self._properties[name] = node
            else:
                node = self._kept(self._others, location, self._rules_of_items)
        return node

    def unnamed(self, pattern: str | None) -> RedactionNode:
        """Return the node of properties without a name in schema or options: those that match a pattern, or none."""
        location = self.location
        if location is not None:
            location = location.other() if pattern is None else location.matching(pattern)
        return self._kept(self._others, location, self._rules_of_items)

    def of_item(self, index: int) -> RedactionNode:
        """Return the node of an item of an array; options for the array apply to each item."""
        return self._kept(self._items, self.location and self.location.of_item(index), self._rules)

    @property
    def _rules_of_items(self) -> _Rules:
        """The rules of properties of an object that comes instead of an array: each property stands for an item."""
        return self._rules if self.location is not None and self.location.describes_items else NO_RULES

    @cached_property
    def unwrapped(self) -> RedactionNode:
        """The node of a value that comes without the brackets of the array described here."""
        if self.location is None or self.location.unwrapped is self.location:
            return self
        return self.at(self.location.unwrapped, self._rules)

    @property
    def is_final(self) -> bool:
        """Whether no part of the values is recorded."""
        return self.outcome is not Outcome.RECORDED and self._transform != self._apply_below

    @property
    def paths(self) -> list[str]:
        """The paths that options name below."""
        rules = self._rules
        return sorted(rules.withheld | rules.pseudonymized | rules.kept | rules.allowed)

    def apply(self, value: Any) -> Any:
        """Return the visible part of a value."""
        return value if self._transform is None else self._transform(value)

    def apply_to_object(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return the visible part of an object."""
        result = {}
        known = self._properties
        shows_all = self.outcome is Outcome.RECORDED
        for name, item in value.items():
            node = known.get(name) or self.of_property(name)
            if shows_all or self.shows_name(name):
                transform = node._transform  # noqa: SLF001 - a call less for each property
                result[name] = item if transform is None else transform(item)
        return result

    def shows_name(self, name: str) -> bool:
        """Tell whether a property's name may be seen: where all is withheld, only if schema or options name it."""
        return self.outcome is Outcome.RECORDED or name in self.names

    def at(self, location: Location | None, rules: _Rules, *, is_allowed: bool = False) -> RedactionNode:
        """Return the node of values that belong to those of this node."""
        is_allowed = is_allowed or self._is_allowed
        flag = _flag(location, self._redaction.allowed_categories)
        if is_allowed:
            outcome, reason = Outcome.RECORDED, "allowed_properties"
        elif flag is not None:
            outcome, reason = Outcome.WITHHELD, flag
        elif self.outcome is Outcome.WITHHELD:
            outcome, reason = Outcome.WITHHELD, self.reason
        else:
            outcome, reason = Outcome.RECORDED, _why_recorded(location)
        return self._redaction.node(location, rules, outcome, reason, is_allowed)

    def _kept(
        self, nodes: dict[Location | None, RedactionNode], location: Location | None, rules: _Rules
    ) -> RedactionNode:
        node = nodes.get(location)
        if node is None:
            node = self.at(location, rules)
            if len(nodes) < _MAX_KEPT:
                nodes[location] = node
        return node

    def _chosen_transform(self) -> Callable[[Any], Any] | None:
        if self.is_plain:
            return None
        if self.outcome is Outcome.PSEUDONYMIZED:
            return self._redaction.pseudonymize if self._rules else None
        return self._apply_below if self._rules or self.outcome is Outcome.RECORDED else _null

    def _apply_below(self, value: Any) -> Any:
        kind = type(value)
        if kind is list:
            items = []
            for index, item in enumerate(value):  # no comprehension: deep events need the call stack
                items.append(self.of_item(index).apply(item))
            return items
        if self.unwrapped is not self:
            return self.unwrapped.apply(value)
        if kind is dict:
            return self.apply_to_object(value)
        return value if self.outcome is Outcome.RECORDED else None

    def _named(self, name: str, location: Location | None) -> RedactionNode:
        rules = self._rules
        if name in rules.withheld:
            return self._redaction.node(location, NO_RULES, Outcome.WITHHELD, "withheld_properties")
        if name in rules.pseudonymized or name in rules.kept:
            # The node of a value that is a pseudonym already has nothing left to do.
            to_do = NO_RULES if name in rules.kept else _Rules(pseudonymized=frozenset({name}))
            return self._redaction.node(location, to_do, Outcome.PSEUDONYMIZED, "pseudonymized_properties")
        below = rules.below(name).joined(self._rules_of_items)
        return self.at(location, below, is_allowed=name in rules.allowed)


def _why_recorded(location: Location | None) -> str:
    if location is None:
        return "no option names it"
    return NOT_FLAGGED if UNRESTRICTED.issuperset(location.categories) else "allowed_categories"


def _null(_value: Any) -> None:
    """Withhold."""


def _flag(location: Location | None, allowed_categories: frozenset[str]) -> str | None:
    """Return the flag because of which the values at a place are withheld, or None if there is none."""
    if location is None:
        return None
    if location.pii is not None:
        return f"pii: true at {location.pii}"
    for category, where in location.categories.items():
        if category not in allowed_categories:
            return f"category {category} at {where}"
    return None
