"""The private names of OpenTelemetry's packages that this package uses, since there is no public way.

`tests/export/test_sdk_internals.py` names one that a new release lacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import logging

    from opentelemetry._logs import LogRecord
    from opentelemetry.instrumentation.logging.handler import LoggingHandler
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk.resources import Resource

__all__ = ["QUEUE_LOGGER", "translated", "update_resource"]

QUEUE_LOGGER: Final = "opentelemetry.sdk._shared_internal"
"""The batch processor warns here of a full queue. `CountingProcessor` counts and logs losses itself."""


def update_resource(provider: LoggerProvider, resource: Resource) -> None:
    """Merge a resource into that of a provider. A forked child has another process id, as for the SDK's detectors."""
    provider._update_resource(resource)  # noqa: SLF001 - as the module says


def translated(handler: LoggingHandler, record: logging.LogRecord) -> LogRecord:
    """Return the `LogRecord` that a handler would emit. A file has the content that leaves over OTLP."""
    return handler._translate(record)  # noqa: SLF001 - as the module says
