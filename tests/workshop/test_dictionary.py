import json
import random
import re

import jsonschema
import pytest
from builders import ID, schema
from click.testing import CliRunner
from random_schemas import Maker

from jupyter_otel_telemetry.cli.app import app
from jupyter_otel_telemetry.schemas.schema import parse_schema
from jupyter_otel_telemetry.workshop.dictionary import dictionary
from jupyter_otel_telemetry.workshop.examples import example_event, example_events
from jupyter_otel_telemetry.workshop.versions import SchemaSet


def pages_of(*documents):
    return dictionary(SchemaSet([("a.yaml", parse_schema(document)) for document in documents]))


def page_of(**keywords):
    """Return the page of one schema."""
    [page] = [text for name, text in pages_of(schema(**keywords)).items() if name != "index.md"]
    return page


class TestExamples:
    @pytest.mark.parametrize("seed", range(200))
    def test_are_valid(self, seed):
        """Of random schemas, by the reference implementation."""
        document = Maker(random.Random(seed)).event_schema()

        for event in [*example_events(document, 5), *filter(None, [example_event(document)])]:
            assert jsonschema.Draft7Validator(document).is_valid(event)

    def test_of_the_schema_come_first(self):
        """As far as they are valid."""
        document = schema(examples=[{"action": 3}, {"action": "start"}])

        assert next(example_events(document)) == {"action": "start"}
        assert example_event(document) == {"action": "start"}

    def test_of_properties_are_used(self):
        """At every level; others have their names as values."""
        user = {"type": "object", "properties": {"name": {"type": "string", "examples": ["ada"]}}}
        count = {"type": "integer", "minimum": 7}
        at = {"type": "string", "format": "date-time"}
        document = schema(properties={"user": user, "count": count, "at": at, "path": {"type": "string"}})

        event = {"user": {"name": "ada"}, "count": 7, "at": "2026-03-02T08:57:41Z", "path": "path"}
        assert example_event(document) == event

    @pytest.mark.parametrize("keywords", [{"properties": {"a": {"$ref": "#"}}}, {"allOf": [False]}])
    def test_without_an_event_there_is_none(self, keywords):
        """Of a recursive schema, and of one that accepts nothing."""
        assert example_event(schema(**keywords)) is None


class TestDictionary:
    def test_page_has_all_that_a_reader_asks(self):
        """Meaning, facts, properties, an example, and the record."""
        user = {
            "type": "string",
            "maxLength": 9,
            "pii": True,
            "description": "Who",
            "otel": {"attribute": "user.name"},
        }
        page = page_of(
            title="Server action",
            description="A server was started.",
            otel={"event_name": "a.b", "severity": "WARN"},
            properties={"user": user, "state": {"enum": ["on", "off"]}},
            required=["user"],
            **{"x-owner": "Team", "x-expires": "2030-01-01"},
        )

        for line in (
            "# Server action",
            "A server was started.",
            "| event name | `a.b` |",
            "| owner | Team |",
            "| expires | 2030-01-01 |",
            "| `user` | string, at most `9` characters | yes | yes | `user.name` | Who |",
            '| `state` | `"on"`, `"off"` | no |  | `jupyter.event.state` |  |',
            '| `jupyter.event.state` | `"on"` |',
        ):
            assert line in page.splitlines()
        assert json.loads(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1]) == {"user": "user", "state": "on"}
        assert "\n| `user.name` |" not in page  # in the record: withheld

    def test_versions_are_compared(self):
        """The newest one is described."""
        pages = pages_of(schema(title="Old"), schema(version=2, title="New", required=["action"]))

        page = pages["server-action.md"]
        assert page.startswith("# New\n")
        assert re.search(r"\| `2` \| breaking after 1; required at /: .*\|\n\| `1` \| the first one \|", page)

    def test_each_id_has_a_page_in_the_index(self):
        """Also if their names are alike, or that of the index."""
        ids = [ID, "https://b.org/server-action", "https://b.org/index", "https://b.org/…"]
        pages = pages_of(*(schema(id=one) for one in ids))

        assert set(pages) == {"index.md", "server-action.md", "server-action-2.md", "index-2.md", "event.md"}
        assert all(f"({name})" in pages["index.md"] for name in pages if name != "index.md")

    def test_text_of_a_schema_is_no_markup(self):
        """Neither Markdown nor HTML, nor an end of its cell or block."""
        evil = "a | b\n```\n# <script>*x*</script> `c` \x1b[31m"
        page = page_of(
            title=evil,
            description=evil,
            properties={evil: {"description": evil, "enum": [evil]}, "a": {"pattern": "a|`"}},
        )

        assert "\x1b" not in page
        prose = re.sub(r"```json.*?\n```", "", page, flags=re.DOTALL)
        assert "<script>" not in re.sub(r"(`+) .*? \1", "", prose.replace("\\<", ""))
        assert page.count("\n```") == 2
        tables = [line for line in page.splitlines() if line.startswith("|")]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {3, 7}

    @pytest.mark.parametrize("seed", range(50))
    def test_random_schema_has_a_page(self, seed):
        """With an example that is valid."""
        document = schema(**Maker(random.Random(seed)).event_schema())
        [page] = [text for name, text in pages_of(document).items() if name != "index.md"]

        for example in re.findall(r"```json\n(.*?)\n```", page, re.DOTALL):
            assert jsonschema.Draft7Validator(document).is_valid(json.loads(example))

    def test_command_writes_the_pages(self, tmp_path):
        """Into a folder that it makes."""
        path, output = tmp_path / "a.json", tmp_path / "docs" / "events"
        path.write_text(json.dumps(schema()), encoding="utf-8")
        result = CliRunner().invoke(app, ["schema", "docs", str(path), "-o", str(output)])

        assert result.exit_code == 0
        assert sorted(file.name for file in output.iterdir()) == ["index.md", "server-action.md"]
