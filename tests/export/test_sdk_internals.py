"""OpenTelemetry's packages have the private names that this package uses."""

import logging

from opentelemetry._logs import LogRecord, NoOpLoggerProvider
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, InMemoryLogRecordExporter
from opentelemetry.sdk.resources import Resource

from jupyter_otel_telemetry.export import sdk_internals

LACKING = "this release of OpenTelemetry lacks {}: change jupyter_otel_telemetry/export/sdk_internals.py"


def test_update_resource_merges():
    """Into the resource of a provider and of its loggers."""
    assert hasattr(LoggerProvider, "_update_resource"), LACKING.format("LoggerProvider._update_resource")
    provider = LoggerProvider(Resource({"kept": "1"}), shutdown_on_exit=False)
    logger = provider.get_logger("made before")

    sdk_internals.update_resource(provider, Resource({"process.pid": 7}))

    assert dict(provider.resource.attributes) == {"kept": "1", "process.pid": 7}
    assert logger.resource.attributes["process.pid"] == 7


def test_translated_is_the_log_record_of_the_handler():
    """With its body; nothing is emitted."""
    assert hasattr(LoggingHandler, "_translate"), LACKING.format("LoggingHandler._translate")
    record = logging.LogRecord("mine", logging.INFO, "", 0, "hello %s", ("ada",), None)

    found = sdk_internals.translated(LoggingHandler(logger_provider=NoOpLoggerProvider()), record)

    assert isinstance(found, LogRecord), LACKING.format("the LogRecord that LoggingHandler._translate returned")
    assert found.body == "hello ada"


def test_queue_logger_warns_of_a_full_queue(caplog):
    """Under this name, which `CountingProcessor` filters."""
    provider = LoggerProvider(shutdown_on_exit=False)
    processor = BatchLogRecordProcessor(InMemoryLogRecordExporter(), max_queue_size=1, max_export_batch_size=1)
    provider.add_log_record_processor(processor)
    logger = provider.get_logger("many")
    for _ in range(1000):
        logger.emit(LogRecord(body="x"))
        if caplog.records:
            break
    provider.shutdown()

    names = {record.name for record in caplog.records}
    assert names == {sdk_internals.QUEUE_LOGGER}, LACKING.format("the logger of a full queue")
