import json
import random
import sys
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import pytest
from builders import ID, schema
from click.testing import CliRunner
from random_schemas import Maker
from typing_extensions import NotRequired, is_typeddict

from jupyter_otel_telemetry.cli.app import app
from jupyter_otel_telemetry.schemas.schema import parse_schema
from jupyter_otel_telemetry.workshop.types import typed_module

ROOT = Path(__file__).parents[2]


def types(*arguments):
    return CliRunner().invoke(app, ["schema", "types", *map(str, arguments)])


def module_of(*documents):
    """Return the names of the module for some schemas."""
    module = sys.modules["made_events"] = ModuleType("made_events")
    source = typed_module([parse_schema(document) for document in documents])
    exec(compile(source, "made_events.py", "exec"), vars(module))
    return vars(module)


def fields_of(properties, **keywords):
    """Return the annotations of the type of one schema."""
    names = module_of(schema(properties=properties, **keywords))
    return get_type_hints(names["ServerActionV1"], names, include_extras=True)


class TestModule:
    @pytest.mark.parametrize(
        "described, expected",
        [
            ({"type": "string"}, "str"),
            ({"type": "integer"}, "int"),
            ({"type": ["number", "null"]}, "float | None"),
            ({"enum": ["a", 1, None, True]}, 'Literal["a", 1, None, True]'),
            ({"const": "it's"}, """Literal["it's"]"""),
            ({"enum": [1.5, {}]}, "Any"),
            ({"type": "array", "items": {"type": "string"}}, "list[str]"),
            ({"type": "array"}, "list[Any]"),
            ({"type": "object", "additionalProperties": {"type": "boolean"}}, "dict[str, bool]"),
            ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "str | int"),
            ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, "str | int"),
            ({"$ref": "#/definitions/b"}, "str"),
            ({"not": {}}, "Any"),
            ({}, "Any"),
        ],
    )
    def test_value_has_its_type(self, described, expected):
        """Lists of values as literals; whatever Python cannot say is Any."""
        document = schema(properties={"a": described}, required=["a"], definitions={"b": {"type": "string"}})

        assert f"    a: {expected}\n" in typed_module([parse_schema(document)])

    def test_optional_property_is_not_required(self):
        """The others are."""
        fields = fields_of({"a": {"type": "string"}, "b": {"type": "string"}}, required=["a"])

        assert fields == {"a": str, "b": NotRequired[str]}

    def test_object_has_a_type_of_its_own(self):
        """At every level."""
        fields = fields_of({"user": {"properties": {"name": {"properties": {"first": {"type": "string"}}}}}})

        assert "ServerActionV1User" in str(fields["user"])

    def test_name_that_is_no_identifier_is_kept(self):
        """As are keywords, and names with underscores that Python would mangle."""
        assert set(fields_of({"a-b": {}, "class": {}, "é": {}, '"': {}})) == {"a-b", "class", "é", '"'}

    def test_each_version_has_an_overload(self):
        """As number and as text."""
        source = typed_module([parse_schema(schema(version=1)), parse_schema(schema(version="1.0-beta"))])

        assert source.count("@overload") == 2
        assert 'version: Literal[1, "1"],' in source
        assert 'version: Literal["1.0-beta"],' in source

    def test_same_names_do_not_collide(self):
        """Two schemas may end in one word."""
        names = module_of(
            schema(id="https://a.org/run"), schema(id="https://b.org/run"), schema(id="https://c.org/events")
        )

        assert {"RunV1", "RunV12", "EventsV1"} <= names.keys()

    def test_text_of_a_schema_is_no_code(self):
        """Not in ids, versions, names, values, titles and descriptions."""
        evil = '"""\nimport os; os.abort()\n\\" \u2028'
        document = schema(
            id=f"https://example.org/{evil.replace(chr(10), ' ')}",
            version=evil.replace("\n", " "),
            title=evil,
            description=evil,
            properties={evil: {"enum": [evil]}, "a": {"properties": {evil: {"title": evil}}}},
        )

        assert "os" not in module_of(document)

    @pytest.mark.parametrize("seed", range(100))
    def test_random_schema_makes_a_module(self, seed):
        """Whose types can be read."""
        document = schema(id=ID, **Maker(random.Random(seed)).event_schema())
        names = module_of(document)

        found = names["ServerActionV1"]
        assert is_typeddict(found)
        assert set(get_type_hints(found, names)) == set(document.get("properties", ()))


class TestCommand:
    def test_writes_a_file_that_check_accepts(self, tmp_path):
        """Until a schema changes."""
        path, output = tmp_path / "a.json", tmp_path / "events.py"
        path.write_text(json.dumps(schema()), encoding="utf-8")

        assert types(path, "-o", output).exit_code == 0
        assert types(path, "-o", output, "--check").exit_code == 0
        path.write_text(json.dumps(schema(required=["action"])), encoding="utf-8")
        result = types(path, "-o", output, "--check")
        assert result.exit_code == 1
        assert "differs from the schemas" in result.stderr

    def test_prints_without_a_file(self):
        """For a pipe."""
        assert "class CellRunV1(TypedDict):" in types(ROOT / "examples" / "schemas").stdout

    @pytest.mark.parametrize("arguments", [["absent.yaml"], [".", "--check"]])
    def test_mistake_is_an_error(self, arguments, tmp_path, monkeypatch):
        """With status 2."""
        monkeypatch.chdir(tmp_path)

        assert types(*arguments).exit_code == 2

    def test_types_that_mypy_has_checked_are_current(self):
        """The session `lint` runs mypy on typed_usage.py, which uses them."""
        output = Path(__file__).with_name("typed_events.py")

        assert types(ROOT / "examples" / "schemas", "-o", output, "--check").exit_code == 0
