"""Pseudonyms: keyed hashes that stand for a value wherever it is recorded, without showing it."""

from __future__ import annotations

import hmac
import math
import os
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import orjson

from jupyter_otel_telemetry.errors import PolicyError
from jupyter_otel_telemetry.failures import file_problem
from jupyter_otel_telemetry.jsondata import clean_text, int_text

__all__ = ["KEY_FILE_VARIABLE", "KEY_VARIABLE", "Pseudonymizer", "find_pseudonym_key"]

KEY_VARIABLE: Final = "JUPYTER_OTEL_PSEUDONYM_KEY"
KEY_FILE_VARIABLE: Final = "JUPYTER_OTEL_PSEUDONYM_KEY_FILE"
MIN_KEY_BYTES: Final = 16
_MAX_KEY_FILE_BYTES: Final = 64 * 1024
_MAKE_ONE = "make one with: python -c 'import secrets; print(secrets.token_hex(32))'"
_MIN_PLAIN: Final = 1e-6
_MAX_PLAIN: Final = 1e21


class Pseudonymizer:
    """Makes pseudonyms with one key: HMAC-SHA-256 (RFC 2104) of the value's canonical JSON, in hexadecimal."""

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.new(key, digestmod="sha256")

    def __call__(self, value: Any) -> Any:
        """Return the pseudonym of a JSON value; of a list, those of its items; null stays null."""
        if value is None:
            return None
        if type(value) is list:
            return [self(item) for item in value]
        digest = self._keyed.copy()
        digest.update(canonical_json(value))
        return digest.hexdigest()


def find_pseudonym_key(
    key: str | None = None, key_file: str | os.PathLike[str] | None = None, *, owner: str = ""
) -> bytes | None:
    """Return the key, or None if there is none; the arguments win over the environment variables.

    Args:
        key: the key itself, of which the UTF-8 bytes count.
        key_file: a file that holds it; white space around it does not count.
        owner: whose arguments these are, as messages begin: `OTLPHandler `.

    Raises:
        PolicyError: there are both, one of them has a wrong type, the file cannot be read, or the key has fewer than
            16 bytes. The text does not show the key.

    """
    names = (f"{owner}pseudonym_key", f"{owner}pseudonym_key_file")
    if key is None and key_file is None:
        names = (KEY_VARIABLE, KEY_FILE_VARIABLE)
        key, key_file = (os.environ.get(name) or None for name in names)
    if key is not None and key_file is not None:
        raise PolicyError(f"{names[0]} and {names[1]} are both given; give one of them")
    if key is not None and not isinstance(key, str):
        raise PolicyError(f"{names[0]} must be text, not {type(key).__name__}")
    if key_file is not None and not isinstance(key_file, (str, os.PathLike)):
        raise PolicyError(f"{names[1]} must be a path, not {type(key_file).__name__}")
    if key_file is not None:
        return _checked(_read(key_file, names[1]), f"the key in {names[1]} {os.fspath(key_file)!r}")
    return None if key is None else _checked(key.encode("utf-8", "surrogatepass"), names[0])


def missing_key(what: str) -> PolicyError:
    """Return the error for a setting that needs a key where there is none."""
    return PolicyError(
        f"{what} needs a key: set pseudonym_key_file, pseudonym_key, or one of the environment variables "
        f"{KEY_FILE_VARIABLE} and {KEY_VARIABLE}; {_MAKE_ONE}"
    )


def _read(key_file: str | os.PathLike[str], name: str) -> bytes:
    try:
        with Path(key_file).open("rb") as file:
            return file.read(_MAX_KEY_FILE_BYTES).strip()
    except (OSError, ValueError) as error:
        raise PolicyError(f"{name} {os.fspath(key_file)!r} cannot be read: {file_problem(error)}") from error


def _checked(key: bytes, name: str) -> bytes:
    if len(key) < MIN_KEY_BYTES:
        raise PolicyError(f"{name} has {len(key)} bytes, fewer than {MIN_KEY_BYTES}, and can be guessed; {_MAKE_ONE}")
    return key


def canonical_json(value: Any) -> bytes:
    """Encode JSON such that equal values have equal bytes, as RFC 8785 says.

    But integers keep all their digits, NaN and infinities are their names, and lone surrogates U+FFFD.
    """
    if type(value) is str:
        try:
            return orjson.dumps(value)
        except TypeError:
            return orjson.dumps(clean_text(value))
    if isinstance(value, dict):
        # Sorted by UTF-16 code units, as RFC 8785 has it from JavaScript.
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return b"{" + b",".join(canonical_json(name) + b":" + canonical_json(value[name]) for name in names) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(canonical_json, value)) + b"]"
    if isinstance(value, float):
        return _number(value).encode()
    return int_text(value).encode() if type(value) is int else orjson.dumps(value)


def _number(value: float) -> str:
    """Format as ECMAScript does, section 6.1.6.1.20 "Number::toString"."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value == 0 or _MIN_PLAIN <= abs(value) < _MAX_PLAIN:
        plain = format(Decimal(repr(value)), "f")
        return (plain.rstrip("0").rstrip(".") if "." in plain else plain) if value else "0"
    digits, _, exponent = repr(value).partition("e")
    return f"{digits}e{int(exponent):+d}"
