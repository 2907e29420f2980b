"""`jupyter otel-telemetry spool resend`: what an operator does when a store has lost what it had acknowledged."""

from __future__ import annotations

import json
import time

import pytest
from builders import ID, Receiver, schema, serving
from click.testing import CliRunner

from jupyter_otel_telemetry import EventLog, OTLPHandler
from jupyter_otel_telemetry.cli.app import app
from jupyter_otel_telemetry.otlp.receiver import OTLPReceiver
from jupyter_otel_telemetry.spool import SpoolOptions, inspection
from jupyter_otel_telemetry.spool.folder import SpoolFolder
from jupyter_otel_telemetry.spool.store import Store

NOWHERE = "http://127.0.0.1:9"


def run(*arguments, exit_code=0):
    result = CliRunner().invoke(app, ["spool", *map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exit_code == exit_code, result.output
    return result


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def application(folder):
    """Return a function that makes an EventLog with a spool that keeps acknowledged records for an hour."""
    handlers = []

    def make(endpoint):
        handlers.append(OTLPHandler(endpoint=endpoint, spool={"folder": folder, "keep_acknowledged_s": 3600}))
        log = EventLog(handlers=[handlers[-1]], allowed_schemas=["*"])
        log.register_schema(schema())
        return log

    yield make
    for handler in handlers:
        handler._provider.shutdown()


def record(log, *numbers):
    for number in numbers:
        log.record_event(ID, 1, {"action": "start", "count": number})


@pytest.fixture
def acknowledged(application):
    """Record three events that a store acknowledges, which is gone then; return their uids."""
    with OTLPReceiver() as store:
        log = application(store.endpoint)
        record(log, 0, 1, 2)
        assert log.handlers[0].force_flush(120)
        log.handlers[0]._provider.shutdown()
        return uids(store)


def uids(receiver):
    return [log.attributes["log.record.uid"] for log in receiver.logs]


def kept(opened):
    """Return the records that are kept, of however many requests."""
    return [entry for found in inspection.acknowledged(opened, pytest.fail) for entry in found.entries]


def rewrite_times(folder, *times_ns):
    """Let the kept records be acknowledged one by one, at given times."""
    opened = SpoolFolder.without_limits(folder)
    entries = kept(opened)
    for path in opened.acknowledged_files():
        path.unlink()
    store = Store(opened)
    with pytest.MonkeyPatch.context() as patch:
        for entry, time_ns in zip(entries, times_ns, strict=True):
            patch.setattr(time, "time_ns", lambda time_ns=time_ns: time_ns)
            store.keep([entry], 1)


class TestResend:
    def test_brings_everything_back(self, folder, acknowledged, otlp_receiver):
        """In order, each record with the uid it had; and it can be repeated."""
        result = run("resend", folder, "--since", "10m", "--endpoint", otlp_receiver.endpoint)
        assert uids(otlp_receiver) == acknowledged
        assert "to be sent again: 3" in result.output
        assert "accepted: 3, rejected: 0, not sent: 0" in result.output

        run("resend", folder, "--since", "10m", "--endpoint", otlp_receiver.endpoint)
        assert uids(otlp_receiver) == 2 * acknowledged

    def test_works_beside_an_application(self, folder, application, otlp_receiver):
        """What waits there is not touched, and is in use as before."""
        with OTLPReceiver() as store:
            log = application(store.endpoint)
            record(log, 0, 1)
            assert log.handlers[0].force_flush(120)
        record(log, 2)
        run("resend", folder, "--since", "10m", "--endpoint", otlp_receiver.endpoint)
        found = json.loads(run("status", folder, "--json").stdout)

        assert [one.attributes["jupyter.event.count"] for one in otlp_receiver.logs] == [0, 1]
        assert (found["records"], found["processes"][0]["state"]) == (1, "in use")

    @pytest.mark.usefixtures("acknowledged")
    @pytest.mark.parametrize(
        "options,expected",
        [
            (["--since", "2026-03-01T10:00:01Z"], [1, 2]),
            (["--since", "2026-03-01T11:00:01.5+01:00"], [2]),
            (["--since", "2026-03-01T10:00:00Z", "--until", "2026-03-01T10:00:01Z"], [0, 1]),
            (["--since", "100000d"], [0, 1, 2]),
            (["--since", "1s"], []),
        ],
    )
    def test_sends_what_was_acknowledged_in_the_time(self, folder, otlp_receiver, options, expected):
        """Both ends included."""
        begin_ns = 1_772_359_200_000_000_000  # 2026-03-01T10:00:00Z
        rewrite_times(folder, *(begin_ns + second * 1_000_000_000 for second in range(3)))
        run("resend", folder, *options, "--endpoint", otlp_receiver.endpoint)

        assert [one.attributes["jupyter.event.count"] for one in otlp_receiver.logs] == expected

    @pytest.mark.usefixtures("acknowledged")
    def test_sends_what_has_no_time(self, folder, otlp_receiver, monkeypatch):
        """Rather too much than too little."""
        monkeypatch.setattr("jupyter_otel_telemetry.spool.acknowledged._time_of", lambda _: None)
        run("resend", folder, "--since", "1s", "--endpoint", otlp_receiver.endpoint)

        assert len(otlp_receiver.logs) == 3

    @pytest.mark.parametrize("since", ["10", "10x", "-5m", "yesterday", "2026-03-01", "2026-03-01T10:00:00"])
    @pytest.mark.usefixtures("acknowledged")
    def test_other_texts_are_no_times(self, folder, since):
        """A time without a zone would be a guess."""
        result = run("resend", folder, f"--since={since}", exit_code=2)

        assert "is not a time; write 10m (s, m, h or d), or 2026-11-22T22:10:05Z" in result.output

    @pytest.mark.usefixtures("acknowledged")
    def test_time_that_does_not_exist_is_named(self, folder):
        """With the reason."""
        assert (
            "'2026-02-30T10:00:00Z': day "
            in run("resend", folder, "--since", "2026-02-30T10:00:00Z", exit_code=2).output
        )

    def test_without_the_option_is_an_error(self, folder, tmp_path):
        """Which says what to set."""
        SpoolFolder(SpoolOptions(folder)).prepare()
        result = run("resend", folder, "--since", "10m", exit_code=1)

        assert "keeps no acknowledged records; set keep_acknowledged_s of the spool" in result.output
        assert "is not a spool" in run("resend", tmp_path, "--since", "10m", exit_code=1).output

    def test_gives_up_where_nobody_listens(self, folder, acknowledged):
        """With a code that scripts see; everything is kept."""
        result = run("resend", folder, "--since", "10m", "--endpoint", NOWHERE, "--timeout", "0", exit_code=1)

        assert "accepted: 0, rejected: 0, not sent: 3" in result.output
        assert "the others are not sent; repeat the command" in result.output
        assert json.loads(run("status", folder, "--json").stdout)["acknowledged"] == len(acknowledged)

    def test_that_is_interrupted_is_repeated(self, folder, acknowledged, monkeypatch, otlp_receiver):
        """Some records arrive twice, none is missing."""
        monkeypatch.setattr("jupyter_otel_telemetry.spool.resending.MAX_BATCH_RECORDS", 2)
        with monkeypatch.context() as patch:
            patch.setattr("jupyter_otel_telemetry.cli.spool.Progress.advance", _interrupt)
            run("resend", folder, "--since", "10m", "--endpoint", otlp_receiver.endpoint, exit_code=1)
        assert uids(otlp_receiver) == acknowledged[:2]
        run("resend", folder, "--since", "10m", "--endpoint", otlp_receiver.endpoint)

        assert uids(otlp_receiver) == acknowledged[:2] + acknowledged

    @pytest.mark.usefixtures("acknowledged")
    def test_says_that_records_went_meanwhile(self, folder, monkeypatch, otlp_receiver):
        """For their age, say; the others are sent."""
        count = inspection.acknowledged
        calls = []

        def removing(opened, tell):
            yield from count(opened, tell)
            calls.append([path.unlink() for path in opened.acknowledged_files()])

        monkeypatch.setattr(inspection, "acknowledged", removing)
        result = run("resend", folder, "--since", "10m", "--endpoint", otlp_receiver.endpoint)

        assert "some were removed meanwhile: they were old enough, or the spool is full" in result.output
        assert "not sent: 3" in result.output

    @pytest.mark.usefixtures("acknowledged")
    def test_rejected_records_are_stored(self, folder, http_rejecting):
        """As those that are rejected the first time; they stay among the acknowledged, too."""
        result = run("resend", folder, "--since", "10m", "--endpoint", http_rejecting.url)
        found = json.loads(run("status", folder, "--json").stdout)

        assert "accepted: 0, rejected: 3" in result.output
        assert (found["rejected"], found["acknowledged"]) == (3, 3)

    @pytest.mark.usefixtures("acknowledged")
    def test_names_requests_that_were_rejected_in_part(self, folder, otlp_receiver):
        """Some of their records were acknowledged; they are elsewhere."""
        opened = SpoolFolder.without_limits(folder)
        store = Store(opened)
        store.reject(kept(opened), {"rejected": 1, "status": "200", "reason": "some"})
        result = run("resend", folder, "--since", "10m", "--endpoint", otlp_receiver.endpoint)

        assert "in requests that were rejected in part: 3; retry-rejected sends those again" in result.output

    @pytest.mark.usefixtures("acknowledged")
    def test_damage_is_told_once(self, folder, otlp_receiver):
        """And the healthy rest is sent."""
        [path] = (folder / "acknowledged").iterdir()
        path.write_bytes(path.read_bytes()[:-1])
        result = run("resend", folder, "--since", "10m", "--endpoint", otlp_receiver.endpoint)

        assert result.output.count("bytes could not be read") == 1
        assert len(otlp_receiver.logs) == 2


def _interrupt(*_):
    raise KeyboardInterrupt


@pytest.fixture
def http_rejecting():
    """A receiver that rejects everything for good."""
    with serving(Receiver) as server:
        server.status = 400
        yield server


class TestStatus:
    def test_says_how_many_are_kept_and_since_when(self, folder, acknowledged):
        """Nothing waits, and nothing is lost."""
        found = json.loads(run("status", folder, "--json").stdout)
        output = run("status", folder).stdout

        assert (found["records"], found["acknowledged"]) == (0, len(acknowledged))
        assert f"acknowledged records kept: 3; oldest acknowledgement: {found['oldest_acknowledged']}" in output
        assert found["oldest_acknowledged"].endswith("Z")
        assert found["size_bytes"] > 0

    def test_says_nothing_of_it_where_none_are_kept(self, folder, application):
        """One line less."""
        application(NOWHERE)

        assert "acknowledged" not in run("status", folder).stdout
        assert json.loads(run("status", folder, "--json").stdout)["oldest_acknowledged"] is None


class TestDrain:
    def test_keeps_what_it_sends(self, folder, application, otlp_receiver):
        """As the program would have done."""
        log = application(NOWHERE)
        record(log, 0)
        log.handlers[0]._provider.shutdown()
        run("drain", folder, "--endpoint", otlp_receiver.endpoint)
        found = json.loads(run("status", folder, "--json").stdout)

        assert len(otlp_receiver.logs) == 1
        assert (found["records"], found["acknowledged"]) == (0, 1)
