"""The display string of an event: its title, and the properties as logfmt."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jupyter_otel_telemetry.events.attributes import INT64_MAX, INT64_MIN, MAX_ATTRIBUTE_DEPTH
from jupyter_otel_telemetry.jsondata import clean_text, json_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["display_text"]


def display_text(title: str, event: Mapping[str, Any]) -> str:
    """Return the title and the event as logfmt, on one line."""
    text = title + _logfmt(event, "")
    return text if text.isascii() else clean_text(text)


_PLAIN = re.compile(r'[^\s"=\\\x00-\x1f\x7f-\xa0\u2028\u2029]+')


def _logfmt(event: Mapping[str, Any], prefix: str) -> str:
    """Format as logfmt: `key=value`, quoted where it must be, nested objects dotted."""
    text = ""
    for key, value in event.items():
        name = prefix + (key if type(key) is str and key.isalnum() else _quoted(str(key)))
        kind = type(value)
        if kind is str:
            text += f" {name}={value if value.isalnum() else _quoted(value)}"
        elif kind is int and INT64_MIN <= value <= INT64_MAX:
            text += f" {name}={value}"
        elif kind is dict and value and prefix.count(".") < MAX_ATTRIBUTE_DEPTH:
            text += _logfmt(value, name + ".")
        else:
            text += f" {name}={_quoted(json_bytes(value).decode())}"
    return text


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json_bytes(text).decode()
