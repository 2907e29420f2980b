"""The verdict on events, held against the JSON-Schema-Test-Suite; tests/fetch_suite.py fetches it."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

import fetch_suite
import jsonschema
import pytest
from builders import absent

from jupyter_otel_telemetry.schemas.references import SchemaDocuments, external_references
from jupyter_otel_telemetry.schemas.validation import EventValidator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

DIALECTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}

# (folder and file, description of a case or *): why our verdict may differ. Nothing else of the five drafts is
# left out, neither among the mandatory files nor among the optional ones, except optional/format, since `format`
# is an annotation here, never asserted.
EXCEPTIONS = {
    ("*/vocabulary", "*"): "its meta-schema is its own, and $schema must name one of the five drafts",
    ("*/optional/format-assertion", "*"): "its meta-schema is its own, and $schema must name one of the five drafts",
    ("*/optional/content", "*"): "contentEncoding and contentMediaType are annotations for jsonschema, the reference",
    ("*/optional/ecmascript-regex", "\\a is not an ECMA 262 control escape"): "asserts `format: regex`",
}


@dataclass(frozen=True)
class Case:
    """One schema of the suite, and what it says of some instances."""

    place: str
    description: str
    document: dict[str, Any]
    remotes: Mapping[str, dict[str, Any]]
    tests: list[dict[str, Any]]

    @cached_property
    def validator(self) -> EventValidator:
        needed: dict[str, dict[str, Any]] = {}
        waiting = external_references(self.document)
        while waiting:
            uri = waiting.pop()
            if uri in self.remotes and uri not in needed:
                needed[uri] = self.remotes[uri]
                waiting += external_references(needed[uri])
        return EventValidator(SchemaDocuments(self.document, needed), self.place)

    def allows(self, instance) -> bool | str:
        """Return the verdict of the package."""
        try:
            self.validator.check(instance)
        except jsonschema.ValidationError:
            return False
        except Exception as error:  # it is the outcome
            return repr(error)
        return True

    def reason(self, instance) -> str:
        with pytest.raises(jsonschema.ValidationError) as caught:
            self.validator.check(instance)
        return caught.value.message

    def is_excepted(self) -> bool:
        return any(
            fnmatchcase(self.place, place) and description in ("*", self.description)
            for place, description in EXCEPTIONS
        )

    def differences(self) -> list[str]:
        """Say for which instances the verdict is another than the suite's."""
        return [
            f"{self.place}, {self.description}, {test['description']}: {verdict} instead of {test['valid']}"
            for test in self.tests
            if (verdict := self.allows(test["data"])) != test["valid"]
        ]


def document_of(schema, draft, uri=None):
    """Name the draft, which the suite does by a folder, and where it is: for an event's schema, that is its $id."""
    named = {"$schema": DIALECTS[draft], **(schema if isinstance(schema, dict) else {"allOf": [schema]})}
    name = named.get("id" if draft == "draft4" else "$id", uri)
    return named if name is None else {"$id": name} | named


def read_cases(suite: Path, draft: str) -> Iterator[Case]:
    remotes = {}
    for path in (suite / "remotes").rglob("*.json"):
        uri = f"http://localhost:1234/{path.relative_to(suite / 'remotes').as_posix()}"
        remotes[uri] = document_of(json.loads(path.read_text("utf-8")), draft, uri)
    tests = suite / "tests"
    for path in sorted([*(tests / draft).glob("*.json"), *(tests / draft / "optional").glob("*.json")]):
        place = path.relative_to(tests).with_suffix("").as_posix()
        for case in json.loads(path.read_text("utf-8")):
            yield Case(place, case["description"], document_of(case["schema"], draft), remotes, case["tests"])


@pytest.fixture(scope="module", params=DIALECTS)
def cases(request):
    suite = fetch_suite.JSON_SCHEMA.folder()
    if not (suite / "tests").is_dir():
        absent("the JSON-Schema-Test-Suite, which tests/fetch_suite.py fetches,")
    return list(read_cases(suite, request.param))


@pytest.fixture(autouse=True)
def connections(monkeypatch):
    """Refuse every connection, and keep to where it was wanted."""
    wanted = []

    def refuse(_socket, address):
        wanted.append(address)
        raise ConnectionRefusedError(address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    return wanted


class TestRegistration:
    def test_takes_every_schema(self, cases, event_log):
        """Those of the listed exceptions aside, and the one that names a property like our envelope."""
        for case in cases:
            if not case.is_excepted() and "Javascript object property names" not in case.description:
                schema = {"$id": "https://example.org/x", **case.document, "version": str(id(case))}
                event_log.register_schema(schema)

                assert (schema["$id"], schema["version"]) in event_log.schemas


class TestVerdict:
    def test_is_the_one_of_the_suite(self, cases):
        """Every instance is accepted or refused as the suite says, the listed exceptions aside."""
        differences = [difference for case in cases if not case.is_excepted() for difference in case.differences()]

        assert differences == []

    def test_has_no_exception_without_need(self, cases):
        """Every file listed as an exception holds an instance on which the verdict does differ."""
        excepted = [case for case in cases if case.is_excepted()]
        needed = {case.place for case in excepted if case.differences()}

        assert {case.place for case in excepted} == needed

    def test_is_explained(self, cases):
        """A rule is named for every invalid instance, except below a reference to a schema of another draft."""
        vague = [
            f"{case.place}, {case.description}, {test['description']}"
            for case in cases
            if not case.is_excepted() and "cross-draft" not in case.place
            for test in case.tests
            if not test["valid"] and "not found" in case.reason(test["data"])
        ]

        assert vague == []

    def test_opens_no_socket(self, cases, connections):
        """References to documents that are not given are refused, not fetched."""
        for case in cases:
            case.differences()

        assert connections == []

    def test_rests_on_the_whole_suite(self, cases):
        """Each draft has some hundred instances; an empty folder would make the other tests say nothing."""
        assert sum(len(case.tests) for case in cases) > 500
