"""Schemas from URLs: over https, or plain http from this machine itself; every download is whole or refused."""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from jupyter_otel_telemetry.errors import SchemaSourceError
from jupyter_otel_telemetry.masking import mask_text, mask_url, secrets_of_url
from jupyter_otel_telemetry.schemas.documents import MAX_SOURCE_BYTES, TOO_LARGE, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["download", "read_url"]

DOWNLOAD_TIMEOUT_S: Final = 10.0


def read_url(url: str, sha256: str | None = None) -> Mapping[str, Any]:
    """Download and parse a schema: over https, or plain http from this machine itself.

    Args:
        url: may hold `user:password@`, which is sent as Basic authorization and never shown.
        sha256: hexadecimal digest the content must have.

    Raises:
        SchemaSourceError: the address is not allowed; the download failed, took longer than ten seconds in all, is
            larger than 1 MiB, or may be incomplete; the digest differs; or the content is not a schema.

    """
    return parse(download(url, sha256), mask_url(url))


def download(url: str, sha256: str | None = None) -> bytes:
    """Return the content of a URL, whole and of the digest that was given; raise as `read_url`."""
    shown = mask_url(url)
    problem = _refusal(url)
    if problem:
        raise SchemaSourceError(shown, problem)
    content = _download(url, shown, is_verified=sha256 is not None)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256.strip().lower():
        raise SchemaSourceError(
            shown,
            f"the SHA-256 is {hashlib.sha256(content).hexdigest()}, not the one given; is it the right version?",
        )
    return content


def _refusal(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "not a URL"
    if not host or parts.scheme not in ("http", "https"):
        return "write a URL that begins with https://"
    if parts.scheme == "http" and not is_loopback(host):
        return "plain http is allowed from this machine only; use https"
    return None


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a host."""
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
            raise urllib.error.URLError(f"redirects to {mask_url(newurl)}, which is not allowed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, shown: str, *, is_verified: bool) -> bytes:
    """Download in a thread, because nothing else bounds the time that names, headers and body take together."""
    outcome: list[bytes | Exception] = []
    deadline = time.monotonic() + DOWNLOAD_TIMEOUT_S

    def download() -> None:
        try:
            outcome.append(_fetch(url, deadline, is_verified=is_verified))
        except Exception as error:  # told to the caller's thread
            outcome.append(error)

    thread = threading.Thread(target=download, name="schema-download", daemon=True)
    thread.start()
    thread.join(DOWNLOAD_TIMEOUT_S)
    if not outcome:
        raise SchemaSourceError(shown, f"took longer than {DOWNLOAD_TIMEOUT_S:g} seconds")
    if isinstance(outcome[0], Exception):
        problem = mask_text(_download_problem(outcome[0]), secrets_of_url(url))
        raise SchemaSourceError(shown, problem) from None
    return outcome[0]


def _fetch(url: str, deadline: float, *, is_verified: bool) -> bytes:
    parts = urlsplit(url)
    headers = {"Accept": "application/json, application/yaml, */*"}
    request = urllib.request.Request(_bare(parts), headers=headers)  # noqa: S310 - see _refusal
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        # Unredirected: another host must not see it.
        request.add_unredirected_header("Authorization", "Basic " + b64encode(pair.encode()).decode())
    # Python 3.12 and newer print headers where a program has set http.client's debuglevel.
    quiet = urllib.request.HTTPHandler(debuglevel=0), urllib.request.HTTPSHandler(debuglevel=0)
    handlers: list[Any] = [_Redirects(), *quiet]
    if is_loopback(parts.hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    with urllib.request.build_opener(*handlers).open(request, timeout=DOWNLOAD_TIMEOUT_S) as response:
        return _whole_content(response, deadline, is_verified=is_verified)


def _whole_content(response: http.client.HTTPResponse, deadline: float, *, is_verified: bool) -> bytes:
    """Read a body, unless it is or may be a part only: in the rest of a schema may be its flags."""
    if response.status != http.client.OK:
        raise ValueError(f"expected status 200, got {response.status}")
    if len(set(response.headers.get_all("Content-Length", ()))) > 1:
        raise ValueError("the server states several lengths")
    is_measured = response.length is not None or response.chunked
    content = bytearray()
    while chunk := response.read1(64 * 1024):
        content += chunk
        if len(content) > MAX_SOURCE_BYTES:
            raise ValueError(TOO_LARGE)
        if time.monotonic() > deadline:
            raise TimeoutError
    if response.length:
        raise ValueError(f"incomplete: {len(content)} of {len(content) + response.length} bytes arrived")
    if not (is_measured or is_verified):
        raise ValueError("the server does not state the length, so an incomplete download would pass; give sha256")
    return bytes(content)


def _bare(parts: SplitResult) -> str:
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/", parts.query, ""))


def _download_problem(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()  # it is a response, too
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    if isinstance(error, http.client.IncompleteRead):
        return "incomplete: the connection was closed before the end"
    if isinstance(error, TimeoutError):
        return f"took longer than {DOWNLOAD_TIMEOUT_S:g} seconds"
    return str(error) or type(error).__name__
