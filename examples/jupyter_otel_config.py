"""Configuration of an application that has an `EventLog`: what may be recorded, and where it goes."""

import logging

from jupyter_otel_telemetry import OTLPHandler

c = get_config()  # noqa: F821 - traitlets puts it there

# Nothing is recorded for a schema that is not listed; * stands for any text. A property that its schema flags as
# personal is recorded as null unless it is allowed here.
c.EventLog.allowed_schemas = {
    "https://example.org/examples/*": {},
    "https://example.org/examples/storage-full": {"allowed_properties": ["username"]},
}

warnings_only = logging.FileHandler("warnings.jsonl", delay=True)
warnings_only.setLevel(logging.WARNING)
c.EventLog.handlers = [
    logging.FileHandler("events.jsonl"),
    warnings_only,
    OTLPHandler(service_name="example-app"),
]

# An application should not stop at an event that does not match its schema.
c.EventLog.on_invalid = "log"
