"""Where schemas come from: files, folders and URLs. Their content is a stranger's, so everything is bounded."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from jupyter_otel_telemetry.errors import SchemaSourceError
from jupyter_otel_telemetry.masking import mask_text, mask_url, secrets_of_url

__all__ = ["read_file", "read_folder_paths", "read_url"]

MAX_SOURCE_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 100
MAX_NODES: Final = 100_000
DOWNLOAD_TIMEOUT_S: Final = 10.0
SUFFIXES: Final = (".json", ".yaml", ".yml")


def read_file(path_or_file: str | os.PathLike[str] | IO[str] | IO[bytes]) -> Mapping[str, Any]:
    """Read YAML or JSON from a path or an open file.

    Raises:
        SchemaSourceError: it cannot be read, or is not what `parse` takes.

    """
    if not isinstance(path_or_file, (str, os.PathLike)):
        if not hasattr(path_or_file, "read"):
            raise TypeError(f"a path or an open file is wanted, not {type(path_or_file).__name__}")
        return parse(path_or_file.read(MAX_SOURCE_BYTES + 1), str(getattr(path_or_file, "name", "an open file")))
    try:
        with Path(path_or_file).open("rb") as file:
            return parse(file.read(MAX_SOURCE_BYTES + 1), str(path_or_file))
    except OSError as error:
        raise SchemaSourceError(str(path_or_file), (error.strerror or str(error)).lower()) from error


def read_folder_paths(folder: str | os.PathLike[str]) -> list[Path]:
    """Find every schema file below a folder, in the order of their paths.

    Raises:
        SchemaSourceError: it is no folder.

    """
    if not Path(folder).is_dir():
        raise SchemaSourceError(str(folder), "it is no folder")
    return sorted(path for path in Path(folder).rglob("*") if path.suffix in SUFFIXES and path.is_file())


def parse(content: str | bytes, source: str) -> Mapping[str, Any]:
    """Parse one YAML or JSON document that is a mapping.

    By the safe loader, with bounded size, depth and alias expansion.

    Raises:
        SchemaSourceError: it is too large, or no such document.

    """
    document = _parsed(_decoded(content, source), source)
    if not isinstance(document, Mapping):
        raise SchemaSourceError(source, f"it holds a {type(document).__name__}, not a mapping with $id and version")
    return document


def _parsed(text: str, source: str) -> Any:
    if text.lstrip()[:1] in ("{", "["):
        # JSON where it is JSON: YAML 1.1 takes 1e5 for a text and knows no tabs.
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass  # YAML in flow style begins like this too, and its errors name the line
    import yaml  # noqa: PLC0415 - not needed where schemas are mappings

    try:
        _check_size(yaml.parse(text, Loader=yaml.SafeLoader), source)
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SchemaSourceError(source, _one_line(error)) from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, SchemaSourceError):
            raise
        raise SchemaSourceError(source, f"{type(error).__name__}: {_one_line(error)}") from None


def _decoded(content: str | bytes, source: str) -> str:
    if len(content) > MAX_SOURCE_BYTES:
        raise SchemaSourceError(source, f"it is larger than {MAX_SOURCE_BYTES // 1024} KiB")
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SchemaSourceError(source, f"it is not UTF-8 at byte {error.start}") from None
    if not text.strip():
        raise SchemaSourceError(source, "it is empty")
    return text


def _one_line(error: Exception) -> str:
    return " ".join(str(error).replace('"<unicode string>", ', "").split())


def _check_size(events: Iterator[Any], source: str) -> None:  # noqa: C901 - one case per kind of YAML event
    """Refuse a document that would be too large or deep once its aliases are expanded.

    An alias counts as many nodes as what it stands for.
    """
    import yaml  # noqa: PLC0415 - see parse

    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    nodes = 0
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, began_at = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = nodes - began_at
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise SchemaSourceError(
                    source, f"the alias *{event.anchor} stands inside its own anchor, or has none"
                )
            nodes += sizes[event.anchor]
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, nodes - 1))
            elif event.anchor is not None:
                sizes[event.anchor] = 1
        if len(open_nodes) > MAX_DEPTH:
            raise SchemaSourceError(source, f"it is nested deeper than {MAX_DEPTH} levels")
        if nodes > MAX_NODES:
            raise SchemaSourceError(source, f"it has more than {MAX_NODES} nodes once its aliases are expanded")


def read_url(url: str, sha256: str | None = None) -> Mapping[str, Any]:
    """Download and parse a schema: over https, or plain http from this machine itself.

    Args:
        url: may hold `user:password@`, which is sent as Basic authorization and never shown.
        sha256: hexadecimal digest the content must have.

    Raises:
        SchemaSourceError: the address is not allowed, the download failed, took longer than ten seconds in all
            or is larger than 1 MiB, the digest differs, or the content is no schema.

    """
    shown = mask_url(url)
    problem = _refusal(url)
    if problem:
        raise SchemaSourceError(shown, problem)
    content = _download(url, shown)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256.strip().lower():
        raise SchemaSourceError(
            shown,
            f"its SHA-256 is {hashlib.sha256(content).hexdigest()}, not the one given; is it the right version?",
        )
    return parse(content, shown)


def _refusal(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "it is no URL"
    if not host or parts.scheme not in ("http", "https"):
        return "write a URL that begins with https://"
    if parts.scheme == "http" and not _is_loopback(host):
        return "plain http is allowed from this machine only; use https"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def redirect_request(  # noqa: PLR0913, PLR0917 - urllib's signature
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if _refusal(newurl) or (req.type == "https" and urlsplit(newurl).scheme != "https"):
            fp.close()
            raise urllib.error.URLError(f"it redirects to {mask_url(newurl)}, which is not allowed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, shown: str) -> bytes:
    """Download in a thread, because nothing else bounds the time that names, headers and body take together."""
    outcome: list[bytes | Exception] = []
    deadline = time.monotonic() + DOWNLOAD_TIMEOUT_S

    def download() -> None:
        try:
            outcome.append(_fetch(url, deadline))
        except Exception as error:  # noqa: BLE001 - told to the caller's thread
            outcome.append(error)

    thread = threading.Thread(target=download, name="schema-download", daemon=True)
    thread.start()
    thread.join(DOWNLOAD_TIMEOUT_S)
    if not outcome:
        raise SchemaSourceError(shown, f"it took longer than {DOWNLOAD_TIMEOUT_S:g} seconds")
    if isinstance(outcome[0], Exception):
        problem = mask_text(_download_problem(outcome[0]), secrets_of_url(url))
        raise SchemaSourceError(shown, problem) from None
    return outcome[0]


def _fetch(url: str, deadline: float) -> bytes:
    parts = urlsplit(url)
    headers = {"Accept": "application/json, application/yaml, */*"}
    request = urllib.request.Request(_bare(parts), headers=headers)  # noqa: S310 - see _refusal
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        # Unredirected: another host must not see it.
        request.add_unredirected_header("Authorization", "Basic " + b64encode(pair.encode()).decode())
    handlers: list[Any] = [_Redirects()]
    if _is_loopback(parts.hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    content = bytearray()
    with urllib.request.build_opener(*handlers).open(request, timeout=DOWNLOAD_TIMEOUT_S) as response:
        while chunk := response.read1(64 * 1024):
            content += chunk
            if len(content) > MAX_SOURCE_BYTES:
                raise ValueError(f"it is larger than {MAX_SOURCE_BYTES // 1024} KiB")
            if time.monotonic() > deadline:
                raise TimeoutError
    return bytes(content)


def _bare(parts: SplitResult) -> str:
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/", parts.query, ""))


def _download_problem(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()  # it is a response, too
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    if isinstance(error, TimeoutError):
        return f"it took longer than {DOWNLOAD_TIMEOUT_S:g} seconds"
    return str(error) or type(error).__name__
