"""JupyterHub 5 and 6 with `c.EventLogger.handlers = [OTLPHandler()]`, as their operators run them."""

import hashlib
import hmac
import json
import re
import signal
import socket
import subprocess

import pytest
from programs import Hub, documented, environment, event

SERVER_ACTION = "https://schema.jupyter.org/jupyterhub/events/server-action"
NOWHERE = "http://127.0.0.1:9"
CONTENTS = "https://events.jupyter.org/jupyter_server/contents_service/v1"
CONFIG = documented("jupyterhub.md", "python").partition("c.JupyterHub")[0]  # the two lines that matter


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

        assert [event(log)["action"] for log in (start, stop)] == ["start", "stop"]
        assert start.event_name == start.attributes["jupyter.schema.id"] == SERVER_ACTION
        assert start.attributes["jupyter.schema.version"] == "1"
        assert event(start) == {"action": "start", "username": "ada", "servername": ""}
        assert start.body == 'server-action action=start username=ada servername=""'
        assert (start.severity_text, start.scope_name) == ("INFO", "jupyter_otel_telemetry")
        assert start.resource["service.name"] == "jupyterhub"
        assert start.resource["service.version"].startswith(f"{run_hub.version}.")
        assert "Traceback" not in hub.output

    def test_policy_narrows(self, run_hub, otlp_receiver):
        """What `allowed_schemas` withholds does not leave."""
        narrow = (
            "OTLPHandler(allowed_schemas={'https://schema.jupyter.org/*': {'withheld_properties': ['username']}})"
        )
        hub = run_hub(CONFIG.replace("OTLPHandler()", narrow), otlp_receiver.endpoint)
        hub.start_server()
        hub.stop()
        (log,) = otlp_receiver.wait_for(1)

        assert event(log) == {"action": "start", "servername": ""}


MISTAKES = {
    "endpoint='collector:4318'": "OTLPHandler: endpoint 'collector:4318' is",
    "protocol='http/json'": "OTLPHandler: protocol 'http/json' is not supported; use one of",
    "spool='/proc/events'": "OTLPHandler: spool folder /proc/events cannot be used: No such file or directory",
    f"allowed_schemas={{{SERVER_ACTION!r}: {{'withheld_properties': ['user_name']}}}}": (
        f"OTLPHandler allowed_schemas['{SERVER_ACTION}'] withheld_properties names 'user_name', "
        "which that schema does not have; did you mean 'username'?"
    ),
    "allowed_schemas={'https://example.org/*': {'withheld': []}}": (
        "OTLPHandler allowed_schemas['https://example.org/*'] has the unknown option 'withheld'; known are"
    ),
}


class TestMistakes:
    @pytest.mark.parametrize("version", [5, 6])
    @pytest.mark.parametrize("arguments", MISTAKES)
    def test_hub_does_not_start_and_says_why_in_its_last_line(self, tmp_path, version, arguments):
        """With handler, option and remedy, in the hub's own form."""
        (tmp_path / "jupyterhub_config.py").write_text(CONFIG.replace("OTLPHandler()", f"OTLPHandler({arguments})"))
        programs = environment(f"hub{version}")
        done = subprocess.run(
            [programs / "jupyterhub"],
            cwd=tmp_path,
            env={"PATH": str(programs), "HOME": str(tmp_path), "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        last = done.stderr.splitlines()[-1]

        assert done.returncode == 1
        assert re.match(r"\[C .* JupyterHub application:\d+\] Bad config", last)
        assert MISTAKES[arguments] in last


class TestLogLines:
    def line(self, hub, words):
        return next((line for line in hub.output.splitlines() if words in line), None)

    def test_one_says_what_goes_where(self, run_hub, tmp_path):
        """At the start, with policy and spool, in the form of the hub's own lines."""
        handler = (
            f"OTLPHandler(spool={str(tmp_path / 'events')!r}, headers={{'authorization': 'Bearer a-secret'}}, "
            f"allowed_schemas={{{SERVER_ACTION!r}: {{'withheld_properties': ['username']}}}})"
        )
        hub = run_hub(CONFIG.replace("OTLPHandler()", handler), "http://name:a-secret@127.0.0.1:9")
        line = self.line(hub, "sending")

        assert re.match(r"\[I \d{4}-\d\d-\d\d [\d:.]+ jupyter_otel_telemetry\.export\.startup startup:\d+\] ", line)
        assert line.endswith(
            f"sending events of {SERVER_ACTION} (withheld username), "
            f"to http://127.0.0.1:9 (http/protobuf), spool {tmp_path / 'events'}"
        )
        assert "a-secret" not in hub.output

    def test_outage_is_told_in_the_form_of_the_hub(self, run_hub, tmp_path):
        """With time, level and logger."""
        hub = run_hub(CONFIG.replace("OTLPHandler()", f"OTLPHandler(spool={str(tmp_path / 'events')!r})"), NOWHERE)
        hub.start_server()
        hub.wait_until(lambda: self.line(hub, "that wait in"), "the outage is told")

        line = self.line(hub, "that wait in")
        assert re.match(r"\[E \d{4}-\d\d-\d\d [\d:.]+ jupyter_otel_telemetry\.\S+ \w+:\d+\] ", line)


class TestEnd:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_what_was_emitted_before_arrives(self, run_hub, otlp_receiver, number):
        """However the hub is stopped, and long before the batch would have been sent."""
        hub = run_hub(CONFIG, otlp_receiver.endpoint, OTEL_BLRP_SCHEDULE_DELAY="600000")
        hub.start_server()
        hub.stop(number)

        assert [event(log)["action"] for log in otlp_receiver.wait_for(1)] == ["start"]

    def test_hub_that_is_started_again_goes_on(self, run_hub, otlp_receiver):
        """As another instance of the same service."""
        for _ in range(2):
            hub = run_hub(CONFIG, otlp_receiver.endpoint)
            hub.start_server()
            hub.stop()
        first, second = otlp_receiver.wait_for(2)

        assert first.resource["service.name"] == second.resource["service.name"]
        assert first.resource["service.instance.id"] != second.resource["service.instance.id"]


class TestSpool:
    def test_killed_hub_loses_nothing(self, run_hub, otlp_receiver, tmp_path):
        """Not even while its collector is down: the next one sends what it has left."""
        config = documented("jupyterhub.md", "python", -1).replace("/var/lib/jupyterhub", str(tmp_path))
        hub = run_hub(config, NOWHERE)
        hub.start_server()
        hub.kill()
        run_hub(config, otlp_receiver.endpoint)
        (log,) = otlp_receiver.wait_for(1, timeout_s=60)

        assert event(log) == {"action": "start", "username": "ada", "servername": ""}


class TestCollectorDown:
    def test_servers_start_without_an_answer(self, run_hub):
        """A spawn does not wait for the request that is under way, and nothing is raised."""
        patience = 'import os; os.environ["OTEL_EXPORTER_OTLP_TIMEOUT"] = "600"\n'
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.settimeout(60)
            hub = run_hub(patience + CONFIG, f"http://127.0.0.1:{silent.getsockname()[1]}")
            hub.start_server()
            with silent.accept()[0] as request:
                assert request.recv(1)
                hub.stop_server()
                hub.start_server()
                hub.kill()

        assert "Traceback" not in hub.output


KEY = "a key of the tests only"


class TestUsersServers:
    def test_say_whose_they_are_only_if_that_is_wanted(self, run_hub, otlp_receiver, tmp_path):
        """By name, by pseudonym, or, as by default, not at all; each server is configured by a file of JSON."""
        servers = {"name": {"identity": "name"}, "pseudonym": {"identity": "pseudonym"}, "default": {}}
        for name, options in servers.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / "jupyter_server_config.json").write_text(
                json.dumps(
                    {
                        "ServerApp": {"jpserver_extensions": {"jupyter_otel_telemetry": True}},
                        "OTelTelemetry": {"endpoint": otlp_receiver.endpoint, "service_name": name} | options,
                    }
                )
            )
        hub = run_hub(self.config(tmp_path), NOWHERE)
        for name in servers:
            hub.start_server("ada", name)
            data = {"schema_id": CONTENTS, "version": "1", "data": {"action": "get", "path": name}}
            hub.call_server("POST", "events", "ada", name, json=data)
            hub.stop_server("ada", name)
        resources = {log.resource["service.name"]: log.resource for log in otlp_receiver.wait_for(3)}

        assert (resources["name"]["user.name"], resources["name"]["jupyter.server.name"]) == ("ada", "name")
        assert resources["pseudonym"]["user.hash"] == pseudonym("ada")
        assert resources["pseudonym"]["jupyter.server.hash"] == pseudonym("pseudonym")
        assert not {name for name in resources["default"] if name.startswith(("user.", "jupyter."))}
        assert "ada" not in str(resources["default"]) + str(resources["pseudonym"])
        assert {log.attributes["jupyter.origin"] for log in otlp_receiver.logs} == {"events_api"}

    def test_two_lines_are_enough(self, run_hub, otlp_receiver, tmp_path):
        """The handler in a user's server, without the extension."""
        (tmp_path / "jupyter_server_config.py").write_text(CONFIG)
        environment = {"JUPYTER_CONFIG_DIR": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}
        hub = run_hub(f"c.Spawner.environment = {environment!r}", NOWHERE)
        hub.start_server()
        hub.call_server("GET", "contents")
        hub.stop_server()
        (log,) = otlp_receiver.wait_for(1)

        assert event(log) == {"action": "get", "path": ""}
        assert log.resource["service.name"] == "jupyterhub-singleuser"

    def config(self, folder):
        environment = {"JUPYTER_OTEL_PSEUDONYM_KEY": KEY}
        return (
            "c.JupyterHub.allow_named_servers = True\n"
            f"c.Spawner.environment = {environment!r}\n"
            f"c.Spawner.environment['JUPYTER_CONFIG_DIR'] = lambda spawner: {str(folder)!r} + '/' + spawner.name\n"
        )


def pseudonym(name):
    return hmac.new(KEY.encode(), json.dumps(name).encode(), hashlib.sha256).hexdigest()
