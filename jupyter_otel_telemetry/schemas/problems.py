"""A problem of a schema: its place, and the text that states cause and remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jupyter_otel_telemetry.jsondata import json_pointer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jupyter_otel_telemetry.schemas.keywords import Path

__all__ = ["Problem", "refuse"]


class Problem(NamedTuple):
    """`path` leads from the root of the schema to the keyword or value that `text` describes."""

    path: Path
    text: str


def refuse(problems: Iterable[Problem], where: str) -> None:
    """Raise a ValueError for the first problem, if there is one; `where` names the schema."""
    for problem in problems:
        raise ValueError(f"{where} at {json_pointer(problem.path)}: {problem.text}")
