"""Builds OpenTelemetry's export pipeline from arguments, `OTEL_*` environment variables and defaults."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry.sdk._logs import LoggerProvider, LogRecordLimits, ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource

__all__ = ["Delivery", "ExporterOptions", "build_provider", "program_name"]

PROTOCOLS: Final = ("http/protobuf", "grpc")
COMPRESSIONS: Final = ("gzip", "deflate", "none")
_CREDENTIAL_PROVIDERS: Final = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_LOGS_CREDENTIAL_PROVIDER",
)
DEFAULT_SERVICE_NAME: Final = "unknown_service"
MAX_REQUEST_BYTES: Final = 3 * 1024 * 1024
"""Estimated size above which a batch is sent in parts: gRPC receivers refuse 4 MiB by default."""


@dataclass(frozen=True)
class ExporterOptions:
    """Where and how to export; what is None is left to `OTEL_EXPORTER_OTLP_*`, then to the defaults."""

    endpoint: str | None = None
    protocol: str | None = None
    headers: Mapping[str, str] | None = None
    compression: str | None = None
    certificate_file: str | None = None
    client_certificate_file: str | None = None
    client_key_file: str | None = None

    def __post_init__(self) -> None:
        _check_choice("protocol", self.protocol, PROTOCOLS)
        _check_choice("compression", self.compression, COMPRESSIONS)
        _check_url("endpoint", self.endpoint)
        if self.headers is not None and not isinstance(self.headers, Mapping):
            raise ValueError("headers must be a mapping from names to texts")

    def chosen_protocol(self) -> str:
        """Return the argument, else what `OTEL_EXPORTER_OTLP_(LOGS_)PROTOCOL` says, else the default."""
        if self.protocol is not None:
            return self.protocol
        for variable in ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
            if value := os.environ.get(variable, "").strip():
                _check_choice(variable, value, PROTOCOLS)
                return value
        return PROTOCOLS[0]


def _check_url(name: str, value: str | None) -> None:
    if value is None or (value.startswith(("http://", "https://")) and urlsplit(value).hostname):
        return
    raise ValueError(f"{name} {value!r} is no URL; write http://host:4318, or https:// for TLS")


def _check_choice(name: str, value: str | None, choices: Sequence[str]) -> None:
    if value is not None and value not in choices:
        raise ValueError(f"{name} {value!r} is unknown; use one of {', '.join(choices)}")


def build_provider(
    options: ExporterOptions, service_name: str | None, resource: Resource | Mapping[str, Any] | None
) -> tuple[LoggerProvider, Delivery]:
    """Build a provider with the SDK's batch processor and an OTLP exporter.

    Its attribute limits are those of `OTEL_*` variables; without them there is none, so that every event
    arrives whole.

    Raises:
        ValueError: an argument or variable has no meaning.
        OSError: a certificate file cannot be read.

    """
    build_exporter = _grpc_exporter if options.chosen_protocol() == "grpc" else _http_exporter
    try:
        delivery = Delivery(build_exporter(options))
        # OTLPHandler ends the pipeline itself: what the SDK does at exit can take half a minute.
        provider = LoggerProvider(
            resource=_resource(service_name, resource), log_record_limits=_limits(), shutdown_on_exit=False
        )
        provider.add_log_record_processor(BatchLogRecordProcessor(delivery))
    except ValueError as error:
        raise ValueError(f"OTLPHandler cannot be built from its arguments and OTEL_* variables: {error}") from error
    return provider, delivery


def _limits() -> LogRecordLimits:
    variables = ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT")
    if any(os.environ.get(variable, "").strip() for variable in variables):
        return LogRecordLimits()
    return LogRecordLimits(max_log_record_attributes=LogRecordLimits.UNSET)


def _resource(service_name: str | None, resource: Resource | Mapping[str, Any] | None) -> Resource:
    built = Resource.create()
    if str(built.attributes.get("service.name", "")).startswith(DEFAULT_SERVICE_NAME):
        built = built.merge(Resource({"service.name": program_name()}))
    if resource is not None:
        built = built.merge(resource if isinstance(resource, Resource) else Resource(dict(resource)))
    if service_name is not None:
        built = built.merge(Resource({"service.name": service_name}))
    return built


def program_name() -> str:
    """Return the name of the running program, `jupyterhub` for instance, or of the module run by `python -m`."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name:
        return str(spec.name).removesuffix(".__main__")
    stem = Path(sys.argv[0] if sys.argv else "").stem
    return stem if stem not in {"", "-", "-c"} else "python"


def _http_exporter(options: ExporterOptions) -> LogRecordExporter:
    from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415 - imports requests
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter  # noqa: PLC0415

    endpoint = options.endpoint
    if endpoint is None:
        for variable in ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
            _check_url(variable, os.environ.get(variable) or None)
    elif not endpoint.rstrip("/").endswith("/v1/logs"):
        endpoint = endpoint.rstrip("/") + "/v1/logs"
    return OTLPLogExporter(
        endpoint=endpoint,
        headers=dict(options.headers) if options.headers is not None else None,
        compression=Compression(options.compression) if options.compression is not None else None,
        certificate_file=options.certificate_file,
        client_certificate_file=options.client_certificate_file,
        client_key_file=options.client_key_file,
        session=_http_session(),
    )


def _http_session() -> Any:
    """Make a session that keeps two promises which requests and the exporter by themselves would not."""
    import requests  # noqa: PLC0415 - imports much

    class Session(requests.Session):
        def request(self, *args: Any, **kwargs: Any) -> Any:
            """Fail where the answer is a redirect; the exporter takes it for success, and the records are gone."""
            response = super().request(*args, **kwargs)
            if response.is_redirect:
                target = response.headers["Location"]
                raise requests.RequestException(f"the endpoint redirects to {target}: set that as the endpoint")
            return response

        def merge_environment_settings(self, *args: Any, **kwargs: Any) -> Any:
            """Let the CA file of our settings win over REQUESTS_CA_BUNDLE."""
            settings = super().merge_environment_settings(*args, **kwargs)
            return settings | {"verify": self.verify} if isinstance(self.verify, str) else settings

    if any(os.environ.get(variable) for variable in _CREDENTIAL_PROVIDERS):
        return None  # which makes the exporter ask that provider for a session
    session = Session()
    _after_fork_in_child(session, _reconnect)
    return session


def _reconnect(session: Any) -> None:
    """Leave the connections to the parent process, which goes on to use them."""
    for prefix, adapter in list(session.adapters.items()):
        session.mount(prefix, type(adapter)())


def _after_fork_in_child(owner: Any, function: Callable[[Any], object]) -> None:
    """Call `function(owner)` in every child that is forked while `owner` is alive."""
    alive = weakref.ref(owner)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: (found := alive()) is not None and function(found))


def _grpc_exporter(options: ExporterOptions) -> LogRecordExporter:
    import grpc  # noqa: PLC0415 - large
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter  # noqa: PLC0415

    if options.compression == "deflate":
        raise ValueError("compression 'deflate' is not offered over grpc; use gzip or none")
    compressions = {"gzip": grpc.Compression.Gzip, "none": grpc.Compression.NoCompression, None: None}
    return OTLPLogExporter(
        endpoint=options.endpoint,
        # The scheme of an endpoint argument decides, as an argument wins over OTEL_EXPORTER_OTLP_INSECURE.
        insecure=options.endpoint.startswith("http://") if options.endpoint is not None else None,
        credentials=_grpc_credentials(grpc, options),
        headers=tuple((name.lower(), value) for name, value in options.headers.items())
        if options.headers is not None
        else None,
        compression=compressions[options.compression],
    )


def _grpc_credentials(grpc: Any, options: ExporterOptions) -> Any:
    files = (options.certificate_file, options.client_key_file, options.client_certificate_file)
    if not any(files):
        return None
    return grpc.ssl_channel_credentials(*(Path(file).read_bytes() if file else None for file in files))


class Delivery(LogRecordExporter):
    """Exports through another exporter, in parts that receivers accept, and knows what was accepted.

    The SDK's processor forgets what an export returned, so this is where the truth about delivery is.
    """

    def __init__(self, exporter: LogRecordExporter) -> None:
        self._exporter = exporter
        self._deadline_s = math.inf
        self._reset()
        # The child's queue begins empty: what its parent emitted is the parent's to deliver.
        _after_fork_in_child(self, Delivery._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._emitted = self._accepted = self._settled = 0

    def count_emitted(self) -> None:
        """Note that one record is about to enter the queue."""
        with self._lock:
            self._emitted += 1

    def give_up_in(self, timeout_s: float) -> None:
        """Let exports that begin later than in `timeout_s` seconds fail at once."""
        self._deadline_s = time.monotonic() + timeout_s

    def settle(self, target: int) -> bool:
        """Tell whether the first `target` records were accepted, except those an earlier call has settled.

        To be called when the queue has been worked off. What is missing then is lost: the queue was full, or
        an export failed.
        """
        with self._lock:
            if complete := self._accepted >= target - self._settled:
                self._accepted -= target - self._settled
            else:
                self._accepted = 0
            self._settled = target
            return complete

    @property
    def emitted(self) -> int:
        """Number of records emitted by this process so far."""
        return self._emitted

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Export in parts of at most about 3 MiB; a part that fails does not keep the next from being tried."""
        result = LogRecordExportResult.SUCCESS
        for part in _parts(batch):
            in_time = time.monotonic() < self._deadline_s
            if in_time and self._exporter.export(part) is LogRecordExportResult.SUCCESS:
                with self._lock:
                    self._accepted += len(part)
            else:
                result = LogRecordExportResult.FAILURE
        return result

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        """Flush the exporter, which holds nothing back."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK has no annotations here


def _parts(batch: Sequence[ReadableLogRecord]) -> Iterator[Sequence[ReadableLogRecord]]:
    part: list[ReadableLogRecord] = []
    part_bytes = 0
    for record in batch:
        size_bytes = _estimated_bytes(record)
        if part and part_bytes + size_bytes > MAX_REQUEST_BYTES:
            yield part
            part, part_bytes = [], 0
        part.append(record)
        part_bytes += size_bytes
    if part:
        yield part


def _estimated_bytes(record: ReadableLogRecord) -> int:
    # The body shows the whole event, so the attributes are about as long; non-ASCII text can take 3 bytes.
    body = record.log_record.body
    return 1000 + (2 * (len(body) if body.isascii() else 3 * len(body)) if isinstance(body, str) else 0)
