"""What ran against jupyter_telemetry 0.1.0's EventLog runs here after changing the import.

Its own tests, which tests/fetch_suite.py fetches; and call patterns of that version's users: JupyterHub 1 to 4, its
documentation.
"""

import io
import json
import logging
import subprocess
import sys
from datetime import datetime
from importlib.util import find_spec

import fetch_suite
import pytest
import yaml
from builders import absent, schema
from jsonschema import ValidationError
from traitlets import TraitError
from traitlets.config import Config

from jupyter_otel_telemetry import EventLog

GOOD = {"$id": "test/test", "version": 1, "properties": {"something": {"type": "string"}}}


@pytest.fixture
def stream():
    """What a StreamHandler writes."""
    return io.StringIO()


@pytest.fixture
def eventlog(stream):
    """Built as JupyterHub's tests built it."""
    log = EventLog(handlers=[logging.StreamHandler(stream)])
    log.register_schema(GOOD)
    return log


class TestItsOwnTests:
    def test_pass_with_only_the_import_changed(self, tmp_path):
        """All fourteen."""
        tests = sorted(fetch_suite.TELEMETRY.folder().glob("test_*.py"))
        if not tests or find_spec("ruamel") is None:
            absent("jupyter_telemetry's tests, which tests/fetch_suite.py fetches, or ruamel.yaml, which they need,")
        for path in tests:
            text = path.read_text("utf-8").replace("from jupyter_telemetry.", "from jupyter_otel_telemetry.")
            (tmp_path / path.name).write_text(text, "utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", "."]
        done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=300)

        assert "14 passed" in done.stdout, done.stdout


class TestOldCalls:
    def test_allowed_schemas_assigned_later(self, eventlog, stream):
        """Nothing before, everything after."""
        eventlog.record_event("test/test", 1, {"something": "blah"})
        eventlog.allowed_schemas = ["test/test"]
        eventlog.record_event("test/test", 1, {"something": "blah"})
        capsule = json.loads(stream.getvalue())

        assert "__timestamp__" in capsule
        del capsule["__timestamp__"]
        assert capsule == {
            "__schema__": "test/test",
            "__schema_version__": 1,
            "__metadata_version__": 1,
            "something": "blah",
        }

    def test_timestamp_override(self, eventlog, stream):
        """A naive datetime, positional or by keyword."""
        eventlog.allowed_schemas = ["test/test"]
        moment = datetime(1970, 1, 1, 0, 0, 1)  # noqa: DTZ001 - as that time's users wrote
        eventlog.record_event("test/test", 1, {"something": "blah"}, timestamp_override=moment)
        eventlog.record_event("test/test", 1, {"something": "blah"}, moment)

        stamps = [json.loads(line)["__timestamp__"].rstrip("Z") for line in stream.getvalue().splitlines()]
        assert [datetime.fromisoformat(stamp) for stamp in stamps] == [moment, moment]

    def test_register_schema_file(self, eventlog, tmp_path):
        """By file name, YAML."""
        (tmp_path / "s.yaml").write_text(yaml.safe_dump({**GOOD, "version": 2}))
        eventlog.register_schema_file(str(tmp_path / "s.yaml"))

        assert ("test/test", 2) in eventlog.schemas

    @pytest.mark.parametrize("missing", ["$id", "version"])
    def test_missing_required_property(self, missing):
        """A ValueError."""
        with pytest.raises(ValueError, match=missing.strip("$")):
            EventLog().register_schema({key: value for key, value in GOOD.items() if key != missing})

    def test_reserved_property(self):
        """A ValueError."""
        with pytest.raises(ValueError, match="__fail__"):
            EventLog().register_schema(schema(properties={"__fail__": {"type": "string"}}))

    def test_bad_event_and_unknown_schema(self, eventlog):
        """ValidationError, ValueError."""
        eventlog.allowed_schemas = ["test/test", "unknown"]
        with pytest.raises(ValidationError):
            eventlog.record_event("test/test", 1, {"something": 7})
        with pytest.raises(ValueError, match="not registered"):
            eventlog.record_event("unknown", 1, {})

    def test_config_with_handlers(self, stream):
        """`c.EventLog.handlers = [...]`, and a function in its place."""
        handler = logging.StreamHandler(stream)
        for value in ([handler], lambda: [handler]):
            config = Config({"EventLog": {"handlers": value}})
            assert EventLog(config=config).handlers == [handler]

    def test_bad_handlers(self):
        """A TraitError."""
        with pytest.raises(TraitError):
            EventLog(handlers=["not a handler"])
