"""`EventLog` configured in every way that Jupyter applications are."""

import gc
import io
import json
import logging
import os
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
            ("events.jsonl", 'EventLog.handlers must be a list, not str; write \\[{"class": '),
            ({"class": "a", "headers": "secret"}, "must be a list, not a mapping with 'class', 'headers'; write"),
            ([3], r"EventLog.handlers\[0\] must be a logging handler, not int; write"),
            ([logging.FileHandler], "must be a logging handler, not the class FileHandler; write FileHandler\\("),
            ([{"filename": "x"}], r"EventLog.handlers\[0\], a mapping with 'filename', lacks a class"),
            ([{"class": "FileHandler"}], "its module is missing; write it as in logging.FileHandler"),
            ([{"class": "logging.FileHandle"}], "logging has no class 'FileHandle'; did you mean 'FileHandler'"),
            ([{"class": "no_such_package.Handler"}], "No module named 'no_such_package'"),
            ([{"class": "json.JSONDecoder"}], "json.JSONDecoder is not a subclass of logging.Handler"),
            (
                [{"class": "logging.FileHandler", "filenam": "x"}],
                "has no argument 'filenam'; did you mean 'filename'",
            ),
            (
                [{"class": "logging.NullHandler", "xyz": 1}],
                "cannot build logging.NullHandler: it has no .*; it takes",
            ),
            ([{"class": "logging.FileHandler"}], "cannot build logging.FileHandler: its argument 'filename' is miss"),
            ([{"class": "logging.NullHandler", "level": "LOUD"}], "level is unknown; write DEBUG, INFO"),
            ([{"class": "logging.StreamHandler", "stream": "ext://sys.stdot"}], "sys.stdot cannot be imported"),
            (
                [{"class": "logging.StreamHandler", "stream": "sys.stdout"}],
                "'stream', text, must be a stream; write ext:",
            ),
            ([{"class": "jupyter_otel_telemetry.OTLPHandler", "endpoint": "x"}], "endpoint is not a URL"),
        ],
    )
    def test_mistake_names_the_trait_and_what_to_write(self, value, message):
        """In code and in configuration."""
        with pytest.raises(TraitError, match=message):
            EventLog(handlers=value)
        with pytest.raises(TraitError, match=message):
            configured(handlers=value)


class TestHandlersInPlace:
    """`log.handlers` is a list; the handlers that are in it when an event is recorded get the event."""

    CHANGES = {  # noqa: RUF012 - of the class
        "append": lambda handlers, new: handlers.append(new),
        "extend": lambda handlers, new: handlers.extend([new]),
        "insert": lambda handlers, new: handlers.insert(0, new),
        "slice": lambda handlers, new: handlers.__setitem__(slice(0, 0), [new]),
        "replacement": lambda handlers, new: handlers.__setitem__(0, new),
    }

    @pytest.fixture
    def log(self):
        log = EventLog(handlers=[EventSink()], allowed_schemas=[ID])
        log.register_schema(schema())
        return log

    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    def test_new_one_is_a_handler_as_any_other(self, log, change):
        """Formatter and routing of errors included."""
        stream = io.StringIO()
        change(log.handlers, logging.StreamHandler(stream))
        log.record_event(ID, 1, {"count": 1})

        assert json.loads(stream.getvalue())["count"] == 1

    def test_augmented_assignment(self, log, event_sink):
        """`+=` assigns what it has changed in place."""
        log.handlers += [event_sink]
        log.record_event(ID, 1, {"count": 1})

        assert event_sink.events == [{"count": 1}]

    @pytest.mark.parametrize("remove", [list.clear, list.pop, lambda handlers: handlers.remove(handlers[0])])
    def test_removed_one_gets_nothing(self, log, remove):
        """Without handlers nothing is recorded."""
        (sink,) = log.handlers
        remove(log.handlers)

        assert log.record_event(ID, 1, {}) is None
        assert sink.records == []

    def test_mapping_is_built_and_closed_when_removed(self, log, tmp_path):
        """As one that was assigned."""
        log.handlers.append({"class": "logging.FileHandler", "filename": str(tmp_path / "events.jsonl")})
        log.record_event(ID, 1, {"count": 1})
        log.handlers.pop()
        log.record_event(ID, 1, {"count": 2})
        gc.collect()  # an open file that is dropped is a warning

        lines = (tmp_path / "events.jsonl").read_text().splitlines()
        assert [json.loads(line)["count"] for line in lines] == [1]

    @pytest.mark.parametrize("wrong", ["events.jsonl", None, {"class": "logging.NullHandler", "level": "LOUD"}])
    def test_invalid_change_is_logged_and_not_applied(self, log, wrong, caplog):
        """Once, and never raised to whoever records; the next valid change counts."""
        (sink,) = log.handlers
        log.handlers.append(wrong)
        for _ in range(3):
            assert log.record_event(ID, 1, {}) == {}
        # Of this logger alone: the delivery of an earlier test may report its end meanwhile.
        reports = [record for record in caplog.records if record.name == "jupyter_otel_telemetry.eventlog"]
        assert [record.levelname for record in reports] == ["ERROR"]
        assert "and the earlier handlers stay: EventLog.handlers[1]" in caplog.text
        log.handlers.pop()
        log.record_event(ID, 1, {})

        assert len(sink.records) == 4
        assert "works again" in caplog.text

    def test_policy_of_a_new_one_is_checked(self, log, caplog):
        """An option of it that names what the schema does not have keeps it out."""
        wrong = OTLPHandler(allowed_schemas={ID: {"withheld_properties": ["acton"]}}, endpoint="http://127.0.0.1:9")
        log.handlers.append(wrong)

        assert log.record_event(ID, 1, {}) == {}
        assert "did you mean 'action'?" in caplog.text

    def test_explain_knows_them(self, log):
        """Before there is any event."""
        log.handlers.append(logging.NullHandler())

        assert {entry["destination"] for entry in log.explain()} == {"EventSink", "NullHandler"}

    def test_one_may_remove_itself_while_it_handles(self, log, event_sink):
        """The others get the event all the same."""

        class Once(EventSink):
            def emit(self, record):
                super().emit(record)
                log.handlers.remove(self)

        once = Once()
        log.handlers[:] = [once, event_sink]
        for _ in range(3):
            log.record_event(ID, 1, {})

        assert (len(once.records), len(event_sink.records)) == (1, 3)

    def test_assigning_an_equal_list_changes_nothing(self, log, event_sink):
        """The list stays the one that is looked at."""
        log.handlers = list(log.handlers)
        log.handlers.append(event_sink)
        log.record_event(ID, 1, {})

        assert len(event_sink.records) == 1


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


class TestRealApplication:
    """A `JupyterApp`, with a `.py` file, a JSON file and a command line, in a process of its own."""

    PROGRAM = """
import json, sys
from builders import ID, schema
from jupyter_core.application import JupyterApp
from jupyter_otel_telemetry import EventLog
from traitlets.config import catch_config_error

class App(JupyterApp):
    name = "myapp"
    classes = [EventLog]

    @catch_config_error
    def initialize(self, argv=None):
        super().initialize(argv)
        self.log_to = EventLog(parent=self)
        self.log_to.register_schema(schema())

    def start(self):
        self.log_to.record_event(ID, 1, {"count": 1})
        sys.stderr.write(json.dumps([type(handler).__name__ for handler in self.log_to.handlers or ()]))

App.launch_instance()
"""

    @pytest.fixture
    def run(self, tmp_path):
        """Return a function that writes the two files, runs the program, and returns it when it has ended."""

        def run(py="", section=None, *arguments):
            (tmp_path / "myapp_config.py").write_text(py)
            (tmp_path / "myapp_config.json").write_text(json.dumps({"EventLog": section or {}}))
            environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "JUPYTER_CONFIG_DIR": str(tmp_path)}
            return subprocess.run(
                [sys.executable, "-c", self.PROGRAM, *arguments],
                cwd=tmp_path,
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                check=False,
            )

        return run

    def test_reads_both_files_and_the_command_line(self, run, tmp_path):
        """Handlers of one, schemas of the other, and the command line wins."""
        done = run(
            "import logging\nc.EventLog.handlers = [logging.FileHandler('events.jsonl')]\n",
            {"allowed_schemas": ["https://example.org/other"], "on_invalid": "log"},
            f"--EventLog.allowed_schemas={ID}",
        )

        assert (done.returncode, done.stderr) == (0, '["FileHandler"]')
        assert json.loads((tmp_path / "events.jsonl").read_text())["count"] == 1

    def test_appends_mappings_and_ids(self, run):
        """`c.EventLog.handlers.append(...)`, where no file has set a list."""
        done = run(
            "c.EventLog.handlers.append({'class': 'logging.StreamHandler', 'stream': 'ext://sys.stdout'})\n"
            f"c.EventLog.allowed_schemas.append({ID!r})\n"
        )

        assert (done.returncode, done.stderr) == (0, '["StreamHandler"]')
        assert json.loads(done.stdout)["count"] == 1

    @pytest.mark.parametrize(
        "arguments",
        [
            [f"--EventLog.allowed_schemas={ID}"],
            [f'--EventLog.allowed_schemas=["{ID}"]'],
            [f"--EventLog.allowed_schemas=['{ID}']"],
            [f"--EventLog.allowed_schemas={{'{ID}': {{}}}}"],
            ["--EventLog.allowed_schemas=a", f"--EventLog.allowed_schemas={ID}"],
            ["--EventLog.allowed_schemas=['a']", f"--EventLog.allowed_schemas=['b', '{ID}']"],
            ["--EventLog.allowed_schemas=a", f'--EventLog.allowed_schemas={{"{ID}": {{}}}}'],
        ],
    )
    def test_command_line_alone(self, run, arguments):
        """JSON, the Python literals that jupyter_telemetry took, plain ids, and repeated options."""
        handlers = "[{'class': 'logging.StreamHandler', 'stream': 'ext://sys.stdout'}]"
        done = run("", {}, f"--EventLog.handlers={handlers}", *arguments)

        assert (done.returncode, done.stderr) == (0, '["StreamHandler"]')
        assert json.loads(done.stdout)["count"] == 1

    def test_mistake_ends_the_program_with_its_sentence(self, run):
        """And shows no value: headers hold tokens."""
        handler = {"class": "jupyter_otel_telemetry.OTLPHandler", "header": {"authorization": "Bearer hush"}}
        done = run("", {"handlers": [handler]})

        assert done.returncode == 1
        sentence = (
            "EventLog.handlers[0]: cannot build jupyter_otel_telemetry.OTLPHandler: it has no argument 'header'"
        )
        assert f"{sentence}; did you mean 'headers'?" in done.stderr
        assert "hush" not in done.stderr

    def test_append_of_an_instance_is_what_traitlets_cannot_do(self, run):
        """The reference says so, and what to write instead."""
        done = run("import logging\nc.EventLog.handlers.append(logging.FileHandler('events.jsonl'))\n")

        assert "cannot pickle" in done.stderr


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
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=180)

        assert (done.returncode, done.stderr) == (0, "")

    def test_unknown_name_is_an_attribute_error(self):
        """As in any module."""
        import jupyter_otel_telemetry

        with pytest.raises(AttributeError, match="no attribute 'NoSuch'"):
            jupyter_otel_telemetry.NoSuch  # noqa: B018
