"""Sends requests over HTTP."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.forks import after_fork_in_child
from jupyter_otel_telemetry.names import USER_AGENT
from jupyter_otel_telemetry.otlp.answers import MAX_ANSWER_BYTES, Answer, failed, http_answer
from jupyter_otel_telemetry.otlp.exchange import cause_of, is_connected, keep_deadlines, whole_exchange
from jupyter_otel_telemetry.otlp.providers import made_by_provider

if TYPE_CHECKING:
    from jupyter_otel_telemetry.otlp.settings import ExporterSettings

__all__ = ["HTTPTransport"]

_BLOCK_BYTES: Final = 64 * 1024


class HTTPTransport:
    """A way to a receiver over HTTP."""

    def __init__(self, settings: ExporterSettings, default_compression: str) -> None:
        self._url = settings.url
        self._timeout_s = settings.timeout_s
        self._compression = settings.compression_or(default_compression)
        self._request_headers = settings.headers
        self._headers = {"Content-Type": "application/x-protobuf", "User-Agent": USER_AGENT}
        if self._compression != "none":
            self._headers["Content-Encoding"] = self._compression
        self._session: Any = _session_of_provider(settings) or _own_session()
        keep_deadlines(self._session)
        # Neither .netrc nor proxies nor authorities of the environment: they would replace what was configured.
        self._session.trust_env = False
        # No redirect is followed; requests would read all of its body, whatever its size.
        self._session.get_redirect_target = _no_target
        if settings.proxy is not None:
            self._session.proxies = {"http": settings.proxy, "https": settings.proxy}
        if settings.certificate_file is not None:
            self._session.verify = settings.certificate_file
        if settings.client_certificate_file is not None:
            self._session.cert = (settings.client_certificate_file, settings.client_key_file)

    def send(self, request: bytes) -> Answer:
        """Send a serialised `ExportLogsServiceRequest`. Never raises."""
        body = _compressed(request, self._compression)
        try:
            response = self._session.post(
                self._url,
                data=body,
                headers=self._headers | self._request_headers.current(),
                timeout=whole_exchange(self._timeout_s),
                allow_redirects=False,
                stream=True,
            )
        except Exception as error:  # requests, urllib3 and a server of anybody's raise much
            return failed(cause_of(error), is_connected=is_connected(error))
        with response:
            try:
                content = _content(response.raw)
            except Exception as error:
                if response.ok:  # then only all of it is an acknowledgement
                    return failed(cause_of(error))
                content = b""
        return http_answer(response.status_code, response.headers, content)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def _content(stream: Any) -> bytes:
    """Read an answer up to a size that an OTLP response hardly has."""
    content = bytearray()
    while len(content) < MAX_ANSWER_BYTES and (block := stream.read(_BLOCK_BYTES, decode_content=True)):
        content += block
    return bytes(content)


def _no_target(_response: Any) -> None:
    """Return the target of no redirect."""


def _session_of_provider(settings: ExporterSettings) -> Any:
    """Return the session that a credential provider makes, or None if none is configured."""
    import requests  # imports much

    if settings.credential_provider is None:
        return None
    return made_by_provider(settings.credential_provider, requests.Session)


def _own_session() -> Any:
    import requests  # imports much

    session = requests.Session()
    after_fork_in_child(session, _reconnect)
    return session


def _reconnect(session: Any) -> None:
    """Leave the connections to the parent process, which goes on to use them."""
    for prefix, adapter in list(session.adapters.items()):
        session.mount(prefix, type(adapter)())


def _compressed(request: bytes, compression: str) -> bytes:
    if compression == "none":
        return request
    # Level 1: twice as fast as the usual 6, for a tenth more bytes.
    packer = zlib.compressobj(1, wbits=31 if compression == "gzip" else 15)
    return packer.compress(request) + packer.flush()
