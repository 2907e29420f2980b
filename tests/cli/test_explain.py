"""`jupyter otel-telemetry explain`: what an operator reads before going live."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading

import pytest
import yaml
from builders import ID, schema
from click.testing import CliRunner

from jupyter_otel_telemetry.cli.app import app

SERVER = "https://schema.jupyter.org/jupyterhub/events/server-action"
CONTENTS = "https://events.jupyter.org/jupyter_server/contents_service/v1"
HUB_CONFIG = f"""
from jupyter_otel_telemetry import OTLPHandler
c = get_config()
c.EventLogger.handlers = [OTLPHandler(
    allowed_schemas={{
        {SERVER!r}: {{"pseudonymized_properties": ["username"]}},
        {CONTENTS!r}: {{"withheld_properties": ["path", "source_path"]}},
    }},
    pseudonym_key="0123456789abcdef",
)]
"""


TYPO = f"c.EventLog.allowed_schemas = {{{ID!r}: {{'withheld_properties': ['usrname']}}}}"
TYPO_MESSAGE = (
    f"Error: EventLog.allowed_schemas['{ID}'] withheld_properties names 'usrname', "
    "which that schema does not have; did you mean 'username'?"
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder, in which there is one schema."""
    monkeypatch.chdir(tmp_path)
    properties = {"action": {}, "username": {"pii": True}}
    (tmp_path / "event.yaml").write_text(yaml.safe_dump(schema(properties=properties, additionalProperties=False)))
    return tmp_path


def run(*arguments, exit_code=0):
    result = CliRunner().invoke(app, ["explain", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == exit_code, result.output
    return result.output


def table(output):
    """Return the rows of all tables, and the lines between them, as lists of words."""
    return [line.split() for line in output.splitlines() if line]


class TestWithoutConfiguration:
    def test_shows_what_happens_to_a_schema_that_is_merely_allowed(self):
        """For whoever writes it."""
        assert table(run("--schema", "event.yaml")) == [
            [f"{ID},", "version", "1"],
            ["EventLog", "(EventLog.allowed_schemas['*'])"],
            ["property", "outcome", "why"],
            ["action", "recorded", "not", "flagged"],
            ["username", "withheld", "pii:", "true", "at", "#/properties/username"],
        ]

    def test_takes_a_folder_and_an_id(self):
        """Each may be repeated."""
        found = json.loads(run("--schema", ".", "--schema", SERVER, "--json"))

        assert [explanation["schema"] for explanation in found] == [ID, SERVER]

    def test_explains_what_is_shipped_if_nothing_is_named(self):
        """By JupyterHub and Jupyter Server."""
        assert {SERVER, CONTENTS} <= {explanation["schema"] for explanation in json.loads(run("--json"))}


class TestConfiguration:
    def test_of_jupyterhub(self, folder):
        """Handlers of `c.EventLogger`, whose events come without flags."""
        (folder / "jupyterhub_config.py").write_text(HUB_CONFIG)
        output = run("--config", "jupyterhub_config.py", "--schema", SERVER)

        assert ["username", "pseudonymized", "pseudonymized_properties"] in table(output)
        assert "come without their schema" in output

    def test_of_jupyterhub_for_a_schema_it_does_not_list(self, folder):
        """Nothing of it leaves."""
        (folder / "jupyterhub_config.py").write_text(HUB_CONFIG)

        assert "OTLPHandler of EventLogger: no events" in run(
            "--config", "jupyterhub_config.py", "--schema", "event.yaml"
        )

    def test_handler_without_policy_records_all(self, folder):
        """And that is said."""
        (folder / "config.py").write_text("import logging\nc.EventLogger.handlers = [logging.StreamHandler()]\n")
        [explanation] = json.loads(run("--config", "config.py", "--schema", SERVER, "--json"))

        assert explanation["because"] == ["no allowed_schemas"]
        assert {row["outcome"] for row in explanation["properties"]} == {"recorded"}

    @pytest.mark.parametrize(
        "assigned, problem",
        [
            (".append(handler)", "must be assigned, since jupyter_events knows no append()"),
            (".extend([handler])", "must be assigned"),
            (" = lambda: [handler]", "must be a list, not function"),
            (" = handler", "must be a list, not OTLPHandler"),
            (" = [type(handler)]", "must hold logging handlers, not the class OTLPHandler"),
        ],
    )
    def test_of_handlers_that_jupyter_events_does_not_take(self, folder, assigned, problem):
        """The host would stop with a traceback."""
        handler = HUB_CONFIG.replace("c.EventLogger.handlers = [", "handler = ").replace(")]", ")")
        (folder / "config.py").write_text(f"{handler}c.EventLogger.handlers{assigned}\n")

        assert problem in run("--config", "config.py", "--schema", SERVER, exit_code=1)

    def test_of_an_event_log_in_json(self, folder):
        """Handlers that agree share a table; no file is opened for an explanation."""
        handlers = [
            {"class": "logging.FileHandler", "filename": "events.jsonl"},
            {"class": "logging.StreamHandler"},
            {"class": "jupyter_otel_telemetry.OTLPHandler", "allowed_schemas": []},
        ]
        section = {"handlers": handlers, "allowed_schemas": {ID: {"allowed_properties": ["username"]}}}
        (folder / "config.json").write_text(json.dumps({"EventLog": section}))
        output = run("--config", "config.json", "--schema", "event.yaml")

        assert f"FileHandler {folder}/events.jsonl and StreamHandler (EventLog.allowed_schemas['{ID}'])" in output
        assert ["username", "recorded", "allowed_properties"] in table(output)
        assert "OTLPHandler: no events, since OTLPHandler allowed_schemas has no entry for this schema" in output
        assert not (folder / "events.jsonl").exists()

    def test_leaves_no_thread(self):
        """The handlers end with the explanation."""
        before = {thread.name for thread in threading.enumerate()}
        run("--schema", "event.yaml")

        assert {thread.name for thread in threading.enumerate()} <= before


WAITING = """
import os
from jupyter_otel_telemetry import EventLog, OTLPHandler

log = EventLog(handlers=[OTLPHandler(endpoint="http://127.0.0.1:9", spool="spool")], allowed_schemas=["*"])
log.register_schema({"$id": "https://example.org/a", "version": 1})
log.record_event("https://example.org/a", 1, {"n": 1})
os._exit(0)
"""
CONFIG_WITH_EFFECTS = """
import logging, logging.handlers, sys, threading
sys.path.insert(0, ".")
import a_module_of_the_operator
from opentelemetry.sdk._logs import LoggerProvider
from jupyter_otel_telemetry import OTLPHandler
from jupyter_otel_telemetry.otlp.settings import ExporterOptions
from jupyter_otel_telemetry.spool import SpoolLogRecordProcessor

provider = LoggerProvider(shutdown_on_exit=False)
provider.add_log_record_processor(SpoolLogRecordProcessor("another", ExporterOptions(ENDPOINT)))
handlers = [
    OTLPHandler(endpoint=ENDPOINT, spool="spool"),
    OTLPHandler(endpoint=ENDPOINT, spool="new", protocol="grpc"),
    OTLPHandler(endpoint=ENDPOINT),
    OTLPHandler(logger_provider=provider),
    logging.FileHandler("file.jsonl", "w"),
    logging.handlers.RotatingFileHandler("rotating.jsonl", maxBytes=1),
    logging.handlers.TimedRotatingFileHandler("timed.jsonl"),
    logging.handlers.WatchedFileHandler("watched.jsonl", delay=False),
]
threading.Thread(target=lambda: handlers.append(OTLPHandler(spool="in-a-thread"))).start()
c.EventLogger.handlers = handlers
c.EventLog.handlers = handlers
"""


def tree(folder):
    """Return what one sees of a folder: names, sizes, times and contents."""
    found = {}
    for path in sorted(folder.rglob("*")):
        stat = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = stat.st_size, stat.st_mtime_ns, stat.st_mode, content
    return found


class TestEffects:
    """There are none: whoever asks may not be who runs the program."""

    @pytest.fixture
    def configured(self, folder, otlp_receiver):
        """Configurations beside a spool in which an event waits, for a receiver that is there."""
        subprocess.run([sys.executable, "-c", WAITING], cwd=folder, check=True, timeout=60)
        config = CONFIG_WITH_EFFECTS.replace("ENDPOINT", repr(otlp_receiver.endpoint))
        (folder / "config.py").write_text(config)
        (folder / "a_module_of_the_operator.py").write_text("")
        handlers = [
            {"class": "jupyter_otel_telemetry.OTLPHandler", "endpoint": otlp_receiver.endpoint, "spool": "spool"},
            {"class": "logging.FileHandler", "filename": "file.jsonl"},
            {"class": "logging.handlers.RotatingFileHandler", "filename": "rotating.jsonl"},
        ]
        (folder / "config.json").write_text(json.dumps({"EventLog": {"handlers": handlers, "allowed_schemas": [ID]}}))
        return folder

    @pytest.mark.parametrize("config", ["config.py", "config.json"])
    def test_nothing_is_created_changed_or_sent(self, configured, otlp_receiver, config):
        """Neither file nor folder nor thread; what waits goes on to wait."""
        before, threads = tree(configured), {thread.name for thread in threading.enumerate()}
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "jupyter_otel_telemetry.cli",
                "explain",
                "--config",
                config,
                "--schema",
                "event.yaml",
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        run("--config", config, "--schema", "event.yaml")

        assert "OTLPHandler" in done.stdout
        assert tree(configured) == before
        assert otlp_receiver.logs == []
        assert {thread.name for thread in threading.enumerate()} <= threads

    @pytest.mark.parametrize(
        "command", [["status"], ["status", "--json"], ["show"], ["show", "--rejected"], ["export"]]
    )
    def test_nothing_is_changed_in_a_spool(self, configured, otlp_receiver, command):
        """By the commands that look into it."""
        before = tree(configured)
        result = CliRunner().invoke(app, ["spool", *command, "spool"])

        assert (result.exit_code, tree(configured)) == (0, before)
        assert otlp_receiver.logs == []

    def test_handlers_work_again_afterwards(self, folder):
        """Of the same process."""
        (folder / "config.py").write_text("c.EventLog.handlers = []")
        run("--config", "config.py", "--schema", "event.yaml")
        logging.FileHandler(folder / "file.jsonl").close()

        assert (folder / "file.jsonl").exists()

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ("endpoint='collector:4318'", "OTLPHandler: endpoint 'collector:4318'"),
            ("spool={'folder': 'x', 'size': 1}", "OTLPHandler: spool has no option"),
            (f"allowed_schemas={{{SERVER!r}: {{'withheld_properties': ['user_name']}}}}", "did you mean 'username'?"),
        ],
    )
    def test_mistakes_of_handlers_are_found_all_the_same(self, folder, arguments, message):
        """In one line, that of the hub."""
        (folder / "config.py").write_text(
            f"from jupyter_otel_telemetry import OTLPHandler\nc.EventLogger.handlers = [OTLPHandler({arguments})]"
        )
        output = run("--config", "config.py", exit_code=1)

        assert output.startswith("Error: config.py: OTLPHandler")
        assert message in output
        assert len(output.splitlines()) == 1


class TestPersonalData:
    """Jupyter's own schemas say `personal-data: true`, and mark no property."""

    def explained(self, folder, options):
        config = f"""
from jupyter_otel_telemetry import OTLPHandler
c.EventLogger.handlers = [OTLPHandler(allowed_schemas={{{CONTENTS!r}: {options!r}}})]
"""
        (folder / "config.py").write_text(config)
        [explanation] = json.loads(run("--config", "config.py", "--schema", CONTENTS, "--json"))
        return explanation

    def test_is_a_warning_where_every_property_is_recorded(self, folder):
        """In both forms."""
        [warning] = self.explained(folder, {})["warnings"]

        assert warning.startswith("the schema says personal-data: true, and every property is recorded")
        assert f"warning: {warning}" in run("--config", "config.py", "--schema", CONTENTS)

    @pytest.mark.parametrize("option", ["withheld_properties", "allowed_properties"])
    def test_is_none_where_an_option_is_about_properties(self, folder, option):
        """Then somebody has thought of it."""
        assert self.explained(folder, {option: ["path"]})["warnings"] == []


class TestMistakes:
    @pytest.mark.parametrize(
        "config, message",
        [
            (TYPO, TYPO_MESSAGE),
            (HUB_CONFIG.replace('"username"', '"usrname"'), "did you mean 'username'?"),
            ("c.EventLog.allowed_schemas = {'a': {'withold': []}}", "unknown option 'withold'"),
            ("c.EventLog.handlers = [1]", "EventLog.handlers[0] must be a logging handler, not int"),
            ("c.Other.trait = 1", "configures neither EventLog nor EventLogger"),
            ("c.EventLogger.handlers = []", "EventLogger has no handlers"),
            ("c.EventLogger.handler = []", "go nowhere; did you mean 'handlers'?"),
            (
                "c.EventLogger.handlers = [{'class': 'logging.StreamHandler'}]",
                "must hold logging handlers, not dict",
            ),
            ("raise SystemExit('no')", "config.py cannot be loaded: SystemExit: no"),
            ("1 / 0", "config.py cannot be loaded: ZeroDivisionError: division by zero"),
            ("c.EventLog.(", "config.py cannot be loaded: SyntaxError"),
        ],
    )
    def test_of_the_configuration(self, folder, config, message):
        """In one line, also where a host application would only see it with its first event."""
        (folder / "config.py").write_text(config)
        output = run("--config", "config.py", "--schema", "event.yaml", exit_code=1)

        assert message in output
        assert len(output.splitlines()) == 1

    @pytest.mark.parametrize(
        "arguments, message",
        [
            (["--schema", "https://example.org/none"], "nor the id of an installed schema"),
            (["--schema", "bad.yaml"], "no schema from bad.yaml"),
            (["--schema", "invalid.yaml"], "is not a valid JSON Schema"),
        ],
    )
    def test_of_the_schema(self, folder, arguments, message):
        """Likewise."""
        (folder / "bad.yaml").write_text("[")
        (folder / "invalid.yaml").write_text(yaml.safe_dump(schema(type="strng")))

        assert message in run(*arguments, exit_code=1)

    def test_missing_configuration(self):
        """Is what click says of any missing file."""
        assert "File 'none.py' does not exist" in run("--config", "none.py", exit_code=2)
