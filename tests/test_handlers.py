"""A handler behind a `MemoryHandler` is treated as if it were given by itself."""

import io
import json
import logging
from logging.handlers import MemoryHandler

import pytest
from builders import ID, schema

from jupyter_otel_telemetry import EventLog, OTLPHandler


@pytest.fixture(params=[1, 2])
def behind(request):
    """Return a function that puts one or two of them before a handler."""

    def wrap(handler):
        for _ in range(request.param):
            handler = MemoryHandler(1, target=handler)
        return handler

    return wrap


class TestBehindMemoryHandler:
    def test_default_formatter_is_given(self, behind):
        """It writes JSON lines."""
        stream = io.StringIO()
        log = EventLog(handlers=[behind(logging.StreamHandler(stream))], allowed_schemas=[ID])
        log.register_schema(schema())
        log.record_event(ID, 1, {"count": 1})

        assert json.loads(stream.getvalue())["count"] == 1

    def test_policy_is_explained_and_announced(self, behind, otlp_receiver, caplog):
        """Else an operator would take it for one that sends everything."""
        caplog.set_level(logging.INFO, "jupyter_otel_telemetry")
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint, allowed_schemas=["https://example.org/other"])
        log = EventLog(handlers=[behind(handler)], allowed_schemas=[ID])
        log.register_schema(schema())

        assert [explanation["allowed"] for explanation in log.explain()] == [False]
        assert "narrowed to events of https://example.org/other" in caplog.text
