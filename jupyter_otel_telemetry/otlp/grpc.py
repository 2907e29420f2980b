"""Sends requests over gRPC."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.forks import after_fork_in_child
from jupyter_otel_telemetry.names import USER_AGENT
from jupyter_otel_telemetry.otlp.answers import MAX_ANSWER_BYTES, Answer, accepted, failed, grpc_answer
from jupyter_otel_telemetry.otlp.providers import made_by_provider

if TYPE_CHECKING:
    from jupyter_otel_telemetry.otlp.settings import ExporterSettings

__all__ = ["GRPCTransport"]

_channels_of_parents: Final[list[Any]] = []


class GRPCTransport:
    """A way to a receiver over gRPC."""

    def __init__(self, settings: ExporterSettings, default_compression: str) -> None:
        import grpc  # large

        self._grpc = grpc
        self._settings = settings
        self._timeout_s = settings.timeout_s
        compression = settings.compression_or(default_compression)
        self._compression = grpc.Compression.Gzip if compression == "gzip" else grpc.Compression.NoCompression
        self._provided: Any = None
        if settings.credential_provider is not None and not settings.is_insecure:
            self._provided = made_by_provider(settings.credential_provider, grpc.ChannelCredentials)
        self._channel: Any = None
        self._files_seen: Any = None
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
                request,
                timeout=self._timeout_s,
                metadata=tuple(self._settings.headers.current().items()),
                compression=self._compression,
            )
        except grpc.RpcError as error:
            return grpc_answer(error)
        except Exception as error:  # a header that gRPC does not take, for instance
            return failed(error)
        return accepted(content)

    def _call(self) -> Any:
        seen = self._state_of_files()
        if self._channel is not None and seen is not None and seen != self._files_seen:
            self.close()  # credentials are read when a channel is made
        if self._channel is None:
            self._channel = self._connected()
            self._files_seen = seen
        return self._channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")

    def _state_of_files(self) -> list[tuple[int, ...]] | None:
        """Return a value that changes with the certificates and the key, or None if one cannot be found."""
        try:
            found = [Path(file).stat() for file in self._settings.files if file is not None]
        except OSError:
            return None
        return [(file.st_mtime_ns, file.st_ino, file.st_size) for file in found]

    def _connected(self) -> Any:
        proxy = self._settings.proxy
        options = (
            # gRPC waits up to two minutes between attempts to connect; we decide when to try.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
            ("grpc.primary_user_agent", USER_AGENT),
            # Otherwise the proxies of the environment count.
            ("grpc.enable_http_proxy", 0) if proxy is None else ("grpc.http_proxy", proxy),
        )
        if self._settings.is_insecure:
            return self._grpc.insecure_channel(self._settings.url, options=options)
        contents = (None if file is None else Path(file).read_bytes() for file in self._settings.files)
        credentials = self._provided or self._grpc.ssl_channel_credentials(*contents)
        return self._grpc.secure_channel(self._settings.url, credentials, options=options)

    def close(self) -> None:
        """Close the connections."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
