"""Which version of another schema a `$ref` means.

A `$ref` names an id, not a version. For the verdict, it is pinned when its schema is registered: to the highest
version that is then there, those of the same call included, or, if there is none, to the first that comes. Nothing
registered later changes a verdict. For privacy, it means every version: a flag in any of them counts, so nothing
registered later makes an event show more.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.errors import SchemaNotRegistered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jupyter_otel_telemetry.schemas.schema import Schema

__all__ = ["Pins", "needed_schemas", "other_versions", "pin", "version_order"]

Key = tuple[str, str]
Pins = dict[Key, dict[str, Key]]
"""Per schema, the version that each id in its references means."""

_TOKEN: Final = re.compile("[0-9]+|[^0-9.,_+-]+")
_LETTERS, _END, _NUMBER = range(3)


def version_order(version: str) -> tuple[Any, ...]:
    """Return a key that sorts versions as people do: v2 before v10, 1.2 before 1.10, 1.0-beta before 1.0.

    Numbers are compared as numbers, letters as text; letters count less than the end of a version, as those of a
    pre-release do, and that less than a further number. A leading v does not count.
    """
    tokens = _TOKEN.findall(re.sub("^[vV](?=[0-9])", "", version))
    order = [
        (_NUMBER, len(digits := token.lstrip("0")), digits) if token[0] in "0123456789" else (_LETTERS, 0, token)
        for token in tokens
    ]
    return [*order, (_END, 0, "")], version


def pin(schemas: Mapping[Key, Schema], earlier: Pins, keys: Iterable[Key]) -> tuple[Pins, set[Key]]:
    """Pin the references of some schemas, as far as their targets are registered.

    Args:
        schemas: all that are registered.
        earlier: the pins so far, which stay.
        keys: of the schemas that are new, or have references that are not pinned yet.

    Returns:
        All pins, and the keys of the schemas of which a reference is still not pinned.

    """
    referrers = [schemas[key] for key in keys if schemas[key].references]
    if not referrers:
        return earlier, set()
    versions = _versions(schemas.values())
    pins = dict(earlier)
    for schema in referrers:
        found = {target: of_target[-1].key for target in schema.references if (of_target := _of(target, versions))}
        pins[schema.key] = found | earlier.get(schema.key, {})
    return pins, {schema.key for schema in referrers if len(pins[schema.key]) < len(schema.references)}


def needed_schemas(schema: Schema, schemas: Mapping[Key, Schema], pins: Pins) -> dict[str, Schema]:
    """Collect the schemas that one needs by `$ref`, also through others, by the URI in the `$ref`.

    An id means one version in all of them, that of the reference nearest to the schema; its own id means itself.

    Raises:
        SchemaNotRegistered: one of them is not registered.

    """
    needed: dict[str, Schema] = {}
    waiting = deque([schema])
    while waiting:
        wanted_by = waiting.popleft()
        for target in wanted_by.references:
            if target in needed or schema.id in (target, f"{target}#"):
                continue
            key = pins.get(wanted_by.key, {}).get(target)
            if key is None:
                raise SchemaNotRegistered(target, None, schemas, wanted_by.id, wanted_by.source)
            needed[target] = schemas[key]
            waiting.append(needed[target])
    return needed


def other_versions(
    schema: Schema, needed: Mapping[str, Schema], schemas: Mapping[Key, Schema]
) -> dict[str, list[Schema]]:
    """Collect all further versions that references reach, also through each other, by the URI in the `$ref`."""
    if not schema.references:
        return {}
    versions = _versions(schemas.values())
    own = {id(schema), *map(id, needed.values())}
    found: dict[str, list[Schema]] = {}
    waiting = [schema, *needed.values()]
    while waiting:
        for target in waiting.pop().references:
            if target not in found:
                found[target] = [other for other in _of(target, versions) if id(other) not in own]
                waiting += found[target]
    return found


def _versions(schemas: Iterable[Schema]) -> dict[str, list[Schema]]:
    """Return the schemas by id, each time in the order of their versions."""
    versions: dict[str, list[Schema]] = {}
    for schema in sorted(schemas, key=lambda schema: version_order(schema.version)):
        versions.setdefault(schema.id, []).append(schema)
    return versions


def _of(target: str, versions: Mapping[str, list[Schema]]) -> list[Schema]:
    return versions.get(target) or versions.get(f"{target}#") or []
