"""Configuration of an application that has an `EventLog`: what may be recorded, and where it goes."""

import logging

from jupyter_otel_telemetry import OTLPHandler

c = get_config()  # noqa: F821 - traitlets puts it there

# Nothing is recorded for a schema that is not listed; * stands for any text.
c.EventLog.allowed_schemas = ["https://example.org/examples/*"]

warnings_only = logging.FileHandler("warnings.jsonl", delay=True)
warnings_only.setLevel(logging.WARNING)
c.EventLog.handlers = [
    logging.FileHandler("events.jsonl"),
    warnings_only,
    OTLPHandler(service_name="example-app"),
]

# An application should not stop at an event that does not match its schema.
c.EventLog.on_invalid = "log"
