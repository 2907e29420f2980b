"""The helpers for tests, in runs of pytest of their own."""

from datetime import datetime, timezone

import pytest
from builders import ID, schema

from jupyter_otel_telemetry import EventLog

pytest_plugins = ["pytester"]

SUITE = """
import pytest

RUN = {"$id": "https://example.org/run", "version": 1}

@pytest.mark.parametrize("version", VERSIONS)
def test_is_recorded(version, event_log):
    event_log.register_schema({"$id": "https://example.org/run", "version": version})
    event_log.record_event("https://example.org/run", version, {})
"""


class TestEventSink:
    def test_events_of_one_schema(self, server_log, event_sink):
        """Of one version, or of all."""
        server_log.register_schema(schema(version=2))
        server_log.register_schema(schema(id="https://example.org/other"))
        for schema_id, version in ((ID, 1), (ID, 2), ("https://example.org/other", 1)):
            server_log.record_event(schema_id, version, {"count": version})

        assert event_sink.events_of(ID) == [{"count": 1}, {"count": 2}]
        assert event_sink.events_of(ID, 2) == event_sink.events_of(ID, "2") == [{"count": 2}]
        assert event_sink.events_of("https://example.org/absent") == []

    def test_exported_are_the_records_that_would_be_sent(self, event_log, event_sink):
        """With names, severities and attributes; a withheld value has none."""
        properties = {"user": {"type": "string", "pii": True}, "path": {"otel": {"attribute": "file.path"}}}
        event_log.register_schema(schema(properties=properties, otel={"event_name": "a.b", "severity": "WARN"}))
        event_log.record_event(ID, 1, {"user": "ada", "path": "x"})

        [record] = event_sink.exported
        assert (record.event_name, record.severity_text) == ("a.b", "WARN")
        assert record.attributes["file.path"] == "x"
        assert "ada" not in str(record)


class TestEventClock:
    def test_sets_the_time_of_events(self, server_log, event_sink, event_clock):
        """It stands still until it is moved."""
        event_clock.set(datetime(2026, 3, 2, 8, tzinfo=timezone.utc))
        server_log.record_event(ID, 1, {})
        event_clock.advance(90.5)
        server_log.record_event(ID, 1, {})

        times = [line.split('"')[3] for line in event_sink.lines]
        assert times == ["2026-03-02T08:00:00.000000Z", "2026-03-02T08:01:30.500000Z"]

    def test_override_wins(self, server_log, event_sink, event_clock):
        """As outside of tests."""
        event_clock.advance(3600)
        server_log.record_event(ID, 1, {}, timestamp_override=datetime(2026, 3, 2, tzinfo=timezone.utc))

        assert "2026-03-02T00:00:00" in event_sink.lines[0]


class TestCoverage:
    @pytest.fixture
    def run(self, pytester):
        """Return a function that runs a suite which records some of two versions of an event."""
        pytester.makeini("[pytest]")
        for version in (1, 2):
            text = f"$id: https://example.org/run\nversion: {version}\n"
            pytester.path.joinpath("schemas").mkdir(exist_ok=True)
            pytester.path.joinpath("schemas", f"{version}.yaml").write_text(text)

        def run(versions, *arguments):
            pytester.makepyfile(SUITE.replace("VERSIONS", repr(versions)))
            return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)

        return run

    @pytest.mark.parametrize("workers", [[], ["--numprocesses=2"]])
    def test_event_that_is_never_recorded_fails_the_run(self, workers, run):
        """And is named; also if workers share the tests."""
        result = run([1], "--cover-schemas=schemas", *workers)

        assert result.ret == 1
        result.stdout.fnmatch_lines(["*no test has recorded*", "https://example.org/run version 2"])
        result.stdout.no_fnmatch_line("https://example.org/run version 1")

    @pytest.mark.parametrize("workers", [[], ["--numprocesses=2"]])
    def test_covered_events_pass(self, workers, run):
        """Each was recorded at least once."""
        assert run([1, 2], "--cover-schemas=schemas", *workers).ret == 0

    def test_is_off_by_default(self, run):
        """Nothing is changed."""
        assert run([1]).ret == 0
        assert not hasattr(EventLog.record_event, "__wrapped__")
