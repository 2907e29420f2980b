"""Flags count wherever JSON Schema can put them."""

from __future__ import annotations

import pickle
from itertools import pairwise

import pytest
from builders import ID
from jsonschema import SchemaError, ValidationError

from jupyter_otel_telemetry import EventLog
from jupyter_otel_telemetry.schemas import flag_reading, flags, references
from jupyter_otel_telemetry.schemas.engine import Matcher
from jupyter_otel_telemetry.testing import EventSink

PII = {"pii": True}
X = "secret"
D2019 = "https://json-schema.org/draft/2019-09/schema"
D2020 = "https://json-schema.org/draft/2020-12/schema"


def recorded(schema, event, *others, options=None):
    """Return what is recorded of an event, with a plain entry unless `options` say more."""
    log = EventLog(handlers=[EventSink()], allowed_schemas={ID: options or {}})
    for document in ({"$id": ID, "version": 1, **schema}, *others):
        log.register_schema(document)
    return log.record_event(ID, 1, event)


PLACES = {
    "a property": ({"properties": {"a": PII}}, {"a": X, "b": 1}, {"a": None, "b": 1}),
    "a property of an object": (
        {"properties": {"a": {"properties": {"b": PII}}}},
        {"a": {"b": X, "c": 1}},
        {"a": {"b": None, "c": 1}},
    ),
    "an object": ({"properties": {"a": {**PII, "properties": {"b": {}}}}}, {"a": {"b": X}}, {"a": None}),
    "the whole event": ({**PII, "properties": {"a": {}}}, {"a": X, "secret name": X}, {"a": None}),
    "items": ({"properties": {"a": {"items": PII}}}, {"a": [X, X]}, {"a": [None, None]}),
    "items of items": ({"properties": {"a": {"items": {"items": PII}}}}, {"a": [[X], X]}, {"a": [[None], None]}),
    "a property of items": (
        {"properties": {"a": {"items": {"properties": {"b": PII}}}}},
        {"a": [{"b": X, "c": 1}]},
        {"a": [{"b": None, "c": 1}]},
    ),
    "items as a list": ({"properties": {"a": {"items": [PII, {}]}}}, {"a": [X, 1, 2]}, {"a": [None, 1, 2]}),
    "additionalItems": (
        {"properties": {"a": {"items": [{}], "additionalItems": PII}}},
        {"a": [1, X, X]},
        {"a": [1, None, None]},
    ),
    "prefixItems": (
        {"$schema": D2020, "properties": {"a": {"prefixItems": [{}, PII]}}},
        {"a": [1, X, 2]},
        {"a": [1, None, 2]},
    ),
    "items after prefixItems": (
        {"$schema": D2020, "properties": {"a": {"prefixItems": [{}], "items": PII}}},
        {"a": [1, X, X]},
        {"a": [1, None, None]},
    ),
    "items beside a prefixItems that the draft does not know": (
        {"properties": {"a": {"prefixItems": [{}], "items": PII}}},
        {"a": [X, X]},
        {"a": [None, None]},
    ),
    "contains": ({"properties": {"a": {"contains": PII}}}, {"a": [X]}, {"a": [None]}),
    "unevaluatedItems": (
        {"$schema": D2020, "properties": {"a": {"prefixItems": [{}], "unevaluatedItems": PII}}},
        {"a": [1, X]},
        {"a": [1, None]},
    ),
    "patternProperties": (
        {"patternProperties": {"^x-": PII}},
        {"x-user": X, "y": 1},
        {"x-user": None, "y": 1},
    ),
    "additionalProperties": (
        {"properties": {"a": {}}, "patternProperties": {"^b": {}}, "additionalProperties": PII},
        {"a": 1, "bc": 2, "z": X},
        {"a": 1, "bc": 2, "z": None},
    ),
    "additionalProperties of one branch": (
        {"allOf": [{"properties": {"a": {}}}, {"additionalProperties": PII}]},
        {"a": X},
        {"a": None},
    ),
    "unevaluatedProperties": (
        {"$schema": D2020, "allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": PII},
        {"a": 1, "z": X},
        {"a": 1, "z": None},
    ),
    "propertyNames": (
        {"properties": {"a": {"propertyNames": {"allOf": [PII]}}}},
        {"a": {X: 1}},
        {"a": None},
    ),
    "contentSchema": (
        {"$schema": D2019, "properties": {"a": {"contentSchema": {"properties": {"b": PII}}}}},
        {"a": '{"b": "secret"}'},
        {"a": None},
    ),
    "allOf": ({"allOf": [{"properties": {"a": PII}}, {"properties": {"a": {}}}]}, {"a": X}, {"a": None}),
    "anyOf": ({"anyOf": [{"properties": {"a": PII}}, {}]}, {"a": X}, {"a": None}),
    "a branch of oneOf that was not taken": (
        {
            "oneOf": [
                {"properties": {"a": {"type": "integer", "pii": True}}},
                {"properties": {"a": {"type": "string"}}},
            ]
        },
        {"a": X},
        {"a": None},
    ),
    "not": ({"not": {"required": ["z"], "properties": {"a": PII}}}, {"a": X}, {"a": None}),
    "if": ({"if": {"properties": {"a": PII}}}, {"a": X}, {"a": None}),
    "then": ({"if": True, "then": {"properties": {"a": PII}}}, {"a": X}, {"a": None}),
    "else": ({"if": False, "else": {"properties": {"a": PII}}}, {"a": X}, {"a": None}),
    "dependencies": ({"dependencies": {"b": {"properties": {"a": PII}}, "c": ["d"]}}, {"a": X}, {"a": None}),
    "dependentSchemas": (
        {"$schema": D2019, "dependentSchemas": {"a": {"properties": {"a": PII}}}},
        {"a": X},
        {"a": None},
    ),
    "$ref": (
        {"definitions": {"p": PII}, "properties": {"a": {"$ref": "#/definitions/p"}}},
        {"a": X},
        {"a": None},
    ),
    "$ref to an anchor": (
        {"$schema": D2020, "$defs": {"p": {"$anchor": "p", **PII}}, "properties": {"a": {"$ref": "#p"}}},
        {"a": X},
        {"a": None},
    ),
    "$ref to an unknown keyword": (
        {"things": {"p": PII}, "properties": {"a": {"$ref": "#/things/p"}}},
        {"a": X},
        {"a": None},
    ),
    "$ref relative to an embedded $id": (
        {
            "$schema": D2020,
            "$defs": {"inner": {"$id": "inner/", "$defs": {"p": PII}, "properties": {"b": {"$ref": "#/$defs/p"}}}},
            "properties": {"a": {"$ref": "inner/"}},
        },
        {"a": {"b": X}},
        {"a": {"b": None}},
    ),
    "beside a $ref, where the draft ignores it": (
        {"definitions": {"p": {}}, "properties": {"a": {"$ref": "#/definitions/p", **PII}}},
        {"a": X},
        {"a": None},
    ),
    "a recursive $ref": (
        {"properties": {"name": PII, "child": {"$ref": "#"}}},
        {"name": X, "child": {"name": X, "child": {"name": X, "n": 1}}},
        {"name": None, "child": {"name": None, "child": {"name": None, "n": 1}}},
    ),
    "$recursiveRef": (
        {"$schema": D2019, "$recursiveAnchor": True, "properties": {"name": PII, "child": {"$recursiveRef": "#"}}},
        {"child": {"name": X}},
        {"child": {"name": None}},
    ),
    "$dynamicRef to another place": (
        {
            "$schema": D2020,
            "$defs": {
                "list": {
                    "$id": "list",
                    "items": {"$dynamicRef": "#item"},
                    "$defs": {"i": {"$dynamicAnchor": "item"}},
                },
                "mine": {"$dynamicAnchor": "item", "properties": {"b": PII}},
            },
            "properties": {"a": {"$ref": "list"}},
        },
        {"a": [{"b": X}]},
        {"a": [{"b": None}]},
    ),
    "an object that comes as an array": (
        {"properties": {"a": {"properties": {"b": PII}}}},
        {"a": [{"b": X}, [{"b": X}]]},
        {"a": [{"b": None}, [{"b": None}]]},
    ),
    "items of an embedded schema of another draft": (
        {
            "$schema": D2020,
            "$defs": {
                "inner": {
                    "$id": "https://example.org/inner",
                    "$schema": "http://json-schema.org/draft-07/schema#",
                    "prefixItems": [{}],
                    "items": PII,
                }
            },
            "properties": {"a": {"$ref": "https://example.org/inner"}},
        },
        {"a": [X]},
        {"a": [None]},
    ),
    "a schema of draft 4": (
        {"$schema": "http://json-schema.org/draft-04/schema#", "properties": {"a": {"items": PII}}},
        {"a": [X]},
        {"a": [None]},
    ),
}


class TestPlaces:
    @pytest.mark.parametrize("schema, event, expected", PLACES.values(), ids=PLACES)
    def test_flag_counts(self, schema, event, expected):
        """And values beside the flagged one are recorded."""
        assert recorded(schema, event) == expected

    @pytest.mark.parametrize("schema, event, expected", PLACES.values(), ids=PLACES)
    def test_category_counts_in_the_same_places(self, schema, event, expected):
        """Unless it is allowed."""
        schema = _with_category(schema)

        assert recorded(schema, event) == expected
        assert recorded(schema, event, options={"allowed_categories": ["c"]}) == event

    def test_flag_of_another_schema_counts(self):
        """A `$ref` reaches other schemas, whichever is registered first."""
        other = {"$id": "https://example.org/person", "version": 1, "properties": {"name": PII}}

        assert recorded({"properties": {"a": {"$ref": "person"}}}, {"a": {"name": X}}, other) == {"a": {"name": None}}

    def test_property_called_pii_is_no_flag(self):
        """Neither is one called categories."""
        event = {"pii": True, "categories": "some"}

        assert recorded({"properties": {"pii": {}, "categories": {}}}, event) == event

    @pytest.mark.parametrize("annotation", [{"pii": False}, {"categories": []}, {"categories": ["unrestricted"]}])
    def test_annotation_that_flags_nothing(self, annotation):
        """It is as if it were not there."""
        assert recorded({"properties": {"a": annotation}}, {"a": 1}) == {"a": 1}


def _with_category(schema):
    if isinstance(schema, list):
        return [_with_category(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {name: _with_category(item) for name, item in schema.items() if name != "pii"}
    return changed | {"categories": ["c"]} if "pii" in schema else changed


class TestAnnotations:
    @pytest.mark.parametrize(
        "annotation, message",
        [
            ({"pii": "yes"}, "at /properties/a: pii must be true or false, not 'yes'"),
            ({"pii": 1}, "pii must be true or false, not 1"),
            ({"categories": "personal"}, "categories must be a list of texts"),
            ({"categories": [""]}, "categories must be a list of texts"),
            ({"categories": {"a": 1}}, "categories must be a list of texts"),
        ],
    )
    def test_mistake_is_an_error(self, event_log, annotation, message):
        """Not a flag that nobody sees."""
        with pytest.raises(ValueError, match=message):
            event_log.register_schema({"$id": ID, "version": 1, "properties": {"a": annotation}})

    def test_mistake_where_registration_cannot_look_counts_as_a_flag(self):
        """In a keyword that JSON Schema does not know, but a `$ref` reaches."""
        schema = {"things": {"p": {"pii": "yes"}}, "properties": {"a": {"$ref": "#/things/p"}}}

        assert recorded(schema, {"a": X}) == {"a": None}


class TestHostileSchema:
    def test_tangled_schema_is_flagged_as_a_whole(self, monkeypatch):
        """Rather than followed for ever; not even names are recorded then."""
        monkeypatch.setattr(flag_reading, "MAX_LINKS", 100)
        names = [f"d{number}" for number in range(20)]
        definitions = {name: {"allOf": [{"$ref": f"#/definitions/{other}"}]} for name, other in pairwise(names)}
        definitions["d19"] = {"properties": {"z": PII}}
        schema = {"definitions": definitions, "properties": {"a": {"$ref": "#/definitions/d0"}}}

        assert recorded(schema, {"a": 1}) == {}

    def test_many_ways_through_a_recursive_schema_cost_no_memory(self, event_log):
        """Places that are alike are one place."""
        names = "abcdef"
        schema = {"$id": ID, "version": 1, "properties": {name: {"$ref": "#"} for name in names} | {"p": PII}}
        event_log.register_schema(schema)
        for number in range(200):
            event = {"p": X}
            for step in range(12):
                event = {names[(number >> step) % 6]: event, "p": X}
            event_log.record_event(ID, 1, event)
        redaction = event_log._policy.redaction(event_log._registry.current.compiled(ID, 1).event_type)

        assert len(redaction._nodes) < 20

    def test_deep_event_is_followed(self, event_log):
        """To the last level that an event may have."""
        event_log.register_schema({"$id": ID, "version": 1, "properties": {"p": PII, "c": {"$ref": "#"}}})
        event = {"p": X}
        for _ in range(300):
            event = {"c": event}
        recorded = event_log.record_event(ID, 1, event)
        for _ in range(300):
            recorded = recorded["c"]

        assert recorded == {"p": None}

    def test_target_of_many_references_is_checked_once(self, event_log, monkeypatch):
        """Once alone and once with the schemas it needs, so that registration takes linear time."""
        checks = []
        monkeypatch.setattr(references, "_check_target", lambda *_: checks.append(1))
        properties = {f"p{number}": {"$ref": "#/things/p"} for number in range(50)}
        event_log.register_schema({"$id": ID, "version": 1, "things": {"p": {}}, "properties": properties})

        assert len(checks) == 2

    def test_pattern_below_a_reference_takes_linear_time(self, event_log):
        """Also where the reference leads to a schema that names its draft."""
        schema = {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "properties": {"s": {"pattern": "^(a+)+$"}, "c": {"$ref": "#"}},
        }
        event_log.register_schema({"$id": ID, "version": 1, **schema})
        with pytest.raises(ValidationError, match="at /c/s, the value violates pattern"):
            event_log.record_event(ID, 1, {"c": {"s": "a" * 60 + "!"}})  # would take longer than anybody lives


class TestPatterns:
    HARD = r"^(a|aa)+\1$"
    NAME = "a" * 40 + "!"

    @pytest.mark.parametrize(
        "keywords",
        [
            {"patternProperties": {HARD: PII}},
            {"patternProperties": {HARD: {}}, "additionalProperties": PII},
        ],
    )
    def test_that_cannot_be_decided_withholds(self, keywords):
        """A name that exhausts the matcher counts as matching and as not matching."""
        schema = {"properties": {"o": {"anyOf": [{}, keywords]}}}

        assert recorded(schema, {"o": {self.NAME: X}}) == {"o": {self.NAME: None}}

    def test_that_cannot_be_decided_makes_an_event_invalid(self):
        """Where the verdict depends on it."""
        with pytest.raises(ValidationError, match="at /s, the value violates pattern"):
            recorded({"properties": {"s": {"pattern": self.HARD}}}, {"s": self.NAME})

    def test_are_compiled_once_however_many_they_are(self, monkeypatch):
        """They are kept with the schema; those that no name can match are not compiled at all."""
        compiled = []
        monkeypatch.setattr(flags, "Matcher", lambda pattern: compiled.append(pattern) or Matcher(pattern))
        log = EventLog(handlers=[EventSink()], allowed_schemas=[ID])
        patterns = {f"^x{number}-": PII for number in range(2_000)}
        log.register_schema({"$id": ID, "version": 1, "patternProperties": patterns})
        seen = [log.record_event(ID, 1, {f"x{number}-": 1, f"name{number}": 1}) for number in (5, 6, 1_999, 5)]

        assert seen == [{f"x{number}-": None, f"name{number}": 1} for number in (5, 6, 1_999, 5)]
        assert len(compiled) == len(set(compiled)) < len(patterns) / 4

    @pytest.mark.parametrize("pattern", ["(?a)^(a+)+$", "(?P<n>a)(?P=n)", "("])
    def test_that_the_matcher_does_not_know_are_refused(self, event_log, pattern):
        """At registration; Python's `re`, whose time has no bound, is never used instead."""
        with pytest.raises(SchemaError, match=r"cannot be applied|is not a"):
            event_log.register_schema({"$id": ID, "version": 1, "properties": {"s": {"pattern": pattern}}})


PATTERNS = {f"^p{number}$": PII for number in range(20)}


class TestManyPatterns:
    """An event may have more properties than there is time to try patterns on."""

    @pytest.fixture
    def log(self, monkeypatch):
        monkeypatch.setattr(flags, "MAX_TRIALS", 100)
        log = EventLog(handlers=[EventSink()], allowed_schemas=[ID])
        named = {"last": {"type": "integer"}}
        log.register_schema({"$id": ID, "version": 1, "patternProperties": PATTERNS, "properties": named})
        return log

    def test_withhold_what_they_are_not_tried_on(self, log, monkeypatch):
        """The event is recorded all the same, and the number of trials is bounded."""
        tried = []
        monkeypatch.setattr(flags.SchemaFlags, "matches", lambda *arguments: tried.append(arguments) or False)
        monkeypatch.setattr(flags, "_FEW_PATTERNS", 100)
        event = {f"q{number}": number for number in range(50)}

        assert log.record_event(ID, 1, event) == {name: value if value < 5 else None for name, value in event.items()}
        assert len(tried) == 100

    def test_withhold_for_one_event_only(self, log):
        """The next one has all the time again, also for a property that the schema names."""
        event = {f"q{number}": number for number in range(50)} | {"last": 1}
        assert log.record_event(ID, 1, event)["last"] is None

        assert log.record_event(ID, 1, {"q": 1, "last": 1, "p3": 1}) == {"q": 1, "last": 1, "p3": None}

    def test_are_logged_once(self, log, caplog):
        """With the schema."""
        for _ in range(3):
            log.record_event(ID, 1, dict.fromkeys(map(str, range(50)), 1))

        (record,) = caplog.records
        assert record.getMessage().startswith(f"events of schema {ID}: too many properties for the number")

    def test_withhold_in_nested_objects(self, log):
        """Too."""
        log.register_schema({"$id": "x", "version": 1, "properties": {"o": {"patternProperties": PATTERNS}}})
        log.allowed_schemas = ["x"]
        many = {f"q{number}": 1 for number in range(9)}

        seen = log.record_event("x", 1, {"o": many})

        assert list(seen["o"].values()) == [1] * 5 + [None] * 4


class TestPickle:
    def test_flags_pass_to_another_process(self):
        """With a record, since a handler there may have its own policy; once for all records of a schema."""
        sink = EventSink()
        log = EventLog(handlers=[sink], allowed_schemas=[ID])
        log.register_schema({"$id": ID, "version": 1, "properties": {"a": {"$ref": "#"}, "b": PII}})
        log.record_event(ID, 1, {})
        record = pickle.loads(pickle.dumps(sink.records[0]))

        assert pickle.loads(pickle.dumps(sink.records[0])).event_type is record.event_type
        assert record.event_type.flags.root.of_property("a").of_property("b").pii == "#/properties/b"
