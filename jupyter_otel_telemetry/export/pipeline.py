"""Builds OpenTelemetry's export pipeline from arguments, `OTEL_*` environment variables and defaults."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk._logs import LoggerProvider, LogRecordLimits

from jupyter_otel_telemetry.export.batching import batching
from jupyter_otel_telemetry.export.delivery import CountingProcessor, Delivery
from jupyter_otel_telemetry.export.resource import check_resource, process_resource, program_resource
from jupyter_otel_telemetry.export.sdk_internals import update_resource
from jupyter_otel_telemetry.forks import after_fork_in_child
from jupyter_otel_telemetry.otlp.transport import build_transport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.resources import Resource

    from jupyter_otel_telemetry.otlp.settings import ExporterOptions
    from jupyter_otel_telemetry.spool import SpoolLogRecordProcessor

__all__ = ["build_provider", "build_spooling_provider", "check_options", "limits_attributes", "record_limits"]


def build_provider(
    options: ExporterOptions, service_name: str | None, resource: Resource | Mapping[str, Any] | None
) -> tuple[LoggerProvider, Delivery]:
    """Build a provider with the SDK's batch processor, which delivers over OTLP.

    Its attribute limits are those of `OTEL_*` variables; without them there is none, so that every event
    arrives whole.

    Raises:
        ValueError: an argument or variable has no meaning, or names a file that cannot be used.

    """
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
        OSError: the folder of the spool cannot be created or written to.

    """
    from jupyter_otel_telemetry.spool import SpoolLogRecordProcessor  # who has none need not import

    provider = _provider(service_name, resource)
    processor = SpoolLogRecordProcessor(spool, options)
    provider.add_log_record_processor(processor)
    return provider, processor


def check_options(spool: Any, service_name: Any, resource: Any) -> None:
    """Check the options of a pipeline, and look at no file.

    Raises:
        ValueError: an option has no meaning.

    """
    from jupyter_otel_telemetry.spool import SpoolOptions

    check_resource(service_name, resource)
    if spool is not None:
        SpoolOptions.from_argument(spool)


def _provider(service_name: str | None, resource: Resource | Mapping[str, Any] | None) -> LoggerProvider:
    # OTLPHandler ends the pipeline itself: the SDK at exit can take half a minute.
    provider = LoggerProvider(
        resource=program_resource(service_name, resource), log_record_limits=record_limits(), shutdown_on_exit=False
    )
    after_fork_in_child(provider, _describe_process)
    return provider


def _describe_process(provider: LoggerProvider) -> None:
    """Update the resource in a forked child, as the SDK does for its own detectors."""
    update_resource(provider, process_resource())


def limits_attributes() -> bool:
    """Tell whether `OTEL_*` variables limit the number or the length of attributes."""
    limits = record_limits()
    return (limits.max_log_record_attributes, limits.max_log_record_attribute_length) != (None, None)


def record_limits() -> LogRecordLimits:
    """Return the attribute limits of `OTEL_*` variables; without them there is none."""
    variables = ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT")
    if any(os.environ.get(variable, "").strip() for variable in variables):
        return LogRecordLimits()
    return LogRecordLimits(max_log_record_attributes=LogRecordLimits.UNSET)
