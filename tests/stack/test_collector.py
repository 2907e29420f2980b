"""deploy/collector, run by a Collector that has just what these files use."""

import dataclasses
import gzip
import logging
import os
import re
import subprocess
from functools import partial
from logging.handlers import RotatingFileHandler

import pytest
import yaml
from builders import ID
from opentelemetry.sdk.trace import TracerProvider
from programs import event, http, wait_until
from stack import DEPLOY, TOKEN, Collector, configurations, part, post_logs

from jupyter_otel_telemetry import EventLog, JSONLinesFormatter, OTLPHandler, OTLPJSONFormatter
from jupyter_otel_telemetry.testing import EventSink

COMBINATIONS = [
    "agent",
    "gateway",
    "gateway plain",
    "gateway gateway-kubernetes",
    "gateway gateway-kafka",
    "ingest-kafka",
    "dev",
]
NOT_RUN = {"agent-otlp-json"}
"""Of a receiver that the Collector of these tests does not have; the file says so."""
FILES = sorted((DEPLOY / "collector").glob("*.yaml"))


class TestConfiguration:
    @pytest.mark.parametrize("names", COMBINATIONS)
    def test_is_accepted_by_the_collector(self, names, tmp_path):
        """`otelcol validate`, with nothing set but the folder of the queue."""
        command = [part("collector", "otelcol"), "validate", *configurations(names)]
        env = os.environ | {"STORAGE_DIRECTORY": str(tmp_path)}
        result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)

        assert result.returncode == 0, result.stderr

    def test_each_file_is_in_a_combination(self):
        """So none is shipped that was never loaded."""
        assert {path.stem for path in FILES} - NOT_RUN == set(" ".join(COMBINATIONS).split())
        assert all("NOT RUN" in (DEPLOY / "collector" / f"{name}.yaml").read_text() for name in NOT_RUN)

    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
    def test_head_names_its_variables(self, path):
        """The table at the top has each variable that the file uses, with its default."""
        text = path.read_text()
        if path.stem in NOT_RUN:
            text += (DEPLOY / "collector" / "agent.yaml").read_text()
        head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
        used = dict(re.findall(r"\$\{env:(\w+):-([^}]*)\}", text))

        assert [name for name in used if not re.search(rf"\b{name}\b", head)] == []
        assert [default for default in used.values() if default not in head] == []

    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
    def test_never_gives_up(self, path):
        """By default the Collector drops what it could not send for five minutes."""
        exporters = yaml.safe_load(path.read_text()).get("exporters", {})
        patience = [options["retry_on_failure"] for name, options in exporters.items() if name != "debug"]

        assert all(options == {"max_elapsed_time": 0} for options in patience)


class TestWay:
    def test_event_goes_from_application_to_loki_as_it_was_sent(self, agent, loki, record):
        """Through agent and gateway, with what the gateway adds for Loki."""
        assert record(agent.endpoint, {"user": "ada", "n": 2**53, "kernel": {"name": "python3"}})
        (log,) = loki.wait_for(1, 180)
        attributes = dict(log.attributes)

        assert attributes.pop("event_name") == log.event_name == ID
        assert 0 <= attributes.pop("delivery_delay_ms") < 60_000
        assert len(attributes.pop("log.record.uid")) == 26
        assert attributes == {
            "jupyter.sequence": 1,
            "jupyter.schema.id": ID,
            "jupyter.schema.version": "1",
            "jupyter.event.user": "ada",
            "jupyter.event.n": 2**53,
            "jupyter.event.kernel.name": "python3",
        }
        assert log.body == f"{ID.rpartition('/')[2]} user=ada n={2**53} kernel.name=python3"
        assert (log.resource["service.name"], log.severity_text) == ("app", "INFO")

    @pytest.mark.usefixtures("agent")
    def test_event_file_arrives_as_if_it_had_been_sent(self, loki, tmp_path):
        """Lines that a FileHandler has written have the names of OTLPHandler's records; a null stays null."""
        (tmp_path / "events").mkdir()
        handler = logging.FileHandler(tmp_path / "events" / "app.jsonl", encoding="utf-8")
        log = EventLog(handlers=[handler], allowed_schemas=["*"])
        log.register_schema({"$id": ID, "version": 1, "type": "object"})
        log.record_event(ID, 1, {"user": "ada", "n": 2**53 + 1, "none": None, "kernel": {"name": "zwölf"}})
        handler.close()
        (arrived,) = loki.wait_for(1, 180)

        assert arrived.event_name == arrived.attributes["event_name"] == ID
        assert {name: value for name, value in arrived.attributes.items() if name.startswith("jupyter.")} == {
            "jupyter.schema.id": ID,
            "jupyter.schema.version": "1",
            "jupyter.event.user": "ada",
            "jupyter.event.n": 2**53 + 1,
            "jupyter.event.none": None,
            "jupyter.event.kernel.name": "zwölf",
        }
        assert arrived.severity_text == "INFO"
        assert arrived.resource["service.name"] == "filing"
        assert arrived.timestamp_ns < arrived.observed_timestamp_ns


@pytest.fixture
def event_file(request, tmp_path):
    """A function that opens a file of events, and returns an `EventLog` that writes to it through a handler."""

    def open_file(build, formatter=None, **keywords):
        (tmp_path / "events").mkdir(exist_ok=True)
        handler = build(tmp_path / "events" / "app.jsonl", encoding="utf-8")
        handler.setFormatter(formatter)
        request.addfinalizer(handler.close)
        log = EventLog(handlers=[handler], allowed_schemas=["*"])
        log.register_schema({"$id": ID, "version": 1, "type": "object"} | keywords)
        return log

    return open_file


class TestEventFiles:
    @pytest.mark.usefixtures("agent")
    def test_fields_of_opentelemetry_arrive_if_they_are_in_the_line(self, loki, event_file):
        """Event name, severity and id, as `OTLPHandler` would send them."""
        otel = {"event_name": "jupyter.kernel", "severity": "WARN2"}
        event_file(logging.FileHandler, JSONLinesFormatter(with_otel=True), otel=otel).record_event(ID, 1, {"n": 1})
        (arrived,) = loki.wait_for(1, 30)

        assert (arrived.event_name, arrived.severity_number, arrived.severity_text) == ("jupyter.kernel", 14, "WARN2")
        assert len(arrived.attributes["log.record.uid"]) == 26
        assert event(arrived) == {"n": 1}

    def test_rotated_while_the_agent_was_away_are_read(self, agent, loki, event_file, started, tmp_path):
        """To their end, wherever they were renamed to, and no line twice; compressed files are left alone."""
        handler = partial(RotatingFileHandler, maxBytes=8_000, backupCount=100)
        log = event_file(handler)
        record(log, range(100))
        loki.wait_for(100, 60)
        agent.stop()
        record(log, range(100, 500))
        files = sorted((tmp_path / "events").glob("app.jsonl.*"))
        files[-1].rename(tmp_path / "events" / "app.jsonl-20260101")
        (tmp_path / "events" / "app.jsonl.99.gz").write_bytes(gzip.compress(b'{"__schema__": "old", "n": -1}\n'))
        agent.again(started)
        wait_until(lambda: len(loki.logs) >= 500, "500 events")

        assert len(files) > 5
        assert sorted(event(log)["n"] for log in loki.logs) == list(range(500))

    @pytest.mark.usefixtures("agent")
    def test_rotated_while_the_agent_reads_are_read(self, loki, event_file):
        """Once each, though every file is seen under several names."""
        log = event_file(partial(RotatingFileHandler, maxBytes=8_000, backupCount=100))
        for first in range(0, 500, 50):
            record(log, range(first, first + 50))
            loki.wait_for(first + 50, 60)

        assert sorted(event(log)["n"] for log in loki.logs) == list(range(500))


def record(log, numbers):
    """Record numbered events."""
    for number in numbers:
        log.record_event(ID, 1, {"n": number})


KINDS = {
    "plain": {"user": "ada", "n": 2**53 + 1, "kernel": {"name": "zwölf \U0001f600"}},
    "every type": {"list": [1, -2.5, None, {"a": True}], "big": 2**70, "low": -(2**63), "none": None},
    "empty values": {"text": "", "list": [], "object": {}, "zero": 0, "no": False, "deep": [[], {}, ""]},
    "odd text": {"text": "\ud800\n\u2028\0", "": "", "日本": "é"},
    "not a number": {"nan": float("nan"), "inf": float("-inf"), "tiny": 5e-324},
    "200 properties": {f"p{number}": number for number in range(200)},
    "a megabyte": {"text": "x" * 1_000_000},
}


class TestOTLPJSONLines:
    @pytest.mark.parametrize("kind", KINDS)
    def test_are_read_by_the_collector_as_what_is_sent(self, started, loki, tmp_path, kind):
        """Field by field: each line is posted to the endpoint that reads the format of the files."""
        agent = started(Collector, "agent", tmp_path / "agent", {"GATEWAY_URL": loki.endpoint})
        sender = OTLPHandler(endpoint=agent.endpoint, service_name="app")
        sink = EventSink()
        sink.setFormatter(OTLPJSONFormatter(service_name="app"))
        log = EventLog(handlers=[sender, sink], allowed_schemas=["*"])
        log.register_schema({"$id": ID, "version": 1, "otel": {"event_name": "jupyter.kind", "severity": "ERROR2"}})
        with TracerProvider().get_tracer("test").start_as_current_span("request"):
            log.record_event(ID, 1, KINDS[kind])
        assert sender.force_flush(30)
        (sent,) = loki.wait_for(1, 60)
        sender.close()
        loki.clear()
        headers = {"Content-Type": "application/json"}
        http.post(f"{agent.endpoint}/v1/logs", data=sink.lines[0].encode(), headers=headers).raise_for_status()
        (read,) = loki.wait_for(1, 60)

        assert comparable(read) == comparable(sent)
        assert read.observed_timestamp_ns > 0


def comparable(log):
    """Return the text of the fields of a log, in which NaN equals itself, without when it was observed."""
    fields = dataclasses.asdict(log)
    del fields["observed_timestamp_ns"]
    return {name: repr(value) for name, value in fields.items()}


class Dev(Collector):
    """The one that nobody asks how it is."""

    def wait_until_ready(self):
        self.wait_until(lambda: "Everything is ready" in self.output, "the collector is ready")


class TestDev:
    def test_prints_what_arrives(self, started, record, tmp_path):
        """Every attribute, for a developer to read."""
        dev = started(Dev, "dev", tmp_path / "dev")
        assert record(dev.endpoint, {"user": "ada"})
        dev.wait_until(lambda: "jupyter.event.user: Str(ada)" in dev.output, "the event is shown")

        assert f"EventName: {ID}" in dev.output


ODD = {
    "200 properties": {f"p{number}": number for number in range(200)},
    "empty values": {"text": "", "list": [], "object": {}},
    "names without a letter": {"日本": 1, "": 2, "-": 3, "é": {"ü": 4}},
    "64 bits": {"low": -(2**63), "high": 2**63 - 1, "beyond": 2**64},
    "lines": {"text": "one\ntwo\r\n\ttree\0"},
    "a megabyte": {"text": "x" * 1_000_000},
    "deep": {"a": {"b": {"c": {"d": {"e": [[[{"f": 1}]]]}}}}},
    "numbers": {"nan": float("nan"), "tiny": 5e-324},
}


class TestOddEvents:
    @pytest.mark.parametrize("kind", ODD)
    def test_arrives(self, agent, loki, record, kind):
        """With as many attributes as without agent and gateway, and the two that the gateway adds."""
        assert record(agent.endpoint, ODD[kind])
        assert record(loki.endpoint, ODD[kind])
        direct, through = sorted(loki.wait_for(2, 180), key=lambda log: "event_name" in log.attributes)
        added = {"event_name", "delivery_delay_ms"}
        own = {"log.record.uid"}

        assert through.attributes.keys() - added == direct.attributes.keys()
        assert [
            name
            for name, value in direct.attributes.items()
            if name not in own and repr(value) != repr(through.attributes[name])
        ] == []
        assert through.body == direct.body

    def test_larger_than_a_request_may_be_is_refused(self, agent, loki, record):
        """20 MiB is too much for the agent: the application is told, and nothing else is lost."""
        assert not record(agent.endpoint, {"text": "x" * 21_000_000})
        assert record(agent.endpoint, {"text": "fine"})
        (log,) = loki.wait_for(1, 180)

        assert log.attributes["jupyter.event.text"] == "fine"

    def test_name_that_loki_cannot_have_is_left_out(self, gateway, loki):
        """Such a name would cost the whole request its place; what else the record has arrives."""
        attributes, resource = {"日本": "1", "": "2", "fine": "3"}, {"—": "4", "service.name": "app"}
        status = post_logs(
            gateway.endpoint, token=TOKEN, verify=gateway.trusted, attributes=attributes, resource=resource
        )
        (log,) = loki.wait_for(1, 180)

        assert status == 200
        assert log.attributes.keys() == {"fine", "delivery_delay_ms"}
        assert log.resource.keys() == {"service.name"}
