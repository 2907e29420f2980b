"""Sends requests over gRPC."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry._version import __version__
from jupyter_otel_telemetry.forks import after_fork_in_child
from jupyter_otel_telemetry.otlp.answers import Answer, accepted, failed, grpc_answer
from jupyter_otel_telemetry.otlp.settings import (
    chosen_compression,
    grpc_files,
    grpc_target,
    request_headers,
    timeout_s,
)

if TYPE_CHECKING:
    from jupyter_otel_telemetry.otlp.settings import ExporterOptions

__all__ = ["GRPCTransport"]

_USER_AGENT: Final = f"jupyter-otel-telemetry/{__version__}"
_GRPC_CREDENTIAL_PROVIDERS: Final = (
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_LOGS_CREDENTIAL_PROVIDER",
)
_channels_of_parents: Final[list[Any]] = []


class GRPCTransport:
    """A way to a receiver over gRPC."""

    def __init__(self, options: ExporterOptions) -> None:
        import grpc  # noqa: PLC0415 - large

        self._grpc = grpc
        self._timeout_s = timeout_s()
        compression = chosen_compression(options, ("gzip", "none"))
        self._compression = grpc.Compression.Gzip if compression == "gzip" else grpc.Compression.NoCompression
        self._metadata = tuple(request_headers(options).items())
        self._target, is_insecure = grpc_target(options)
        self._credentials = None
        if not is_insecure:
            self._credentials = _provided_credentials(grpc) or grpc.ssl_channel_credentials(*grpc_files(options))
        self._channel: Any = None
        after_fork_in_child(self, GRPCTransport._leave_to_parent)

    def _leave_to_parent(self) -> None:
        """Forget the channel in a child; it is kept, since its end would wait for threads that are not here."""
        _channels_of_parents.append(self._channel)
        self._channel = None

    def send(self, request: bytes) -> Answer:
        """Send a serialised `ExportLogsServiceRequest`. Never raises."""
        grpc = self._grpc
        try:
            content = self._call()(
                request, timeout=self._timeout_s, metadata=self._metadata, compression=self._compression
            )
        except grpc.RpcError as error:
            return grpc_answer(error)
        except Exception as error:  # noqa: BLE001 - a header that gRPC does not take, for instance
            return failed(error)
        return accepted(content)

    def _call(self) -> Any:
        if self._channel is None:
            # gRPC waits up to two minutes between attempts to connect; we decide when to try.
            options = (
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
                ("grpc.primary_user_agent", _USER_AGENT),
            )
            if self._credentials is None:
                self._channel = self._grpc.insecure_channel(self._target, options=options)
            else:
                self._channel = self._grpc.secure_channel(self._target, self._credentials, options=options)
        return self._channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")

    def close(self) -> None:
        """Close the connections."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _provided_credentials(grpc: Any) -> Any:
    """Return the credentials of the provider that one of the SDK's variables names, or None if none is set."""
    variable = next(filter(os.environ.get, _GRPC_CREDENTIAL_PROVIDERS), None)
    if variable is None:
        return None
    name = os.environ[variable]
    for provider in entry_points(group="opentelemetry_otlp_credential_provider", name=name):
        credentials = provider.load()()
        if isinstance(credentials, grpc.ChannelCredentials):
            return credentials
        raise ValueError(f"{variable} {name!r} returns {type(credentials).__name__}, not grpc.ChannelCredentials")
    raise ValueError(f"{variable} {name!r} is not the name of an installed credential provider")
