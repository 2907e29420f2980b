"""docs/delivery.md says what is so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from jupyter_otel_telemetry.cli.app import app
from jupyter_otel_telemetry.otlp.answers import http_answer
from jupyter_otel_telemetry.spool import SpoolOptions

PAGE = (Path(__file__).parent.parent / "docs" / "delivery.md").read_text()
SOURCES = "".join(
    path.read_text() for path in (Path(__file__).parent.parent / "jupyter_otel_telemetry").rglob("*.py")
)


def rows(title):
    """Return the rows of the first table below a title, as lists of cells."""
    table = re.search(r"\n\n\|.*?\n\n", PAGE.partition(f"## {title}\n")[2], re.DOTALL).group()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()[2:]]


def test_options_and_their_defaults():
    """All of them."""
    defaults = {field.name: repr(field.default).replace("'", '"') for field in dataclasses.fields(SpoolOptions)}
    written = {name.strip("`"): default.strip("`") for name, default, _ in rows("Options")}

    assert written.pop("folder") == ""
    del defaults["folder"]
    assert written == defaults


def test_code_runs(tmp_path):
    """As it stands, but for the folder."""
    found = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    for number, code in enumerate(found):
        names = {}
        exec(code.replace("/var/lib/jupyterhub", str(tmp_path / str(number))), names)
        (names.get("provider") or names["handler"]._provider).shutdown()
    assert len(found) == 2


def test_instruments_are_those_that_exist():
    """By name and unit."""
    made = set(re.findall(r'"(jupyter\.(?:events|otlp|spool)\.\w+)",\s*"([{}\w]+)"', SOURCES))

    assert {(name.strip("`"), unit.strip("`")) for name, _, unit, *_ in rows("Metrics")} == made


def test_reasons_of_drops_are_those_that_exist():
    """Every one."""
    written = set(re.findall(r"`(\w+)`", PAGE.partition("`jupyter.drop.reason` is ")[2].partition("\n\n")[0]))
    used = set(re.findall(r'(?:_drop\(|DROP_REASON: )"(\w+)"', SOURCES))

    assert written == used | {"full", "age"}  # these two are decided in one place


@pytest.mark.parametrize(
    "code,verdict",
    [
        *((code, "accepted") for code in (200, 202, 204)),
        *((code, "retryable") for code in (408, 429, 502, 503, 504, 599)),
        *((code, "rejected") for code in (400, 409, 422)),
        *((code, "misconfigured") for code in (301, 304, 308, 401, 403, 404, 405, 410, 415, 431, 511)),
        *((code, "too large") for code in (413,)),
        *((code, "ambiguous") for code in (500, 501)),
    ],
)
def test_answers_mean_what_is_written(code, verdict):
    """Of HTTP; gRPC's are in tests/chaos."""
    assert http_answer(code, {}, b"").verdict.value == verdict


def test_commands_exist():
    """Every one in the table."""
    names = {row[0].split()[1] for row in rows("Looking after it")}
    help_text = CliRunner().invoke(app, ["spool", "--help"]).output

    assert len(names) == 5
    assert all(f"\n  {name}" in help_text for name in names)
