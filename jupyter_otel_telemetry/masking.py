"""Hides secrets in URLs and texts before they reach a log, an error or a file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["HIDDEN", "mask_text", "mask_url", "secrets_of_url"]

HIDDEN: Final = "…"

# Known ones only: what stands before :// may be the beginning of a password.
_SCHEME: Final = re.compile(
    r"(?:(?:https?|grpcs?|ftp|file|wss?|dns|xds|socks[45]h?):)?//|(?:ipv[46]|dns):", re.IGNORECASE
)
_HOST: Final = r"(?:[\w-]+(?:\.[\w-]+)*\.?|\[[0-9a-fA-F:.]+\])"
_AUTHORITY: Final = re.compile(rf"{_HOST}(?::[0-9]{{1,5}})?")
_HOST_AND_PORT: Final = re.compile(rf"{_HOST}:[0-9]{{1,5}}")
_HARMLESS_SEGMENT: Final = re.compile(r"|otlp|v1|logs|loki|api|insert|opentelemetry|[\w.-]{1,60}\.(?:json|ya?ml)")
_URL_IN_TEXT: Final = re.compile(r"[a-z][a-z0-9+.-]*://\S*[^\s\"'.,;:)>\]}]", re.IGNORECASE)
_MIN_ANYWHERE: Final = 6
"""Length from which a secret is hidden inside of words, too; shorter ones only as words of their own."""
_MIN_LENGTH: Final = 3
_MIN_CUT: Final = 4


def mask_url(url: str) -> str:
    """Return the scheme, host and port of a URL, and those segments of its path that are well-known words.

    User, password, query, fragment and every other segment are hidden. So is the host where an `@` leaves open which
    part of the text it is, and where there is neither a scheme nor a port.
    """
    if _is_socket(url):
        return url
    scheme = found[0] if (found := _SCHEME.match(url)) else ""
    authority, tail = _split(url[len(scheme) :])
    host = authority.rpartition("@")[2]
    pattern = _AUTHORITY if scheme else _HOST_AND_PORT
    shown = host if "@" not in tail and (pattern.fullmatch(host) or not authority) else HIDDEN
    path, query = tail, ""
    if is_cut := re.search(r"[?#]", tail):
        path, query = tail[: is_cut.start()], f"?{HIDDEN}"
    return scheme + shown + "/".join(map(_masked_segment, path.split("/"))) + query


def _split(rest: str) -> tuple[str, str]:
    """Split what follows the scheme of a URL into the authority and the rest."""
    end = min((index for mark in "/?#\\" if (index := rest.find(mark)) >= 0), default=len(rest))
    return rest[:end], rest[end:]


def _is_socket(url: str) -> bool:
    return url.startswith("unix:") and "@" not in url


def _masked_segment(segment: str) -> str:
    is_harmless = _HARMLESS_SEGMENT.fullmatch(segment) or _HOST_AND_PORT.fullmatch(segment)
    return segment if is_harmless else HIDDEN


def secrets_of_url(url: str) -> frozenset[str]:
    """Return each part of a URL that `mask_url` hides, and the request target that libraries put into errors."""
    if _is_socket(url):
        return frozenset()
    scheme = found[0] if (found := _SCHEME.match(url)) else ""
    user_info, _, rest = url[len(scheme) :].rpartition("@")
    user, _, password = user_info.partition(":")
    target, _, fragment = _split(rest)[1].partition("#")
    path, _, query = target.partition("?")
    segments = [segment for segment in path.split("/") if _masked_segment(segment) == HIDDEN]
    pairs = [text for pair in query.split("&") for text in (pair, *pair.split("=", 1))]
    texts = (user_info, user, password, *re.split("[:/?#]", user_info), *segments, query, *pairs, fragment)
    return frozenset(filter(None, (*texts, target if query or segments else "")))


def mask_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Hide secrets in a text, in whatever encoding they appear there, and mask each URL.

    A secret that the end of the text cuts off is hidden as well.
    """
    if not text:
        return text
    forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
    if forms:
        text = re.sub("|".join(map(_pattern, forms)), HIDDEN, text, flags=re.IGNORECASE)
        text = _without_cut_secret(text, forms)
    return _URL_IN_TEXT.sub(lambda found: mask_url(found[0]), text)


def _forms(secret: str) -> Iterator[str]:
    plain = unquote(secret)
    for form in (secret, plain, quote(plain, safe=""), quote(plain), repr(plain)[1:-1], repr(secret)[1:-1]):
        if len(form) >= _MIN_LENGTH:
            yield form


def _pattern(form: str) -> str:
    escaped = re.escape(form)
    return escaped if len(form) >= _MIN_ANYWHERE else rf"(?<!\w){escaped}(?!\w)"


def _without_cut_secret(text: str, forms: list[str]) -> str:
    for form in forms:
        for length in range(min(len(form), len(text)), _MIN_CUT - 1, -1):
            if text.endswith(form[:length]):
                return text[:-length] + HIDDEN
    return text
