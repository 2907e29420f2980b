"""A change between two versions of a schema that hurts somebody."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

__all__ = ["Change", "Hurt"]


class Hurt(Enum):
    """Whom a change hurts."""

    WRITERS = "those who write events"
    READERS = "those who read events"
    PERSONS = "persons in the events"


class Change(NamedTuple):
    """One reason why a new version breaks.

    `pointer` leads to the place in an event. `keyword` is the rule that is violated there, or the annotation that has
    changed. `event` is accepted by one version and refused by the other; it is None for annotations.
    """

    hurt: Hurt
    pointer: str
    keyword: str
    message: str
    event: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the change as JSON has it."""
        return {**self._asdict(), "hurt": self.hurt.name.lower()}
