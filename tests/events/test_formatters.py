"""Lines in files: OTLP JSON, the fields of OpenTelemetry in JSON lines, and files in every locale."""

from __future__ import annotations

import dataclasses
import json
import logging
import logging.config
import math
import os
import subprocess
import sys

import pytest
from builders import ID, schema
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from jupyter_otel_telemetry import EventLog, JSONLinesFormatter, OTLPHandler, OTLPJSONFormatter
from jupyter_otel_telemetry.otlp.received import parse_json, parse_protobuf
from jupyter_otel_telemetry.testing import EventSink

NUMBERS = {"list": [1, 2.5, None, {"a": True}], "big": 2**70, "low": -(2**63)}
HARD = {"text": "zwölf \U0001f600 \u2028 日本\ud800", **NUMBERS}
EXC_INFO = (ValueError, ValueError("no"), None)
FORKED = """
import os
from jupyter_otel_telemetry import EventLog, OTLPJSONFormatter
from jupyter_otel_telemetry.testing import EventSink

sink = EventSink()
log = EventLog(handlers=[sink], allowed_schemas=["x"])
log.register_schema({"$id": "x", "version": 1})
log.record_event("x", 1, {})
formatter = OTLPJSONFormatter()
formatter.format(sink.records[0])
if child := os.fork():
    os.waitpid(child, 0)
print(os.getpid(), formatter.format(sink.records[0]), flush=True)
"""


def recorded(event, **changes):
    """Return the record of an event."""
    sink = EventSink()
    log = EventLog(handlers=[sink], allowed_schemas=["*"])
    log.register_schema(schema(**changes))
    log.record_event(ID, 1, event)
    return sink.records[0]


def in_a_span(event):
    """Return the record of an event that was recorded in a span."""
    with TracerProvider().get_tracer("test").start_as_current_span("request"):
        return recorded(event)


def sent(record):
    """Return a record as OpenTelemetry's own encoder writes it to the wire."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(resource=Resource({"service.name": "app"}), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    OTLPHandler(logger_provider=provider).handle(record)
    (log,) = parse_protobuf(encode_logs(exporter.get_finished_logs()).SerializeToString())
    return comparable(log)


def written(record):
    """Return a record as its line of OTLP JSON is read."""
    (log,) = parse_json(OTLPJSONFormatter(service_name="app").format(record).encode())
    return comparable(log)


def comparable(log):
    """Return the fields of a log, without when it was observed and what describes the process."""
    fields = dataclasses.asdict(log)
    del fields["observed_timestamp_ns"], fields["resource"]
    return fields


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
names = st.text(max_size=6).filter(lambda name: not name.startswith("__"))


class TestOTLPJSONFormatter:
    def test_is_one_line_of_otlp_json(self):
        """A whole message: ids in hex, integers as text, enums as numbers."""
        record = in_a_span({"count": 2**53 + 1})
        line = OTLPJSONFormatter(service_name="app", resource={"a": "b"}).format(record)
        (resource_logs,) = json.loads(line)["resourceLogs"]
        (scope_logs,) = resource_logs["scopeLogs"]
        (log,) = scope_logs["logRecords"]
        resource = {item["key"]: item["value"] for item in resource_logs["resource"]["attributes"]}
        attributes = {item["key"]: item["value"] for item in log["attributes"]}

        assert "\n" not in line
        assert (resource["service.name"], resource["a"]) == ({"stringValue": "app"}, {"stringValue": "b"})
        assert scope_logs["scope"]["name"] == "jupyter_otel_telemetry"
        assert (log["eventName"], log["severityNumber"], log["severityText"]) == (ID, 9, "INFO")
        assert log["timeUnixNano"] == str(record.time_ns)
        assert log["traceId"] == f"{record.span_context.trace_id:032x}"
        assert attributes["jupyter.event.count"] == {"intValue": str(2**53 + 1)}

    @pytest.mark.parametrize(
        "record",
        [
            recorded(HARD, otel={"event_name": "jupyter.hard", "severity": "ERROR3"}),
            in_a_span({"user": "ada"}),
            logging.LogRecord("app", 40, "", 0, "%s left", ("ada",), None),
            logging.LogRecord("app", 40, "", 0, "failed", None, EXC_INFO),
        ],
        ids=["hard event", "in a span", "ordinary record", "with an exception"],
    )
    def test_says_what_is_sent(self, record):
        """Field by field."""
        assert written(record) == sent(record)

    @given(st.dictionaries(names, values, max_size=4))
    @settings(max_examples=200, deadline=None)
    def test_says_what_is_sent_of_any_event(self, event):
        """The same types and the same id."""
        record = recorded(event, properties={})

        assert written(record) == sent(record)

    def test_keeps_a_record_whose_arguments_do_not_fit(self):
        """As lines for people do."""
        assert written(logging.LogRecord("app", 40, "", 0, "%d left", ("ada",), None))["body"] == "%d left"

    def test_carries_what_json_has_no_number_for(self):
        """As protobuf's JSON does."""
        value = written(recorded({"x": math.nan}))["attributes"]["jupyter.event.x"]

        assert math.isnan(value)

    def test_says_what_is_sent_of_an_event_of_another_library(self):
        """Whose id is made anew each time it is read."""
        record = logging.LogRecord("jupyter_events.logger.1", 20, "", 0, {"__schema__": ID, "n": 1}, None, None)
        one, other = written(record), sent(record)
        for log in (one, other):
            del log["attributes"]["log.record.uid"]

        assert one == other

    def test_has_200_properties(self):
        """The SDK's limit of 128 is for whoever sets it."""
        assert len(written(recorded({f"p{number}": number for number in range(200)}))["attributes"]) == 204

    def test_is_made_though_the_sdk_is_off(self, monkeypatch):
        """Nothing is sent here."""
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")

        assert written(recorded({}))["event_name"] == ID

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
    def test_names_the_process_that_writes_it(self):
        """Also in a child that was forked from one that has written before."""
        command = [sys.executable, "-c", FORKED]
        lines = subprocess.run(command, capture_output=True, check=True, timeout=180).stdout.splitlines()

        assert len(lines) == 2
        for line in lines:
            process, _, text = line.partition(b" ")
            assert parse_json(text)[0].resource["process.pid"] == int(process)

    @pytest.mark.parametrize("name", ["JSONLinesFormatter", "OTLPJSONFormatter"])
    def test_can_be_configured_by_logging(self, tmp_path, name):
        """`dictConfig` passes a class three arguments."""
        path = tmp_path / "log"
        handler = {"class": "logging.FileHandler", "filename": str(path), "encoding": "utf-8", "formatter": "f"}
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"f": {"class": f"jupyter_otel_telemetry.{name}"}},
                "handlers": {"h": handler},
                "loggers": {"tests.lines": {"handlers": ["h"]}},
            }
        )
        logger = logging.getLogger("tests.lines")
        logger.warning("hello")
        logger.handlers.pop().close()

        assert "hello" in json.dumps(json.loads(path.read_text(encoding="utf-8")))


class TestWithOTel:
    def test_fields_of_opentelemetry_ride_in_the_line(self):
        """Those that the properties do not say; the id is the one that is sent."""
        record = recorded({"n": 1}, otel={"event_name": "jupyter.n", "severity": "WARN2"})
        line = json.loads(JSONLinesFormatter(with_otel=True).format(record))

        assert list(line)[3:] == [
            "__metadata_version__",
            *("__event_name__", "__severity_number__", "__severity_text__", "__uid__"),
            "n",
        ]
        assert (line["__event_name__"], line["__severity_number__"], line["__severity_text__"]) == (
            "jupyter.n",
            14,
            "WARN2",
        )
        assert line["__uid__"] == sent(record)["attributes"]["log.record.uid"]

    def test_plain_line_stays_as_it_is(self):
        """For people."""
        line = json.loads(JSONLinesFormatter().format(recorded({"n": 1})))

        assert list(line) == ["__timestamp__", "__schema__", "__schema_version__", "__metadata_version__", "n"]


PROGRAM = """
import json, logging, sys
from jupyter_otel_telemetry import EventLog, JSONLinesFormatter, OTLPJSONFormatter
ID, event = "https://example.org/s", {"text": "zw\\u00f6lf \\u65e5\\u672c \\U0001f600", "\\u00e9": 1}
given = logging.FileHandler("given.jsonl")
given.setFormatter(JSONLinesFormatter())
otlp = logging.FileHandler("otlp.jsonl", delay=True)
otlp.setFormatter(OTLPJSONFormatter())
handlers = [given, otlp, logging.FileHandler("own.jsonl")]
handlers += [{"class": "logging.FileHandler", "filename": "built.jsonl"}]
handlers += [logging.FileHandler("latin.jsonl", encoding="latin-1"), logging.StreamHandler(sys.stdout)]
handlers += [{"class": "logging.handlers.RotatingFileHandler", "filename": "rotated.jsonl", "delay": True}]
log = EventLog(handlers=handlers, allowed_schemas=["*"])
log.register_schema({"$id": ID, "version": 1})
log.record_event(ID, 1, event)
"""
LOCALES = {
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "C and ASCII output": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"},
    "UTF-8 and Latin-1 output": {"PYTHONUTF8": "1", "PYTHONIOENCODING": "latin-1"},
}


class TestLocale:
    @pytest.mark.parametrize("env", LOCALES.values(), ids=LOCALES)
    def test_lines_are_utf_8_in_every_locale(self, tmp_path, env):
        """And every event is in every file, whichever encoding it was opened in."""
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=os.environ | env, capture_output=True, check=True
        )
        files = {path.name: path.read_bytes() for path in tmp_path.iterdir()} | {"stdout": done.stdout}
        texts = {name: json.loads(content.decode("utf-8")).get("text") for name, content in files.items()}

        assert done.stderr == b""
        assert texts.pop("otlp.jsonl") is None
        assert "zw\u00f6lf \u65e5\u672c \U0001f600" in str(parse_json(files["otlp.jsonl"]))
        assert set(texts.values()) == {"zw\u00f6lf \u65e5\u672c \U0001f600"}
        assert len(texts) == 6

    def test_file_in_utf_8_is_readable(self, tmp_path):
        """Nothing is escaped where nothing has to be."""
        handler = logging.FileHandler(tmp_path / "log", encoding="utf-8")
        log = EventLog(handlers=[handler], allowed_schemas=["*"])
        log.register_schema(schema())
        log.record_event(ID, 1, {"action": "zwölf"})
        handler.close()

        assert "zwölf" in (tmp_path / "log").read_text(encoding="utf-8")

    def test_escapes_are_those_of_json(self, tmp_path):
        """Also of characters beyond 16 bits, and beside backslashes."""
        event = {"text": 'a\\é"\U0001f600\u2028\x7f\\u00e9'}
        handler = logging.FileHandler(tmp_path / "log", encoding="ascii")
        log = EventLog(handlers=[handler], allowed_schemas=["*"])
        log.register_schema(schema())
        log.record_event(ID, 1, event)
        handler.close()

        assert json.loads((tmp_path / "log").read_bytes())["text"] == event["text"]
