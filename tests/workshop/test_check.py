import io
import json
import re
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from builders import schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_otel_telemetry.errors import SchemaSourceError
from jupyter_otel_telemetry.schemas.installed import installed_folders
from jupyter_otel_telemetry.workshop import RULES, Level, check_schemas
from jupyter_otel_telemetry.workshop.positions import Positions

ROOT = Path(__file__).parents[2]
PAGE = ROOT.joinpath("docs", "reference", "schema-rules.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^### (\S+)\n.*?# wrong\n(.*?)^```.*?# right\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
FIRST_FILE = """
$id: https://example.org/run
version: 1
required: [path]
properties: {path: {type: string}}
"""
HEAD = "$id: https://example.org/events/run\nversion: 1\n"
PROPERTIES = HEAD + "properties:\n  "

FAULTS = {
    # file, line of the finding, rule, words of the message
    "empty": ("", 1, "unreadable", "empty"),
    "a list": ("[1, 2]", 1, "unreadable", "not a mapping"),
    "a text": ("hello", 1, "unreadable", "not a mapping"),
    "an open bracket": (HEAD + "required: [a\ntitle: x", 4, "unreadable", ""),
    "a tab": (HEAD + "properties:\n\ta: {}", 4, "unreadable", "tab|token"),
    "a key twice": (HEAD + "title: a\ntitle: b", 4, "unreadable", "twice"),
    "a key twice in JSON": ('{"$id": "a",\n "version": 1,\n "$id": "b"}', 3, "unreadable", "twice"),
    "a tag": (HEAD + "title: !!python/name:os.system x", 3, "unreadable", "tag"),
    "a number as key": (HEAD + "properties:\n  1: {}", 4, "unreadable", "quote"),
    "two documents": (HEAD + "---\na: 1", 3, "unreadable", "single document"),
    "a version that changes": ("$id: a\nversion: 1.10", 2, "unreadable", "quote"),
    "a comma in JSON": ('{"$id": "a",\n "version": 1,,}', 2, "unreadable", ""),
    "no id": ("version: 1\ntitle: x", 1, "not-registered", "lacks \\$id"),
    "id without dollar": ("id: https://example.org/x\nversion: 1", 1, "not-registered", "\\$id instead of id"),
    "no version": ("$id: https://example.org/x", 1, "not-registered", "version"),
    "a version of null": ("$id: https://example.org/x\nversion:", 1, "not-registered", "version"),
    "a reserved property": (PROPERTIES + "__user: {}", 1, "not-registered", "reserved"),
    "a control character in the id": ('$id: "a\\a"\nversion: 1', 1, "not-registered", "control character"),
    "an unknown type": (PROPERTIES + "a: {type: strng}", 4, "invalid-schema", "'string'"),
    "a type of another language": (PROPERTIES + "a: {type: dict}", 4, "invalid-schema", "the types are"),
    "required as text": (HEAD + "required: path", 3, "invalid-schema", "not of type 'array'"),
    "required as boolean": (PROPERTIES + "a: {type: string, required: true}", 4, "invalid-schema", "array"),
    "a negative length": (PROPERTIES + "a: {maxLength: -1}", 4, "invalid-schema", "minimum"),
    "a broken pattern": (PROPERTIES + 'a: {pattern: "("}', 4, "invalid-schema", "not a regular expression"),
    "a broken name pattern": (HEAD + 'patternProperties: {"[": {}}', 3, "invalid-schema", "regular expression"),
    "an unknown draft": (HEAD + "$schema: https://json-schema.org/draft-99", 3, "invalid-schema", "unknown"),
    "an enum of text": (PROPERTIES + "a: {enum: yes}", 4, "invalid-schema", "array"),
    "a property as text": (PROPERTIES + "a: string", 4, "invalid-schema", ""),
    "pii as text": (PROPERTIES + 'a: {pii: "yes"}', 4, "invalid-annotation", "true or false"),
    "categories as text": (PROPERTIES + "a: {categories: user}", 4, "invalid-annotation", "list"),
    "pii in capitals": (PROPERTIES + "a: {PII: true}", 4, "invalid-annotation", "pii"),
    "pii with an edit": (PROPERTIES + "a: {pi: true}", 4, "invalid-annotation", "pii"),
    "pii among the properties": (HEAD + "properties:\n  pii: true", 4, "invalid-annotation", "move it"),
    "pii below fields": (HEAD + "fields:\n  a: {pii: true}", 4, "invalid-annotation", "no effect"),
    "otel as text": (HEAD + "otel: hello", 3, "invalid-annotation", "mapping"),
    "an unknown annotation": (HEAD + "otel: {name: a.b}", 3, "invalid-annotation", "unknown annotation"),
    "an unknown severity": (HEAD + "otel: {severity: WARNING}", 3, "invalid-annotation", "WARN"),
    "a reserved attribute": (PROPERTIES + "a: {otel: {attribute: otel.a}}", 4, "invalid-annotation", "reserved"),
    "an attribute in capitals": (PROPERTIES + "a: {otel: {attribute: User}}", 4, "invalid-annotation", "lower-case"),
    "an attribute twice": (
        PROPERTIES + "a: {otel: {attribute: a.b}}\n  b: {otel: {attribute: a.b}}",
        5,
        "invalid-annotation",
        "clashes",
    ),
    "an attribute of an item": (
        PROPERTIES + "a: {items: {otel: {attribute: a.b}}}",
        4,
        "invalid-annotation",
        "effect",
    ),
    "propertys": (HEAD + "propertys: {a: {type: string}}", 3, "misspelt-keyword", "properties"),
    "requierd": (HEAD + "requierd: [a]", 3, "misspelt-keyword", "required"),
    "additional_properties": (HEAD + "additional_properties: false", 3, "misspelt-keyword", "additionalProperties"),
    "maxlength": (PROPERTIES + "a: {maxlength: 3}", 4, "misspelt-keyword", "maxLength"),
    "tpye": (PROPERTIES + "a: {tpye: string}", 4, "misspelt-keyword", "type"),
    "enums": (PROPERTIES + "a: {enums: [a]}", 4, "misspelt-keyword", "enum"),
    "bounds crossed": (PROPERTIES + "a: {minimum: 3, maximum: 1}", 4, "contradiction", "above"),
    "lengths crossed": (PROPERTIES + "a: {minLength: 3, maxLength: 1}", 4, "contradiction", "above"),
    "no number left": (PROPERTIES + "a: {exclusiveMinimum: 1, maximum: 1}", 4, "contradiction", "no number"),
    "an enum of another type": (PROPERTIES + "a: {type: string, enum: [1]}", 4, "contradiction", "not of the type"),
    "a const of another type": (PROPERTIES + "a: {type: [string], const: 1}", 4, "contradiction", "not of the type"),
    "required and closed": (
        PROPERTIES + "path: {}\nadditionalProperties: false\nrequired: [pth]",
        6,
        "contradiction",
        "'path'",
    ),
    "required and forbidden": (PROPERTIES + "a: false\nrequired: [a]", 5, "contradiction", "not allowed"),
    "too few properties": (HEAD + "required: [a, b]\nmaxProperties: 1", 4, "contradiction", "below the 2"),
    "an empty enum": (PROPERTIES + "a: {enum: []}", 4, "contradiction|invalid-schema", ""),
    "a ref to nowhere": (PROPERTIES + 'a: {$ref: "#/definitions/b"}', 1, "not-registered", "does not exist"),
    "a ref to another schema": (
        PROPERTIES + "a:\n    $ref: https://example.org/b",
        5,
        "unresolved-ref",
        "not registered",
    ),
    "a ref to itself": (HEAD + "allOf: [{$ref: '#'}]", 1, "not-registered", ""),
    "prefixItems in draft 7": (PROPERTIES + "a: {prefixItems: [{}]}", 4, "no-effect", "draft 7"),
    "a rule beside a ref": (
        PROPERTIES + 'a: {$ref: "#/definitions/b", maxLength: 3}\ndefinitions: {b: {}}',
        4,
        "no-effect",
        "allOf",
    ),
    "a rule of another type": (PROPERTIES + "a: {type: integer, maxLength: 3}", 4, "no-effect", "string"),
    "an undescribed property": (HEAD + "required: [b]\nproperties: {a: {}}", 3, "unknown-required", "not described"),
    "a default of another type": (PROPERTIES + "a: {type: string, default: 3}", 4, "invalid-example", "match"),
    "an expiry that is no date": (HEAD + "x-expires: soon", 3, "expired", "must be a date"),
    "an event name in capitals": (HEAD + "otel: {event_name: Run.Started}", 3, "event-name", "lower-case"),
    "an event name as URL": (HEAD + "otel: {event_name: https://example.org/x}", 3, "event-name", "URL"),
    "an event name without namespace": (HEAD + "otel: {event_name: run}", 3, "event-name", "namespace"),
    "an event name with a value": (HEAD + "otel: {event_name: 'run.{user}'}", 3, "event-name", "value"),
}


@pytest.fixture
def check(tmp_path):
    """Return a function that checks texts, each in a file of its own."""

    def check(*texts, **options):
        for index, text in enumerate(texts):
            suffix = "json" if text.startswith("{") else "yaml"
            tmp_path.joinpath(f"{index}.{suffix}").write_text(text, encoding="utf-8")
        return check_schemas(sorted(tmp_path.iterdir()), **options)

    return check


class TestRules:
    def test_page_describes_each(self):
        """In the order of the table of rules, under its level."""
        assert [name for name, _, _ in EXAMPLES] == list(RULES)
        assert PAGE.index("## Warnings") < PAGE.index("### no-effect")
        assert [rule.level for rule in RULES.values()] == [Level.ERROR] * 8 + [Level.WARNING] * 12

    @pytest.mark.parametrize("rule, wrong, right", EXAMPLES, ids=[name for name, _, _ in EXAMPLES])
    def test_examples_of_the_page_are_true(self, rule, wrong, right, check):
        """The wrong one is found, the right one is not."""
        others = [FIRST_FILE] if "second file" in wrong else []

        assert rule in {finding.rule for finding in check(*others, wrong)}
        assert rule not in {finding.rule for finding in check(*others, right)}

    @pytest.mark.parametrize("text, line, rule, words", FAULTS.values(), ids=FAULTS)
    def test_fault_is_found_in_its_line(self, text, line, rule, words, check):
        """With the words that help."""
        found = [finding for finding in check(text) if re.fullmatch(rule, finding.rule)]

        assert [finding for finding in found if finding.line == line and re.search(words, finding.message)], found

    def test_all_problems_are_found_at_once(self, check):
        """A misspelt type, annotation and keyword hide none of each other."""
        found = check(PROPERTIES + "a: {type: strng}\n  b: {Pii: true}\n  c: {maxlength: 3}\n  d: {type: dat}")

        errors = {(finding.line, finding.rule) for finding in found if finding.level is Level.ERROR}
        assert errors == {
            (4, "invalid-schema"),
            (5, "invalid-annotation"),
            (6, "misspelt-keyword"),
            (7, "invalid-schema"),
        }

    def test_careful_schema_has_no_finding(self, check):
        """Title, descriptions, limits, decisions and names are all it takes."""
        text = """\
            $id: https://example.org/events/run
            version: 1
            title: Notebook run
            description: A notebook was run.
            otel: {event_name: example.notebook.run}
            type: object
            additionalProperties: false
            properties:
              path: {type: string, maxLength: 1000, pii: true, description: Of the notebook}
              at: {type: string, format: date-time, description: Begin}
              status: {enum: [ok, error], description: Outcome}
              tags:
                description: Of the notebook
                type: array
                maxItems: 10
                items: {type: string, maxLength: 10, pii: false}
            """

        assert check(dedent(text)) == []

    def test_shipped_schemas_have_only_true_findings(self):
        """Texts without limit and decision, and URLs as event names; nothing else."""
        found = check_schemas([folder for _, folder in installed_folders()])

        assert {finding.rule for finding in found} == {"event-name", "unbounded", "undecided-privacy"}
        assert {finding.level for finding in found} == {Level.WARNING}

    @pytest.mark.parametrize(
        "keyword", ["note", "owner", "unit", "purpose", "deprecated", "x-tpye", "contents", "date"]
    )
    def test_own_keyword_is_not_misspelt(self, keyword, check):
        """JSON Schema allows further keywords."""
        assert "misspelt-keyword" not in {finding.rule for finding in check(HEAD + f"{keyword}: 3")}

    @pytest.mark.parametrize(
        "keywords",
        [
            "if: {required: [a]}\nthen: {properties: {b: {}}, required: [a]}",
            "anyOf: [{required: [a]}, {required: [b]}]\nproperties: {a: {}}",
            "allOf: [{properties: {a: {}}}]\nproperties: {b: {}}\nrequired: [a]",
        ],
    )
    def test_property_that_another_branch_describes_is_known(self, keywords, check):
        """A branch does not describe everything itself."""
        rules = {finding.rule for finding in check(f"{HEAD}{keywords}")}

        assert not {"unknown-required", "contradiction"} & rules

    def test_decision_about_an_object_holds_for_its_properties(self, check):
        """And for items, and branches."""
        text = PROPERTIES + "a: {pii: true, properties: {b: {type: string}}, anyOf: [{items: {type: string}}]}"

        assert "undecided-privacy" not in {finding.rule for finding in check(text)}


class TestTogether:
    def test_references_may_lead_to_other_files(self, check):
        """In any order, and to installed schemas."""
        user = "$id: https://example.org/user\nversion: 1\ntype: string"
        server_action = "https://schema.jupyter.org/jupyterhub/events/server-action"
        found = check(PROPERTIES + f"a: {{$ref: https://example.org/user}}\n  b: {{$ref: {server_action}}}", user)

        assert not [finding for finding in found if finding.level is Level.ERROR]

    def test_faulty_file_does_not_hide_another(self, check):
        """Each has its findings."""
        found = check("a: [", HEAD + "requierd: [a]", HEAD.replace("run", "other"))

        assert [finding.rule for finding in found if finding.level is Level.ERROR] == [
            "unreadable",
            "misspelt-keyword",
        ]

    def test_attribute_of_two_types_is_found_by_its_own_name(self, check):
        """Two properties of different names may have one attribute."""
        one = PROPERTIES + "a: {type: string, otel: {attribute: run.key}}"
        other = one.replace("events/run", "other").replace("string", "integer")

        [found] = [finding for finding in check(one, other) if finding.rule == "type-conflict"]
        assert "run.key is integer here and string in" in found.message

    def test_versions_of_a_schema_may_differ(self, check):
        """But not the types of their attributes."""
        found = check(PROPERTIES + "a: {type: string}", PROPERTIES.replace("1", "2") + "a: {type: integer}")

        assert "conflict" not in {finding.rule for finding in found}
        assert "type-conflict" in {finding.rule for finding in found}


class TestSources:
    def test_folder_is_searched(self, tmp_path):
        """Hidden files are not, and findings come in the order of paths."""
        tmp_path.joinpath("b").mkdir()
        for name in ("b/x.yml", "a.json", ".hidden.yaml", "notes.txt"):
            tmp_path.joinpath(name).write_text("[]")

        assert [finding.file for finding in check_schemas([tmp_path])] == [
            str(tmp_path / "a.json"),
            str(tmp_path / "b" / "x.yml"),
        ]

    def test_standard_input_is_a_dash(self):
        """As for every command."""
        [found, *_] = check_schemas(["-"], stdin=io.BytesIO(b"title: x"))

        assert (found.file, found.line) == ("-", 1)

    def test_secret_of_a_url_is_masked(self):
        """In the name of the file."""
        [found] = check_schemas(["http://bob:secret@example.org/x.yaml?token=secret"])

        assert found.rule == "unreadable"
        assert "secret" not in str(found)

    @pytest.mark.parametrize("name", ["absent", ""])
    def test_path_that_yields_nothing_is_an_error(self, name, tmp_path):
        """A misspelt path must not pass a check."""
        with pytest.raises(SchemaSourceError):
            check_schemas([tmp_path / name])

    def test_unknown_rule_is_an_error(self):
        """And the message lists all."""
        with pytest.raises(ValueError, match=r"no rule 'unbound'.*unbounded"):
            check_schemas([], ignored=["unbound"])


class TestNoqa:
    def test_of_a_rule_removes_that_one_in_its_line(self, check):
        """Others stay, and other lines."""
        text = PROPERTIES + "a: {type: string}  # noqa: unbounded\n  b: {type: string}"
        found = {(finding.line, finding.rule) for finding in check(text)}

        assert {(4, "undecided-privacy"), (5, "unbounded")} <= found
        assert (4, "unbounded") not in found

    def test_of_several_rules(self, check):
        """Separated by commas."""
        text = PROPERTIES + "a: {type: string}  # noqa: unbounded, undecided-privacy, no-description"

        assert [finding for finding in check(text) if finding.line == 4] == []

    def test_without_a_rule_removes_all(self, check):
        """In its line."""
        assert [finding for finding in check(PROPERTIES + "a: {maxlength: 3}  # noqa") if finding.line == 4] == []

    def test_rules_can_be_ignored_everywhere(self, check):
        """JSON has no comments."""
        found = check(json.dumps(schema()), ignored=["unbounded"])

        assert found
        assert "unbounded" not in {finding.rule for finding in found}


NAMES = st.text("abc$./~ \"'é\U0001f600", min_size=1, max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)
KEYWORDS = st.sampled_from(
    "$ref type properties items required enum pii otel anyOf additionalProperties minimum maxLength examples "
    "patternProperties default allOf const Pii requierd version $schema title dependencies if not".split()
)
SCHEMAS = st.recursive(
    st.booleans() | st.integers(-2, 3) | st.sampled_from(["string", "object", "#", "a", "[", "(", "#/items"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS | st.just("a"), inner, max_size=4),
    max_leaves=20,
)
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


class TestPositions:
    @UNHURRIED
    @given(st.dictionaries(NAMES, VALUES, min_size=1), st.booleans(), st.sampled_from([None, 1, 2]))
    def test_every_key_is_where_its_path_says(self, document, as_json, indent):
        """In JSON and in YAML, in block and in flow style."""
        text = json.dumps(document, indent=indent) if as_json else yaml.safe_dump(document, allow_unicode=True)
        lines = text.splitlines()
        positions = Positions(text)

        for path, key in _keys(document):
            line, column = positions.of(path)
            rest = "\n".join([lines[line - 1][column - 1 :], *lines[line:]])
            if as_json:
                assert json.JSONDecoder().raw_decode(rest)[0] == key
            else:
                assert rest.lstrip("? ").startswith((key[:1], '"', "'", "!"))

    def test_merged_mapping_has_the_position_of_its_parent(self):
        """Its keys stand elsewhere."""
        text = "a: &a {b: 1}\nc:\n  <<: *a\n"

        assert Positions(text).of(("c", "b")).line == 2


def _keys(value, path=()):
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key), key
            yield from _keys(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _keys(item, (*path, index))


class TestHostile:
    @UNHURRIED
    @given(st.dictionaries(KEYWORDS, SCHEMAS, max_size=6))
    def test_any_document_is_checked(self, document):
        """Without an exception, and each finding is in the text."""
        text = json.dumps({"$id": "https://example.org/a", "version": 1, **document}, indent=1)
        found = check_schemas(["-"], stdin=io.BytesIO(text.encode()))

        assert all(1 <= finding.line <= text.count("\n") + 1 for finding in found)

    def test_thousands_of_faults_are_cut_short(self, check):
        """A hundred of each rule are enough to begin with."""
        document = schema(properties={f"p{index}": {"type": "strng", "Pii": True} for index in range(5000)})
        found = check(json.dumps(document))

        counts = [sum(finding.rule == rule for finding in found) for rule in ("invalid-schema", "invalid-annotation")]
        assert counts == [101, 101]
