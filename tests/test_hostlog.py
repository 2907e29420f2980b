"""Messages of this package in the log of a traitlets application, which gives handlers to its own logger only."""

import subprocess
import sys

import pytest

PROGRAM = """
import logging
from traitlets.config import Application
from jupyter_otel_telemetry import EventLog, OTLPHandler
{before}
handler = OTLPHandler(endpoint="http://me:a-secret@127.0.0.1:9", allowed_schemas=["https://example.org/a"])
EventLog(handlers=[handler], allowed_schemas={"https://example.org/*": {"withheld_properties": ["x", "y"]}})
logging.getLogger("jupyter_otel_telemetry.anything").warning("a warning")
"""
APPLICATION = "app = Application.instance(log_format='%(levelname)s %(name)s %(message)s', log_level={level!r})\n"
SENDING = (
    "sending events of https://example.org/* (withheld x, y), narrowed to events of https://example.org/a, "
    "to http://127.0.0.1:9 (http/protobuf), without spool"
)


def lines(before=""):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{before}", before)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stderr.splitlines()


class TestHostLog:
    def test_application_shows_our_messages_as_its_own(self):
        """With level and logger name, and its start line at INFO."""
        assert lines(APPLICATION.format(level="INFO")) == [
            f"INFO jupyter_otel_telemetry.export.startup {SENDING}",
            "WARNING jupyter_otel_telemetry.anything a warning",
        ]

    def test_start_line_of_exports_that_are_switched_off(self, monkeypatch):
        """It names the variable, and no destination."""
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")

        assert lines(APPLICATION.format(level="INFO"))[1:-1] == [
            "INFO jupyter_otel_telemetry.export.startup sending no events, since OTEL_SDK_DISABLED is true"
        ]

    def test_start_line_of_a_provider_of_the_program(self):
        """Whether that one has a spool is not known here."""
        before = """
from opentelemetry.sdk._logs import LoggerProvider
Other = OTLPHandler
OTLPHandler = lambda endpoint, **options: Other(logger_provider=LoggerProvider(), **options)
"""
        (line, _) = lines(APPLICATION.format(level="INFO") + before)

        assert line.endswith("events of https://example.org/a, to a logger provider of this program")

    @pytest.mark.parametrize("level, expected", [("WARN", 1), ("CRITICAL", 0)])
    def test_its_level_counts(self, level, expected):
        """What it would not show of its own is not shown of ours."""
        assert len(lines(APPLICATION.format(level=level))) == expected

    def test_without_application_all_is_as_logging_has_it(self):
        """Warnings on stderr as they are, and nothing at INFO."""
        assert lines() == ["a warning"]

    @pytest.mark.parametrize("logger", ["", "jupyter_otel_telemetry"])
    def test_whoever_configures_logging_gets_each_message_once(self, logger):
        """At the place and level that they chose."""
        handler = f"""
handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("mine %(message)s"))
logging.getLogger({logger!r}).addHandler(handler)
"""
        assert lines(APPLICATION.format(level="INFO") + handler) == ["mine a warning"]

    def test_level_of_ours_is_respected(self):
        """Somebody may want no line at the start."""
        quiet = "logging.getLogger('jupyter_otel_telemetry').setLevel('ERROR')\n"

        assert lines(APPLICATION.format(level="INFO") + quiet) == []

    def test_each_handler_says_it_once_for_each_kind_of_event_logger(self):
        """With the policy of an `EventLog`; an `EventLogger` has none."""
        twice = """
from jupyter_events import EventLogger
handler = OTLPHandler(endpoint="http://127.0.0.1:9")
EventLog(handlers=[handler]), EventLog(handlers=[handler])
EventLogger().register_handler(handler), EventLogger().register_handler(handler)
"""
        found = lines(APPLICATION.format(level="INFO") + twice)

        assert [line.partition("sending ")[2].partition(", to http")[0] for line in found if "sending" in line] == [
            "no events",
            "all events, no property withheld",
            "events of https://example.org/* (withheld x, y), narrowed to events of https://example.org/a",
        ]

    @pytest.mark.parametrize("allowed, expected", [("-actions", 1), ("-action", 0), ("-a*", 0)])
    def test_id_that_is_nearly_an_installed_one_is_doubted(self, allowed, expected):
        """Nothing of it would ever arrive, and nothing would say why."""
        schema_id = "https://schema.jupyter.org/jupyterhub/events/server"
        program = f"""
from jupyter_events import EventLogger
handler = OTLPHandler(endpoint="http://127.0.0.1:9", allowed_schemas=[{schema_id + allowed!r}])
EventLogger().register_handler(handler)
"""
        doubts = [line for line in lines(APPLICATION.format(level="INFO") + program) if "did you mean" in line]

        assert len(doubts) == expected
        assert all(f"did you mean '{schema_id}-action'?" in line for line in doubts)
