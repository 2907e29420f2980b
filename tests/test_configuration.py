"""`EventLog` configured in every way that Jupyter applications are."""

import json
import logging
import subprocess
import sys

import pytest
from builders import ID, schema
from traitlets import TraitError
from traitlets.config import Application, Config, JSONFileConfigLoader, PyFileConfigLoader

from jupyter_otel_telemetry import EventLog, OTLPHandler
from jupyter_otel_telemetry.testing import EventSink


class App(Application):
    classes = [EventLog]  # noqa: RUF012 - as traitlets wants it


def configured(**section):
    return EventLog(config=Config({"EventLog": section}))


class TestHandlers:
    def test_in_code(self, event_sink):
        """Keyword arguments, then the trait, at any time."""
        log = EventLog(handlers=[event_sink])
        other = EventSink()
        log.handlers = [other]
        log.allowed_schemas = [ID]
        log.register_schema(schema())
        log.record_event(ID, 1, {})

        assert (len(event_sink.records), len(other.records)) == (0, 1)

    @pytest.mark.parametrize("wrap", [list, tuple, lambda item: lambda: item])
    def test_list_tuple_and_callable(self, event_sink, wrap):
        """In configuration as well as in code."""
        for log in (EventLog(handlers=wrap([event_sink])), configured(handlers=wrap([event_sink]))):
            assert log.handlers == [event_sink]

    def test_none_and_empty_discard(self):
        """Both are ways to say: nowhere."""
        assert configured(handlers=None).handlers is None
        assert configured(handlers=[]).handlers == []

    def test_append_in_a_config_file(self, event_sink):
        """`c.EventLog.handlers.append(...)` works, as for any list."""
        config = Config()
        config.EventLog.handlers.append(event_sink)

        assert EventLog(config=config).handlers == [event_sink]

    def test_py_config_file(self, tmp_path):
        """Handlers that cannot be copied are not."""
        (tmp_path / "config.py").write_text(
            "import logging\n"
            f"c.EventLog.handlers = [logging.FileHandler({str(tmp_path / 'events.jsonl')!r})]\n"
            f"c.EventLog.allowed_schemas = [{ID!r}]\n"
        )
        log = EventLog(config=PyFileConfigLoader("config.py", str(tmp_path)).load_config())
        log.register_schema(schema())
        log.record_event(ID, 1, {"count": 1})
        log.handlers[0].close()

        assert json.loads((tmp_path / "events.jsonl").read_text())["count"] == 1

    def test_json_config_file(self, tmp_path, otlp_receiver):
        """Mappings name classes, arguments and levels."""
        handlers = [
            {"class": "logging.FileHandler", "filename": str(tmp_path / "events.jsonl"), "level": "INFO"},
            {"class": "jupyter_otel_telemetry.OTLPHandler", "endpoint": otlp_receiver.endpoint, "level": "DEBUG"},
        ]
        section = {"EventLog": {"handlers": handlers, "allowed_schemas": {ID: {}}, "on_invalid": "log"}}
        (tmp_path / "config.json").write_text(json.dumps(section))
        log = EventLog(config=JSONFileConfigLoader("config.json", str(tmp_path)).load_config())
        log.register_schema(schema())
        log.record_event(ID, 1, {"count": 1})
        log.record_event(ID, 1, {"count": "x"})
        assert [handler.level for handler in log.handlers] == [logging.INFO, logging.DEBUG]
        log.handlers = None

        assert json.loads((tmp_path / "events.jsonl").read_text())["count"] == 1
        assert [log.event_name for log in otlp_receiver.logs] == [ID]

    def test_command_line(self):
        """JSON there, too."""
        app = App()
        app.parse_command_line(
            ['--EventLog.handlers=[{"class": "logging.NullHandler"}]', "--EventLog.allowed_schemas=a"]
        )
        log = EventLog(parent=app)

        assert [type(handler) for handler in log.handlers] == [logging.NullHandler]
        assert log.allowed_schemas == ["a"]

    @pytest.mark.parametrize(
        "value, message",
        [
            ("events.jsonl", "EventLog.handlers must be a list, not str; write logging handlers, or"),
            ([3], "EventLog.handlers cannot hold an item of type int"),
            ([logging.FileHandler], "cannot hold an item of type type"),
            ([{"filename": "x"}], "lacks a class"),
            ([{"class": "logging.NoSuchHandler"}], "cannot build logging.NoSuchHandler"),
            ([{"class": "json.JSONDecoder"}], "is no logging handler class"),
            ([{"class": "logging.NullHandler", "wrong": 1}], "cannot build logging.NullHandler"),
            ([{"class": "logging.NullHandler", "level": "LOUD"}], "Unknown level"),
            ([{"class": "jupyter_otel_telemetry.OTLPHandler", "endpoint": "x"}], "endpoint is not a URL"),
        ],
    )
    def test_mistake_names_the_trait_and_what_to_write(self, value, message):
        """In code and in configuration."""
        with pytest.raises(TraitError, match=message):
            EventLog(handlers=value)
        with pytest.raises(TraitError, match=message):
            configured(handlers=value)


class TestConfigUpdates:
    def test_never_lose_handlers(self, event_sink):
        """A later update of something else keeps them: those of code and those of configuration."""
        for log in (EventLog(handlers=[event_sink]), configured(handlers=[event_sink])):
            log.update_config(Config({"EventLog": {"allowed_schemas": [ID]}}))
            log.config = Config({"EventLog": {"on_invalid": "log"}})

            assert log.handlers == [event_sink]

    def test_open_nothing_twice(self, tmp_path):
        """A mapping yields the handler it has yielded before."""
        log = configured(handlers=[{"class": "logging.FileHandler", "filename": str(tmp_path / "e")}])
        (handler,) = log.handlers
        log.update_config(Config({"EventLog": {"on_invalid": "log"}}))

        assert log.handlers == [handler]
        log.handlers = None
        assert handler.stream is None

    def test_close_only_what_we_have_built(self, tmp_path):
        """A handler instance is its owner's."""
        mine = logging.FileHandler(tmp_path / "mine", delay=False)
        log = EventLog(handlers=[mine])
        log.handlers = None

        assert mine.stream is not None
        mine.close()

    def test_unknown_option_is_said(self, caplog):
        """With a close match, as traitlets does."""
        configured(handler=[])

        assert "Did you mean `handlers`" in caplog.text


class TestThroughAnApplication:
    def test_parent_gives_configuration_and_log(self, event_sink):
        """`EventLog(parent=app)`, also in a section below the application's."""
        app = App(config=Config({"App": {"EventLog": {"handlers": [event_sink], "allowed_schemas": [ID]}}}))
        log = EventLog(parent=app)

        assert log.handlers == [event_sink]
        assert log.allowed_schemas == [ID]
        assert log.log is app.log

    def test_two_event_logs_share_what_they_are_given(self, event_sink):
        """The same handler object serves both."""
        app = App(config=Config({"EventLog": {"handlers": [event_sink]}}))

        assert EventLog(parent=app).handlers == EventLog(parent=app).handlers == [event_sink]

    def test_otlp_handler_survives(self, otlp_receiver):
        """Whatever copies configuration makes."""
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint)
        app = App(config=Config({"EventLog": {"handlers": [handler]}}))
        app.update_config(Config({"App": {"log_level": 10}}))
        log = EventLog(parent=app)
        log.update_config(Config({"EventLog": {"on_invalid": "log"}}))

        assert log.handlers == [handler]
        handler.close()

    def test_subclass_is_configured_by_its_own_name_and_by_eventlog(self, event_sink):
        """As every Configurable."""

        class HubEventLog(EventLog):
            pass

        config = Config({"EventLog": {"handlers": [event_sink]}, "HubEventLog": {"allowed_schemas": [ID]}})
        log = HubEventLog(config=config)

        assert (log.handlers, log.allowed_schemas) == ([event_sink], [ID])

    def test_help_documents_every_trait(self):
        """What `--help-all` prints."""
        text = EventLog.class_get_help()

        for words in ("handlers", "allowed_schemas", "on_invalid", "logging.FileHandler", "nothing is recorded"):
            assert words in text


class TestAllowedSchemas:
    @pytest.mark.parametrize(
        "value, message",
        [
            (ID, "allowed_schemas must be a list of schema ids: write"),
            (3, "must be a list of schema ids, or a mapping from ids to options, not int"),
            ([3], "must hold schema ids, not 3"),
            ({ID: {"withheld_property": []}}, "unknown option 'withheld_property'; did you mean 'withheld_prop"),
        ],
    )
    def test_mistake_says_what_to_write(self, value, message):
        """An option that would be ignored is an error, not silence."""
        with pytest.raises(TraitError, match=message):
            EventLog(allowed_schemas=value)


class TestImport:
    def test_has_no_side_effects_and_imports_no_exporter(self):
        """No thread, no file, no warning filter; neither grpc nor requests."""
        code = (
            "import sys, threading, warnings, logging\n"
            "filters, loggers = list(warnings.filters), set(logging.root.manager.loggerDict)\n"
            "import jupyter_otel_telemetry\n"
            "bad = {'grpc', 'requests', 'jsonschema', 'yaml', 'opentelemetry.sdk'} & set(sys.modules)\n"
            "assert not bad, bad\n"
            "assert threading.active_count() == 1\n"
            "assert warnings.filters == filters\n"
            "assert logging.root.handlers == []\n"
            "jupyter_otel_telemetry.OTLPHandler\n"
            "assert not {'grpc', 'requests'} & set(sys.modules)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)

        assert (done.returncode, done.stderr) == (0, "")

    def test_unknown_name_is_an_attribute_error(self):
        """As in any module."""
        import jupyter_otel_telemetry

        with pytest.raises(AttributeError, match="no attribute 'NoSuch'"):
            jupyter_otel_telemetry.NoSuch  # noqa: B018
