"""Builds OpenTelemetry's export pipeline from arguments, `OTEL_*` environment variables and defaults."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk._logs import LoggerProvider, LogRecordLimits
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter

from jupyter_otel_telemetry.export.delivery import Delivery
from jupyter_otel_telemetry.export.resource import process_resource, program_resource
from jupyter_otel_telemetry.forks import after_fork_in_child
from jupyter_otel_telemetry.otlp.http import http_session
from jupyter_otel_telemetry.otlp.settings import ExporterOptions, check_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.sdk.resources import Resource

    from jupyter_otel_telemetry.spool import SpoolLogRecordProcessor

__all__ = ["build_provider", "build_spooling_provider"]


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
        build_exporter = _grpc_exporter if options.settings.protocol == "grpc" else _http_exporter
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
