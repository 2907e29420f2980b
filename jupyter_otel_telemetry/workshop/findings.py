"""A finding: one problem of one schema file, at its line and column."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

__all__ = ["Finding", "Level"]


class Level(Enum):
    """Whether a schema with this finding can be used.

    `ERROR`: it cannot be registered, or does not mean what it says. `WARNING`: it works, and should be better.
    """

    ERROR = "error"
    WARNING = "warning"


class Finding(NamedTuple):
    """A problem of a schema.

    `file` is a path, a URL without secrets, or "-" for standard input. `line` and `column` begin with 1. `pointer`
    is a JSON Pointer into the schema. `message` states cause and remedy.
    """

    file: str
    line: int
    column: int
    rule: str
    level: Level
    pointer: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON has it."""
        return {**self._asdict(), "level": self.level.value}
