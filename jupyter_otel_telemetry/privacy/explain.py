"""The outcome for every property of a schema, with the reason, before there is any event."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jupyter_otel_telemetry.privacy.redaction import Options, Outcome, Redaction

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jupyter_otel_telemetry.privacy.policy import Policy
    from jupyter_otel_telemetry.privacy.redaction import RedactionNode
    from jupyter_otel_telemetry.schemas.flags import Location
    from jupyter_otel_telemetry.schemas.registry import CompiledSchema, Schemas

__all__ = ["Destination", "explanations"]

MAX_ROWS: Final = 10_000
PERSONAL: Final = (
    "the schema says personal-data: true, and every property is recorded; name properties "
    "in allowed_schemas to withhold, pseudonymize or knowingly allow them"
)
_STRENGTH: Final = (Outcome.RECORDED, Outcome.PSEUDONYMIZED, Outcome.WITHHELD)


class Destination(NamedTuple):
    """Where events go, as people call it, and the policies that they pass on the way.

    `sees_flags` is false where events come without their schema, as those of `jupyter_events` do.
    """

    name: str
    policies: tuple[Policy, ...]
    sees_flags: bool = True


class _Row(NamedTuple):
    property: str
    outcome: Outcome
    reason: str


def explanations(schemas: Schemas, destinations: Sequence[Destination]) -> list[dict[str, Any]]:
    """Explain every schema for every destination, as JSON; `EventLog.explain` describes the form."""
    return [
        _explained(schemas.compiled(*key), destination) if fault is None else _unexplained(key, fault, destination)
        for key in sorted(schemas)
        for fault in [schemas.fault(key)]
        for destination in destinations
    ]


def _explanation(key: tuple[str, str], destination: Destination) -> dict[str, Any]:
    return {
        "schema": key[0],
        "version": key[1],
        "destination": destination.name,
        "allowed": True,
        "because": [],
        "warnings": [],
        "is_complete": True,
        "properties": [],
    }


def _unexplained(key: tuple[str, str], fault: Exception, destination: Destination) -> dict[str, Any]:
    """Explain a schema that cannot be applied: nothing is recorded, except events that come without their schema."""
    text = getattr(fault, "message", None) or str(fault)
    if destination.sees_flags:
        return _explanation(key, destination) | {"allowed": False, "because": [text]}
    return _explanation(key, destination) | {"warnings": [text], "is_complete": False}


def _explained(compiled: CompiledSchema, destination: Destination) -> dict[str, Any]:
    schema = compiled.schema
    explanation = _explanation(schema.key, destination)
    root = compiled.flags.root if destination.sees_flags else None
    nodes: list[tuple[str, RedactionNode]] = []
    pseudonyms: frozenset[str] = frozenset()
    for policy in destination.policies:
        entry = policy.entry_for(schema.id)
        if entry is None:
            return explanation | {"allowed": False, "because": [f"{policy.where} has no entry for this schema"]}
        explanation["because"].append(f"{policy.where}[{entry!r}]")
        redaction = policy.redaction_of(schema.id, root, pseudonyms)
        pseudonyms |= redaction.pseudonyms
        nodes.append((policy.where, redaction.root))
    if not nodes:
        explanation["because"].append("no allowed_schemas")
        nodes.append(("", Redaction(Options(), root, lambda value: value).root))
    rows = list(
        islice(_Place("", compiled.flags.root.unwrapped, nodes, frozenset(), set()).rows_below(), MAX_ROWS + 1)
    )
    explanation["is_complete"] = len(rows) <= MAX_ROWS
    if (
        schema.document.get("personal-data") is True
        and all(row.outcome is Outcome.RECORDED for row in rows)
        and not any(policy.names_properties_of(schema.id) for policy in destination.policies)
    ):
        explanation["warnings"].append(PERSONAL)
    explanation["properties"] = [
        {"property": row.property, "outcome": row.outcome.value, "reason": row.reason} for row in rows[:MAX_ROWS]
    ]
    return explanation


class _Place(NamedTuple):
    """A place in events: its path, its subschemas, and its outcome under each policy.

    `above` are the keys of the places that it lies in; `told` holds those that have a row
    already, or have been followed.
    """

    path: str
    location: Location
    nodes: list[tuple[str, RedactionNode]]
    above: frozenset[Any]
    told: set[Any]

    @property
    def key(self) -> Any:
        """The key that two places share if the same holds for both."""
        return self.location, *(node for _, node in self.nodes)

    def row(self) -> _Row:
        """Return the outcome for the values here under the strictest policy."""
        where, node = max(self.nodes, key=lambda pair: _STRENGTH.index(pair[1].outcome))  # the first of equals
        is_one_of_several = len(self.nodes) > 1 and node.outcome is not Outcome.RECORDED
        return _Row(self.path, node.outcome, f"{node.reason} ({where})" if is_one_of_several else node.reason)

    def rows(self) -> Iterator[_Row]:
        """Yield the rows of this place, and of all below."""
        row = self.row()
        if (self.path, row.outcome) not in self.told:  # objects and items at one path may fare otherwise
            self.told.add((self.path, row.outcome))
            yield row
        yield from self._rows_inside()

    def _rows_inside(self) -> Iterator[_Row]:
        if self.key in self.above or (self.path, self.key) in self.told:
            return
        self.told.add((self.path, self.key))
        if not any(node.is_final for _, node in self.nodes):
            yield from self.rows_below()

    def rows_below(self) -> Iterator[_Row]:
        """Yield the rows of the properties and items of the values here."""
        location = self.location
        if location.unwrapped is location:
            yield from self._rows_of_properties()
        if self.path:  # an event itself is not an array
            for index, item in enumerate(location.items):
                yield from self._item(index, item)
        if location.may_lack_brackets:
            nodes = [(where, node.unwrapped) for where, node in self.nodes]
            yield from _Place(self.path, location.unwrapped, nodes, self.above | {self.key}, self.told).rows()

    def _rows_of_properties(self) -> Iterator[_Row]:
        location = self.location
        for name in location.names:
            yield from self._property(name, location.of_property(name)).rows()
        if location.takes_others:
            for path in self._undescribed_paths():
                yield from self._property(path, location.of_property(path)).rows()
        for pattern in location.patterns:
            yield from self._unnamed(f"/{pattern}/", location.matching(pattern), pattern).rows()
        if location.takes_others and (
            location.names or location.patterns or location.other().numbers or not self.path
        ):
            yield from self._unnamed("*", location.other(), None).rows()

    def _property(self, name: str, location: Location) -> _Place:
        nodes = [(where, node.of_property(name)) for where, node in self.nodes]
        return self._below(name, location, nodes)

    def _unnamed(self, shown: str, location: Location, pattern: str | None) -> _Place:
        nodes = [(where, node.unnamed(pattern)) for where, node in self.nodes]
        return self._below(shown, location, nodes)

    def _below(self, name: str, location: Location, nodes: list[tuple[str, RedactionNode]]) -> _Place:
        path = f"{self.path}.{name}" if self.path else name
        return _Place(path, location, nodes, self.above | {self.key}, self.told)

    def _item(self, index: int, location: Location) -> Iterator[_Row]:
        """Yield the row of an item if it says more than that of the array, and the rows below it, as of the array."""
        is_last = index == len(self.location.items) - 1
        nodes = [(where, node.of_item(index)) for where, node in self.nodes]
        item = _Place(self.path, location, nodes, self.above | {self.key}, self.told)
        row = item.row()
        shown = f"{self.path}[{'' if is_last else index}]"
        if row.outcome is not self.row().outcome and (shown, row.outcome) not in self.told:
            self.told.add((shown, row.outcome))
            yield row._replace(property=shown)
        # Beside rows that tell of an object here, that of items of which nothing is described.
        if self.location.describes_properties and location.takes_others:
            yield from item._unnamed("*", location.other(), None).rows()
        yield from item._rows_inside()

    def _undescribed_paths(self) -> Iterator[str]:
        """Yield properties that options name and the schema allows here without a name."""
        for path in dict.fromkeys(path for _, node in self.nodes for path in node.paths):
            if not any(path == name or path.startswith(f"{name}.") for name in self.location.names):
                yield path
