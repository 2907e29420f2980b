"""The README shows the real output: its files are written, run and compared, and those of the page on traits."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from traitlets.config import JSONFileConfigLoader, PyFileConfigLoader

from jupyter_otel_telemetry import EventLog

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TRAITS = (ROOT / "docs" / "reference" / "traits.md").read_text(encoding="utf-8")
MAPPING = (ROOT / "docs" / "understand" / "mapping.md").read_text(encoding="utf-8")
FILE = re.compile(r"^(?:```\w+\n# file: (\S+)|<!-- file: (\S+) -->\n```\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shown(language, start=""):
    """Return the first code block of a language that is no file and starts like this."""
    return re.search(rf"^```{language}\n({re.escape(start)}.*?)^```$", README, re.MULTILINE | re.DOTALL)[1]


@pytest.fixture
def folder(tmp_path):
    """A folder with every block that is a file."""
    for name, other, text in FILE.findall(README + TRAITS):
        (tmp_path / (name or other)).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def run(folder, otlp_receiver, monkeypatch):
    """Return a function that runs Python in that folder, with the receiver in the place of `listen`."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp_receiver.endpoint)

    def run(*arguments):
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=180).stdout

    return run


class TestTour:
    def test_writes_the_line_that_it_shows(self, run, folder):
        """But for the time."""
        run("tour.py")
        line = json.loads(shown("json", '{"__timestamp__"'))
        written = json.loads((folder / "events.jsonl").read_text())

        assert line | {"__timestamp__": ""} == written | {"__timestamp__": ""}
        assert list(line) == list(written)

    def test_receiver_gets_the_event(self, run, otlp_receiver):
        """With the body that the page on the mapping shows."""
        run("tour.py")
        (log,) = otlp_receiver.wait_for(1)

        assert (log.event_name, log.resource["service.name"]) == ("example.notebook.run", "tour")
        assert log.attributes["file.path"] == "analysis.ipynb"
        assert f"`{log.body}`" in MAPPING

    def test_error_is_as_shown(self, run):
        """To the letter."""
        assert run("wrong.py") == shown("text")

    def test_fixtures_work(self, run):
        """A test of a user's own passes."""
        assert "1 passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py")


class TestConfiguration:
    @pytest.mark.parametrize(
        "loader, name", [(PyFileConfigLoader, "jupyter_config.py"), (JSONFileConfigLoader, "jupyter_config.json")]
    )
    def test_files_say_the_same(self, folder, monkeypatch, loader, name):
        """Two handlers and a pattern."""
        monkeypatch.chdir(folder)
        log = EventLog(config=loader(name, str(folder)).load_config())

        assert [type(handler).__name__ for handler in log.handlers] == ["FileHandler", "OTLPHandler"]
        assert log.allowed_schemas == ["https://example.org/events/*"]
        for handler in log.handlers:
            handler.close()
