"""Sends requests over HTTP."""

from __future__ import annotations

import os
import zlib
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry._version import __version__
from jupyter_otel_telemetry.forks import after_fork_in_child
from jupyter_otel_telemetry.otlp.answers import Answer, failed, http_answer
from jupyter_otel_telemetry.otlp.exchange import cause_of, is_connected, keep_deadlines, whole_exchange
from jupyter_otel_telemetry.otlp.settings import (
    CREDENTIAL_PROVIDERS,
    chosen_compression,
    file_of,
    http_url,
    request_headers,
    timeout_s,
)

if TYPE_CHECKING:
    from jupyter_otel_telemetry.otlp.settings import ExporterOptions

__all__ = ["HTTPTransport"]

_USER_AGENT: Final = f"jupyter-otel-telemetry/{__version__}"
_MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
_BLOCK_BYTES: Final = 64 * 1024


class HTTPTransport:
    """A way to a receiver over HTTP."""

    def __init__(self, options: ExporterOptions) -> None:
        self._url = http_url(options)
        self._timeout_s = timeout_s()
        self._compression = chosen_compression(options, ("gzip", "deflate", "none"))
        self._headers = {
            "Content-Type": "application/x-protobuf",
            "User-Agent": _USER_AGENT,
            **request_headers(options),
        }
        if self._compression != "none":
            self._headers["Content-Encoding"] = self._compression
        self._session: Any = http_session() or _session_of_provider()
        keep_deadlines(self._session)
        certificate = file_of(options.certificate_file, "CERTIFICATE")
        self._session.verify = certificate or True
        files = (
            file_of(options.client_certificate_file, "CLIENT_CERTIFICATE"),
            file_of(options.client_key_file, "CLIENT_KEY"),
        )
        self._session.cert = files if all(files) else files[0]
        for file in (certificate, *files):
            if file:
                Path(file).read_bytes()

    def send(self, request: bytes) -> Answer:
        """Send a serialised `ExportLogsServiceRequest`. Never raises."""
        body = _compressed(request, self._compression)
        try:
            response = self._session.post(
                self._url,
                data=body,
                headers=self._headers,
                timeout=whole_exchange(self._timeout_s),
                allow_redirects=False,
                stream=True,
            )
        except Exception as error:  # noqa: BLE001 - requests, urllib3 and a server of anybody's raise much
            return failed(cause_of(error), is_connected=is_connected(error))
        with response:
            try:
                content = _content(response.raw)
            except Exception as error:  # noqa: BLE001 - likewise
                if response.ok:  # then only all of it is an acknowledgement
                    return failed(cause_of(error))
                content = b""
        return http_answer(response.status_code, response.headers, content)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def _content(stream: Any) -> bytes:
    """Read an answer up to a size that no OTLP response has."""
    content = bytearray()
    while len(content) < _MAX_ANSWER_BYTES and (block := stream.read(_BLOCK_BYTES, decode_content=True)):
        content += block
    return bytes(content)


def _session_of_provider() -> Any:
    """Return the session of the credential provider that the SDK's variable names, as its exporter would."""
    name = next(filter(None, map(os.environ.get, CREDENTIAL_PROVIDERS)))
    for provider in entry_points(group="opentelemetry_otlp_credential_provider", name=name):
        return provider.load()()
    raise ValueError(f"{CREDENTIAL_PROVIDERS[0]} names {name!r}, and no such credential provider is installed")


def http_session() -> Any:
    """Make a session that requests' own variables do not change, or None if a credential provider has one."""
    import requests  # noqa: PLC0415 - imports much

    class Session(requests.Session):
        def merge_environment_settings(self, *args: Any, **kwargs: Any) -> Any:
            """Let the CA file of our settings win over REQUESTS_CA_BUNDLE."""
            settings = super().merge_environment_settings(*args, **kwargs)
            return settings | {"verify": self.verify} if isinstance(self.verify, str) else settings

    if any(os.environ.get(variable) for variable in CREDENTIAL_PROVIDERS):
        return None
    session = Session()
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
