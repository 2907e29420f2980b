"""What the pipeline says of itself through the metrics API."""

from __future__ import annotations

import logging

import pytest
from builders import ID, schema
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from jupyter_otel_telemetry import EventLog, OTLPHandler

SCHEMA = {"jupyter.schema.id": ID, "jupyter.schema.version": "1"}


@pytest.fixture(scope="module")
def reader():
    """Read what is measured in this process, whose meter provider can be set only once."""
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
    return reader


@pytest.fixture
def measured(reader):
    """Return a function that returns what an instrument says, by its attributes, counted from now on."""

    def look():
        data = reader.get_metrics_data()
        found = {}
        for scope in data.resource_metrics[0].scope_metrics if data else ():
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    found[metric.name, frozenset(point.attributes.items())] = point.value
        return found

    before = look()

    def measured(name, **attributes):
        key = name, frozenset(attributes.items())
        return look().get(key, 0) - before.get(key, 0)

    return measured


def event_log(**arguments):
    log = EventLog(handlers=[OTLPHandler(**arguments)], allowed_schemas=[ID])
    log.register_schema(schema())
    return log


class TestEvents:
    @pytest.mark.usefixtures("event_sink")
    def test_are_counted_by_schema(self, measured, server_log):
        """Those that were recorded, and those that do not match."""
        server_log.record_event(ID, 1, {"count": 1})
        server_log.record_event(ID, "1", {"count": 2})
        server_log.on_invalid = "log"
        server_log.record_event(ID, 1, {"count": "three"})

        assert measured("jupyter.events.recorded", **SCHEMA) == 2
        assert measured("jupyter.events.invalid", **SCHEMA) == 1

    def test_that_are_not_allowed_are_counted_as_withheld(self, measured, server_log):
        """Strangers' names of schemas make no series of their own."""
        server_log.allowed_schemas = []
        server_log.record_event(ID, 1, {})
        server_log.record_event("made up", object(), {})

        assert measured("jupyter.events.withheld", **SCHEMA) == 1
        assert measured("jupyter.events.withheld") == 1

    def test_that_a_handler_keeps_back_are_withheld_too(self, measured, otlp_receiver):
        """Its policy can only narrow."""
        log = event_log(endpoint=otlp_receiver.endpoint, allowed_schemas=[])
        log.record_event(ID, 1, {})

        assert measured("jupyter.events.withheld", **SCHEMA) == 1

    def test_that_were_turned_into_text_are_withheld_too(self, measured, otlp_receiver):
        """By a handler with a policy, each of them; their schema is unknown."""
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint, allowed_schemas=[ID])
        for _ in range(2):
            handler.handle(logging.LogRecord("jupyter_events.logger.1", 20, "", 0, "{'user': 'ada'}", None, None))

        assert measured("jupyter.events.withheld") == 2


@pytest.mark.parametrize("has_spool", [False, True], ids=["memory", "spool"])
class TestRecords:
    @pytest.fixture
    def spool(self, has_spool, tmp_path):
        return tmp_path / "spool" if has_spool else None

    def test_delivered_are_counted(self, measured, otlp_receiver, spool):
        """When the receiver has accepted them."""
        log = event_log(endpoint=otlp_receiver.endpoint, spool=spool)
        for _ in range(5):
            log.record_event(ID, 1, {})
        assert log.handlers[0].force_flush(120)

        assert measured("jupyter.otlp.delivered") == 5

    def test_dropped_are_counted(self, measured, spool, monkeypatch):
        """The batch processor drops the oldest when its queue is full; so does a spool at its limit."""
        monkeypatch.setenv("OTEL_BLRP_MAX_QUEUE_SIZE", "512")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
        options = None if spool is None else {"folder": spool, "max_size_bytes": 262144}
        log = event_log(endpoint="http://127.0.0.1:9", spool=options)
        for _ in range(2000):
            log.record_event(ID, 1, {"action": "x" * 300})
        log.handlers[0].force_flush(0.5)

        if spool is None:
            log.handlers[0]._delivery.give_up_in(0)
            log.handlers[0]._provider.shutdown()
            reasons = [
                measured("jupyter.otlp.dropped", **{"jupyter.drop.reason": why}) for why in ("queue", "export")
            ]
            assert sum(reasons) == 2000
            assert min(reasons) > 0
        else:
            assert measured("jupyter.otlp.dropped", **{"jupyter.drop.reason": "full"}) > 1000


class TestSpool:
    def test_what_waits_is_measured(self, measured, tmp_path):
        """Records of this process, bytes of all, and the age of the oldest."""
        folder = tmp_path / "spool"
        log = event_log(endpoint="http://127.0.0.1:9", spool=folder)
        for _ in range(3):
            log.record_event(ID, 1, {})
        log.handlers[0].flush()
        where = {"jupyter.spool.folder": str(folder)}

        assert measured("jupyter.spool.depth", **where) == 3
        assert 1000 < measured("jupyter.spool.size", **where) < 4000
        assert measured("jupyter.spool.age", **where) > 0
