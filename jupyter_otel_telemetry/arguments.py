"""Checks the arguments of a handler or formatter before it is built: a wrong one would fail at each event only."""

from __future__ import annotations

import codecs
import inspect
import os
from collections.abc import Mapping
from datetime import time
from logging import Handler
from logging.handlers import MemoryHandler, SysLogHandler
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.options import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["check_arguments"]

_MAX_PORT: Final = 65_535


def _is_a(*types: type) -> Callable[[Any], bool]:
    """Return a function that tells values of types; True and False are not numbers."""
    return lambda value: isinstance(value, types) and not isinstance(value, bool)


def _is_encoding(value: Any) -> bool:
    try:
        return isinstance(value, str) and (value == "locale" or codecs.lookup(value) is not None)
    except (LookupError, ValueError):
        return False


def _is_mode(value: Any) -> bool:
    return isinstance(value, str) and "b" not in value and not set("wax+").isdisjoint(value)


def _is_port(value: Any) -> bool:
    return value is None or (_is_a(int)(value) and 0 < value <= _MAX_PORT)  # None: `host` is a Unix socket


def _is_facility(value: Any) -> bool:
    return value in SysLogHandler.facility_names if isinstance(value, str) else _is_a(int)(value)


def _is_address(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, tuple) and len(value) > 1 and _is_port(value[1] or ""))


_TEXT: Final = (_is_a(str), "text")
_NUMBER: Final = (_is_a(int, float), "a number, without quotes")
_WHOLE: Final = (_is_a(int), "a whole number, without quotes")
_KINDS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "filename": (_is_a(str, bytes, os.PathLike), "a path"),
    "mode": (_is_mode, "the mode of a text file that is written, such as 'a'"),
    "encoding": (_is_encoding, "an encoding that Python has, such as 'utf-8'"),
    "errors": _TEXT,
    "stream": (
        lambda value: hasattr(value, "write") and hasattr(value, "flush"),
        "a stream; write ext: and // before the name of one, such as sys.stdout",
    ),
    "maxBytes": _NUMBER,
    "backupCount": _WHOLE,
    "when": _TEXT,
    "interval": _NUMBER,
    "atTime": (_is_a(time), "a datetime.time"),
    "host": _TEXT,
    "port": (_is_port, "a port, a number from 1 to 65535 without quotes"),
    "address": (_is_address, "a path, or a tuple of a host and a port, which only a .py configuration can hold"),
    "facility": (_is_facility, "a facility, such as 'local0'"),
    "socktype": _WHOLE,
    "mailhost": (_is_a(str, tuple, list), "a host, or a pair of host and port"),
    "fromaddr": _TEXT,
    "toaddrs": (_is_a(str, tuple, list), "an address, or a list of addresses"),
    "subject": _TEXT,
    "timeout": _NUMBER,
    "url": _TEXT,
    "credentials": (_is_a(tuple, list), "a pair of user and password"),
    "capacity": _NUMBER,
    "flushLevel": (_is_a(int), "the number of a level, such as 40 for ERROR"),
    "target": (_is_a(Handler), "a logging handler, which only a .py configuration can hold"),
    "queue": (
        lambda value: hasattr(value, "put_nowait"),
        "a queue.Queue or the like, or ext: and // before the name of one that a module holds",
    ),
    "fmt": _TEXT,
    "datefmt": _TEXT,
    "defaults": (_is_a(Mapping), "a mapping"),
}
"""The arguments of handlers and formatters of the standard library: whether a value can work, and which ones can."""


def check_arguments(cls: type, arguments: Mapping[str, Any]) -> None:
    """Check that a class takes these arguments; of a class of the standard library, also their values.

    Raises:
        TypeError: it does not. The text names the argument and the type of its value, not the value.

    """
    parameters = inspect.signature(cls).parameters.values()
    named = {p.name: p.default for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for name in arguments:
            if name not in named:
                hint = suggestion(str(name), named) or f"; it takes {', '.join(named) or 'none'}"
                raise TypeError(f"it has no argument {name!r}{hint}")
    for name, default in named.items():
        if default is inspect.Parameter.empty and name not in arguments:
            raise TypeError(f"its argument {name!r} is missing")
    if _is_of_standard_library(cls):
        _check_values(cls, arguments, named)


def _is_of_standard_library(cls: type) -> bool:
    """Tell whether arguments mean what they mean there: a subclass with an `__init__` of its own may take others."""
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    return owner.__module__ in ("logging", "logging.handlers")


def _check_values(cls: type, arguments: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    for name, value in arguments.items():
        if name in _KINDS and value is not defaults.get(name):
            can_work, wanted = _KINDS[name]
            if not can_work(value):
                raise TypeError(f"its argument {name!r}, {_type_of(value)}, must be {wanted}")
    if getattr(cls, "flush", None) is MemoryHandler.flush and arguments.get("target") is None:
        wanted = _KINDS["target"][1]
        raise TypeError(f"its argument 'target' is missing, and so all events would stay in memory; give it {wanted}")


def _type_of(value: Any) -> str:
    return "text" if isinstance(value, str) else f"of type {type(value).__name__}"
