"""Capsule: an event with its metadata in one mapping, as event libraries of Jupyter put it into log records."""

from __future__ import annotations

from typing import Any, Final, NoReturn

__all__ = ["ENVELOPE_VERSION", "Capsule"]

ENVELOPE_VERSION: Final = 1
"""`__metadata_version__` of capsules and of lines in files."""


class Capsule(dict[str, Any]):
    """The properties of an event beside `__schema__`, `__schema_version__` and other metadata; read-only.

    Its text is the id of the schema only, because error reports print the messages of log records.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(self["__schema__"])

    def __str__(self) -> str:
        return str(self["__schema__"])

    def __reduce__(self) -> tuple[Any, ...]:
        return Capsule, (dict(self),)

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("a recorded event cannot be changed; change events by EventLog.add_modifier")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse
