"""Sends serialised requests over HTTP or gRPC, and tells exactly what became of them.

The SDK's exporters retry for themselves, then say no more than that it failed; so they cannot be used here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from jupyter_otel_telemetry.otlp.answers import Answer
    from jupyter_otel_telemetry.otlp.settings import ExporterOptions

__all__ = ["Transport", "build_transport"]


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


def build_transport(options: ExporterOptions) -> Transport:
    """Build the way to a receiver of arguments, `OTEL_EXPORTER_OTLP_*` variables and defaults.

    Raises:
        ValueError: one of them has no meaning.
        OSError: a certificate file cannot be read.

    """
    if options.chosen_protocol() == "grpc":
        _import_early("grpc")
        from jupyter_otel_telemetry.otlp.grpc import GRPCTransport  # noqa: PLC0415 - large

        return GRPCTransport(options)
    _import_early("http")
    from jupyter_otel_telemetry.otlp.http import HTTPTransport  # noqa: PLC0415 - imports requests

    return HTTPTransport(options)


def _import_early(protocol: str) -> None:
    """Import what sending needs: a child that is forked while another thread imports would wait for it forever."""
    for name in _NEEDED_TO_SEND[protocol]:
        import_module(name)
