"""JupyterHub 5 and 6 with `c.EventLogger.handlers = [OTLPHandler()]`, as their operators run them."""

import signal
import socket

import pytest
from programs import Hub

SERVER_ACTION = "https://schema.jupyter.org/jupyterhub/events/server-action"
CONFIG = """
from jupyter_otel_telemetry import OTLPHandler
c.EventLogger.handlers = [OTLPHandler()]
"""


@pytest.fixture(params=[5, 6])
def run_hub(request, started, tmp_path):
    """Return a function that runs a hub with a given configuration, its events sent to a given URL."""

    def run(config, endpoint, **env):
        env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        return started(Hub, request.param, config, tmp_path / "hub", env)

    run.version = request.param
    return run


class TestEvents:
    def test_start_and_stop_arrive_at_a_collector_as_the_mapping_says(self, run_hub, collector):
        """Event name, schema, typed attributes, body, severity, and the hub's name."""
        collector.receiver.clear()
        hub = run_hub(CONFIG, collector.http)
        hub.start_server()
        hub.stop_server()
        start, stop = collector.receiver.wait_for(2)

        assert [log.attributes["jupyter.event.action"] for log in (start, stop)] == ["start", "stop"]
        assert start.event_name == start.attributes["jupyter.schema.id"] == SERVER_ACTION
        assert start.attributes["jupyter.schema.version"] == "1"
        assert start.attributes["jupyter.event.username"] == "ada"
        assert start.attributes["jupyter.event.servername"] == ""
        assert start.body == 'server-action action=start username=ada servername=""'
        assert (start.severity_text, start.scope_name) == ("INFO", "jupyter_otel_telemetry")
        assert start.resource["service.name"] == "jupyterhub"
        assert "Traceback" not in hub.output

    def test_policy_narrows(self, run_hub, otlp_receiver):
        """Where `allowed_schemas` lists other schemas, nothing leaves."""
        other = "OTLPHandler(allowed_schemas={'https://example.org/*': {}})"
        hub = run_hub(CONFIG.replace("OTLPHandler()", other), otlp_receiver.endpoint)
        hub.start_server()
        hub.stop()

        assert otlp_receiver.logs == []


class TestEnd:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_what_was_emitted_before_arrives(self, run_hub, otlp_receiver, number):
        """However the hub is stopped, and long before the batch would have been sent."""
        hub = run_hub(CONFIG, otlp_receiver.endpoint, OTEL_BLRP_SCHEDULE_DELAY="600000")
        hub.start_server()
        hub.stop(number)

        assert [log.attributes["jupyter.event.action"] for log in otlp_receiver.wait_for(1)] == ["start"]

    def test_hub_that_is_started_again_goes_on(self, run_hub, otlp_receiver):
        """As another instance of the same service."""
        for _ in range(2):
            hub = run_hub(CONFIG, otlp_receiver.endpoint)
            hub.start_server()
            hub.stop()
        first, second = otlp_receiver.wait_for(2)

        assert first.resource["service.name"] == second.resource["service.name"]
        assert first.resource["service.instance.id"] != second.resource["service.instance.id"]


class TestCollectorDown:
    def test_servers_start_as_quickly_as_without_us(self, run_hub):
        """Nobody answers at the endpoint: neither is a spawn slower, nor is anything raised."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            hub = run_hub(CONFIG, f"http://127.0.0.1:{silent.getsockname()[1]}")
            with_us_s = min(self.seconds_of_starts(hub))
            hub.kill()
            output = hub.output
            without_us_s = min(self.seconds_of_starts(run_hub("", "http://127.0.0.1:9")))

        assert with_us_s < without_us_s * 1.5 + 0.5
        assert "Traceback" not in output

    def seconds_of_starts(self, hub):
        for _ in range(2):
            yield hub.start_server()
            hub.stop_server()
