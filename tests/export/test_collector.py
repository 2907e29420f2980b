"""EventLog → OTLPHandler → a real collector → receiver, field by field."""

from datetime import datetime, timezone
from secrets import token_hex

import pytest
from builders import ID, schema
from opentelemetry.sdk.trace import TracerProvider

from jupyter_otel_telemetry import EventLog, OTLPHandler

EVENT = {
    "action": "start",
    "count": -(2**63),
    "ratio": 0.25,
    "ok": True,
    "model": {"path": "/a b", "parts": [1, "two", None, {"three": 3.5}]},
    "big": 2**64,
    "text": "zwölf \U0001f600\ud800",
    "none": None,
    "empty": "",
}
ATTRIBUTES = {
    "jupyter.event.action": "start",
    "jupyter.event.count": -(2**63),
    "jupyter.event.ratio": 0.25,
    "jupyter.event.ok": True,
    "jupyter.event.model.path": "/a b",
    "jupyter.event.model.parts": [1, "two", None, {"three": 3.5}],
    "jupyter.event.big": str(2**64),
    "jupyter.event.text": "zwölf \U0001f600\ufffd",
    "jupyter.event.empty": "",
    "jupyter.schema.id": ID,
    "jupyter.schema.version": "1",
    "jupyter.sequence": 1,
}


@pytest.mark.parametrize("has_spool", [False, True], ids=["memory", "spool"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
class TestCollector:
    @pytest.fixture
    def handler(self, collector, protocol, has_spool, tmp_path):
        """A handler that sends to the collector."""
        collector.receiver.clear()
        endpoint = collector.grpc if protocol == "grpc" else collector.http
        spool = tmp_path / "spool" if has_spool else None
        handler = OTLPHandler(
            endpoint=endpoint, protocol=protocol, service_name="jupyterhub", compression="gzip", spool=spool
        )
        yield handler
        handler.close()

    @pytest.fixture
    def log(self, handler):
        """An EventLog with that handler."""
        log = EventLog(handlers=[handler], allowed_schemas=["*"])
        log.register_schema(schema(otel={"event_name": "jupyter.server.action", "severity": "WARN2"}))
        return log

    def test_event_arrives_as_the_mapping_says(self, collector, handler, log):
        """Every field, and every kind of value."""
        moment = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone.utc)
        with TracerProvider().get_tracer("test").start_as_current_span("request") as span:
            log.record_event(ID, 1, EVENT, timestamp_override=moment)
        assert handler.force_flush(120)
        (arrived,) = collector.receiver.wait_for(1)
        attributes = dict(arrived.attributes)

        assert len(attributes.pop("log.record.uid")) == 26
        assert attributes == ATTRIBUTES
        assert arrived.event_name == "jupyter.server.action"
        assert (arrived.severity_number, arrived.severity_text) == (14, "WARN2")
        assert arrived.timestamp_ns == 1767323045678901000
        assert arrived.body.startswith("Server action action=start count=-9223372036854775808 ratio=0.25 ok=true")
        assert arrived.resource["service.name"] == "jupyterhub"
        assert (arrived.scope_name, bool(arrived.scope_version)) == ("jupyter_otel_telemetry", True)
        assert arrived.trace_id == format(span.get_span_context().trace_id, "032x")
        assert arrived.span_id == format(span.get_span_context().span_id, "016x")

    def test_hostile_events_cost_no_neighbour_its_place(self, collector, handler, log):
        """One batch with everything that encoders and receivers stumble over."""
        deep = []
        for _ in range(400):
            deep = [deep]
        hostile = [{"x": deep}, {"x": float("nan")}, {"x": "\udfff"}, {"x": 10**400}, {"": {"": {"": None}}}]
        hostile += [{f"p{number}": number for number in range(300)}, {"x": "y" * 1_000_000}]
        for number, event in enumerate(hostile):
            log.record_event(ID, 1, event)
            log.record_event(ID, 1, {"good": number})
        assert handler.force_flush(120)
        arrived = collector.receiver.wait_for(2 * len(hostile))

        good = [log.attributes["jupyter.event.good"] for log in arrived if "jupyter.event.good" in log.attributes]
        assert sorted(good) == list(range(len(hostile)))
        assert max(len(log.attributes) for log in arrived) == 304

    def test_ten_thousand_events_arrive_once_each(self, collector, handler, log):
        """In batches, with flushes between, as a queue of 2,048 demands."""
        for number in range(10_000):
            log.record_event(ID, 1, {"count": number})
            if number % 1000 == 999:
                assert handler.force_flush(120)
        arrived = collector.receiver.wait_for(10_000, timeout_s=180)

        assert sorted(log.attributes["jupyter.event.count"] for log in arrived) == list(range(10_000))

    def test_event_above_the_limit_of_the_collector_costs_only_itself(self, collector, protocol, handler, log):
        """It answers OUT_OF_RANGE over gRPC and 413 over HTTP."""
        size_bytes = 5_000_000 if protocol == "grpc" else 12_000_000  # compressed, as hex digits cannot be by more
        for number in range(400):
            padding = token_hex(size_bytes) if number == 200 else "x" * 20_000
            log.record_event(ID, 1, {"count": number, "padding": padding})

        assert handler.force_flush(60) is False
        arrived = collector.receiver.wait_for(399, timeout_s=60)
        numbers = sorted(entry.attributes["jupyter.event.count"] for entry in arrived)
        assert numbers == [number for number in range(400) if number != 200]
