"""What docs/understand/privacy.md shows is true."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from builders import absent
from click.testing import CliRunner

from jupyter_otel_telemetry import EventLog
from jupyter_otel_telemetry.cli.app import app
from jupyter_otel_telemetry.privacy.pseudonyms import Pseudonymizer
from jupyter_otel_telemetry.testing import EventSink

TEXT = (Path(__file__).parents[2] / "docs" / "understand" / "privacy.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```python\n# file: (\S+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
KEY_FILE = "/etc/jupyterhub/pseudonym.key"
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The configurations, with the key in a place that may be written to."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pseudonym.key").write_text(f"{KEY}\n")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text.replace(KEY_FILE, str(tmp_path / "pseudonym.key")))
    return tmp_path


def explain(*arguments):
    return CliRunner().invoke(app, ["explain", *arguments], env={"COLUMNS": "130"}).output


def test_explanation_is_as_shown():
    """To the letter."""
    shown = re.search(r"^```text\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)[1]
    server_action = "https://schema.jupyter.org/jupyterhub/events/server-action"

    assert explain("--config", "jupyterhub_config.py", "--schema", server_action).strip() == shown.strip()


def test_configuration_of_jupyter_server_withholds_what_it_says():
    """In the schemas that Jupyter Server ships."""
    rows = [line.split() for line in explain("--config", "jupyter_server_config.py").splitlines()]

    for name in ("path", "source_path", "msg"):
        assert [name, "withheld", "withheld_properties"] in rows


def test_pseudonym_can_be_made_with_openssl(folder):
    """By whoever has the key."""
    [command] = re.findall(r"^(printf .*)$", TEXT, re.MULTILINE)
    command = command.replace(KEY_FILE, str(folder / "pseudonym.key"))
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    if "not found" in done.stderr:
        absent("openssl")

    assert done.stdout.split()[-1] == Pseudonymizer(KEY.encode())("ada")


def test_schema_is_flagged_as_it_says():
    """Both ways to flag."""
    [document] = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    schema = yaml.safe_load(document)
    log = EventLog(handlers=[EventSink()], allowed_schemas=[schema["$id"]])
    log.register_schema(schema)
    event = {"method": "token", "user": "ada", "address": "here"}

    assert log.record_event(schema["$id"], 1, event) == {"method": "token", "user": None, "address": None}
