"""Log records that are serialised without protobuf objects equal those that protobuf and the SDK serialise."""

import os
from contextlib import nullcontext

import pytest
from builders import ID, schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

from jupyter_otel_telemetry import EventLog, OTLPHandler
from jupyter_otel_telemetry.events.record import EventRecord
from jupyter_otel_telemetry.export.resource import program_resource
from jupyter_otel_telemetry.otlp.encoding import encode_resource, encode_scope
from jupyter_otel_telemetry.otlp.wire import (
    encode_attributes,
    encode_event_name,
    encode_log_record,
    encode_severity,
)
from jupyter_otel_telemetry.schemas.schema import parse_schema
from jupyter_otel_telemetry.spool.inspection import waiting
from jupyter_otel_telemetry.spool.journal import Journal

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.integers(90, 2000).map("a".__mul__)
int64s = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2000)
atoms = st.none() | st.booleans() | int64s | st.floats(allow_nan=False) | texts | st.binary()
values = st.recursive(atoms, lambda some: st.lists(some) | st.dictionaries(texts, some), max_leaves=8)
uint64s = st.integers(0, 2**64 - 1)
names = texts.filter(lambda name: not name.startswith("__"))
json_atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
json_values = st.recursive(json_atoms, lambda some: st.lists(some) | st.dictionaries(texts, some), max_leaves=8)
examples = settings(
    deadline=None, derandomize=os.environ.get("CI") == "true", suppress_health_check=[HealthCheck.too_slow]
)
tracer = TracerProvider().get_tracer("tests")
EVENT_TYPE = parse_schema(schema()).event_type


def any_value(value):
    """Build the protobuf message of a value."""
    if value is None:
        return AnyValue()
    if isinstance(value, dict):
        return AnyValue(kvlist_value=KeyValueList(values=pairs(value)))
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=map(any_value, value)))
    kinds = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value", bytes: "bytes_value"}
    return AnyValue(**{kinds[type(value)]: value})


def pairs(attributes):
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


class TestEncodeLogRecord:
    @examples
    @given(
        times=st.tuples(uint64s, uint64s),
        severity=st.tuples(st.integers(0, 24), texts),
        body=values,
        attributes=st.dictionaries(texts, values, max_size=5),
        name=texts,
        numbers=st.tuples(*[st.integers(0, 2**32 - 1)] * 2),
        ids=st.tuples(st.integers(0, 2**128 - 1), uint64s),
    )
    def test_equals_what_protobuf_serialises(self, times, severity, body, attributes, name, numbers, ids):
        """Byte for byte, whatever the values."""
        message = LogRecord(
            time_unix_nano=times[0],
            observed_time_unix_nano=times[1],
            severity_number=severity[0],
            severity_text=severity[1],
            body=None if body is None else any_value(body),
            attributes=pairs(attributes),
            dropped_attributes_count=numbers[0],
            flags=numbers[1],
            trace_id=ids[0].to_bytes(16, "big") if ids[0] else b"",
            span_id=ids[1].to_bytes(8, "big") if ids[1] else b"",
            event_name=name,
        )
        encoded = encode_log_record(
            *times,
            encode_severity(*severity),
            body,
            encode_attributes(attributes),
            encode_event_name(name),
            dropped_attributes=numbers[0],
            flags=numbers[1],
            trace_id=ids[0],
            span_id=ids[1],
        )
        assert message.SerializeToString(deterministic=True) == encoded


class Keep(LogRecordProcessor):
    """Keeps the records of a provider."""

    def __init__(self):
        self.records = []

    def on_emit(self, log_record):
        self.records.append(log_record)

    def shutdown(self):
        pass

    def force_flush(self, timeout_millis=0):  # noqa: ARG002 - the SDK's signature
        return True


def add_attribute(record):
    record.added = {"by": ["a", "filter"]}
    return True


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Return a function that records an event, and returns it as spooled and as the SDK has it."""
    folder = tmp_path_factory.mktemp("spool")
    keep, provider = Keep(), LoggerProvider(resource=program_resource("both", None), shutdown_on_exit=False)
    provider.add_log_record_processor(keep)
    handler = OTLPHandler(endpoint="http://127.0.0.1:9", service_name="both", spool=folder)
    log = EventLog(handlers=[handler, OTLPHandler(logger_provider=provider)], allowed_schemas=["*"])
    flagged = {"secret": {"pii": True}, "path": {"otel": {"attribute": "file.path"}}}
    log.register_schema(schema(properties=flagged, otel={"event_name": "x.y", "severity": "WARN3"}))

    def record(event, *, is_filtered):
        log.handlers[0].filters = log.handlers[1].filters = [add_attribute] if is_filtered else []
        log.record_event(ID, 1, event)
        entry = list(waiting(Journal.all_in(folder / "queue")[0], pytest.fail))[-1]
        return entry, keep.records.pop()

    return record


class TestEventInASpool:
    @examples
    @given(event=st.dictionaries(names, json_values, max_size=5), is_filtered=st.booleans(), in_span=st.booleans())
    def test_equals_the_event_through_the_sdk(self, both, event, is_filtered, in_span):
        """Every field is equal, except the time of observation, which is that of each."""
        with tracer.start_as_current_span("span") if in_span else nullcontext():
            entry, through_sdk = both(event, is_filtered=is_filtered)
        expected = encode_logs([through_sdk]).resource_logs[0]
        spooled, sent = LogRecord.FromString(entry.record), expected.scope_logs[0].log_records[0]
        assert sent.observed_time_unix_nano
        assert spooled.observed_time_unix_nano
        sent.observed_time_unix_nano = spooled.observed_time_unix_nano
        assert sent == spooled
        assert encode_resource(through_sdk.resource) == entry.resource
        assert encode_scope(through_sdk.instrumentation_scope) == entry.scope

    def test_keeps_the_limits_of_attributes(self, monkeypatch, tmp_path):
        """Limits of OTEL_* variables hold, as without a spool."""
        monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
        handler = OTLPHandler(endpoint="http://127.0.0.1:9", spool=tmp_path)
        handler.handle(EventRecord(EVENT_TYPE, {"long": "abcdef"}))
        [entry] = waiting(Journal.all_in(tmp_path / "queue")[0], pytest.fail)
        assert "abcdef" not in str(LogRecord.FromString(entry.record).attributes)
