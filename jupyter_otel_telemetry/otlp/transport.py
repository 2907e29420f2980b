"""Sends serialised requests over HTTP or gRPC, and tells exactly what became of them.

The SDK's exporters retry for themselves, then say no more than that it failed; so they cannot be used here.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from jupyter_otel_telemetry.otlp.answers import Answer
    from jupyter_otel_telemetry.otlp.settings import ExporterOptions, ExporterSettings

__all__ = ["Transport", "build_transport"]

_logger = logging.getLogger(__name__)


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
        from jupyter_otel_telemetry.otlp.grpc import GRPCTransport  # noqa: PLC0415 - large

        return _MaskingTransport(GRPCTransport(settings, default_compression), settings)
    from jupyter_otel_telemetry.otlp.http import HTTPTransport  # noqa: PLC0415 - imports requests

    return _MaskingTransport(HTTPTransport(settings, default_compression), settings)


class _MaskingTransport:
    """Masks the reason of each answer, which may repeat a secret."""

    def __init__(self, transport: Transport, settings: ExporterSettings) -> None:
        self._transport = transport
        self._settings = settings

    def send(self, request: bytes) -> Answer:
        answer = self._transport.send(request)
        return replace(answer, reason=self._settings.mask(answer.reason)) if answer.reason else answer

    def close(self) -> None:
        self._transport.close()
