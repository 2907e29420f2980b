"""Hides secrets in URLs and texts before they reach a log, an error or a file."""

from __future__ import annotations

import re
from base64 import b64encode
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
_MIN_RUN: Final = 8
"""Length from which a part of a secret is hidden, too."""
_MIN_IN_BASE64: Final = 6
_BETWEEN_WORDS: Final = re.compile(r"[\s=,;:\"/?#&@]+")


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
    """Split the part of a URL after its scheme into the authority and the rest."""
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
    """Hide secrets in a text, and mask each URL.

    Hidden is a secret as it is, percent-encoded, quoted or in base64, in upper or lower case; its beginning where the
    text ends within it; and each run of eight characters or more that it has in common with a word of a secret. The
    work grows with the sum of the lengths, not with their product.
    """
    if text and (known := frozenset(filter(None, secrets))):
        text = _without(text, known)
    return _URL_IN_TEXT.sub(lambda found: mask_url(found[0]), text)


def _without(text: str, secrets: frozenset[str]) -> str:
    lower = _lower(text)
    in_base64 = {form for secret in secrets for form in _base64_forms(secret)}
    spans = list(_repeated_runs(lower, in_base64.union(*map(_forms, _words(secrets)))))
    for form in in_base64.union(*map(_forms, secrets)):
        spans.extend(_occurrences(lower, form))
        spans.extend(_cut_occurrence(lower, form))
    is_hidden = bytearray(len(text))
    for begin, end in spans:
        is_hidden[begin:end] = b"\x01" * (end - begin)
    shown, at = [], 0
    for run in re.finditer(rb"\x01+", is_hidden):
        shown += [text[at : run.start()], HIDDEN]
        at = run.end()
    return "".join((*shown, text[at:]))


def _lower(text: str) -> str:
    """Return a text in lower case with every character at its place; some become two in lower case."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(x if len(x := c.lower()) == 1 else c for c in text)


def _forms(secret: str) -> set[str]:
    """Return the forms of a secret that are spelt with its own characters, in lower case."""
    plain = unquote(secret)
    forms = (secret, plain, quote(plain, safe=""), quote(plain), repr(plain)[1:-1], repr(secret)[1:-1])
    return {_lower(form) for form in forms if len(form) >= _MIN_LENGTH}


def _base64_forms(secret: str) -> set[str]:
    """Return the characters that a secret has in base64, wherever it begins within the encoded text."""
    forms = set()
    for plain in {secret, unquote(secret)}:
        content = plain.encode("utf-8", "surrogatepass")
        for before in range(3):
            encoded = b64encode(bytes(before) + content)
            # Characters that depend on what stands before or behind are left out.
            form = encoded[-(-before * 8 // 6) : (before + len(content)) * 8 // 6].decode().lower()
            forms |= {form, form.replace("+", "-").replace("/", "_")}
    return {form for form in forms if len(form) >= _MIN_IN_BASE64}


def _words(secrets: Iterable[str]) -> set[str]:
    """Return the words of secrets; a run across them, such as `/v1/logs`, is none of a secret's own."""
    words = {word for secret in secrets for text in (secret, unquote(secret)) for word in _BETWEEN_WORDS.split(text)}
    return {word for word in words if len(word) >= _MIN_RUN and _masked_segment(word) == HIDDEN}


def _repeated_runs(lower: str, forms: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield where a text repeats a run of one of the forms."""
    runs = set(_runs(lower))
    repeated = {run for form in forms for run in _runs(form) if run in runs}
    for at, run in enumerate(_runs(lower)):
        if run in repeated:
            yield at, at + _MIN_RUN


def _runs(text: str) -> Iterator[str]:
    return (text[at : at + _MIN_RUN] for at in range(len(text) - _MIN_RUN + 1))


def _occurrences(lower: str, form: str) -> Iterator[tuple[int, int]]:
    if form in lower:
        escaped = re.escape(form)
        pattern = escaped if len(form) >= _MIN_ANYWHERE else rf"(?<!\w){escaped}(?!\w)"
        for found in re.finditer(pattern, lower):
            yield found.span()


def _cut_occurrence(lower: str, form: str) -> Iterator[tuple[int, int]]:
    """Yield where the end of a text cuts a form off."""
    at = lower.find(form[:_MIN_CUT], max(0, len(lower) - len(form)))
    while 0 <= at <= len(lower) - _MIN_CUT:
        if form.startswith(lower[at:]):
            yield at, len(lower)
            return
        at = lower.find(form[:_MIN_CUT], at + 1)
