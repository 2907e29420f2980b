import gzip
import json
import re

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_otel_telemetry.cli.app import app

PROCESSES = [("hub", "id-1", 7), ("hub", "id-2", 7), ("lab", "id-3", 8)]


def verify(*arguments, **options):
    return CliRunner().invoke(app, ["verify", *map(str, arguments)], **options)


def record(process, number):
    """Return the resource and the attributes of a record."""
    service, instance, pid = process
    uid = f"01ARZ3NDEK{instance[-1] * 8}{number:08d}"
    resource = {"service.name": service, "service.instance.id": instance, "process.pid": pid}
    return resource, {"jupyter.sequence": number, "log.record.uid": uid, "jupyter.event.text": "\x1b[31m\n"}


def pairs(fields):
    kinds = {int: "intValue", str: "stringValue"}
    return [{"key": key, "value": {kinds[type(value)]: str(value)}} for key, value in fields.items()]


def otlp_line(resource, attributes):
    logs = [{"scope": {}, "logRecords": [{"attributes": pairs(attributes)}]}]
    return {"resourceLogs": [{"resource": {"attributes": pairs(resource)}, "scopeLogs": logs}]}


def texts(fields):
    return {name: str(value) for name, value in fields.items()}


def loki(fields):
    return {re.sub("[^a-z]", "_", name): str(value) for name, value in fields.items()}


FORMATS = {
    "OTLP JSON lines": otlp_line,
    "LogsQL": lambda resource, attributes: {"_msg": "text", **texts(resource), **texts(attributes)},
    "logcli": lambda resource, attributes: {"labels": loki({**resource, **attributes}), "line": "text"},
    "Loki's query API": lambda resource, attributes: {
        "status": "success",
        "data": {"result": [{"stream": loki(resource), "values": [["1", "text", loki(attributes)]]}]},
    },
    "listen --json": lambda resource, attributes: {"resource": resource, "attributes": attributes},
}


def export(path, records, name, *, is_compressed=False):
    lines = "".join(json.dumps(FORMATS[name](*one)) + "\n" for one in records).encode()
    path.write_bytes(gzip.compress(lines) if is_compressed else lines)
    return path


arrivals = st.lists(st.tuples(st.sampled_from(PROCESSES), st.integers(1, 40)), max_size=100)


class TestVerify:
    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(arrived=arrivals, name=st.sampled_from(list(FORMATS)), is_compressed=st.booleans())
    def test_finds_each_lost_and_each_repeated_record(self, tmp_path, arrived, name, is_compressed):
        """In every format, whatever is lost or repeated of whichever process, and in whatever order."""
        path = export(tmp_path / "export", [record(*one) for one in arrived], name, is_compressed=is_compressed)
        run = verify("--json", path)
        found = {(one["instance"], one["pid"]): one for one in json.loads(run.stdout)["processes"]}
        any_missing = False
        for process in {process for process, _ in arrived}:
            numbers = [number for other, number in arrived if other == process]
            missing = set(range(1, max(numbers))) - set(numbers)
            one = found.pop((process[1], str(process[2])))
            ranges = [set(range(first, last + 1)) for first, last in one["missing_ranges"]]
            assert (set().union(*ranges), len(missing)) == (missing, one["missing"])
            assert one["duplicates"] == len(numbers) - len(set(numbers))
            any_missing |= bool(missing)
        assert found == {}
        assert run.exit_code == any_missing

    def test_prints_a_row_for_each_process(self, tmp_path):
        """A person sees which process has lost which records."""
        arrived = [record(PROCESSES[0], number) for number in (1, 2, 5, 5)] + [record(PROCESSES[2], 1)]
        run = verify(export(tmp_path / "export", arrived, "LogsQL"))
        rows = [line.split() for line in run.stdout.splitlines()]
        assert [
            rows[1],
            rows[2][:7],
        ] == [["hub", "id-1", "7", "3", "5", "1", "2", "3-4"], ["lab", "id-3", "8", "1", "1", "0", "0"]]

    def test_reads_standard_input(self, tmp_path):
        """`-` stands for it."""
        lines = export(tmp_path / "export", [record(PROCESSES[0], 1)], "logcli").read_bytes()
        assert verify("-", input=lines).exit_code == 0

    def test_counts_records_without_a_number(self, tmp_path):
        """Other programs' records prove nothing, and are said to."""
        path = tmp_path / "export"
        path.write_text('{"message": "hello"}\n\n')
        assert "1 records carry no number" in verify(path).stdout

    @pytest.mark.parametrize("content", ["{", "[]", "7", '{"resourceLogs": 7}', "{" * 10_000])
    def test_a_line_that_is_no_record_is_named(self, tmp_path, content):
        """File and line are in the message, and nothing is claimed of the rest."""
        path = export(tmp_path / "export", [record(PROCESSES[0], 1)], "LogsQL")
        path.write_text(path.read_text() + content)
        run = verify(path)
        assert (run.exit_code, f"{path}, line 2" in run.stderr) == (2, True)

    def test_no_control_character_reaches_the_terminal(self, tmp_path):
        """Names in an export are untrusted."""
        hostile = [record(("\x1b[2J\u202e", "id-9", 7), number) for number in (2,)]
        run = verify(export(tmp_path / "export", hostile, "LogsQL"))
        assert not {"\x1b", "\u202e"} & set(run.stdout)
