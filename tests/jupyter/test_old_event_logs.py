"""`OTLPHandler` in the event logs of jupyter_telemetry 0.1.0, which JupyterHub had before version 5."""

import subprocess

import pytest
from programs import environment

PROGRAM = """
from datetime import datetime
from jupyter_telemetry.eventlog import EventLog
from traitlets.config import Config
from jupyter_otel_telemetry import OTLPHandler

ID = "hub.jupyter.org/server-action"
properties = {"action": {"type": "string"}, "username": {"type": "string"}, "count": {"type": "integer"}}
config = Config({"EventLog": {"handlers": [OTLPHandler(allowed_schemas=[ID])], "allowed_schemas": [ID, "x"]}})
log = EventLog(config=config)
log.register_schema({"$id": ID, "version": 1, "type": "object", "properties": properties})
log.register_schema({"$id": "x", "version": 1, "type": "object", "properties": properties})
log.record_event(ID, 1, {"action": "start", "username": "ada", "count": 3})
log.record_event(ID, 1, {"action": "stop"}, timestamp_override=datetime(2026, 1, 2, 3, 4, 5, 678))
log.record_event("x", 1, {"action": "not allowed by the handler"})
"""


@pytest.fixture
def arrived(otlp_receiver, tmp_path):
    """What an event log of the real package sends, when its program just ends."""
    programs = environment("telemetry")
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint, "HOME": str(tmp_path), "no_proxy": "127.0.0.1"}
    command = [programs / "python", "-c", PROGRAM]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=180)
    assert (done.returncode, "Error" in done.stderr) == (0, False), done.stderr
    return otlp_receiver.wait_for(2)


class TestEvents:
    def test_are_mapped_like_ours(self, arrived):
        """Name, schema, version, typed attributes, body; and the handler's own policy narrows."""
        start, stop = arrived

        assert start.event_name == start.attributes["jupyter.schema.id"] == "hub.jupyter.org/server-action"
        assert start.attributes["jupyter.schema.version"] == "1"
        assert start.attributes["jupyter.event.count"] == 3
        assert start.body == "server-action action=start username=ada count=3"
        assert (stop.severity_text, stop.scope_name) == ("INFO", "jupyter_otel_telemetry")

    def test_keep_their_own_time(self, arrived):
        """An override, which that package takes for UTC."""
        assert arrived[1].timestamp_ns == 1767323045000678000
