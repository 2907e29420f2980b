"""Builds OpenTelemetry's export pipeline from arguments, `OTEL_*` environment variables and defaults."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk._logs import LoggerProvider, LogRecordLimits

from jupyter_otel_telemetry.export.batching import batching
from jupyter_otel_telemetry.export.delivery import CountingProcessor, Delivery
from jupyter_otel_telemetry.export.resource import process_resource, program_resource
from jupyter_otel_telemetry.forks import after_fork_in_child
from jupyter_otel_telemetry.otlp.transport import build_transport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.sdk.resources import Resource

    from jupyter_otel_telemetry.otlp.settings import ExporterOptions
    from jupyter_otel_telemetry.spool import SpoolLogRecordProcessor

__all__ = ["build_provider", "build_spooling_provider"]


def build_provider(
    options: ExporterOptions, service_name: str | None, resource: Resource | Mapping[str, Any] | None
) -> tuple[LoggerProvider, Delivery]:
    """Build a provider with the SDK's batch processor, which delivers over OTLP.

    Its attribute limits are those of `OTEL_*` variables; without them there is none, so that every event
    arrives whole.

    Raises:
        ValueError: an argument or variable has no meaning.
        OSError: a certificate file cannot be read.

    """
    with _saying_where():
        waiting = batching()
        transport = build_transport(options, default_compression="none")
        delivery = Delivery(transport, options.destination(), waiting.queue_size)
        provider = _provider(service_name, resource)
        provider.add_log_record_processor(CountingProcessor(delivery, waiting))
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


def _limits() -> LogRecordLimits:
    variables = ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT")
    if any(os.environ.get(variable, "").strip() for variable in variables):
        return LogRecordLimits()
    return LogRecordLimits(max_log_record_attributes=LogRecordLimits.UNSET)
