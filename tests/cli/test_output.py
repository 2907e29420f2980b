"""No command prints what a terminal obeys, whatever strangers have written into schemas, files and events."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from builders import ID, schema
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_otel_telemetry import EventLog, OTLPHandler
from jupyter_otel_telemetry.cli import demo
from jupyter_otel_telemetry.cli.app import app
from jupyter_otel_telemetry.cli.logs import Rows, json_line
from jupyter_otel_telemetry.otlp.received import ReceivedLog

OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
CHARACTERS = "ab/.\x00\x01\x07\b\t\n\r\x1b[31m\x7f\x85\x9b\u200f\u2028\u202a\u202e\u2066\u2069\ud800\udfff\U000e0001ä"
TEXT = st.text(CHARACTERS, min_size=1, max_size=12)
FILE_NAME = st.text(sorted(set(CHARACTERS) - set("/\x00\ud800\udfff")), min_size=1, max_size=12)
BOUNDED = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


def run(*arguments):
    """Run a command, and return all that it prints; it may fail."""
    result = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A spool."""
    return tmp_path_factory.mktemp("spools") / "\x1b[31m \u202e"


@pytest.fixture(scope="module")
def handler(folder):
    return OTLPHandler(endpoint="http://127.0.0.1:9", spool=folder, service_name="\x1b[31m")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


class TestExplain:
    @BOUNDED
    @given(id=TEXT, names=st.lists(TEXT, min_size=1), category=TEXT, file_name=FILE_NAME)
    def test_shows_others_text_escaped(self, scratch, id, names, category, file_name):  # noqa: A002 - as in schemas
        """Ids, names, categories and names of files; in tables, JSON and errors."""
        folder = Path(tempfile.mkdtemp(dir=scratch))
        properties = {name: {"categories": [category, name]} for name in names}
        (folder / f"{file_name}.json").write_text(json.dumps({"$id": id, "version": 1, "properties": properties}))
        handler = {"class": "logging.FileHandler", "filename": str(folder / file_name)}
        config = {"EventLog": {"handlers": [handler], "allowed_schemas": {"*": {"withheld_properties": names}}}}
        (folder / "config.json").write_text(json.dumps(config))

        for form in ([], ["--json"]):
            assert not OBEYED.search(run("explain", "--schema", folder, *form))
            file = folder / f"{file_name}.json"
            assert not OBEYED.search(run("explain", "--schema", file, "--config", folder / "config.json", *form))

    @BOUNDED
    @given(text=TEXT)
    def test_shows_errors_escaped(self, scratch, text):
        """Which repeat what is wrong."""
        bad = scratch / "bad.yaml"
        bad.write_text(yaml.safe_dump(schema(type=text), allow_unicode=True), "utf-8", "surrogatepass")
        (scratch / "config.py").write_text(f"c.EventLog.allowed_schemas = {{{text!r}: {{{text!r}: []}}}}")

        assert not OBEYED.search(run("explain", "--schema", bad))
        assert not OBEYED.search(run("explain", "--schema", f"no-such-file{text}"))
        assert not OBEYED.search(run("explain", "--config", scratch / "config.py"))


class TestSpool:
    @BOUNDED
    @given(name=TEXT, value=TEXT)
    def test_shows_records_escaped(self, folder, handler, name, value):
        """As well as the name of the folder."""
        log = EventLog(handlers=[handler], allowed_schemas=["*"])
        log.register_schema(schema(title=value))
        log.record_event(ID, 1, {name: value} if not name.startswith("__") else {})

        for command in (["status"], ["status", "--json"], ["show"], ["show", "--json"], ["export"]):
            output = run("spool", *command, folder)
            assert output
            assert not OBEYED.search(output)

    @BOUNDED
    @given(line=TEXT)
    def test_shows_what_it_cannot_read_escaped(self, scratch, line):
        """A line of a file of rejected records, which anybody may have edited."""
        folder = Path(tempfile.mkdtemp(dir=scratch))
        (folder / "FORMAT").write_text("jupyter-otel-telemetry spool, format 1\n")
        (folder / "rejected").mkdir(exist_ok=True)
        (folder / "rejected" / "\x1b.jsonl").write_bytes(json.dumps({line: line}).encode() + b"\n\x1b\x9b")

        for command in ("status", "show"):
            assert not OBEYED.search(run("spool", command, "--rejected" if command == "show" else "--json", folder))
            (folder / "FORMAT").write_text(line, "utf-8", "surrogatepass")


class TestListen:
    @BOUNDED
    @given(text=TEXT)
    def test_shows_logs_escaped(self, text):
        """Names, values, and what belongs to their process."""
        nothing = {"timestamp_ns": 0, "observed_timestamp_ns": 0, "severity_number": 0, "dropped_attributes_count": 0}
        scope = {"scope_name": text, "scope_version": text, "trace_id": "", "span_id": ""}
        content = {"severity_text": text, "body": {text: text}, "event_name": text}
        attributes = {"attributes": {text: text}, "resource": {text: text, "service.name": text}}
        log = ReceivedLog(**nothing, **scope, **content, **attributes)

        assert not OBEYED.search(Rows()(log) + json_line(log))


class TestDemo:
    def test_shows_schemas_of_others_escaped(self, tmp_path, monkeypatch):
        """Any package may ship some."""
        (tmp_path / "evil.json").write_text(json.dumps({"$id": "https://example.org/\x1b[31m\u202e", "version": 1}))
        monkeypatch.setattr(demo, "installed_folders", lambda: [("\x1b[31m", tmp_path)])
        output = run("demo")

        assert "0 lost" in output
        assert not OBEYED.search(output)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["explain", "--help"], ["explain", "--json"]])
def test_full_disk_is_one_line(arguments):
    """Whatever is printed."""
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "jupyter_otel_telemetry.cli", *arguments]
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)

    assert (done.returncode, done.stderr) == (1, "Error: cannot write to stdout: No space left on device\n")
