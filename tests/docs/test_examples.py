from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from traitlets.config import JSONFileConfigLoader, PyFileConfigLoader

from jupyter_otel_telemetry.workshop import check_schemas

EXAMPLES = Path(__file__).parents[2] / "examples"
SCHEMAS = sorted(path for path in (EXAMPLES / "schemas").iterdir() if path.is_file())
CONFIGS = ["jupyter_otel_config.py", "jupyter_otel_config.json"]
EVENTS = {
    "cell-run.yaml": {"path": "a.ipynb", "duration_ms": 1.5, "kernel": {"name": "python3", "id": "1"}},
    "storage-full.yaml": {"username": "ada", "used_bytes": 9, "limit_bytes": 10},
    "submission.json": {"course": "maths", "assignment": "1", "status": "late", "submitter": "ada", "points": None},
}
STORAGE_FULL = {"username": "grace", "used_bytes": 9_900_000_000, "limit_bytes": 10_000_000_000}


@pytest.fixture
def run(otlp_receiver, tmp_path):
    """Return a function that runs an example in `tmp_path`, its events sent to `otlp_receiver`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint, "no_proxy": "127.0.0.1"}

    def run_example(name, *arguments):
        command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
        options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 60}
        result = subprocess.run(command, check=False, **options)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    return run_example


def read_events(path):
    """Return the properties of the events in a file."""
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [{name: value for name, value in line.items() if not name.startswith("__")} for line in lines]


class TestSchemas:
    def test_folder_registers(self, event_log):
        """All of them at once, as the programs do it."""
        assert len(event_log.register_schemas(EXAMPLES / "schemas")) == len(SCHEMAS)

    @pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
    def test_schema_takes_its_events(self, path, event_log, event_sink):
        """What it is meant for is valid."""
        event_log.register_schema_file(path)
        [(schema_id, version)] = event_log.schemas
        event_log.record_event(schema_id, version, EVENTS[path.name])

        personal = dict.fromkeys({"username", "submitter"} & EVENTS[path.name].keys())
        assert event_sink.events == [EVENTS[path.name] | personal]

    def test_check_has_no_finding(self):
        """Examples are copied."""
        assert check_schemas([EXAMPLES / "schemas", *EXAMPLES.rglob("greeting.yaml")]) == []


class TestRecord:
    def test_events_arrive_in_file_and_collector(self, run, otlp_receiver, tmp_path):
        """With the names, severities and attributes of their schemas."""
        run("record.py")
        cell_run, storage_full = otlp_receiver.wait_for(2)

        assert (cell_run.event_name, cell_run.severity_text) == ("example.cell.run", "DEBUG")
        assert (storage_full.event_name, storage_full.severity_text) == ("example.storage.full", "WARN")
        assert cell_run.attributes["file.path"] == "penguins.ipynb"
        assert cell_run.attributes["jupyter.event.kernel.name"] == "python3"
        assert cell_run.resource["service.name"] == "record-example"
        assert len(read_events(tmp_path / "events.jsonl")) == 2


class TestApp:
    @pytest.mark.parametrize("config", CONFIGS)
    def test_configuration_decides_where_events_go(self, config, run, otlp_receiver, tmp_path):
        """To two files, and to the collector."""
        run("app.py", "--config", EXAMPLES / config)
        [log] = otlp_receiver.wait_for(1)

        assert log.attributes["user.name"] == "grace"
        assert log.resource["service.name"] == "example-app"
        assert read_events(tmp_path / "events.jsonl") == [STORAGE_FULL]
        assert read_events(tmp_path / "warnings.jsonl") == [STORAGE_FULL]

    @pytest.mark.parametrize("config", CONFIGS)
    def test_command_line_overrides_the_file(self, config, run, tmp_path):
        """With the only allowed schema another one, nothing is recorded."""
        other = "--EventLog.allowed_schemas=https://example.org/other"

        assert run("app.py", "--config", EXAMPLES / config, other) == "recorded: None\n"
        assert read_events(tmp_path / "events.jsonl") == []

    def test_without_configuration_nothing_is_recorded(self, run, otlp_receiver):
        """Telemetry is opt-in."""
        assert run("app.py") == "recorded: None\n"
        assert otlp_receiver.logs == []

    def test_both_configurations_say_the_same(self, tmp_path, monkeypatch):
        """The files differ in form only."""
        monkeypatch.chdir(tmp_path)
        python, json_ = (
            loader(name, str(EXAMPLES)).load_config().EventLog
            for loader, name in zip((PyFileConfigLoader, JSONFileConfigLoader), CONFIGS, strict=True)
        )
        for handler in python.handlers:
            handler.close()

        assert set(python) == set(json_)
        assert (python.allowed_schemas, python.on_invalid) == (json_.allowed_schemas, json_.on_invalid)
        names = [item["class"].rpartition(".")[2] for item in json_.handlers]
        assert [type(handler).__name__ for handler in python.handlers] == names


class TestReadme:
    def test_every_example_is_listed(self):
        """By a link that leads there."""
        linked = set(re.findall(r"\]\(([^)]+)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
        files = {path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*.*") if path.is_file()}
        packages = {path.parent for path in files if path.name == "README.md"} - {Path()}
        single = {path for path in files if not packages & set(path.parents)} - {Path("README.md")}

        assert linked == {path.as_posix() for path in {*single, *(folder / "README.md" for folder in packages)}}

    @pytest.mark.parametrize("target", ["record.py", "app.py", *CONFIGS])
    def test_commands_run_as_written(self, target, run, otlp_receiver, tmp_path):
        """Those in the table, from the folder above."""
        text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
        command = re.search(rf"^\| \[{re.escape(target)}\].*`python ([^`]+)` \|$", text, re.MULTILINE)[1]
        (tmp_path / "examples").symlink_to(EXAMPLES)
        script, *arguments = command.removeprefix("examples/").split()

        assert run(script, *arguments).startswith("recorded")
        assert len(otlp_receiver.logs) == {"record.py": 2, "app.py": 0}.get(target, 1)
