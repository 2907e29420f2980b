"""Attributes of an event's properties, in types that OTLP can carry and receivers will read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.jsondata import INT64_MAX, INT64_MIN, clean_text, int_text, json_bytes, object_text
from jupyter_otel_telemetry.names import EVENT_PREFIX

if TYPE_CHECKING:
    from jupyter_otel_telemetry.schemas.annotations import PropertyNames
    from jupyter_otel_telemetry.schemas.schema import EventType

__all__ = ["MAX_ATTRIBUTE_DEPTH", "add_attributes", "plain_text"]

MAX_KEPT_NAME: Final = 100
"""Length from which names of attributes are not kept ready: an untrusted one may be as long as a request."""

MAX_ATTRIBUTE_DEPTH: Final = 16
"""Levels below an attribute that stay structured. OTLP needs three levels of protobuf messages for each, and
receivers stop reading at about a hundred."""

_UNNAMED: tuple[None, PropertyNames] = (None, {})


def add_attributes(fields: dict[str, Any], event: Mapping[str, Any], event_type: EventType) -> None:
    """Add the attributes of an event's properties: typed, nested objects dotted; null has none."""
    names = _attribute_names(event_type)
    for key, value in event.items():
        name = names.get(key) or (_usual_name(key) if len(key) < MAX_KEPT_NAME else EVENT_PREFIX + plain_text(key))
        kind = type(value)
        if kind is str:
            fields[name] = value if value.isascii() else clean_text(value)
        elif kind is int and INT64_MIN <= value <= INT64_MAX:
            fields[name] = value
        elif kind is dict and value and not any("." in key for key in event):
            # With a dot in a name, "a.b" and b below a would be one attribute: then objects stay whole.
            _add_nested(fields, name, value, event_type.names.get(key, _UNNAMED)[1], 1)
        elif value is not None:
            fields[name] = _attribute_value(value, MAX_ATTRIBUTE_DEPTH)


@lru_cache(maxsize=1024)
def _usual_name(key: str) -> str:
    return EVENT_PREFIX + plain_text(key)


@lru_cache(maxsize=1024)
def _attribute_names(event_type: EventType) -> dict[str, str]:
    """Return the attributes of the properties that the schema names; ready-made, they are three times as fast."""
    return {
        key: event_type.names.get(key, _UNNAMED)[0] or EVENT_PREFIX + plain_text(key) for key in event_type.properties
    }


def _add_nested(fields: dict[str, Any], prefix: str, value: dict[str, Any], names: PropertyNames, depth: int) -> None:
    """Add an object's properties, dotted, as long as that is unambiguous."""
    if depth >= MAX_ATTRIBUTE_DEPTH or any(type(key) is not str or not key or "." in key for key in value):
        fields[prefix] = _attribute_value(value, MAX_ATTRIBUTE_DEPTH - depth)
        return
    for key, item in value.items():
        name, below = names.get(key, _UNNAMED)
        name = name or f"{prefix}.{plain_text(key)}"
        if type(item) is dict and item:
            _add_nested(fields, name, item, below, depth + 1)
        elif item is not None:
            fields[name] = _attribute_value(item, MAX_ATTRIBUTE_DEPTH - depth)


def _attribute_value(value: Any, depth: int) -> Any:
    """Convert to a value that OTLP can carry and receivers read; `depth` levels may still follow."""
    if isinstance(value, str):
        return plain_text(value)
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return int(value) if INT64_MIN <= value <= INT64_MAX else int_text(value)
    if isinstance(value, Mapping):
        if depth <= 0 or "" in value:  # OTLP's attributes have no empty keys
            return json_bytes(value).decode()
        return {plain_text(key): _attribute_value(item, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        if depth <= 0:
            return json_bytes(value).decode()
        return [_attribute_value(item, depth - 1) for item in value]
    return object_text(value)


def plain_text(value: Any) -> str:
    """Return the text of a value, without lone surrogates."""
    if isinstance(value, str):
        return str.__str__(value) if value.isascii() else clean_text(value)
    return object_text(value)
