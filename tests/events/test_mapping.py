"""What leaves: the OpenTelemetry mapping, the same through our handler and through OpenTelemetry's own."""

import json
import logging
import pickle
from datetime import datetime, timezone
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue

import pytest
from builders import ID, schema
from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

from jupyter_otel_telemetry import EventLog, JSONLinesFormatter, OTLPHandler
from jupyter_otel_telemetry.events.record import EventRecord

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone.utc)
MOMENT_NS = 1767323045678901000


class Pipeline:
    """A handler, and what came out of it."""

    def __init__(self, build):
        self.exporter = InMemoryLogRecordExporter()
        provider = LoggerProvider()
        provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))
        self.handler = build(logger_provider=provider)

    @property
    def logs(self):
        return [data.log_record for data in self.exporter.get_finished_logs()]

    def record(self, event, *, moment=None, **changes):
        log = EventLog(handlers=[self.handler], allowed_schemas=["*"])
        log.register_schema(schema(**changes))
        log.record_event(ID, 1, event, timestamp_override=moment)
        return self.logs[-1]


@pytest.fixture(params=[OTLPHandler, LoggingHandler], ids=["ours", "stock"])
def pipeline(request):
    """Either handler: the mapping is the same."""
    return Pipeline(request.param)


@pytest.fixture
def ours():
    """Our handler."""
    return Pipeline(OTLPHandler)


def properties(log):
    """Return the event's attributes without the prefix."""
    prefix = "jupyter.event."
    return {key.removeprefix(prefix): value for key, value in log.attributes.items() if key.startswith(prefix)}


class TestFields:
    def test_event_name_is_the_id_or_what_the_schema_says(self, pipeline):
        """`otel.event_name` wins."""
        assert pipeline.record({}).event_name == ID
        assert pipeline.record({}, otel={"event_name": "jupyter.server"}).event_name == "jupyter.server"

    def test_event_name_is_no_attribute(self, pipeline):
        """It has a field of its own."""
        assert "otel.event.name" not in pipeline.record({}).attributes

    def test_timestamp_is_when_it_happened(self, ours):
        """To the nanosecond; OpenTelemetry's own handler rounds through a float."""
        assert ours.record({}, moment=MOMENT).timestamp == MOMENT_NS

    def test_timestamp_through_the_stock_handler_is_right_to_the_microsecond(self):
        """As good as a float can be."""
        assert abs(Pipeline(LoggingHandler).record({}, moment=MOMENT).timestamp - MOMENT_NS) < 1000

    @pytest.mark.parametrize("year", [1, 1969, 9999])
    def test_time_that_otlp_cannot_hold_is_unknown(self, pipeline, year):
        """One such time must not cost its batch."""
        assert pipeline.record({}, moment=datetime(year, 1, 1, tzinfo=timezone.utc)).timestamp == 0

    @pytest.mark.parametrize(
        "name, number",
        [
            ("DEBUG", SeverityNumber.DEBUG),
            ("INFO2", SeverityNumber.INFO2),
            ("WARN", SeverityNumber.WARN),
            ("ERROR4", SeverityNumber.ERROR4),
            ("FATAL", SeverityNumber.FATAL),
        ],
    )
    def test_severity_is_what_the_schema_says(self, pipeline, name, number):
        """By OpenTelemetry's short names."""
        log = pipeline.record({}, otel={"severity": name})

        assert (log.severity_number, log.severity_text) == (number, name)

    def test_severity_is_info_by_default(self, pipeline):
        """An event is no problem."""
        log = pipeline.record({})

        assert (log.severity_number, log.severity_text) == (SeverityNumber.INFO, "INFO")

    def test_trace_severity_goes_through_our_handler(self, ours):
        """The stock handler knows no TRACE."""
        assert ours.record({}, otel={"severity": "TRACE2"}).severity_number == SeverityNumber.TRACE2

    def test_body_shows_title_and_event(self, pipeline):
        """As logfmt, quoted where it must be, on one line."""
        event = {
            "action": "start",
            "who": "",
            "text": 'a "b"\n=',
            "m": {"path": "/x", "n": [1, "a b"]},
            "z": None,
            "f": 1.5,
        }

        assert pipeline.record(event).body == (
            r'Server action action=start who="" text="a \"b\"\n=" m.path=/x m.n="[1,\"a b\"]" z=null f=1.5'
        )

    def test_body_begins_with_the_last_segment_of_an_id_without_title(self, pipeline):
        """The title is optional."""
        assert pipeline.record({"a": True}, title=None or "").body == "server-action a=true"

    @pytest.mark.parametrize(
        "event",
        [
            {"text": "x" * 1_400_000},
            {"text": "\U0001f600" * 350_000},
            {"text": "a\n" * 2100},
            {"text": "é" + "x" * 4079},
            {"list": [["é"] * 1000] * 100},
            {"é" * 5000: 1},
            {f"p{number}": "z w" for number in range(10_000)},
            {"a": {"b": {f"p{number}": number for number in range(10_000)}}},
        ],
        ids=["text", "astral", "escapes", "just too long", "list", "name", "properties", "nested"],
    )
    @pytest.mark.filterwarnings("ignore:Log record attributes were dropped")
    def test_body_ends_after_four_kib(self, pipeline, event):
        """At the boundary of a character, and in an ellipsis; the attributes are whole."""
        body = pipeline.record(event).body

        assert 4090 < len(body.encode()) <= 4096
        assert body.endswith("…")
        assert body.startswith("Server action ")
        assert "\ufffd" not in body

    @pytest.mark.parametrize("text", ["x" * 4077, "é" * 2038, "\ud800" * 1359], ids=["ascii", "utf-8", "surrogates"])
    def test_body_of_four_kib_is_whole(self, pipeline, text):
        """To the byte."""
        body = pipeline.record({"t": text}).body

        assert body.startswith("Server action t=")
        assert 4090 < len(body.encode()) <= 4096
        assert not body.endswith("…")

    def test_schema_attributes_come_last(self, pipeline):
        """At its limit the SDK drops the oldest."""
        attributes = list(pipeline.record({"action": "x"}).attributes.items())

        assert attributes[-2:] == [("jupyter.schema.id", ID), ("jupyter.schema.version", "1")]

    def test_uid_is_a_ulid_of_its_own(self, pipeline):
        """26 characters that sort by time; two events never share one."""
        uids = [pipeline.record({}).attributes["log.record.uid"] for _ in range(3)]

        assert len(set(uids)) == 3
        assert all(len(uid) == 26 and set(uid) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ") for uid in uids)
        assert uids == sorted(uids)

    def test_two_handlers_send_the_same_uid(self):
        """It identifies the event, not the delivery."""
        one, other = Pipeline(OTLPHandler), Pipeline(LoggingHandler)
        log = EventLog(handlers=[one.handler, other.handler], allowed_schemas=["*"])
        log.register_schema(schema())
        log.record_event(ID, 1, {})

        assert one.logs[0].attributes["log.record.uid"] == other.logs[0].attributes["log.record.uid"]

    def test_scope_is_the_package(self, pipeline):
        """The same in every process."""
        pipeline.record({})

        assert pipeline.exporter.get_finished_logs()[0].instrumentation_scope.name == "jupyter_otel_telemetry"


class TestProperties:
    @pytest.mark.parametrize(
        "event, attributes",
        [
            ({"a": "x", "b": 1, "c": 1.5, "d": True}, {"a": "x", "b": 1, "c": 1.5, "d": True}),
            ({"a": None}, {}),
            ({"m": {"path": "p", "n": {"o": 1}, "none": None}}, {"m.path": "p", "m.n.o": 1}),
            ({"m": {}, "l": []}, {"m": {}, "l": ()}),
            ({"l": [1, "a", None, {"b": 2**63 - 1}]}, {"l": (1, "a", None, {"b": 2**63 - 1})}),
            (
                {"i": 2**63, "j": -(2**63), "k": -(2**63) - 1},
                {"i": str(2**63), "j": -(2**63), "k": str(-(2**63) - 1)},
            ),
            ({"s": "a\ud800b", "\udfff": 1}, {"s": "a\ufffdb", "\ufffd": 1}),
            ({"a.b": 1, "a": {"b": 2}}, {"a.b": 1, "a": {"b": 2}}),
            ({"m": {"a.b": 1, "c": 2}}, {"m": {"a.b": 1, "c": 2}}),
            ({"l": [{"": 1}], "": 2, "m": {"": 3}}, {"l": ('{"":1}',), "": 2, "m": '{"":3}'}),
            ({"message": 1, "name": 2, "args": 3, "msg": 4}, {"message": 1, "name": 2, "args": 3, "msg": 4}),
        ],
    )
    def test_become_typed_attributes(self, pipeline, event, attributes):
        """Dotted where that is unambiguous; null has none."""
        assert properties(pipeline.record(event)) == attributes

    def test_not_a_number_stays_one(self, pipeline):
        """OTLP can carry it."""
        value = pipeline.record({"x": float("nan")}).attributes["jupyter.event.x"]

        assert value != value  # noqa: PLR0124 - what NaN means

    def test_what_lies_deeper_than_16_levels_is_json_text(self, pipeline):
        """Encoders and receivers give up at about thirty."""
        deep = "bottom"
        for _ in range(40):
            deep = [deep]
        value = pipeline.record({"x": deep}).attributes["jupyter.event.x"]
        for _ in range(16):
            (value,) = value

        assert isinstance(value, str)
        assert json.loads(value)[0][0][0]

    def test_200_arrive_through_our_own_provider(self, otlp_receiver):
        """The SDK's limit of 128 would drop the oldest."""
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint)
        log = EventLog(handlers=[handler], allowed_schemas=["*"])
        log.register_schema(schema())
        log.record_event(ID, 1, {f"p{number}": number for number in range(200)})
        handler.close()

        assert properties(otlp_receiver.logs[0]) == {f"p{number}": number for number in range(200)}

    def test_annotated_ones_go_out_under_their_own_name(self, pipeline):
        """Also nested ones, and what lies below them."""
        annotated = {
            "user": {"otel": {"attribute": "user.name"}},
            "model": {"properties": {"path": {"otel": {"attribute": "file.path"}}}},
            "host": {"otel": {"attribute": "host"}, "type": "object"},
        }
        event = {"user": "ada", "model": {"path": "/x", "kind": "notebook"}, "host": {"name": "h"}}
        attributes = pipeline.record(event, properties=annotated).attributes

        assert {key: value for key, value in attributes.items() if key.split(".")[0] in ("user", "file", "host")} == {
            "user.name": "ada",
            "file.path": "/x",
            "host.name": "h",
        }

    def test_attributes_that_a_filter_adds_are_sent(self, pipeline):
        """Logging filters are how applications add what they know."""

        def add_tenant(record):
            record.tenant = "blue"
            return True

        pipeline.handler.addFilter(add_tenant)

        assert pipeline.record({"a": 1}).attributes["tenant"] == "blue"


class TestTraceContext:
    @pytest.fixture
    def tracer(self):
        return TracerProvider().get_tracer("test")

    def test_is_that_of_the_active_span(self, pipeline, tracer):
        """Trace and span id tie the event to the request."""
        with tracer.start_as_current_span("request") as span:
            log = pipeline.record({})

        assert (log.trace_id, log.span_id) == (span.get_span_context().trace_id, span.get_span_context().span_id)

    def test_survives_a_queue(self, ours, tracer):
        """The listener's thread has no span, or another."""
        queue = SimpleQueue()
        listener = QueueListener(queue, ours.handler)
        log = EventLog(handlers=[QueueHandler(queue)], allowed_schemas=["*"])
        log.register_schema(schema())
        with tracer.start_as_current_span("request") as span:
            log.record_event(ID, 1, {"a": 1})
        with tracer.start_as_current_span("another"):
            listener.start()
            listener.stop()

        assert ours.logs[0].trace_id == span.get_span_context().trace_id
        assert ours.logs[0].body == "Server action a=1"

    def test_is_in_the_line_only_inside_a_span(self, server_log, event_sink, tracer):
        """As hexadecimal text."""
        event_sink.setFormatter(JSONLinesFormatter())
        server_log.record_event(ID, 1, {})
        with tracer.start_as_current_span("request"):
            context = trace.get_current_span().get_span_context()
            server_log.record_event(ID, 1, {})
        outside, inside = map(json.loads, event_sink.lines)

        assert "__trace_id__" not in outside
        assert inside["__trace_id__"] == trace.format_trace_id(context.trace_id)
        assert inside["__span_id__"] == trace.format_span_id(context.span_id)


class TestEventRecord:
    def test_survives_pickling(self, server_log, event_sink):
        """As a queue between processes does it."""
        server_log.record_event(ID, 1, {"count": 1})
        record = event_sink.records[0]
        copy = pickle.loads(pickle.dumps(record))

        assert isinstance(copy, EventRecord)
        assert vars(copy) == vars(record)
        assert JSONLinesFormatter().format(copy) == JSONLinesFormatter().format(record)

    def test_has_every_field_of_a_log_record(self, server_log, event_sink):
        """Formatters and handlers of others find what they expect."""
        server_log.record_event(ID, 1, {})
        record = event_sink.records[0]
        ordinary = vars(logging.makeLogRecord({}))

        assert ordinary.keys() - vars(record).keys() == set()
        assert [name for name in ordinary if not hasattr(record, name)] == []
        assert record.threadName == "MainThread"
        assert "MainThread INFO" in logging.Formatter("%(threadName)s %(levelname)s %(asctime)s").format(record)


class TestJSONLinesFormatter:
    def line(self, event_log, event_sink, event, **changes):
        event_log.register_schema(schema(**changes))
        event_log.record_event(ID, 1, event, timestamp_override=MOMENT)
        return JSONLinesFormatter().format(event_sink.records[-1])

    def test_writes_envelope_then_properties(self, event_log, event_sink):
        """In this order, the version as registered."""
        assert self.line(event_log, event_sink, {"action": "start", "count": 1}) == (
            '{"__timestamp__":"2026-01-02T03:04:05.678901Z","__schema__":"https://example.org/server-action",'
            '"__schema_version__":1,"__metadata_version__":1,"action":"start","count":1}'
        )

    def test_empty_event_is_the_envelope(self, event_log, event_sink):
        """And valid JSON."""
        line = json.loads(self.line(event_log, event_sink, {}, version="1"))

        assert line["__schema_version__"] == "1"
        assert len(line) == 4

    @pytest.mark.parametrize(
        "value, written",
        [
            (float("nan"), "null"),
            (float("-inf"), "null"),
            (2**70, str(2**70)),
            ("\ud800", '"\ufffd"'),
            ([{"a": float("nan"), "b": "\n\u2028"}], '[{"a":null,"b":"\\n\u2028"}]'),
        ],
    )
    def test_always_writes_valid_json(self, event_log, event_sink, value, written):
        """NaN has no JSON, a lone surrogate no UTF-8."""
        line = self.line(event_log, event_sink, {"x": value})

        assert line.endswith(f'"x":{written}}}')
        assert "\n" not in line

    def test_ordinary_record_is_a_line_too(self):
        """With level, logger and message."""
        record = logging.LogRecord("app", logging.WARNING, "", 0, "%s left", ("ada",), None)
        line = json.loads(JSONLinesFormatter().format(record))

        assert line.pop("__timestamp__").endswith("Z")
        assert line == {"level": "WARNING", "logger": "app", "message": "ada left"}

    def test_exception_is_part_of_the_line(self):
        """On one line."""
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError as error:
            record = logging.LogRecord(
                "app", logging.ERROR, "", 0, "m", (), (type(error), error, error.__traceback__)
            )

        assert "ZeroDivisionError" in json.loads(JSONLinesFormatter().format(record))["exception"]

    def test_event_of_jupyter_events_is_written_like_ours(self):
        """Its malformed timestamp is mended."""
        capsule = {"__timestamp__": "2026-01-02T03:04:05.678901+00:00Z", "__schema__": ID, "__schema_version__": "1"}
        record = logging.LogRecord("jupyter_events.logger.1", 20, "", 0, capsule | {"action": "start"}, None, None)
        line = json.loads(JSONLinesFormatter().format(record))

        assert line["__timestamp__"] == "2026-01-02T03:04:05.678901Z"
        assert line["action"] == "start"
