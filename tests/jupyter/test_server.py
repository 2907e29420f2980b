"""A real Jupyter Server with the extension, and with the handler alone."""

import json
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from programs import Server, documented, environment, event, http, wait_until

from jupyter_otel_telemetry.otlp.receiver import OTLPReceiver

EVENTS = "https://events.jupyter.org/jupyter_server"
CONTENTS, KERNELS = f"{EVENTS}/contents_service/v1", f"{EVENTS}/kernel_actions/v1"
GATEWAY = f"{EVENTS}/gateway_client/v1"
ENABLED = {"ServerApp": {"jpserver_extensions": {"jupyter_otel_telemetry": True}}}
DOCUMENTED = json.loads(documented("jupyter-server.md", "json"))
LATE_ID = "https://example.org/late"
LATE_EXTENSION = f"""
from jupyter_server.base.handlers import APIHandler
from tornado.web import authenticated

class Late(APIHandler):
    @authenticated
    def get(self):
        schema = {{"$id": {LATE_ID!r}, "version": "1", "properties": {{"from": {{"type": "string"}}}}}}
        self.event_logger.register_event_schema(schema)
        self.event_logger.emit(schema_id={LATE_ID!r}, data={{"from": "extension"}})

def _jupyter_server_extension_points():
    return [{{"module": "late_extension"}}]

def _load_jupyter_server_extension(serverapp):
    serverapp.web_app.add_handlers(".*$", [("/late", Late)])
"""
EARLY_EXTENSION = f"""
def _jupyter_server_extension_points():
    return [{{"module": "early_extension"}}]

def _load_jupyter_server_extension(serverapp):
    schema = {{"$id": {LATE_ID!r}, "version": "1", "properties": {{"when": {{"type": "string"}}}}}}
    serverapp.event_logger.register_event_schema(schema)
    serverapp.event_logger.emit(schema_id={LATE_ID!r}, data={{"when": "loaded"}})
"""
NOTEBOOK = {"type": "notebook", "content": {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}}


def with_options(**options):
    return ENABLED | {"OTelTelemetry": options}


@pytest.fixture(scope="module")
def receiver():
    with OTLPReceiver() as running:
        yield running


@pytest.fixture(scope="module")
def shared_server(receiver, start_in_module, tmp_path_factory):
    """A server with the extension, its events sent to `receiver` without delay."""
    config = with_options(endpoint=receiver.endpoint, headers={"authorization": "a-secret"})
    return start_in_module(Server, config, tmp_path_factory.mktemp("server"), {"OTEL_BLRP_SCHEDULE_DELAY": "50"})


@pytest.fixture
def server(shared_server, receiver):
    receiver.clear()
    return shared_server


@pytest.fixture
def arrived(receiver):
    """Return a function that waits until an event with these properties is there, and returns it."""

    def find(schema_id, **properties):
        def matching():
            for log in receiver.logs:
                if log.event_name == schema_id and event(log).items() >= properties.items():
                    return log
            return None

        return wait_until(matching, f"{properties} arrives; {[log.body for log in receiver.logs]} did", 20)

    return find


class TestContents:
    def test_life_of_a_notebook_arrives(self, server, arrived):
        """Created, saved, renamed and deleted, by the API that front ends use."""
        created = server.do("POST", "contents", json={"type": "notebook"})
        server.do("PUT", f"contents/{created['path']}", json=NOTEBOOK)
        server.do("PATCH", f"contents/{created['path']}", json={"path": "analysis.ipynb"})
        server.do("DELETE", "contents/analysis.ipynb")

        assert created["path"] == "Untitled.ipynb"
        saved = arrived(CONTENTS, action="save", path="Untitled.ipynb")
        arrived(CONTENTS, action="rename", path="analysis.ipynb", source_path="Untitled.ipynb")
        arrived(CONTENTS, action="delete", path="analysis.ipynb")
        assert saved.attributes["jupyter.schema.id"] == saved.event_name == CONTENTS
        assert saved.attributes["jupyter.schema.version"] == "1"
        assert saved.resource["service.name"] == "jupyter-server"
        assert "jupyter.origin" not in saved.attributes


class TestKernels:
    def test_life_of_a_kernel_arrives(self, server, arrived):
        """Started, used over its WebSocket, interrupted and shut down."""
        kernel = server.do("POST", "kernels", json={"name": "python3"})["id"]
        channels = server.connect(f"kernels/{kernel}/channels")
        header = {"msg_id": "1", "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3"}
        content = {"code": "print(6 * 7)", "silent": False}
        request = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
        channels.send(json.dumps(request))
        while "42" not in json.loads(channels.recv())["content"].get("text", ""):
            pass
        channels.close()
        server.do("POST", f"kernels/{kernel}/interrupt")
        server.do("DELETE", f"kernels/{kernel}")

        for action in ("start", "interrupt", "shutdown"):
            log = arrived(KERNELS, action=action, kernel_id=kernel)
            assert (log.attributes["jupyter.event.status"], log.severity_text) == ("success", "INFO")


class TestGateway:
    def test_requests_to_a_gateway_arrive(self, run_server, server, otlp_receiver):
        """Another server stands for a Kernel Gateway, whose API it has."""
        gateway = {"url": server.url, "auth_token": server.token}
        client = run_server(ENABLED | {"GatewayClient": gateway})
        kernel = client.do("POST", "kernels", json={"name": "python3"})["id"]
        client.do("DELETE", f"kernels/{kernel}")
        client.stop()
        logs = [log for log in otlp_receiver.wait_for(1) if log.event_name == GATEWAY]

        assert {event(log)["status"] for log in logs} == {"success"}


class TestFrontEndEvents:
    def post(self, server, **changes):
        data = {"action": "save", "path": "made-up.ipynb"} | changes.pop("data", {})
        return server.api("POST", "events", json={"schema_id": CONTENTS, "version": "1", "data": data} | changes)

    def ago(self, **duration):
        moment = datetime.now(timezone.utc) - timedelta(**duration)
        return moment.replace(microsecond=0)

    def test_arrive_and_say_how_they_came_in(self, server, arrived):
        """Whoever is logged in can make one up, one of the server's own too; it cannot pass for the server's."""
        assert self.post(server).status_code == 204

        assert arrived(CONTENTS, path="made-up.ipynb").attributes["jupyter.origin"] == "events_api"

    def test_may_be_a_little_late(self, server, arrived):
        """A client that was offline says when things happened, in the form that the server wants."""
        moment = self.ago(hours=23)
        self.post(server, timestamp=f"{moment:%Y-%m-%dT%H:%M:%S}+00:00Z")
        log = arrived(CONTENTS, path="made-up.ipynb")

        assert log.timestamp_ns == int(moment.timestamp()) * 10**9
        assert "jupyter.claimed_timestamp" not in log.attributes

    @pytest.mark.parametrize("duration", [{"days": 2000}, {"hours": 25}, {"minutes": -10}])
    def test_impossible_time_is_replaced_and_marked(self, server, arrived, duration):
        """By the time of arrival, with what was claimed beside it."""
        moment = self.ago(**duration)
        assert self.post(server, timestamp=f"{moment:%Y-%m-%dT%H:%M:%S}+00:00Z").status_code == 204
        log = arrived(CONTENTS, path="made-up.ipynb")

        assert abs(log.timestamp_ns / 1e9 - datetime.now(timezone.utc).timestamp()) < 60
        assert log.attributes["jupyter.claimed_timestamp"] == f"{moment:%Y-%m-%dT%H:%M:%S}+00:00Z"

    @pytest.mark.parametrize("name", ["__schema__", "__schema_version__", "__timestamp__", "__anything"])
    def test_cannot_replace_the_envelope(self, server, receiver, name):
        """Which would make them events of another schema, or time."""
        answer = self.post(server, data={name: "https://example.org/other"})

        assert answer.status_code == 400
        assert f"the properties {name} are reserved" in answer.json()["message"]
        assert receiver.logs == []

    @pytest.mark.parametrize("data", [None, 5, "text", [], ["__schema__"]])
    def test_what_is_no_event_is_refused(self, server, receiver, data):
        """By an answer, not by a failure."""
        answer = server.api("POST", "events", json={"schema_id": CONTENTS, "version": "1", "data": data})

        assert answer.status_code == 400
        assert receiver.logs == []

    @pytest.mark.parametrize(
        "changes",
        [
            {"data": {"action": "explode"}},
            {"schema_id": "https://example.org/unknown"},
            {"version": "7"},
            {"timestamp": "yesterday"},
        ],
    )
    def test_invalid_one_is_refused(self, server, receiver, changes):
        """As without the extension."""
        assert self.post(server, **changes).status_code == 400
        assert receiver.logs == []

    def test_stranger_is_refused(self, server, receiver):
        """The route asks for the same permission as before."""
        token, server.token = server.token, "wrong"
        try:
            assert self.post(server).status_code == 403
        finally:
            server.token = token
        assert receiver.logs == []

    def test_next_event_of_the_server_is_the_servers(self, server, arrived):
        """The mark ends with the request, also of one that was refused."""
        self.post(server)
        self.post(server, data={"action": "explode"})
        server.do("PUT", "contents/real.ipynb", json=NOTEBOOK)

        assert "jupyter.origin" not in arrived(CONTENTS, action="save", path="real.ipynb").attributes

    def test_subscribers_still_get_the_stream(self, server, arrived):
        """Events of the server, and of front ends."""
        stream = server.connect("events/subscribe")
        server.do("PUT", "contents/real.ipynb", json=NOTEBOOK)
        self.post(server)
        seen = []
        while "made-up.ipynb" not in seen:
            seen.append(json.loads(stream.recv())["path"])
        stream.close()

        assert "real.ipynb" in seen
        arrived(CONTENTS, path="made-up.ipynb")


class TestLogLine:
    def test_says_what_goes_where_without_secrets(self, server, receiver):
        """One line when the server starts."""
        (line,) = [line for line in server.output.splitlines() if "startup] sending" in line]

        assert re.match(r"\[I \S+ \S+ jupyter_otel_telemetry\.export\.startup\] sending all events, ", line)
        assert line.endswith(f"no property withheld, to {receiver.endpoint} (http/protobuf), without spool")
        assert "a-secret" not in server.output

    def test_warns_of_schemas_that_say_personal_data(self, server):
        """Jupyter Server's own three, of whose properties no option says anything."""
        (line,) = [line for line in server.output.splitlines() if "say personal-data" in line]

        assert re.match(r"\[W \S+ \S+ jupyter_otel_telemetry\.export\.startup\] ", line)
        assert f"every property of their events is sent: {CONTENTS}, {GATEWAY}, {KERNELS}; name" in line


@pytest.fixture
def run_server(started, otlp_receiver, tmp_path):
    """Return a function that runs a server with a given configuration, its events sent to `otlp_receiver`."""

    def run(config, **env):
        return started(
            Server, config, tmp_path / "server", {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint} | env
        )

    return run


class TestHandlerAlone:
    def test_two_lines_are_enough(self, run_server, otlp_receiver):
        """`c.EventLogger.handlers`, as in JupyterHub."""
        server = run_server(documented("jupyter-server.md", "python"))
        server.do("PUT", "contents/a.ipynb", json=NOTEBOOK)
        server.stop()

        assert [event(log)["action"] for log in otlp_receiver.wait_for(1) if event(log)["action"] == "save"] == [
            "save"
        ]


class TestLateSchema:
    def test_events_of_other_extensions_arrive(self, run_server, otlp_receiver, tmp_path):
        """One that registers its schema long after ours was loaded; its front end's events too."""
        (tmp_path / "late_extension.py").write_text(LATE_EXTENSION)
        names = ["jupyter_otel_telemetry", "late_extension"]
        config = {"ServerApp": {"jpserver_extensions": dict.fromkeys(names, True)}}
        server = run_server(config, PYTHONPATH=str(tmp_path))
        http.get(f"{server.url}/late?token={server.token}", timeout=60).raise_for_status()
        server.do("POST", "events", json={"schema_id": LATE_ID, "version": "1", "data": {"from": "front end"}})
        server.stop()
        own, front_end = otlp_receiver.wait_for(2)

        assert (event(own), event(front_end)) == ({"from": "extension"}, {"from": "front end"})
        assert own.event_name == front_end.event_name == LATE_ID
        assert ("jupyter.origin" in own.attributes, "jupyter.origin" in front_end.attributes) == (False, True)


class TestEarlyEvents:
    def test_of_other_extensions_arrive(self, run_server, otlp_receiver, tmp_path):
        """Those that one emits while it is loaded, which by its name is before ours."""
        (tmp_path / "early_extension.py").write_text(EARLY_EXTENSION)
        names = ["jupyter_otel_telemetry", "early_extension"]
        config = {"ServerApp": {"jpserver_extensions": dict.fromkeys(names, True)}}
        server = run_server(config, PYTHONPATH=str(tmp_path))
        server.stop()

        assert [event(log) for log in otlp_receiver.wait_for(1)] == [{"when": "loaded"}]


class TestHandlerAndExtension:
    def test_send_every_event_once(self, run_server, otlp_receiver):
        """The extension sees the handler, adds none, and says so; it still marks events of front ends."""
        config = documented("jupyter-server.md", "python")
        server = run_server(f"c.ServerApp.jpserver_extensions = {{'jupyter_otel_telemetry': True}}\n{config}")
        data = {"action": "save", "path": "made-up.ipynb"}
        server.do("POST", "events", json={"schema_id": CONTENTS, "version": "1", "data": data})
        server.stop()
        logs = otlp_receiver.wait_for(1)

        assert [log.attributes["jupyter.origin"] for log in logs if event(log) == data] == ["events_api"]
        assert f"holds an OTLPHandler already, which sends to {otlp_receiver.endpoint}" in server.output
        assert server.output.count("sending all events") == 1


class TestManyAtOnce:
    def test_each_event_says_truly_how_it_came_in(self, server, receiver):
        """Front ends and the server itself, both as fast as they can."""

        def front_end(number):
            data = {"action": "save", "path": f"front-end-{number}"}
            return server.api(
                "POST", "events", json={"schema_id": CONTENTS, "version": "1", "data": data}
            ).status_code

        def contents(number):
            return server.api("PUT", f"contents/own-{number}.ipynb", json=NOTEBOOK).status_code

        with ThreadPoolExecutor(8) as pool:
            statuses = {*pool.map(front_end, range(100)), *pool.map(contents, range(100))}
        saved = wait_until(lambda: len(found := self.saved(receiver)) >= 200 and found, "all arrive")

        assert statuses == {201, 204}
        assert sorted(saved) == sorted(
            [(f"front-end-{number}", True) for number in range(100)]
            + [(f"own-{number}.ipynb", False) for number in range(100)]
        )

    def saved(self, receiver):
        logs = [log for log in receiver.logs if event(log)["action"] == "save"]
        return [(event(log)["path"].lstrip("/"), "jupyter.origin" in log.attributes) for log in logs]


class TestEnd:
    @pytest.mark.parametrize(
        "number, actions",
        # Without a terminal, the server does not end its kernels at SIGINT.
        [(signal.SIGTERM, ["start", "shutdown"]), (signal.SIGINT, ["start"])],
    )
    def test_what_was_emitted_before_arrives(self, run_server, otlp_receiver, number, actions):
        """However the server is stopped, and long before the batch would have been sent."""
        server = run_server(ENABLED, OTEL_BLRP_SCHEDULE_DELAY="600000")
        server.do("POST", "kernels", json={"name": "python3"})
        server.stop(number)

        assert [event(log)["action"] for log in otlp_receiver.wait_for(len(actions))] == actions


class TestConfiguration:
    def test_documented_one_does_what_it_says(self, run_server, otlp_receiver):
        """Kernels, and contents without paths; with a name for the deployment."""
        options = DOCUMENTED["OTelTelemetry"] | {"endpoint": otlp_receiver.endpoint}
        server = run_server(with_options(**options))
        server.do("PUT", "contents/a.ipynb", json=NOTEBOOK)
        server.do("POST", "kernels", json={"name": "python3"})
        server.stop()
        save, *_, shutdown = otlp_receiver.wait_for(3)

        assert f"sending events of {KERNELS}, {CONTENTS} (withheld path, source_path), to" in server.output
        assert {log.event_name for log in otlp_receiver.logs} == {KERNELS, CONTENTS}
        assert {name for log in otlp_receiver.logs if log.event_name == CONTENTS for name in event(log)} == {"action"}
        assert event(shutdown)["action"] == "shutdown"
        assert save.resource["deployment.environment.name"] == "teaching"

    def test_mistake_is_logged_and_the_server_starts(self, run_server, otlp_receiver):
        """Nothing is sent, since what was meant is not known."""
        server = run_server(with_options(allowed_schema=["https://example.org/*"]))
        server.do("PUT", "contents/a.ipynb", json=NOTEBOOK)
        server.stop()

        assert "wrongly: OTelTelemetry has no option 'allowed_schema'; did you mean" in server.output
        assert otlp_receiver.logs == []


class TestEnable:
    def test_is_opt_in(self, started, otlp_receiver, tmp_path):
        """Installing the package enables nothing; one command does, and one takes it back."""
        programs = environment("server")

        def extension(action):
            done = subprocess.run(
                [programs / "jupyter", "server", "extension", action, "jupyter_otel_telemetry"],
                env={"PATH": str(programs), "HOME": str(tmp_path)},
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
            return done.stdout + done.stderr

        def lines_of_server(name):
            server = started(
                Server, {}, tmp_path / name, {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}, programs
            )
            server.stop()
            return [line for line in server.output.splitlines() if "sending all events" in line]

        assert lines_of_server("before") == []
        try:
            assert "successfully enabled" in extension("enable")
            assert len(lines_of_server("after")) == 1
        finally:
            extension("disable")
        assert lines_of_server("later") == []
