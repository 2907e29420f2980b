"""Resource attributes: which program, of which version, where, and for whom."""

import multiprocessing
import os
import socket
import sys
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from jupyter_otel_telemetry import OTLPHandler
from jupyter_otel_telemetry.export.resource import hub_identity, program_resource
from jupyter_otel_telemetry.otlp.settings import ExporterOptions
from jupyter_otel_telemetry.privacy.pseudonyms import Pseudonymizer


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """No variable of this machine disturbs."""
    for name in [name for name in os.environ if name.startswith(("OTEL_", "JUPYTERHUB_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def run_as(monkeypatch):
    """Return a function that pretends that another program is running: a script, or a module by `python -m`."""

    def pretend(script, module=None):
        spec = None if module is None else SimpleNamespace(name=module)
        monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=spec))
        monkeypatch.setattr(sys, "argv", [script, "--token=a-secret"])

    return pretend


def attributes(service_name=None, resource=None):
    return dict(program_resource(service_name, resource).attributes)


class TestService:
    @pytest.mark.parametrize(
        "script, module, name, distribution",
        [
            ("/opt/bin/jupyterhub", None, "jupyterhub", "jupyterhub"),
            ("/opt/bin/jupyter-server", None, "jupyter-server", "jupyter-server"),
            ("/opt/bin/jupyterhub-singleuser", None, "jupyterhub-singleuser", "jupyterhub"),
            ("/opt/site-packages/jupyterhub/__main__.py", "jupyterhub.__main__", "jupyterhub", "jupyterhub"),
        ],
    )
    def test_is_the_running_program_and_its_version(self, run_as, script, module, name, distribution):
        """That of the distribution which the program came with."""
        run_as(script, module)
        found = attributes()

        assert (found["service.name"], found["service.version"]) == (name, version(distribution))

    @pytest.mark.parametrize(
        "script, module", [("/home/ada/mine.py", None), ("x.py", "no_such_module"), ("-c", None)]
    )
    def test_program_of_no_distribution_has_no_version(self, run_as, script, module):
        """A wrong one would be worse."""
        run_as(script, module)

        assert "service.version" not in attributes()

    def test_instance_is_identified(self):
        """As OpenTelemetry does it."""
        assert len(attributes()["service.instance.id"]) == len("e1b2c3d4-0000-4000-8000-000000000000")

    def test_argument_wins_over_environment_wins_over_what_is_found(self, run_as, monkeypatch):
        """In every attribute."""
        run_as("/opt/bin/jupyterhub")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.version=env,host.name=env,a=env,b=env")
        found = attributes("mine", {"a": "argument"})

        assert [found[name] for name in ("service.name", "service.version", "host.name")] == ["mine", "env", "env"]
        assert (found["a"], found["b"]) == ("argument", "env")


class TestHostAndProcess:
    def test_are_described(self):
        """As the SDK's detectors do."""
        found = attributes()

        assert (found["host.name"], found["process.pid"]) == (socket.gethostname(), os.getpid())
        assert found["process.runtime.name"] == sys.implementation.name
        assert {"host.arch", "process.parent_pid", "process.executable.name"} <= set(found)

    def test_hold_no_secret_and_no_person(self, run_as):
        """Tokens stand on command lines; an owner, and a path in a home directory, name somebody."""
        run_as("/opt/bin/jupyterhub")
        found = attributes()

        assert "a-secret" not in str(found)
        assert not set(found) & {
            "process.owner",
            "process.command",
            "process.command_args",
            "process.executable.path",
        }

    def test_detectors_of_the_environment_decide_where_they_are_named(self, monkeypatch):
        """Whoever names some wants just those, and all that they give."""
        monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "os,process")
        found = attributes()

        assert {"os.type", "process.command"} <= set(found)
        assert "host.name" not in found

    def test_server_of_a_user_does_not_name_its_host(self, monkeypatch):
        """The name of a container is often that of its user."""
        monkeypatch.setenv("JUPYTERHUB_USER", "ada")

        assert {name for name in attributes() if name.startswith("host.")} == {"host.arch"}

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 warns of what is tested here
    def test_forked_child_is_a_process_of_its_own(self, otlp_receiver, recording):
        """With the id of itself, not of its parent."""
        if "fork" not in multiprocessing.get_all_start_methods():
            pytest.skip("fork is absent")
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint)
        child = multiprocessing.get_context("fork").Process(target=recording, args=[handler, {}])
        child.start()
        child.join(180)
        handler.close()

        (log,) = otlp_receiver.wait_for(1)
        assert (log.resource["process.pid"], log.resource["process.parent_pid"]) == (child.pid, os.getpid())


class TestHubIdentity:
    @pytest.fixture(autouse=True)
    def under_a_hub(self, monkeypatch):
        monkeypatch.setenv("JUPYTERHUB_USER", "ada")
        monkeypatch.setenv("JUPYTERHUB_SERVER_NAME", "lab")

    def test_is_off_by_default(self):
        """None says nothing."""
        assert hub_identity(None, None) == {}

    def test_names(self):
        """User and server."""
        assert hub_identity("name", None) == {"user.name": "ada", "jupyter.server.name": "lab"}

    def test_pseudonyms_are_those_of_events(self):
        """The same key gives the same one for a name, wherever it stands."""
        pseudonym = Pseudonymizer(b"a key of the tests only")

        expected = {"user.hash": pseudonym("ada"), "jupyter.server.hash": pseudonym("lab")}
        assert hub_identity("pseudonym", pseudonym) == expected

    def test_pseudonym_wants_a_key(self):
        """Said before anything is sent."""
        with pytest.raises(ValueError, match="needs a key: set pseudonym_key_file"):
            hub_identity("pseudonym", None)

    @pytest.mark.parametrize("identity", ["name", "pseudonym"])
    def test_outside_of_a_hub_there_is_none(self, monkeypatch, identity):
        """Whatever the configuration says."""
        monkeypatch.delenv("JUPYTERHUB_USER")

        assert hub_identity(identity, None) == {}


class TestDestination:
    @pytest.mark.parametrize(
        "options, shown",
        [
            ({}, "http://localhost:4318 (http/protobuf)"),
            ({"protocol": "grpc"}, "http://localhost:4317 (grpc)"),
            ({"endpoint": "https://me:secret@h:1/p?token=secret"}, "https://h:1/…?… (http/protobuf)"),
        ],
    )
    def test_shows_no_secret(self, options, shown):
        """Neither credentials nor a query."""
        assert ExporterOptions(**options).destination() == shown

    def test_is_that_of_the_environment(self, monkeypatch):
        """Without an argument."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")

        assert ExporterOptions().destination() == "http://collector:4318 (http/protobuf)"
