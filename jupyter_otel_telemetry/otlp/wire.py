"""Serialised OTLP log records, put together without protobuf objects.

Messages and field numbers: https://github.com/open-telemetry/opentelemetry-proto, logs.proto and common.proto. Fields
stand in the order of their numbers, as protobuf writes them, and defaults are left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from jupyter_otel_telemetry.jsondata import INT64_MAX, INT64_MIN, clean_text, int_text, object_text

__all__ = [
    "encode_attributes",
    "encode_event_name",
    "encode_log_record",
    "encode_pairs",
    "encode_severity",
    "encode_text",
    "length_delimited",
    "varint",
]

_MAX_DEPTH: Final = 30
"""Receivers stop reading at about a hundred nested protobuf messages, three of which each level takes."""
_MAX_KEPT: Final = 100
"""Length from which the key of an attribute is not kept."""
_MAX_KEYS: Final = 4096
_MAX_READY: Final = 450
"""Size up to which keys and texts have their lengths in the tables below."""

_TIME, _OBSERVED_TIME = b"\x09", b"\x59"
_SEVERITY_NUMBER, _SEVERITY_TEXT, _BODY, _ATTRIBUTE = b"\x10", b"\x1a", b"\x2a", b"\x32"
_DROPPED, _FLAGS, _TRACE_ID, _SPAN_ID, _EVENT_NAME = b"\x38", b"\x45", b"\x4a\x10", b"\x52\x08", b"\x62"
_uint64, _uint32, _double = struct.Struct("<Q").pack, struct.Struct("<I").pack, struct.Struct("<d").pack

_TRUE, _FALSE = b"\x10\x01", b"\x10\x00"


def _long_varint(number: int) -> bytes:
    if 0x80 <= number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    if 0x4000 <= number < 0x200000:  # up to here without a loop, for the numbers of records
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    number &= 2**64 - 1
    encoded = bytearray()
    while number > 0x7F:  # seven bits a byte
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_TABLE_SIZE: Final = 1024
_VARINTS: Final = [_long_varint(number) for number in range(_TABLE_SIZE)]
_ATTRIBUTES: Final = [_ATTRIBUTE + length for length in _VARINTS]
"""The beginning of an attribute, by its length."""
_TEXTS: Final = [
    _VARINTS[size + 1 + len(_VARINTS[size])] + b"\x0a" + _VARINTS[size] for size in range(_TABLE_SIZE // 2)
]
"""The beginning of an `AnyValue` in a `KeyValue` that holds a text, by the text's length."""
_INTEGERS: Final = [_VARINTS[1 + len(encoded)] + b"\x18" + encoded for encoded in _VARINTS]
"""An `AnyValue` in a `KeyValue` that holds an integer."""


def varint(number: int) -> bytes:
    """Encode a number of up to 64 bits: https://protobuf.dev/programming-guides/encoding/#varints."""
    return _VARINTS[number] if 0 <= number < _TABLE_SIZE else _long_varint(number)


def length_delimited(tag: bytes, payload: bytes) -> bytes:
    """Encode a field that holds text, bytes or a message."""
    return tag + varint(len(payload)) + payload


def _text(value: Any) -> bytes:
    if not isinstance(value, str):
        value = object_text(value)
    try:
        return value.encode()  # type: ignore[no-any-return]
    except UnicodeEncodeError:
        return clean_text(value).encode()


def _key(name: Any) -> bytes:
    """Encode the key of a `KeyValue`, and the tag of its value."""
    return encode_text(b"\x0a", name) + b"\x12"


_keys: Final[dict[str, bytes]] = {}


def _kept_key(name: Any) -> bytes:
    """Encode a key, and keep it ready unless it is long: an untrusted one may be as long as a request."""
    key = _key(name)
    if type(name) is str and len(name) < _MAX_KEPT:
        if len(_keys) >= _MAX_KEYS:
            _keys.clear()
        _keys[name] = key
    return key


def _pair(name: Any, value: Any, depth: int) -> bytes:
    """Encode a `KeyValue`."""
    key = _keys.get(name) or _kept_key(name)
    return key + length_delimited(b"", _value(value, depth))


def encode_pairs(tag: bytes, attributes: Mapping[Any, Any]) -> bytes:
    """Encode attributes of anything as fields with this tag."""
    return b"".join(length_delimited(tag, _pair(name, value, _MAX_DEPTH)) for name, value in attributes.items())


def encode_attributes(attributes: Mapping[Any, Any]) -> list[bytes]:
    """Encode the attributes of a log record; the concatenation of the parts is sent."""
    parts: list[bytes] = []
    for name, value in attributes.items():
        kind = type(value)
        key = _keys.get(name) or _kept_key(name)
        if len(key) > _MAX_READY:
            parts.append(length_delimited(_ATTRIBUTE, _pair(name, value, _MAX_DEPTH)))
        elif kind is str and len(value) < _MAX_READY and value.isascii():  # nearly all are
            length = _TEXTS[len(value)]
            parts += (_ATTRIBUTES[len(key) + len(length) + len(value)], key, length, value.encode())
        elif kind is int and 0 <= value < _TABLE_SIZE:
            number = _INTEGERS[value]
            parts += (_ATTRIBUTES[len(key) + len(number)], key, number)
        else:
            parts.append(length_delimited(_ATTRIBUTE, _pair(name, value, _MAX_DEPTH)))
    return parts


def _value(value: Any, depth: int) -> bytes:
    """Encode an `AnyValue`; OTLP has no place for other values than these, which are sent as text."""
    if isinstance(value, str):
        return length_delimited(b"\x0a", _text(value))
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if isinstance(value, int):
        if INT64_MIN <= value <= INT64_MAX:
            return b"\x18" + varint(value)
        return length_delimited(b"\x0a", int_text(value).encode())
    if isinstance(value, float):
        return b"\x21" + _double(value)
    if isinstance(value, (bytes, bytearray)):
        return length_delimited(b"\x3a", bytes(value))
    if value is None:
        return b""
    if depth and isinstance(value, Mapping):
        pairs = [length_delimited(b"\x0a", _pair(key, item, depth - 1)) for key, item in value.items()]
        return length_delimited(b"\x32", b"".join(pairs))
    if depth and isinstance(value, Sequence):
        items = [length_delimited(b"\x0a", _value(item, depth - 1)) for item in value]
        return length_delimited(b"\x2a", b"".join(items))
    return length_delimited(b"\x0a", _text(value))


def encode_text(tag: bytes, text: Any) -> bytes:
    """Encode a field of text, or nothing for its default, the empty text."""
    encoded = b"" if text is None else _text(text)
    return length_delimited(tag, encoded) if encoded else b""


@lru_cache(maxsize=256)
def encode_severity(number: int, text: str) -> bytes:
    """Encode a severity, number 0 if unknown: https://opentelemetry.io/docs/specs/otel/logs/data-model/#severity-fields."""
    return (_SEVERITY_NUMBER + varint(number) if number else b"") + encode_text(_SEVERITY_TEXT, text)


@lru_cache(maxsize=1024)
def encode_event_name(name: str) -> bytes:
    """Encode an event name, empty for a record that is not an event."""
    return encode_text(_EVENT_NAME, name)


def encode_log_record(  # noqa: PLR0913, PLR0917 - the fields of a LogRecord; named, they cost time
    time_ns: int,
    observed_time_ns: int,
    severity: bytes,
    body: Any,
    attributes: Iterable[bytes],
    event_name: bytes,
    *,
    dropped_attributes: int = 0,
    flags: int = 0,
    trace_id: int = 0,
    span_id: int = 0,
) -> bytes:
    """Serialise a `LogRecord`. Text replaces a value for which OTLP has no type.

    Args:
        time_ns, observed_time_ns: nanoseconds since 1970 UTC, 0 if unknown.
        severity, attributes, event_name: encoded by the functions above.
        body: any value, or None for no body.
        dropped_attributes: number of attributes that a limit has removed.
        flags, trace_id, span_id: of the active span, 0 without one.

    """
    parts = [_TIME + _uint64(time_ns)] if time_ns else []
    parts.append(severity)
    if body is not None:
        parts.append(length_delimited(_BODY, _value(body, _MAX_DEPTH)))
    parts += attributes
    if dropped_attributes:
        parts.append(_DROPPED + varint(dropped_attributes))
    if flags:
        parts.append(_FLAGS + _uint32(flags))
    if trace_id:
        parts.append(_TRACE_ID + trace_id.to_bytes(16, "big"))
    if span_id:
        parts.append(_SPAN_ID + span_id.to_bytes(8, "big"))
    if observed_time_ns:
        parts.append(_OBSERVED_TIME + _uint64(observed_time_ns))
    parts.append(event_name)
    return b"".join(parts)
