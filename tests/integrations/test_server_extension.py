"""The options of the Jupyter Server extension. What it does in a real server is tested in tests/jupyter."""

import importlib.metadata
import inspect
import json
import logging
import os
import re
from logging.handlers import MemoryHandler
from types import SimpleNamespace

import pytest
from builders import ID
from jupyter_events import EventLogger
from traitlets import TraitError
from traitlets.config import Application, Config

import jupyter_otel_telemetry
from jupyter_otel_telemetry import OTLPHandler
from jupyter_otel_telemetry.integrations import jupyter_server as extension

NOT_IN_JSON = {"logger_provider", "level", "events_only"}
"""Arguments of `OTLPHandler` that are objects, or concern other log records than the events the extension sends."""


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """No variable of this machine disturbs."""
    for name in [name for name in os.environ if name.startswith(("OTEL_", "JUPYTER"))]:
        monkeypatch.delenv(name)


def configured(**options):
    return extension.OTelTelemetry(parent=Application(config=Config({"OTelTelemetry": options})))


def arguments():
    return set(inspect.signature(OTLPHandler).parameters) - NOT_IN_JSON


class TestOptions:
    def test_are_the_arguments_of_the_handler(self):
        """All of them, and which user a server is of."""
        assert set(extension.OTelTelemetry.class_own_traits(config=True)) == arguments() | {"identity"}

    def test_all_reach_the_handler(self, monkeypatch):
        """None is forgotten on the way."""
        passed = {}
        monkeypatch.setattr(extension, "OTLPHandler", lambda **given: passed.update(given))
        configured(service_name="mine", resource={"a": "b"}).build_handler()

        assert set(passed) == arguments()
        assert (passed["service_name"], passed["resource"]) == ("mine", {"a": "b"})

    def test_explain_themselves(self):
        """In `jupyter server --help-all`."""
        traits = extension.OTelTelemetry.class_own_traits(config=True)

        assert [name for name, trait in traits.items() if "default" not in trait.help] == []

    def test_may_be_json(self, otlp_receiver, recording):
        """Headers and schemas included."""
        text = json.dumps(
            {
                "endpoint": otlp_receiver.endpoint,
                "headers": {"authorization": "Bearer t"},
                "allowed_schemas": {"https://example.org/*": {"withheld_properties": ["action"]}},
                "resource": {"deployment.environment.name": "test"},
            }
        )
        handler = configured(**json.loads(text)).build_handler()
        recording(handler, {"action": "start", "count": 1})
        recording(handler, {}, id="https://example.com/other")
        handler.close()
        (log,) = otlp_receiver.wait_for(1)

        assert (log.attributes["jupyter.event.count"], log.attributes.get("jupyter.event.action")) == (1, None)
        assert log.resource["deployment.environment.name"] == "test"

    @pytest.mark.parametrize(
        "name, hint",
        [("allowed_schema", "did you mean 'allowed_schemas'?"), ("xyzzy", "known are allowed_schemas, cert")],
    )
    def test_unknown_one_is_an_error(self, name, hint):
        """A misspelt restriction must not be none."""
        with pytest.raises(ValueError, match=f"OTelTelemetry has no option '{name}'; {re.escape(hint)}"):
            configured(**{name: ["x"]})

    @pytest.mark.parametrize("section", ["OtelTelemetry", "OTelTelemtry", "OTLPTelemetry"])
    def test_misspelt_section_is_refused(self, section):
        """Its `allowed_schemas` would have no effect, and everything would leave."""
        with pytest.raises(ValueError, match=f"section '{section}'; did you mean 'OTelTelemetry'"):
            extension.OTelTelemetry(config=Config({section: {"allowed_schemas": []}}))

    def test_other_sections_are_not_its_business(self):
        """Those of the server and of other extensions."""
        config = Config({"ServerApp": {"port": 1}, "EventLogger": {"handlers": []}, "LabTelemetry": {"a": 1}})

        assert extension.OTelTelemetry(config=config).allowed_schemas is None

    @pytest.mark.parametrize(
        "options, message",
        [
            ({"endpoint": "collector:4318"}, "endpoint 'collector:4318' is not a URL"),
            ({"allowed_schemas": "x"}, "allowed_schemas must be a list"),
            ({"identity": "secret"}, "identity"),
            ({"pseudonym_key": "short", "identity": "pseudonym"}, "has 5 bytes"),
        ],
    )
    def test_mistake_is_an_error_that_says_what_to_write(self, monkeypatch, options, message):
        """Before anything is sent."""
        monkeypatch.setenv("JUPYTERHUB_USER", "ada")
        with pytest.raises((ValueError, TraitError), match=message):
            configured(**options).build_handler()

    @pytest.mark.parametrize(
        "options",
        [
            {"headers": "authorization=a-secret"},
            {"headers": {"authorization": ["a-secret"]}},
            {"pseudonym_key": ["a-secret"]},
        ],
    )
    def test_mistake_in_a_secret_does_not_show_it(self, options):
        """In whatever form it was given."""
        with pytest.raises(TraitError) as caught:
            configured(**options)

        assert "a-secret" not in str(caught.value)


class ServerApp(Application):
    """As much of Jupyter Server's as the extension uses."""

    base_url = "/"

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.log = logging.getLogger("tests.serverapp")
        self.event_logger = EventLogger()
        self.event_logger.register_event_schema({"$id": ID, "version": "1", "properties": {"n": {}}})
        self.web_app = SimpleNamespace(add_handlers=lambda *_: None)

    def emit(self, number):
        self.event_logger.emit(schema_id=ID, data={"n": number})


@pytest.fixture
def serverapp():
    return ServerApp()


class TestLoading:
    def test_mistake_is_logged_not_raised(self, serverapp, caplog):
        """The server starts without."""
        serverapp.config.OTelTelemetry.endpoint = "nonsense"
        extension._load_jupyter_server_extension(serverapp)

        message = "sends nothing, as OTelTelemetry is configured wrongly: OTLPHandler: endpoint is not a URL"
        assert message in caplog.text

    def test_events_between_link_and_load_arrive(self, serverapp, otlp_receiver):
        """In their order, before later ones."""
        serverapp.config.OTelTelemetry.endpoint = otlp_receiver.endpoint
        extension._link_jupyter_server_extension(serverapp)
        serverapp.emit(1), serverapp.emit(2)
        extension._load_jupyter_server_extension(serverapp)
        serverapp.emit(3)
        (handler,) = serverapp.event_logger.handlers
        handler.close()

        logs = otlp_receiver.wait_for(3)
        assert [log.attributes["jupyter.event.n"] for log in logs] == [1, 2, 3]

    def test_nothing_is_kept_where_nothing_is_sent(self, serverapp):
        """The configuration is wrong, so that there is no handler."""
        serverapp.config.OTelTelemetry.endpoint = "nonsense"
        extension._link_jupyter_server_extension(serverapp)
        extension._load_jupyter_server_extension(serverapp)

        assert serverapp.event_logger.handlers == []

    @pytest.mark.parametrize("wrap", [lambda handler: handler, lambda handler: MemoryHandler(9, target=handler)])
    def test_handler_that_is_there_is_not_doubled(self, serverapp, caplog, otlp_receiver, wrap):
        """Also one that something else feeds; the log says what is to be done."""
        there = wrap(OTLPHandler(endpoint=otlp_receiver.endpoint))
        serverapp.event_logger.register_handler(there)
        extension._link_jupyter_server_extension(serverapp)
        extension._load_jupyter_server_extension(serverapp)

        assert serverapp.event_logger.handlers == [there]
        assert f"holds an OTLPHandler already, which sends to {otlp_receiver.endpoint}" in caplog.text

    def test_jupyter_server_finds_it(self):
        """By the function that it asks a package for."""
        (point,) = jupyter_otel_telemetry._jupyter_server_extension_points()

        assert point == {"module": extension.__name__}

    def test_is_not_enabled_by_installation(self):
        """The file that makes it known says that it is disabled."""
        files = importlib.metadata.files("jupyter-otel-telemetry") or []
        (known,) = [file for file in files if file.match("jupyter_server_config.d/*.json")]

        assert json.loads(known.read_text())["ServerApp"]["jpserver_extensions"] == {"jupyter_otel_telemetry": False}
