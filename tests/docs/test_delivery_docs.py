"""docs/understand/delivery.md says what is so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from click.testing import CliRunner

from jupyter_otel_telemetry.cli.app import app
from jupyter_otel_telemetry.otlp.answers import accepted, grpc_answer, http_answer
from jupyter_otel_telemetry.spool import SpoolOptions

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "understand" / "delivery.md").read_text()
METRICS = (DOCS / "reference" / "metrics.md").read_text()
SOURCES = "".join(path.read_text() for path in (Path(__file__).parents[2] / "jupyter_otel_telemetry").rglob("*.py"))


def rows(title, page=PAGE):
    """Return the rows of the first table below a title, as lists of cells."""
    table = re.search(r"\n\n\|.*?\n\n", page.partition(f"# {title}\n")[2], re.DOTALL).group()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()[2:]]


def test_options_and_their_defaults():
    """All of them."""
    defaults = {field.name: repr(field.default).replace("'", '"') for field in dataclasses.fields(SpoolOptions)}
    written = {name.strip("`"): default.strip("`") for name, default, _ in rows("Options")}

    assert written.pop("folder") == ""
    del defaults["folder"]
    assert written == defaults


def test_instruments_are_those_that_exist():
    """By name and unit."""
    made = set(re.findall(r'"(jupyter\.(?:events|otlp|spool)\.\w+)",\s*"([{}\w]+)"', SOURCES))

    assert {(name.strip("`"), unit.strip("`")) for name, _, unit, *_ in rows("Metrics", METRICS)} == made


def test_reasons_of_drops_are_those_that_exist():
    """Every one."""
    written = set(re.findall(r"`(\w+)`", METRICS.partition("`jupyter.drop.reason` is ")[2].partition("\n\n")[0]))
    used = set(re.findall(r'(?:_drop\(|_lose\(|DROP_REASON: )"(\w+)"', SOURCES))

    assert written == used | {"full", "age"}  # these two are decided in one place


ANSWERS = rows("What an answer means")
STATUSES = {
    status: verdict
    for answer, verdict, _ in ANSWERS
    for status in re.findall(r"\b\d{3}\b|\b[A-Z]+_[A-Z_]+\b|(?<=`)[A-Z]+(?=`)", answer)
}
"""The statuses of HTTP and the codes of gRPC in the table."""


def verdict_of(status):
    if status.isdigit():
        return http_answer(int(status), {}, b"").verdict.value
    if status == "OK":
        return accepted(b"").verdict.value
    error = {"code": lambda: SimpleNamespace(name=status), "details": str, "trailing_metadata": tuple}
    return grpc_answer(SimpleNamespace(**error)).verdict.value


@pytest.mark.parametrize("status", STATUSES)
def test_answers_mean_what_is_written(status):
    """Each status of HTTP and each code of gRPC."""
    assert verdict_of(status) == STATUSES[status]


def test_every_code_of_grpc_is_written():
    """None is left out."""
    assert {status for status in STATUSES if not status.isdigit()} == {code.name for code in grpc.StatusCode}


@pytest.mark.parametrize("first", [2, 3, 4, 5])
def test_other_statuses_of_http_mean_what_is_written(first):
    """As "any other 4xx" says."""
    (written,) = (verdict for answer, verdict, _ in ANSWERS if re.search(f"any (other )?{first}xx", answer))
    others = {str(code) for code in range(first * 100, first * 100 + 100)} - STATUSES.keys()

    assert {verdict_of(status) for status in others} == {written}


def test_commands_exist():
    """Every one in the table."""
    names = {row[0].split()[1] for row in rows("Looking after it")}
    help_text = CliRunner().invoke(app, ["spool", "--help"]).output

    assert len(names) == 6
    assert all(f"\n  {name}" in help_text for name in names)
