"""deploy/collector, run by a Collector that has just what these files use."""

import logging
import os
import re
import subprocess

import pytest
import yaml
from builders import ID
from stack import DEPLOY, TOKEN, Collector, configurations, part, post_logs

from jupyter_otel_telemetry import EventLog

COMBINATIONS = [
    "agent",
    "gateway",
    "gateway plain",
    "gateway gateway-kubernetes",
    "gateway gateway-kafka",
    "ingest-kafka",
    "dev",
]
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
        assert {path.stem for path in FILES} == set(" ".join(COMBINATIONS).split())

    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
    def test_head_names_its_variables(self, path):
        """The table at the top has each variable that the file uses, with its default."""
        text = path.read_text()
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
        assert not record(agent.endpoint, {"text": "x" * 11_000_000})
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
