"""Whether the properties that options name exist: in the schemas that are known, else in the events that arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.errors import PolicyError
from jupyter_otel_telemetry.jsondata import first_steps

if TYPE_CHECKING:
    from jupyter_otel_telemetry.privacy.redaction import Options
    from jupyter_otel_telemetry.schemas.registry import CompiledSchema

__all__ = ["UPGRADE", "UnseenNames", "check_names"]

_MAX_PATHS: Final = 1024
_MAX_SHOWN: Final = 20


REGISTER: Final = "If another version has it, register that version first. An id with * is not checked"
UPGRADE: Final = "Installed: version {versions}. An id with * is not checked"


def check_names(options: Options, versions: Sequence[CompiledSchema], where: str, remedy: str = REGISTER) -> None:
    """Check that every property which options name exists in one of the versions of a schema.

    Args:
        options: of an entry for the schema.
        versions: of the schema, as far as they are known.
        where: the name of the entry in messages.
        remedy: the end of the message: the remedy if another version has the property.

    Raises:
        PolicyError: a property does not exist.

    """
    for option, path in options.properties():
        roots = [version.flags.root for version in versions]
        top_level_only = option == "allowed_properties"
        if any((root.knows(path) if top_level_only else root.reaches(path)) for root in roots):
            continue
        if top_level_only and any(root.reaches(path) for root in roots):
            top = next(name for root in roots for name in root.names if path.startswith(f"{name}."))
            hint = f"only a top-level property can be allowed, with all that it holds: write {top!r}"
        else:
            known = list(dict.fromkeys(name for root in roots for name in islice(root.paths(), _MAX_PATHS)))
            close = get_close_matches(path, (name for name in known if "." not in name or not top_level_only), 1)
            shown = ", ".join(known[:_MAX_SHOWN]) or "no properties"
            hint = f"did you mean {close[0]!r}? " if close else f"it has {shown}. "
            hint += remedy.format(versions=", ".join(version.schema.version for version in versions))
        raise PolicyError(f"{where} {option} names {path!r}, which that schema does not have; {hint}")


class UnseenNames:
    """The properties that entries name and no event has had yet, of schemas that are not known here.

    Such a name may be misspelt; the property that it was meant to withhold would then leave. An event that has the
    property proves the name. Until then, events that lack it do not leave.
    """

    def __init__(self) -> None:
        self._paths: dict[str, frozenset[str]] = {}

    def add(self, schema_id: str, options: Options) -> None:
        """Expect the properties that an entry withholds or pseudonymizes."""
        if paths := options.withheld_properties | options.pseudonymized_properties:
            self._paths[schema_id] = paths

    def lacking(self, schema_id: str, event: Mapping[str, Any]) -> list[str]:
        """Return the properties that neither this event nor an earlier one of the schema has."""
        paths = self._paths.get(schema_id)
        if not paths:
            return []
        self._paths[schema_id] = missing = frozenset(path for path in paths if not _has(event, path))
        return sorted(missing)


def _has(value: Any, path: str) -> bool:
    """Tell whether something stands at a dotted path, which passes arrays unseen."""
    if isinstance(value, (list, tuple)):
        return any(_has(item, path) for item in value)
    return isinstance(value, Mapping) and any(
        name in value and (not rest or _has(value[name], rest)) for name, rest in first_steps(path)
    )
