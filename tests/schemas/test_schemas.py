"""Registration of schemas, and what a registered schema decides."""

import json
import os
import socket
import subprocess
import sys

import jsonschema
import pytest
from builders import ID, schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_otel_telemetry import EventLog, SchemaConflict, SchemaNotRegistered, TelemetryError

MISTAKES = """
from jupyter_otel_telemetry import EventLog
log = EventLog(allowed_schemas=["*"])
log.add_listener(lambda *_: None)
for letter in "abcdefgh":
    log.register_schema({"$id": f"https://example.org/server-{letter}", "version": 1})
mistakes = [{"type": ["strng", "integr"]}, {"minLength": -1, "title": 3, "required": 3}]
mistakes += [{"Pii": True, "catgories": []}, {"otel": {"event_nam": "x"}}]
mistakes += [{"propertys": {"a": {"pii": True}, "b": {"pii": True}}}]
for mistake in mistakes:
    try: log.register_schema({"$id": "x", "version": 1, **mistake})
    except Exception as error: print(error)
try: log.record_event("https://example.org/server-x", 1, {})
except Exception as error: print(error)
"""

DIALECTS = [
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
]


UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
KEYWORDS = st.sampled_from(
    "$id version $schema $ref $defs $anchor title type properties patternProperties additionalProperties items enum "
    "const allOf not if then pii categories otel Pii propertys item x-a fields minLength pattern dependencies".split()
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["string", "[", "#", "#/x", *DIALECTS]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYWORDS | st.text(), below, max_size=3),
    max_leaves=8,
)


class TestRegisterSchema:
    def test_keeps_a_frozen_copy(self, event_log):
        """Changing the caller's dict, or what `schemas` returned, changes nothing."""
        mine = schema()
        event_log.register_schema(mine)
        mine["properties"]["count"]["type"] = "string"
        event_log.schemas[ID, 1]["properties"].clear()

        assert event_log.schemas[ID, 1] == schema()
        assert event_log.record_event(ID, 1, {"count": 1}) == {"count": 1}

    def test_same_again_changes_nothing(self, event_log):
        """Registering is idempotent, also with the version as text."""
        for version in (1, 1, "1"):
            event_log.register_schema(schema(version=version))

        assert list(event_log.schemas) == [(ID, "1")]

    def test_other_content_is_a_conflict_that_names_the_difference(self, event_log):
        """And what was registered stays."""
        event_log.register_schema(schema())
        with pytest.raises(
            SchemaConflict, match="at /properties/count/type: 'integer' is registered, 'number'"
        ) as error:
            event_log.register_schema(schema(properties={"action": {"type": "string"}, "count": {"type": "number"}}))

        assert (error.value.schema_id, error.value.version) == (ID, "1")
        assert isinstance(error.value, (TelemetryError, ValueError))
        assert event_log.schemas[ID, "1"] == schema()

    @pytest.mark.parametrize("keyword", ["title", "description"])
    def test_other_titles_and_descriptions_are_no_conflict(self, event_log, keyword):
        """Anywhere; the first ones stay."""
        first = schema(
            **{keyword: "A", "properties": {"title": {"type": "string", keyword: "A"}}, "not": {keyword: "A"}}
        )
        second = schema(**{keyword: "B", "properties": {"title": {"type": "string"}}, "not": {keyword: "C"}})
        event_log.register_schema(first)
        event_log.register_schema(second)

        assert event_log.schemas[ID, 1] == first

    @pytest.mark.parametrize(
        "first, second",
        [
            ({"properties": {"title": {"type": "string"}}}, {"properties": {"title": {"type": "integer"}}}),
            ({"properties": {"title": {}}}, {"properties": {}}),
            ({"default": {"title": "A"}}, {"default": {"title": "B"}}),
            ({"properties": {"a": {"pii": True}}}, {"properties": {"a": {"pii": False}}}),
            ({"definitions": {"description": {}}}, {"definitions": {}}),
        ],
    )
    def test_properties_called_title_and_values_do_conflict(self, event_log, first, second):
        """Only the keyword is a text for people."""
        event_log.register_schema(schema(**first))
        with pytest.raises(SchemaConflict):
            event_log.register_schema(schema(**second))

    @pytest.mark.parametrize("version", [1, 1.0, "1"])
    def test_whole_numbers_are_one_version(self, event_log, version):
        """`version: 1.0` is found as 1, in each way it can be written."""
        event_log.register_schema(schema(version=version))

        assert all(event_log.record_event(ID, found, {"count": 1}) for found in (1, 1.0, "1"))
        assert list(event_log.schemas) == [(ID, "1")]

    @pytest.mark.parametrize("version, other", [("1.0", 1), (1, "1.0"), (1.5, 1), ("1.10", 1.1)])
    def test_texts_that_differ_are_two_versions(self, event_log, version, other):
        """Nothing is guessed; the message says which ones there are."""
        event_log.register_schema(schema(version=version))

        with pytest.raises(SchemaNotRegistered, match=f"registered versions: {version}"):
            event_log.record_event(ID, other, {})

    def test_versions_live_side_by_side(self, event_log):
        """Each decides on its own events."""
        event_log.register_schema(schema())
        event_log.register_schema(schema(version=2, properties={"count": {"type": "string"}}))

        assert event_log.record_event(ID, 1, {"count": 1}) == {"count": 1}
        assert event_log.record_event(ID, 2, {"count": "1"}) == {"count": "1"}

    def test_schemas_is_a_read_only_mapping(self, event_log):
        """Its keys take the version as number or text."""
        event_log.register_schema(schema())

        assert (ID, 1) in event_log.schemas
        assert (ID, "1") in event_log.schemas
        assert (ID, 2) not in event_log.schemas
        assert len(event_log.schemas) == 1
        with pytest.raises(TypeError):
            event_log.schemas[ID, 2] = {}

    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_takes_every_draft_from_4_to_2020_12(self, event_log, dialect):
        """`$schema` chooses the draft, with or without the empty fragment."""
        event_log.register_schema(schema(**{"$schema": dialect}))

        with pytest.raises(jsonschema.ValidationError):
            event_log.record_event(ID, 1, {"count": "x"})

    def test_without_dialect_is_draft_7(self, event_log):
        """As everywhere in Jupyter: `prefixItems` is no keyword there, `if` is."""
        rules = {"prefixItems": [False], "if": {"required": ["a"]}, "then": {"required": ["b"]}}
        event_log.register_schema(schema(**rules))

        with pytest.raises(jsonschema.ValidationError, match="'b' is a required property"):
            event_log.record_event(ID, 1, {"a": 1})

    def test_format_is_an_annotation(self, event_log):
        """As in jupyter_telemetry, and as JSON Schema has it by default."""
        event_log.register_schema(schema(properties={"at": {"format": "date-time"}}))

        assert event_log.record_event(ID, 1, {"at": "no date"}) == {"at": "no date"}

    @pytest.mark.parametrize(
        "bad, message",
        [
            ("text", "a schema must be a mapping, not str"),
            ({"version": 1, "title": "T"}, r"the schema \('T'\) lacks \$id"),
            ({"$id": "", "version": 1}, r"has the \$id ''"),
            ({"$id": "x"}, "schema 'x' lacks a version"),
            ({"$id": "x", "version": True}, "has the version True"),
            (schema(**{"$schema": "https://example.org/dialect"}), "unknown \\$schema 'https://example.org/dialect'"),
            (schema(**{"$schema": 7}), "unknown \\$schema 7"),
            (schema(properties={"__x": {}}), "property '__x'; names that begin with __ are reserved"),
            (schema(default={1, 2}), "is not JSON: is a set, which JSON cannot hold at /default"),
            (schema(maximum=10**5000), "holds an integer of too many digits"),
            (schema(version=10**5000), "holds an integer of too many digits"),
            (schema(version=None), "has the version None; write a number or text"),
            (schema(otel=3), "otel must be a mapping"),
            (schema(otel={"event_nam": "x"}), "unknown annotation otel.event_nam; did you mean event_name"),
            (schema(otel={"event_name": ""}), "otel.event_name must be a text"),
            (schema(otel={"severity": "WARNING"}), "unknown otel.severity 'WARNING'; did you mean WARN"),
            (
                schema(properties={"a": {"otel": {"severity": "INFO"}}}),
                "/properties/a: unknown annotation otel.severity",
            ),
            (schema(properties={"a": {"otel": {"attribute": "A b"}}}), "'A b' is not an attribute name"),
            (schema(properties={"a": {"otel": {"attribute": "jupyter.schema.id"}}}), "is reserved"),
            (schema(properties={"a": {"otel": {"attribute": "msg"}}}), "is reserved"),
            (
                schema(properties={n: {"otel": {"attribute": "user.name"}} for n in "ab"}),
                "at /properties/b: otel.attribute 'user.name' clashes with 'user.name' of /properties/a",
            ),
            (schema(items={"otel": {"attribute": "user.name"}}), "at /items: otel has no effect here"),
        ],
    )
    def test_mistake_is_a_value_error_that_says_where_and_what_to_do(self, event_log, bad, message):
        """Nothing is registered then."""
        with pytest.raises(ValueError, match=message):
            event_log.register_schema(bad)

        assert len(event_log.schemas) == 0

    @pytest.mark.parametrize(
        "keywords, message",
        [
            ({"$id": "a\ud800"}, r"holds a lone surrogate, U\+D800, at index 1"),
            ({"$id": "a\0"}, r"holds a control character, U\+0000"),
            ({"$id": "a" * 2049}, "has 2049 characters; at most 2048 are allowed"),
            ({"version": "1\n"}, r"the version of .* holds a control character, U\+000A, at index 1"),
            ({"version": "\udfff"}, "lone surrogate"),
            ({"version": "1" * 257}, "at most 256"),
            ({"version": float("nan")}, "has the version nan"),
            ({"version": float("inf")}, "has the version inf"),
            ({"otel": {"event_name": "a\ud83d"}}, "otel.event_name holds a lone surrogate"),
            ({"otel": {"event_name": "a\x7f"}}, "otel.event_name holds a control character"),
            ({"otel": {"event_name": "a" * 100_000}}, "otel.event_name has 100000 characters"),
            ({"properties": {"x": {"otel": {"attribute": "a" * 257}}}}, "otel.attribute has 257 characters"),
            ({"properties": {"x": {"otel": {"attribute": "a\0"}}}}, "otel.attribute holds a control character"),
        ],
    )
    def test_name_that_otlp_cannot_hold_is_refused(self, event_log, keywords, message):
        """Receivers want UTF-8 of bounded length."""
        with pytest.raises(ValueError, match=message):
            event_log.register_schema({**schema(), **keywords})

    @pytest.mark.parametrize("name", ["x" * 256, "ärger", "événement.\U0001f600"])
    def test_name_that_otlp_can_hold_is_taken(self, event_log, name):
        """Any other text."""
        event_log.register_schema(schema(otel={"event_name": name}, version=name))

        assert (ID, name) in event_log.schemas

    @pytest.mark.parametrize(
        "key, wanted, rest",
        [
            ("id", r"\$id", {"version": 1}),
            ("$Id", r"\$id", {"version": 1}),
            ("$version", "version", {"$id": ID}),
            ("Version", "version", {"$id": ID}),
            ("verison", "version", {"$id": ID}),
        ],
    )
    def test_name_under_a_wrong_key_is_recognised(self, event_log, key, wanted, rest):
        """`id` is what draft 4 and most other formats call it."""
        with pytest.raises(ValueError, match=f"did you mean {wanted} instead of {key.replace('$', '.')}"):
            event_log.register_schema({key: "x", **rest})

    @pytest.mark.parametrize("bad", [{"properties": True}, schema(required="a"), schema(minLength=-1)])
    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_invalid_schema_is_a_schema_error(self, event_log, bad, dialect):
        """Also one without $id, as in jupyter_telemetry."""
        with pytest.raises(jsonschema.SchemaError, match="is not a valid JSON Schema: at /") as error:
            event_log.register_schema({"$schema": dialect, **bad})

        assert error.value.absolute_path
        assert error.value.absolute_schema_path

    def test_large_invalid_schema_is_explained_too(self, event_log):
        """jsonschema would need seconds."""
        properties = {f"p{index}": {"type": "string"} for index in range(20_000)} | {"last": {"minLength": -1}}

        with pytest.raises(jsonschema.SchemaError, match="at /properties/last/minLength, -1 is less than") as error:
            event_log.register_schema(schema(properties=properties))
        assert error.value.validator == "minimum"

    @pytest.mark.parametrize("kind", ["strng", ["string", "strng"], "String"])
    def test_unknown_type_is_told_with_those_there_are(self, event_log, kind):
        """It names schema and place."""
        known = "array, boolean, integer, null, number, object, string"
        with pytest.raises(jsonschema.SchemaError, match=f"did you mean 'string'\\? the types are {known}") as error:
            event_log.register_schema(schema(properties={"a": {"type": kind}}))

        assert "at /properties/a/type" in str(error.value)
        assert ID in str(error.value)

    def test_error_texts_do_not_depend_on_the_hash_seed(self):
        """Logs can be compared, and searched for."""
        said = {
            subprocess.run(
                [sys.executable, "-c", MISTAKES],
                env=os.environ | {"PYTHONHASHSEED": seed},
                check=True,
                capture_output=True,
                text=True,
                timeout=120,
            ).stdout
            for seed in ("1", "2", "3")
        }

        assert len(said) == 1
        assert len(said.pop().splitlines()) == 6

    @pytest.mark.parametrize(
        "pattern", [r"\p{Letter}cole", r"^\p{L}+$", r"[\p{Lu}\d]", r"(?<year>\d{4})", r"\u{1F600}", r"^\cC$"]
    )
    def test_patterns_of_ecma_262_are_taken(self, event_log, pattern):
        """JSON Schema's own syntax, also where Python's `re` lacks it."""
        event_log.register_schema(schema(pattern=pattern, patternProperties={pattern: {}}))

        assert (ID, "1") in event_log.schemas

    @pytest.mark.parametrize(
        "pattern, problem",
        [
            ("[", "unterminated"),
            ("(a", "missing \\)"),
            (r"\p{Foo}", r"there is no Unicode property \\p\{Foo\}"),
            ("(" * 5_000 + ")" * 5_000, "not a regular expression"),
            ("a" * 10_001, "a pattern of 10001 characters"),
        ],
    )
    def test_patterns_that_are_none_are_refused(self, event_log, pattern, problem):
        """With the place."""
        for keywords in ({"pattern": pattern}, {"patternProperties": {pattern: {}}}):
            with pytest.raises(jsonschema.SchemaError, match=problem):
                event_log.register_schema(schema(**keywords))

    def test_hostile_depth_ends_in_a_clear_error(self, event_log):
        """A schema of ten thousand levels is refused, not followed."""
        deep = {}
        for _ in range(10_000):
            deep = {"not": deep}

        with pytest.raises(ValueError, match="nested"):
            event_log.register_schema(schema(**deep))

    def test_lone_surrogates_do_no_harm_where_nothing_is_named_by_them(self, event_log):
        """Neither in texts nor in names of properties, which leave without them."""
        event_log.register_schema(schema(title="\ud800", properties={"\udc00": {"enum": ["\ud83d"]}}))

        assert event_log.record_event(ID, 1, {"\udc00": "\ud83d"})

    @UNHURRIED
    @given(st.dictionaries(KEYWORDS, VALUES, max_size=4))
    def test_any_mapping_is_registered_or_refused_by_the_documented_errors(self, keywords):
        """Whatever stands under the keywords; what is refused leaves nothing."""
        log = EventLog()
        is_refused = False
        try:
            log.register_schema(schema() | keywords)
        except (ValueError, jsonschema.SchemaError):
            is_refused = True

        assert len(log.schemas) == (0 if is_refused else 1)

    def test_property_may_be_called_otel(self, event_log):
        """Only a keyword is an annotation, not a name."""
        event_log.register_schema(schema(properties={"otel": {"type": "string"}}))

        assert event_log.record_event(ID, 1, {"otel": "x"}) == {"otel": "x"}


class TestReferences:
    @pytest.fixture(autouse=True)
    def no_network(self, monkeypatch):
        """No `$ref` may open a socket."""

        def refuse(*_):
            raise AssertionError("a socket was opened")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)

    @pytest.mark.parametrize("pointer", ["#/definitions/count", ID + "#/definitions/count"])
    def test_reach_the_schema_itself(self, event_log, pointer):
        """By pointer alone, or with the own id."""
        event_log.register_schema(
            schema(properties={"count": {"$ref": pointer}}, definitions={"count": {"type": "integer"}})
        )

        assert event_log.record_event(ID, 1, {"count": 1}) == {"count": 1}
        with pytest.raises(jsonschema.ValidationError):
            event_log.record_event(ID, 1, {"count": "x"})

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_reach_other_schemas_in_any_order_of_registration(self, event_log, order):
        """What is needed may come later, but before the first event."""
        pair = [
            schema(properties={"who": {"$ref": "user#/definitions/name"}}),
            schema(id="https://example.org/user", definitions={"name": {"type": "string"}}),
        ]
        for index in order:
            event_log.register_schema(pair[index])

        assert event_log.record_event(ID, 1, {"who": "ada"}) == {"who": "ada"}
        with pytest.raises(jsonschema.ValidationError, match="at /who"):
            event_log.record_event(ID, 1, {"who": 1})

    def test_may_be_mutual(self, event_log):
        """Two schemas that need each other end in no loop."""
        event_log.register_schema(schema(properties={"b": {"$ref": "b"}, "count": {"type": "integer"}}))
        event_log.register_schema(schema(id="https://example.org/b", properties={"a": {"$ref": ID}}))

        assert event_log.record_event(ID, 1, {"b": {"a": {"count": 1}}})
        with pytest.raises(jsonschema.ValidationError, match="at /b/a/count"):
            event_log.record_event(ID, 1, {"b": {"a": {"count": "x"}}})

    def test_mean_the_highest_version(self, event_log):
        """10 is higher than 9, whatever the order of registration."""
        for version, kind in [("9", "string"), ("10", "integer"), ("1", "null")]:
            event_log.register_schema(schema(id="https://example.org/b", version=version, type=kind))
        event_log.register_schema(schema(properties={"b": {"$ref": "b"}}))

        assert event_log.record_event(ID, 1, {"b": 3}) == {"b": 3}

    def test_missing_schema_is_named_with_who_wants_it(self, event_log):
        """Nothing is fetched: it is a mistake until it is registered."""
        event_log.register_schema(schema(properties={"b": {"$ref": "https://example.com/b"}}))

        with pytest.raises(SchemaNotRegistered, match=f"'https://example.com/b', to which a \\$ref of '{ID}' points"):
            event_log.record_event(ID, 1, {})

    def test_broken_pointer_is_found_at_registration(self, event_log):
        """Within one schema nothing can come later."""
        with pytest.raises(jsonschema.SchemaError, match="at /properties/b a \\$ref to '#/definitions/b'"):
            event_log.register_schema(schema(properties={"b": {"$ref": "#/definitions/b"}}))

    def test_broken_pointer_into_another_schema_is_found_at_registration(self, event_log):
        """If the other one is there, though a third one is not; what is refused leaves nothing."""
        event_log.register_schema(schema(id="https://example.org/b"))
        properties = {"b": {"$ref": "b#/definitions/x"}, "c": {"$ref": "c"}}
        with pytest.raises(jsonschema.SchemaError, match="at /properties/b a \\$ref to 'b#/definitions/x'"):
            event_log.register_schema(schema(properties=properties))

        assert list(event_log.schemas) == [("https://example.org/b", "1")]

    def test_broken_pointer_into_a_later_schema_is_logged_when_that_comes(self, event_log, tmp_path, caplog):
        """It is no fault of the later one. Log and error name schema, file and reference."""
        file = tmp_path / "action.json"
        file.write_text(json.dumps(schema(properties={"b": {"$ref": "b#/definitions/x"}})))
        event_log.register_schema_file(file)
        event_log.register_schema(schema(id="https://example.org/b"))
        with pytest.raises(jsonschema.SchemaError) as error:
            event_log.record_event(ID, 1, {})

        assert error.value.message.startswith(
            f"{file}: schema '{ID}' has at /properties/b a $ref to 'b#/definitions/x', which does not exist; correct"
        )
        assert caplog.messages == [error.value.message]

    def test_broken_pointer_does_not_prevent_other_schemas(self):
        """Options for its schema wait, too."""
        log = EventLog(allowed_schemas={ID: {"withheld_properties": ["b"]}})
        log.register_schema(schema(properties={"b": {"$ref": "b#/definitions/x"}}))
        log.register_schema(schema(id="https://example.org/b"))
        log.register_schema(schema(id="https://example.org/c", properties={"b": {"$ref": "b"}}))

        assert [schema_id for schema_id, _ in log.schemas][1:] == ["https://example.org/b", "https://example.org/c"]

    def test_schema_that_is_too_tangled_with_another_is_refused(self, event_log):
        """Each of them alone has bounded work."""
        event_log.register_schema({"$id": "https://h/0", "version": 1})
        chain = [{"$id": f"https://h/{n}", "version": 1, "allOf": [{"$ref": f"{n - 1}"}]} for n in range(1, 60)]
        with pytest.raises(jsonschema.SchemaError, match="too tangled"):
            any(map(event_log.register_schema, chain))

        assert len(event_log.schemas) < 55

    def test_file_urls_are_not_opened(self, event_log, tmp_path):
        """A schema cannot read the disk."""
        (tmp_path / "s.json").write_text(json.dumps({"type": "string"}))
        event_log.register_schema(schema(properties={"b": {"$ref": (tmp_path / "s.json").as_uri()}}))

        with pytest.raises(SchemaNotRegistered):
            event_log.record_event(ID, 1, {})
