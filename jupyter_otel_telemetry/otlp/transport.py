"""Sends serialised requests over HTTP or gRPC, and tells exactly what became of them.

The SDK's exporters retry for themselves, then say no more than that it failed; so they cannot be used here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from jupyter_otel_telemetry.otlp.answers import Answer
    from jupyter_otel_telemetry.otlp.settings import ExporterOptions

__all__ = ["Transport", "build_transport"]


class Transport(Protocol):
    """A way to a receiver."""

    def send(self, request: bytes) -> Answer:
        """Send a serialised `ExportLogsServiceRequest`. Never raises."""

    def close(self) -> None:
        """Give back connections."""


def build_transport(options: ExporterOptions) -> Transport:
    """Build the way to a receiver of arguments, `OTEL_EXPORTER_OTLP_*` variables and defaults.

    Raises:
        ValueError: one of them has no meaning.
        OSError: a certificate file cannot be read.

    """
    if options.chosen_protocol() == "grpc":
        from jupyter_otel_telemetry.otlp.grpc import GRPCTransport  # noqa: PLC0415 - large

        return GRPCTransport(options)
    from jupyter_otel_telemetry.otlp.http import HTTPTransport  # noqa: PLC0415 - imports requests

    return HTTPTransport(options)
