"""Builds OpenTelemetry's export pipeline from arguments, `OTEL_*` environment variables and defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from opentelemetry.sdk._logs import LoggerProvider, LogRecordLimits
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter

from jupyter_otel_telemetry.delivery import Delivery, after_fork_in_child
from jupyter_otel_telemetry.resource import process_resource, program_resource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.resources import Resource

    from jupyter_otel_telemetry.spool import SpoolLogRecordProcessor

__all__ = ["ExporterOptions", "build_provider", "build_spooling_provider", "http_session"]

PROTOCOLS: Final = ("http/protobuf", "grpc")
COMPRESSIONS: Final = ("gzip", "deflate", "none")
CREDENTIAL_PROVIDERS: Final = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_LOGS_CREDENTIAL_PROVIDER",
)


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
        check_url("endpoint", self.endpoint)
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

    def destination(self) -> str:
        """Return where to and how, without what may be secret in a URL."""
        protocol = self.chosen_protocol()
        default = "http://localhost:4317" if protocol == "grpc" else "http://localhost:4318"
        variables = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        url = self.endpoint or next(filter(None, map(os.environ.get, variables)), default)
        return f"{re.sub('//[^/]*@', '//', url).partition('?')[0]} ({protocol})"


def check_url(name: str, value: str | None) -> None:
    if value is None or (value.startswith(("http://", "https://")) and urlsplit(value).hostname):
        return
    shown = re.sub(".*@", "", value, flags=re.DOTALL)  # without credentials
    raise ValueError(f"{name} {shown!r} is no URL; write http://host:4318, or https:// for TLS")


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
    with _saying_where():
        build_exporter = _grpc_exporter if options.chosen_protocol() == "grpc" else _http_exporter
        queue_size = _queue_size()
        delivery = Delivery(build_exporter(options), queue_size)
        provider = _provider(service_name, resource)
        provider.add_log_record_processor(BatchLogRecordProcessor(delivery, max_queue_size=queue_size))
    return provider, delivery


def build_spooling_provider(
    spool: Any,
    options: ExporterOptions,
    service_name: str | None,
    resource: Resource | Mapping[str, Any] | None,
) -> tuple[LoggerProvider, SpoolLogRecordProcessor]:
    """Build the same, but with a spool.

    Raises:
        ValueError: as above.
        OSError: a certificate file cannot be read, or the folder of the spool not be created or written to.

    """
    from jupyter_otel_telemetry.spool import SpoolLogRecordProcessor  # noqa: PLC0415 - who has none need not import

    with _saying_where():
        provider = _provider(service_name, resource)
        processor = SpoolLogRecordProcessor(spool, options)
        provider.add_log_record_processor(processor)
    return provider, processor


@contextmanager
def _saying_where() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"OTLPHandler cannot be built from its arguments and OTEL_* variables: {error}") from error


def _provider(service_name: str | None, resource: Resource | Mapping[str, Any] | None) -> LoggerProvider:
    # OTLPHandler ends the pipeline itself: what the SDK does at exit can take half a minute.
    provider = LoggerProvider(
        resource=program_resource(service_name, resource), log_record_limits=_limits(), shutdown_on_exit=False
    )
    after_fork_in_child(provider, _describe_process)
    return provider


def _describe_process(provider: LoggerProvider) -> None:
    """Do what the SDK does in a forked child for the detectors that it knows of."""
    provider._update_resource(process_resource())  # noqa: SLF001 - there is no public way


def _queue_size() -> int:
    text = os.environ.get("OTEL_BLRP_MAX_QUEUE_SIZE", "").strip() or "2048"
    if not text.isdigit() or not int(text):
        raise ValueError(f"OTEL_BLRP_MAX_QUEUE_SIZE {text!r} is no number of records")
    return int(text)


def _limits() -> LogRecordLimits:
    variables = ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT")
    if any(os.environ.get(variable, "").strip() for variable in variables):
        return LogRecordLimits()
    return LogRecordLimits(max_log_record_attributes=LogRecordLimits.UNSET)


def _http_exporter(options: ExporterOptions) -> LogRecordExporter:
    from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415 - imports requests
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter  # noqa: PLC0415

    endpoint = options.endpoint
    if endpoint is None:
        for variable in ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
            check_url(variable, os.environ.get(variable) or None)
    elif not endpoint.rstrip("/").endswith("/v1/logs"):
        endpoint = endpoint.rstrip("/") + "/v1/logs"
    return OTLPLogExporter(
        endpoint=endpoint,
        headers=dict(options.headers) if options.headers is not None else None,
        compression=Compression(options.compression) if options.compression is not None else None,
        certificate_file=options.certificate_file,
        client_certificate_file=options.client_certificate_file,
        client_key_file=options.client_key_file,
        session=http_session(),
    )


def http_session() -> Any:
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

    if any(os.environ.get(variable) for variable in CREDENTIAL_PROVIDERS):
        return None  # which makes the exporter ask that provider for a session
    session = Session()
    after_fork_in_child(session, _reconnect)
    return session


def _reconnect(session: Any) -> None:
    """Leave the connections to the parent process, which goes on to use them."""
    for prefix, adapter in list(session.adapters.items()):
        session.mount(prefix, type(adapter)())


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
