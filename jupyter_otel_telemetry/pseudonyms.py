"""Pseudonyms: keyed hashes, the same for the same value and key."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path
from typing import Any, Final

from jupyter_otel_telemetry.jsondata import json_bytes

__all__ = ["Pseudonymizer", "find_pseudonym_key"]

_KEY_VARIABLE, _FILE_VARIABLE = "JUPYTER_OTEL_PSEUDONYM_KEY", "JUPYTER_OTEL_PSEUDONYM_KEY_FILE"
_MIN_KEY_BYTES: Final = 16


class Pseudonymizer:
    """Makes pseudonyms with a key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, value: Any) -> str:
        """Return the HMAC-SHA-256 of a JSON value, in hexadecimal."""
        return hmac.new(self._key, json_bytes(value), hashlib.sha256).hexdigest()


def find_pseudonym_key(key: str | None, key_file: str | None) -> bytes | None:
    """Return the key of the arguments, else of the environment; None: there is none.

    Raises:
        ValueError: there is a key and a file, the key is too short, or the file cannot be read.

    """
    if key is None and key_file is None:
        key, key_file = os.environ.get(_KEY_VARIABLE) or None, os.environ.get(_FILE_VARIABLE) or None
    if key is not None and key_file is not None:
        raise ValueError("there is a pseudonym key and a file with one; set one of them")
    if key_file is not None:
        try:
            key = Path(key_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValueError(f"the pseudonym key's file cannot be read: {error}") from error
    if key is None:
        return None
    if len(key.encode()) < _MIN_KEY_BYTES:
        raise ValueError(f"the pseudonym key must have at least {_MIN_KEY_BYTES} bytes")
    return key.encode()
