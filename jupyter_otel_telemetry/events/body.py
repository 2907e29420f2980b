"""The display string of an event: its title, and the properties as logfmt."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.events.attributes import MAX_ATTRIBUTE_DEPTH
from jupyter_otel_telemetry.jsondata import INT64_MAX, INT64_MIN, clean_text, json_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_BODY_BYTES", "display_text"]

MAX_BODY_BYTES: Final = 4096
"""Size of a display string in UTF-8; a longer one ends in an ellipsis."""

_PLAIN = re.compile(r'[^\s"=\\\x00-\x1f\x7f-\xa0\u2028\u2029]+')
_NEVER_QUOTED: Final = frozenset({bool, float, type(None)})
_CUT: Final = MAX_BODY_BYTES + 1
"""Characters of one value that can matter: one more than fit, so that the whole is known to be too long."""


def display_text(title: str, event: Mapping[str, Any]) -> str:
    """Return the title and the event as logfmt, on one line of at most 4 KiB."""
    text = _logfmt(title, event, "")
    if len(text) <= MAX_BODY_BYTES and text.isascii():
        return text
    data = clean_text(text[:_CUT]).encode()
    if len(data) <= MAX_BODY_BYTES:
        return data.decode()
    return data[: MAX_BODY_BYTES - len("…".encode())].decode(errors="ignore") + "…"


def _logfmt(text: str, event: Mapping[str, Any], prefix: str) -> str:
    """Append to a text `key=value`, quoted where it must be, nested objects dotted, until it is long enough."""
    for key, value in event.items():
        if len(text) > MAX_BODY_BYTES:
            break
        name = prefix + (key if type(key) is str and key.isalnum() else _quoted(str(key)))
        kind = type(value)
        if kind is str:
            text += f" {name}={value if len(value) < _CUT and value.isalnum() else _quoted(value)}"
        elif kind is int and INT64_MIN <= value <= INT64_MAX:
            text += f" {name}={value}"
        elif kind in _NEVER_QUOTED:
            text += f" {name}={json_bytes(value).decode()}"
        elif kind is dict and value and prefix.count(".") < MAX_ATTRIBUTE_DEPTH:
            text = _logfmt(text, value, name + ".")
        else:
            text += f" {name}={_quoted(json_bytes(value)[: 4 * _CUT].decode(errors='ignore'))}"
    return text


def _quoted(text: str) -> str:
    if len(text) > _CUT:
        text = text[:_CUT]
    return text if _PLAIN.fullmatch(text) else json_bytes(text).decode()
