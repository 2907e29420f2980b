"""The headers of each request: checked, and read from files again when those change."""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from jupyter_otel_telemetry.failures import file_problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["HeaderFile", "RequestHeaders", "checked_headers", "parsed_headers"]

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # https://www.rfc-editor.org/rfc/rfc9110#name-tokens
_GRPC_NAME: Final = re.compile(r"(?!grpc-)[0-9a-z_.-]+(?<!-bin)")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_URL_ENCODED: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_MAX_FILE_BYTES: Final = 64 * 1024
_FILE_HINT: Final = 'write text, or {"file": "/run/secrets/token", "prefix": "Bearer "}'

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeaderFile:
    """A header whose value a file holds; white space around the content does not count."""

    name: str
    path: str | os.PathLike[str]
    prefix: str = ""

    def read(self) -> str:
        """Return the value of the header.

        Raises:
            ValueError: the file cannot be read, is empty, or holds what a header cannot.

        """
        where = f"the file of header {self.name}, {str(self.path)!r},"
        try:
            with Path(self.path).open("rb") as file:
                content = file.read(_MAX_FILE_BYTES).decode("ascii", "replace").strip()
        except (OSError, ValueError) as error:
            raise ValueError(f"{where} cannot be read: {file_problem(error)}") from None
        if not content:
            raise ValueError(f"{where} is empty")
        if not _VALUE.fullmatch(content):
            raise ValueError(f"{where} holds more than one line, or a character that is not printable ASCII")
        return self.prefix + content


class RequestHeaders:
    """Headers by their names in lower case; the files among them are read for each request.

    Args:
        fixed: names and values.
        files: headers whose values are in files.

    Raises:
        ValueError: a file cannot be used.

    """

    def __init__(self, fixed: Mapping[str, str], files: Iterable[HeaderFile] = ()) -> None:
        self._fixed = dict(fixed)
        self._files = tuple(files)
        self._read = {file.name: file.read() for file in self._files}
        self._replaced: dict[str, str] = {}
        self._failed: set[str] = set()

    def current(self) -> dict[str, str]:
        """Return the headers of a request that is about to be sent.

        A file that cannot be used any more leaves its last value in place, and is logged once.
        """
        for file in self._files:
            try:
                value = file.read()
            except ValueError as error:
                if file.name not in self._failed:
                    self._failed.add(file.name)
                    _logger.warning("%s; its last value is still sent", error)
                continue
            self._failed.discard(file.name)
            if value != self._read[file.name]:
                self._replaced[file.name], self._read[file.name] = self._read[file.name], value
        return self._fixed | self._read

    def secrets(self) -> Iterator[str]:
        """Return every value, its parts, and the values that files held before their last change."""
        for value in (*self._fixed.values(), *self._read.values(), *self._replaced.values()):
            yield value
            scheme, *words = re.split(r"[\s=,;:\"]+", value)
            yield from words
            if scheme.lower() == "basic":
                user_info = _decoded_basic(value)
                yield from (user_info, *user_info.split(":", 1))


def _decoded_basic(value: str) -> str:
    try:
        return base64.b64decode(value.rsplit(maxsplit=1)[-1]).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def checked_headers(headers: object, source: str, protocol: str) -> tuple[dict[str, str], list[HeaderFile]]:
    """Return the headers of an argument or a variable, by their names in lower case: fixed ones, and those of files.

    Empty values are left out.

    Raises:
        ValueError: a header cannot be sent; the text does not show its value.

    """
    if not isinstance(headers, Mapping):
        raise ValueError(f"{source} must be a mapping from names to texts")  # noqa: TRY004 - as any wrong option
    fixed: dict[str, str] = {}
    files: list[HeaderFile] = []
    for given_name, value in headers.items():
        name = _checked_name(given_name, source, protocol)
        where = f"{source}: the value of {name}"
        if isinstance(value, Mapping):
            files.append(_header_file(name, value, where))
        elif text := _checked_value(value, where).strip():
            fixed[name] = text
    return fixed, files


def _checked_name(name: object, source: str, protocol: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"{source}: a name has characters that HTTP forbids; it is not shown, since it may be a secret"
        )
    lower = name.lower()
    if protocol == "grpc" and not _GRPC_NAME.fullmatch(lower):
        raise ValueError(f"{source}: gRPC cannot send a header of the name {lower}")
    return lower


def _checked_value(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where} must be text, not {type(value).__name__}; {_FILE_HINT}")  # noqa: TRY004 - as above
    if not _VALUE.fullmatch(value):
        raise ValueError(f"{where} has a newline, or another character that is not printable ASCII")
    return value


def _header_file(name: str, value: Mapping[object, object], where: str) -> HeaderFile:
    path, prefix = value.get("file"), value.get("prefix", "")
    if not set(value) <= {"file", "prefix"} or not path or not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"{where} has other members than file and prefix, or no file; {_FILE_HINT}")
    return HeaderFile(name, path, _checked_value(prefix, f"{where}, prefix,"))


def parsed_headers(text: str, source: str) -> dict[str, str]:
    """Parse `name=value,name=value`; a value of URL characters only is URL-encoded, as in OpenTelemetry's SDK.

    Raises:
        ValueError: an entry has no `=`; the text does not show it.

    """
    found = {}
    for number, entry in enumerate(text.split(","), 1):
        name, mark, value = (part.strip() for part in entry.partition("="))
        if not entry.strip():
            continue
        if not mark:
            raise ValueError(f"{source}: entry {number} is not name=value; write name=value,name=value")
        found[unquote(name)] = unquote(value) if _URL_ENCODED.fullmatch(value) else value
    return found
