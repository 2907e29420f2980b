"""`jupyter otel-telemetry spool`: what an operator does with what waits."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from builders import ID, Receiver, schema, serving
from click.testing import CliRunner

from jupyter_otel_telemetry.cli.app import app
from jupyter_otel_telemetry.otlp.received import parse_json
from jupyter_otel_telemetry.spool.folder import SpoolFolder, SpoolOptions
from jupyter_otel_telemetry.spool.frames import RECORD, frame
from jupyter_otel_telemetry.spool.store import Store

NOWHERE = "http://127.0.0.1:9"


def leave(folder, count):
    """Record events where nobody listens, and be killed."""
    from jupyter_otel_telemetry import EventLog, OTLPHandler

    log = EventLog(handlers=[OTLPHandler(endpoint=NOWHERE, spool=folder, service_name="hub")], allowed_schemas=["*"])
    log.register_schema(schema())
    for number in range(count):
        log.record_event(ID, 1, {"action": "start", "count": number})
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jupyter_otel_telemetry.spool", "jsonschema", "requests"])
    return context


@pytest.fixture
def folder(tmp_path, processes, monkeypatch):
    """A spool in which a killed process has left three events."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    module = __import__(Path(__file__).stem)
    process = processes.Process(target=module.leave, args=(tmp_path / "spool", 3))
    process.start()
    process.join(180)
    assert process.exitcode == -signal.SIGKILL
    return tmp_path / "spool"


@pytest.fixture
def receiver():
    """A receiver that keeps the headers of requests."""
    with serving(Receiver) as server:
        server.seen = []
        yield server


def run(*arguments, exit_code=0):
    result = CliRunner().invoke(app, ["spool", *map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exit_code == exit_code, result.output
    return result


def reject(folder):
    """Turn what waits into rejected records."""
    store = Store(SpoolFolder(SpoolOptions(folder)))
    store.adopt()
    for source, batch in store.batches():
        store.reject(batch.entries, {"rejected": len(batch.entries), "status": "400", "reason": "no"})
        store.commit(source, batch, len(batch.entries))
    store.close()


def refuse(folder, count=3, status="400"):
    """Turn what waits into what was refused, as earlier versions kept it."""
    lines = run("export", folder).stdout.splitlines()
    refused = {
        "time": "2026-01-01T00:00:00Z",
        "status": status,
        "reason": "no",
        "rejected": count,
        "destination": "x",
    }
    line = json.dumps(json.loads(lines[0]) | {"refused": refused})
    (folder / "rejected" / "20260101-1.jsonl").write_text(line + "\n")
    for path in (folder / "queue").glob("*/*.seg"):
        path.unlink()


class TestStatus:
    def test_says_what_waits_of_which_process(self, folder):
        """In a table."""
        output = run("status", folder).stdout
        row = output.splitlines()[-1].split()

        assert "records waiting: 3; rejected: 0" in output
        assert row[1:4] == ["left", "behind", "3"]

    def test_in_json(self, folder):
        """With the time of the oldest."""
        found = json.loads(run("status", folder, "--json").stdout)

        assert (found["records"], found["rejected"], found["oldest"][:2]) == (3, 0, "20")
        assert found["processes"][0]["state"] == "left behind"

    def test_process_that_runs_is_in_use(self, tmp_path):
        """And is not disturbed."""
        from jupyter_otel_telemetry import EventLog, OTLPHandler

        handler = OTLPHandler(endpoint=NOWHERE, spool=tmp_path)
        log = EventLog(handlers=[handler], allowed_schemas=["*"])
        log.register_schema(schema())
        log.record_event(ID, 1, {})
        [process] = json.loads(run("status", tmp_path, "--json").stdout)["processes"]
        assert (process["state"], process["records"]) == ("in use", 1)

        assert "what waits of processes that run, they send themselves" in run("drain", tmp_path).output
        assert handler._spool.depth() == 1

    def test_empty_spool(self, folder):
        """Is no mistake."""
        for path in (folder / "queue").glob("*/*"):
            path.unlink()
        assert "records waiting: 0" in run("status", folder).stdout

    @pytest.mark.parametrize("command", ["status", "show", "export", "drain", "retry-rejected"])
    def test_folder_that_is_no_spool(self, tmp_path, command):
        """Is said, and nothing is made in it."""
        assert "is not a spool" in run(command, tmp_path, exit_code=1).output
        assert list(tmp_path.iterdir()) == []


class TestShow:
    def test_a_row_each(self, folder):
        """As `listen` would show it."""
        lines = run("show", folder).stdout.splitlines()

        assert len(lines) == 4
        assert "action=start count=0" in lines[1]

    def test_json_lines(self, folder):
        """For jq."""
        counts = [
            json.loads(line)["attributes"]["jupyter.event.count"]
            for line in run("show", "--json", folder).stdout.splitlines()
        ]
        assert counts == [0, 1, 2]

    @pytest.mark.parametrize("keep", [reject, refuse])
    def test_rejected(self, folder, keep):
        """Rejected records only, stored by this version or an earlier one."""
        keep(folder)
        assert run("show", folder).stdout == ""
        assert len(run("show", "--rejected", "--json", folder).stdout.splitlines()) == 3


class TestExport:
    def test_is_otlp_json(self, folder):
        """A request a line; and all stays where it is."""
        [line] = run("export", folder).stdout.splitlines()
        logs = parse_json(line.encode())

        assert [log.attributes["jupyter.event.count"] for log in logs] == [0, 1, 2]
        assert logs[0].resource["service.name"] == "hub"
        assert json.loads(run("status", folder, "--json").stdout)["records"] == 3

    def test_of_rejected_records_has_the_reason(self, folder):
        """As one more member of the line; the Collector ignores it."""
        reject(folder)
        [line] = run("export", "--rejected", folder).stdout.splitlines()

        assert json.loads(line)["rejected"] == {"rejected": 3, "status": "400", "reason": "no"}
        assert len(parse_json(line.encode())) == 3
        assert run("export", folder).stdout == ""


class TestBadDisks:
    @pytest.mark.parametrize("command", ["status", "show", "export"])
    def test_full_output_ends_a_command_with_one_line(self, folder, command):
        """And with a code that scripts see."""
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(
                [sys.executable, "-m", "jupyter_otel_telemetry.cli", "spool", command, str(folder)],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )

        assert (result.returncode, result.stderr) == (1, "Error: cannot write to stdout: No space left on device\n")

    def test_closed_pipe_ends_a_command_quietly(self, folder):
        """As of `head`."""
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "w") as pipe:
            result = subprocess.run(
                [sys.executable, "-m", "jupyter_otel_telemetry.cli", "spool", "export", str(folder)],
                stdout=pipe,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )

        assert (result.returncode, result.stderr) == (1, "")

    @pytest.mark.parametrize(
        "command,last", [("status", "records waiting: 3"), ("show", "count=2"), ("export", '"intValue":"2"')]
    )
    def test_unreadable_segment_is_named_and_the_others_are_shown(self, folder, command, last):
        """Nothing waits for a FIFO."""
        [journal] = (folder / "queue").iterdir()
        os.mkfifo(journal / "00000000.seg")
        result = run(command, folder)

        assert f"not a regular file: '{journal / '00000000.seg'}'" in result.stderr
        assert last in result.stdout

    def test_record_that_cannot_be_decoded_is_named_and_the_others_are_shown(self, folder):
        """It may have been written by a later version."""
        [segment] = (folder / "queue").glob("*/*.seg")
        segment.write_bytes(segment.read_bytes() + frame(RECORD, b"\xff\xff"))
        result = run("show", "--json", folder)

        assert "a record cannot be decoded" in result.stderr
        assert len(result.stdout.splitlines()) == 3


class TestDrain:
    def test_sends_what_was_left(self, folder, otlp_receiver):
        """In order, and the folder is empty then."""
        result = run("drain", folder, "--endpoint", otlp_receiver.endpoint)

        assert [log.attributes["jupyter.event.count"] for log in otlp_receiver.logs] == [0, 1, 2]
        assert "accepted: 3, rejected: 0, still waiting: 0" in result.output
        assert list((folder / "queue").iterdir()) == []

    def test_gives_up_where_nobody_listens(self, folder):
        """With a code that scripts see, and nothing is lost."""
        result = run("drain", folder, "--endpoint", NOWHERE, "--timeout", "0", exit_code=1)

        assert "still waiting: 3" in result.output
        assert f"Error: {NOWHERE} (http/protobuf): ConnectionRefusedError" in result.output

    def test_token_is_read_from_a_file(self, folder, tmp_path, receiver):
        """As for the handler; white space around it does not count."""
        file = tmp_path / "token"
        file.write_text("s3cr3t\n")
        run("drain", folder, "--endpoint", receiver.url, "--bearer-token-file", file)

        assert [headers["authorization"] for _, headers in receiver.seen] == ["Bearer s3cr3t"]

    def test_missing_token_file_is_named(self, folder, tmp_path):
        """Before anything is sent."""
        result = run("drain", folder, "--bearer-token-file", tmp_path / "absent", exit_code=1)

        assert f"the file of header authorization, '{tmp_path}/absent', cannot be read" in result.output

    def test_proxy_gets_what_is_sent(self, folder, receiver):
        """If it is given."""
        run("drain", folder, "--endpoint", "http://collector.invalid", "--proxy", receiver.url)

        assert len(receiver.seen) == 1

    def test_variable_that_switches_off_is_named(self, folder, monkeypatch):
        """Rather than sending in spite of it, or not sending in silence."""
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
        result = run("drain", folder, exit_code=1)

        assert "nothing is sent, since OTEL_SDK_DISABLED is true" in result.output

    def test_secrets_are_not_shown(self, folder):
        """Of the URL, where nobody listens."""
        endpoint = NOWHERE.replace("://", "://bob:s3cr3t@") + "/s3cr3t?key=s3cr3t"
        result = run("drain", folder, "--endpoint", endpoint, "--timeout", "0", exit_code=1)

        assert NOWHERE in result.output
        assert "s3cr3t" not in result.output

    def test_bad_endpoint_is_named(self, folder):
        """Before anything is sent."""
        assert "Error: endpoint is not a URL" in run("drain", folder, "--endpoint", "nonsense", exit_code=1).output


class TestRetryRejected:
    @pytest.mark.parametrize("keep", [reject, refuse])
    def test_sends_again(self, folder, otlp_receiver, keep):
        """And removes the file."""
        keep(folder)
        result = run("retry-rejected", folder, "--endpoint", otlp_receiver.endpoint)

        assert [log.attributes["jupyter.event.count"] for log in otlp_receiver.logs] == [0, 1, 2]
        assert "to be sent again: 3" in result.output
        assert list((folder / "rejected").iterdir()) == []

    def test_waits_with_the_rest_where_nobody_listens(self, folder):
        """So whoever comes next sends it."""
        refuse(folder)
        run("retry-rejected", folder, "--endpoint", NOWHERE, "--timeout", "0", exit_code=1)
        found = json.loads(run("status", folder, "--json").stdout)

        assert (found["records"], found["rejected"]) == (3, 0)

    def test_line_that_cannot_be_read_stays(self, folder, otlp_receiver):
        """And is named; the others are sent."""
        refuse(folder)
        path = folder / "rejected" / "20260101-1.jsonl"
        path.write_text("{nonsense\n" + path.read_text())
        result = run("retry-rejected", folder, "--endpoint", otlp_receiver.endpoint)

        assert f"left where it is: {path}, line 1: " in result.output
        assert len(otlp_receiver.logs) == 3
        assert path.read_text() == "{nonsense\n"


def test_help_names_every_command():
    """With what it does."""
    output = run("--help").stdout
    assert all(name in output for name in ("status", "show", "export", "drain", "retry-rejected"))
