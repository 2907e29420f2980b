"""What may be recorded, what may leave: the operator's choice of schemas."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["AllowedSchemas"]


class AllowedSchemas:
    """A compiled `allowed_schemas` option.

    Args:
        option: ids, or a mapping from ids to options (of which there are none yet). An id may hold `*`, which
            stands for any text.

    Raises:
        ValueError: `option` is something else.

    """

    def __init__(self, option: list[str] | tuple[str, ...] | set[str] | Mapping[str, Any]) -> None:
        ids = _checked_ids(option)
        self._source = copy.deepcopy(option)
        self._ids = frozenset(schema_id for schema_id in ids if "*" not in schema_id)
        patterns = [re.escape(schema_id).replace(r"\*", ".*") for schema_id in ids if "*" in schema_id]
        self._pattern = re.compile("|".join(patterns), re.DOTALL) if patterns else None

    def was_made_from(self, option: object) -> bool:
        """Tell whether `option`, which its owner may have changed in place, is still what was compiled."""
        return self._source == option

    def allows(self, schema_id: str) -> bool:
        """Tell whether events of this schema may be recorded."""
        return schema_id in self._ids or (
            self._pattern is not None and self._pattern.fullmatch(schema_id) is not None
        )


def _checked_ids(option: Any) -> list[str]:
    if isinstance(option, str):
        raise ValueError(f"allowed_schemas must be a list of schema ids: write [{option!r}]")  # noqa: TRY004
    if not isinstance(option, (list, tuple, set, frozenset, Mapping)):
        raise ValueError(  # noqa: TRY004 - traitlets and JSON configuration speak of values
            f"allowed_schemas must be a list of schema ids, or a mapping from ids to options, "
            f'not {type(option).__name__}; write ["https://schema.example.org/event"]'
        )
    for schema_id in option:
        if not isinstance(schema_id, str) or not schema_id:
            raise ValueError(f"allowed_schemas must hold schema ids, not {schema_id!r}")
    if isinstance(option, Mapping):
        for schema_id, options in option.items():
            if options:
                # Ignoring an option that should withhold something would be worse than failing.
                raise ValueError(f"allowed_schemas[{schema_id!r}] has options, which are not supported yet")
    return list(option)
