from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from builders import absent, read_terminal
from click.testing import CliRunner

from jupyter_otel_telemetry.cli import demo as module
from jupyter_otel_telemetry.cli.app import app

COMMAND = (sys.executable, "-m", "jupyter_otel_telemetry.cli", "demo")
CALL = "from jupyter_otel_telemetry.cli import main; main()"
SUMMARY = re.compile(r"^(\d+) recorded, (\d+) lines in the file, (\d+) received over OTLP, 0 lost$", re.MULTILINE)
STYLES = re.compile(r"\x1b\[[0-9;]*m")
TIMEOUT_S = 180
FULL = Path("/dev/full")
DEMO_SCHEMAS = Path(module.__file__).with_name("demo_schemas")
REAL_FOLDERS = {"jupyterhub": "event-schemas", "jupyter_server": "event_schemas"}
RENAMED = {"user": "user.name", "error": "error.type"}
HOSTILE = {
    "OTEL_SDK_DISABLED": "true",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon",
    "OTEL_EXPORTER_OTLP_HEADERS": "no header, really",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "squeeze",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "0",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://127.0.0.1:9/v1/logs",
    "OTEL_SERVICE_NAME": "production",
    "OTEL_RESOURCE_ATTRIBUTES": "service.name=production",
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT": "1",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "1",
    "OTEL_BLRP_MAX_QUEUE_SIZE": "1",
    "OTEL_PROPAGATORS": "none-such",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}


def run(*arguments, command=COMMAND, **environment):
    """Run the demo in a pipe; it must not say a word on stderr when all is well."""
    return subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=plain_environment() | environment,
    )


def plain_environment():
    return {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "FORCE_COLOR"}}


def run_on_terminal(columns):
    """Return exit status and what it writes to a terminal of that width, line ends as in a file."""
    ours, theirs = os.openpty()
    environment = {name: value for name, value in plain_environment().items() if name != "NO_COLOR"}
    environment |= {"TERM": "xterm-256color", "COLUMNS": str(columns)}
    with subprocess.Popen(COMMAND, stdout=theirs, env=environment) as process:
        os.close(theirs)
        chunks = []
        reader = threading.Thread(target=read_terminal, args=(ours, chunks))
        reader.start()
        status = process.wait(TIMEOUT_S)
    reader.join()
    os.close(ours)
    return status, b"".join(chunks).decode().replace("\r\n", "\n")


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def attributes(line):
    """Return what the properties in a line of the file become over OTLP."""
    expected = {}
    for name, value in line.items():
        if isinstance(value, dict):
            expected |= {f"jupyter.event.{name}.{key}": item for key, item in value.items()}
        elif not name.startswith("__") and value is not None:
            expected[RENAMED.get(name, f"jupyter.event.{name}")] = value
    return expected


def facts(schema):
    """Return a schema without its prose, the version as text."""
    if isinstance(schema, list):
        return [facts(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    stripped = {key: facts(item) for key, item in schema.items() if key not in {"description", "personal-data"}}
    return stripped | {"version": str(schema["version"])} if "version" in schema else stripped


def load_all(*folders):
    schemas = [yaml.safe_load(path.read_bytes()) for folder in folders for path in folder.rglob("*.yaml")]
    return {schema["$id"]: facts(schema) for schema in schemas}


@pytest.fixture(scope="module")
def finished():
    """Return one finished run, in a pipe."""
    return run()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Return the lines of the file, and the logs received, of one run."""
    folder = tmp_path_factory.mktemp("kept") / "new" / "folder"
    assert run("--output", folder).returncode == 0
    return read_lines(folder / "demo-events.jsonl"), read_lines(folder / "demo-received.jsonl")


@pytest.fixture
def runs_in_process(monkeypatch, tmp_path):
    """Return a function that runs the demo in this process, temporary files in `tmp_path`."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return lambda *arguments: CliRunner().invoke(app, ["demo", *arguments])


class TestOutcome:
    def test_it_succeeds_without_complaint(self, finished):
        """Status 0, and nothing on stderr."""
        assert (finished.returncode, finished.stderr) == (0, "")

    def test_nothing_is_lost(self, finished):
        """As many in the file and received as recorded, and enough for a day."""
        recorded, written, received = map(int, SUMMARY.search(finished.stdout).groups())

        assert recorded == written == received
        assert 14 <= recorded <= 20

    def test_what_was_kept_out_is_explained(self, finished):
        """A schema that is not allowed, a property that is personal, and an event that is invalid."""
        assert re.search(r"not allowed  record_event returned None: \S+/gateway_client/v1 is", finished.stdout)
        assert re.search(r"withheld +the source of cells is flagged as personal", finished.stdout)
        assert re.search(r"invalid .* ValidationError: event does not match schema", finished.stdout)

    def test_what_is_withheld_is_on_neither_side(self, kept):
        """Nor is its text in the display string."""
        lines, logs = kept

        assert [line["source"] for line in lines if "source" in line] == [None, None, None]
        assert "patients" not in json.dumps([lines, logs])

    def test_next_step_works_when_pasted(self, finished, otlp_receiver):
        """The four lines of Python send an event to whoever listens."""
        lines = finished.stdout.splitlines()
        start = lines.index("# in another: python")
        snippet = "\n".join(lines[start : start + 5])
        run("-c", snippet, command=[sys.executable], OTEL_EXPORTER_OTLP_ENDPOINT=otlp_receiver.endpoint)

        assert [log.attributes["jupyter.event.name"] for log in otlp_receiver.wait_for(1)] == ["ada"]

    def test_host_packages_are_not_imported(self):
        """Their schemas are found without the time that importing them takes."""
        code = f"import atexit, sys; atexit.register(lambda: print(*sys.modules)); {CALL}"
        modules = run("demo", command=[sys.executable, "-c", code]).stdout.splitlines()[-1].split()

        assert "jupyter_otel_telemetry" in modules
        assert not {"jupyterhub", "jupyter_server"} & set(modules)


class TestOutput:
    def test_received_is_what_is_in_the_file(self, kept):
        """Event by event, with the same properties, time and span."""
        for line, log in zip(*kept, strict=True):
            assert attributes(line).items() <= log["attributes"].items()
            assert log["attributes"]["jupyter.schema.id"] == line["__schema__"]
            assert log["timestamp"] == line["__timestamp__"].replace("Z", "000Z")
            assert (log["trace_id"], log["span_id"]) == (line.get("__trace_id__", ""), line.get("__span_id__", ""))

    def test_annotations_are_seen(self, kept):
        """The demo's own schema names its events, and gives them a severity."""
        named = {(log["event_name"], log["severity_text"]) for log in kept[1]}

        assert ("notebook.cell.run", "DEBUG") in named
        assert ("https://schema.jupyter.org/jupyterhub/events/server-action", "INFO") in named

    def test_one_event_has_a_span(self, kept):
        """It is the one shown on both ways."""
        assert len([line for line in kept[0] if "__trace_id__" in line]) == 1

    def test_second_run_replaces_the_first(self, tmp_path):
        """The files hold one day, not two."""
        for _ in range(2):
            assert run("--output", tmp_path).returncode == 0

        assert len(read_lines(tmp_path / "demo-events.jsonl")) == len(read_lines(tmp_path / "demo-received.jsonl"))

    @pytest.mark.parametrize("below", ["", "below"])
    def test_unwritable_folder_is_named(self, tmp_path, below):
        """A file where the folder should be: a sentence, no traceback."""
        (tmp_path / "file").touch()
        result = run("--output", tmp_path / "file" / below)

        assert result.returncode != 0
        assert re.search(r"^Error: .*file.*$", result.stderr, re.MULTILINE)
        assert "Traceback" not in result.stderr

    def test_nothing_is_left_without_it(self, runs_in_process, tmp_path):
        """The temporary folder is gone."""
        assert runs_in_process().exit_code == 0
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(not FULL.exists(), reason="needs a full device")
    def test_unwritable_stdout_is_an_error(self):
        """As with `listen`, a sentence."""
        with FULL.open("w") as full:
            result = subprocess.run(COMMAND, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

        assert (result.returncode, result.stderr) == (1, "Error: cannot write to stdout: No space left on device\n")


class TestLoss:
    def test_event_that_did_not_arrive_is_an_error(self, runs_in_process, monkeypatch):
        """Status 1, and the counts say what is missing."""

        class Leaky(module.OTLPReceiver):
            @property
            def logs(self):
                return super().logs[1:]

        monkeypatch.setattr(module, "OTLPReceiver", Leaky)
        result = runs_in_process()

        assert result.exit_code == 1
        assert re.search(r"Error: 18 recorded, 18 lines in the file, 17 received over OTLP, 1 lost", result.output)


class TestEnvironment:
    def test_settings_of_real_deliveries_do_not_disturb(self):
        """Neither OTEL_* variables nor proxies stop the demo, or show."""
        result = run(**HOSTILE)

        assert (result.returncode, result.stderr) == (0, "")
        assert SUMMARY.search(result.stdout)
        assert re.search(r"service\.name +demo$", result.stdout, re.MULTILINE)

    def test_environment_is_given_back(self, runs_in_process, monkeypatch):
        """The program that runs it has its variables afterwards."""
        for name, value in HOSTILE.items():
            monkeypatch.setenv(name, value)
        before = dict(os.environ)

        assert runs_in_process().exit_code == 0
        assert dict(os.environ) == before

    def test_works_without_the_hub_and_the_server(self, tmp_path):
        """The copies inside this package serve then, and the same day is recorded."""
        code = f"import sys; sys.modules.update(jupyterhub=None, jupyter_server=None); {CALL}"
        result = run("demo", "--output", tmp_path, command=[sys.executable, "-c", code])

        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.count("this demo  https://") == 5
        assert len(read_lines(tmp_path / "demo-events.jsonl")) == 18

    @pytest.mark.skipif(os.name != "posix", reason="needs POSIX terminals")
    @pytest.mark.parametrize("columns", [60, 80, 100, 200])
    def test_fits_the_terminal(self, columns):
        """Nothing but lines to paste is wider, and no value is cut off."""
        status, output = run_on_terminal(columns)
        report, heading, to_paste = STYLES.sub("", output).partition("Try it yourself")

        assert (status, bool(heading)) == (0, True)
        assert max(map(len, report.splitlines())) <= columns
        assert "\N{HORIZONTAL ELLIPSIS}" not in report
        assert '"__trace_id__": "5b8aa5a2d2c872e8321cf37308d69df2"' in report
        assert 'log = EventLog(handlers=[OTLPHandler()], allowed_schemas=["*"])\n' in to_paste

    @pytest.mark.skipif(os.name != "posix", reason="needs POSIX terminals")
    def test_wide_terminal_has_both_sides_in_one_frame(self):
        """The line of the file stands beside the LogRecord."""
        _, output = run_on_terminal(200)

        assert re.search(r"in the file, .* over OTLP, as a LogRecord", STYLES.sub("", output))

    def test_pipe_gets_plain_text(self, finished):
        """No colours, no frames, no spaces at the ends of lines."""
        assert finished.stdout.isascii()
        assert "\x1b" not in finished.stdout
        assert not re.search(r" $", finished.stdout, re.MULTILINE)


class TestDemoSchemas:
    @pytest.mark.parametrize("package", REAL_FOLDERS)
    def test_copies_agree_with_the_originals(self, package):
        """Ids, versions, titles, properties and rules are those of the installed package; the prose is ours."""
        spec = find_spec(package)
        if spec is None:
            absent(package)
        originals = load_all(*(Path(place) / REAL_FOLDERS[package] for place in spec.submodule_search_locations))
        copies = load_all(DEMO_SCHEMAS)

        assert originals
        assert {schema_id: copies.get(schema_id) for schema_id in originals} == originals
