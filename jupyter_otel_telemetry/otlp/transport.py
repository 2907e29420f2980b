"""Sends serialised requests over HTTP or gRPC, and returns their exact outcome.

The SDK's exporters retry for themselves, then say no more than that it failed; so they cannot be used here.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol

from jupyter_otel_telemetry.otlp.answers import OVERSIZED
from jupyter_otel_telemetry.otlp.library_logs import mask_library_logs, masked_library_logs

if TYPE_CHECKING:
    from jupyter_otel_telemetry.otlp.answers import Answer
    from jupyter_otel_telemetry.otlp.settings import ExporterOptions, ExporterSettings

__all__ = ["Transport", "build_transport"]

_logger = logging.getLogger(__name__)


_NEEDED_TO_SEND: Final = {
    "grpc": ("encodings.idna", "google.rpc.error_details_pb2", "grpc._channel", "grpc.experimental"),
    "http": ("encodings.idna", "google.rpc.status_pb2", "netrc"),
}
"""Modules that gRPC, requests and this package import when they are first used."""


class Transport(Protocol):
    """A way to a receiver."""

    def send(self, request: bytes) -> Answer:
        """Send a serialised `ExportLogsServiceRequest`. Never raises."""

    def close(self) -> None:
        """Give back connections."""


def build_transport(options: ExporterOptions, default_compression: str = "gzip") -> Transport:
    """Build the way to a receiver of arguments, `OTEL_EXPORTER_OTLP_*` variables and defaults.

    Args:
        options: the arguments.
        default_compression: used if neither an argument nor a variable chooses one.

    Raises:
        ValueError: one of them has no meaning, or names a file that cannot be used.

    """
    settings = options.settings
    for remark in settings.remarks:
        _logger.warning("%s", remark)
    if settings.protocol == "grpc":
        _import_early("grpc")
        from jupyter_otel_telemetry.otlp.grpc import GRPCTransport  # large

        return _MaskingTransport(GRPCTransport(settings, default_compression), settings)
    _import_early("http")
    from jupyter_otel_telemetry.otlp.http import HTTPTransport  # imports requests

    return _MaskingTransport(HTTPTransport(settings, default_compression), settings)


class _MaskingTransport:
    """Masks the reason of each answer, which may repeat a secret, and the log messages of libraries meanwhile."""

    def __init__(self, transport: Transport, settings: ExporterSettings) -> None:
        self._transport = transport
        self._settings = settings
        self._has_warned = False
        mask_library_logs()

    def send(self, request: bytes) -> Answer:
        with masked_library_logs(self._settings.mask):
            answer = self._transport.send(request)
        if answer.reason == OVERSIZED and not self._has_warned:
            self._has_warned = True
            text = "%s acknowledges records, but %s: rejected ones may go unnoticed; further answers are not logged"
            _logger.warning(text, self._settings.destination, OVERSIZED)
        return replace(answer, reason=self._settings.mask(answer.reason)) if answer.reason else answer

    def close(self) -> None:
        self._transport.close()


def _import_early(protocol: str) -> None:
    """Import the modules for sending: a child that is forked during an import would wait for it forever."""
    for name in _NEEDED_TO_SEND[protocol]:
        import_module(name)
