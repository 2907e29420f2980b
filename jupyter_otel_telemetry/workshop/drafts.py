"""Which draft of JSON Schema knows a keyword."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from jupyter_otel_telemetry.schemas.metaschema import validator_class

__all__ = ["INTRODUCED", "Draft", "draft_of"]


class Draft(NamedTuple):
    """A draft; `number` is 4, 6, 7, 2019 or 2020."""

    number: int
    name: str


_DRAFTS: Final = {
    "Draft4Validator": Draft(4, "draft 4"),
    "Draft6Validator": Draft(6, "draft 6"),
    "Draft7Validator": Draft(7, "draft 7"),
    "Draft201909Validator": Draft(2019, "draft 2019-09"),
    "Draft202012Validator": Draft(2020, "draft 2020-12"),
}

INTRODUCED: Final = {
    "unevaluatedItems": 2019,
    "unevaluatedProperties": 2019,
    "dependentRequired": 2019,
    "dependentSchemas": 2019,
    "minContains": 2019,
    "maxContains": 2019,
    "prefixItems": 2020,
    "if": 7,
    "then": 7,
    "else": 7,
    "const": 6,
    "contains": 6,
    "propertyNames": 6,
}
"""Keywords that some drafts lack, and the draft that has introduced them."""


def draft_of(document: dict[str, Any]) -> Draft:
    """Return the draft of a schema, or the newest one if `$schema` names none that is known."""
    try:
        return _DRAFTS[validator_class(document).__name__]
    except ValueError:
        return _DRAFTS["Draft202012Validator"]
