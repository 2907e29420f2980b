"""The example of an extension: installed, driven, and tested by its own tests."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from programs import Server, environment, event, http

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "jupyter_server_extension"


@pytest.fixture
def documented():
    """The configuration that its README shows."""
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    return json.loads(re.search(r"```json jupyter_server_config\.json\n(.*?)```", text, re.DOTALL)[1])


@pytest.fixture
def greet(started, otlp_receiver, tmp_path):
    """Return a function that runs a server with a configuration, gets a greeting, and ends the server."""

    def run(config):
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}
        server = started(Server, config, tmp_path / "server", env, environment("example"))
        answer = http.get(f"{server.url}/example-greeter?language=fr&token={server.token}", timeout=60)
        server.stop()
        run.output = server.output
        return answer.json()

    return run


class TestExample:
    def test_greeting_arrives(self, greet, documented, otlp_receiver):
        """With the documented configuration, by the name that the schema gives it."""
        assert greet(documented) == {"greeting": "bonjour"}
        (log,) = otlp_receiver.wait_for(1)

        assert (log.event_name, event(log)["language"]) == ("example.greeting", "fr")
        assert log.resource["service.name"] == "jupyter-server"

    def test_nothing_is_recorded_without_configuration(self, greet, otlp_receiver):
        """Installing it is no consent."""
        assert greet({}) == {"greeting": "bonjour"}
        assert otlp_receiver.logs == []

    def test_mistake_in_the_configuration_costs_events_only(self, greet, documented, otlp_receiver):
        """The feature works, and the log says why nothing is recorded."""
        documented["EventLog"]["allowed_schemas"] = {
            "https://example.org/events/greeting": {"witheld_properties": []}
        }

        assert greet(documented) == {"greeting": "bonjour"}
        assert otlp_receiver.logs == []
        assert "example_greeter records no events, as EventLog is configured wrongly" in greet.output
        assert "did you mean 'withheld_properties'?" in greet.output

    def test_its_own_tests_pass(self, tmp_path):
        """They use our pytest plugin, in an environment that has nothing of ours but the package."""
        shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
        command = [environment("example") / "pytest", "-q", "-p", "no:cacheprovider", tmp_path / "tests"]
        env = {"PATH": str(environment("example")), "HOME": str(tmp_path)}
        done = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120
        )

        assert "3 passed" in done.stdout, done.stdout + done.stderr
