"""`EventLog.explain` says what becomes of each property, and why; and what it says is what happens."""

from __future__ import annotations

import json
import logging

import jsonschema
import pytest
from builders import ID
from opentelemetry.sdk._logs import LoggerProvider

from jupyter_otel_telemetry import EventLog, OTLPHandler, SchemaNotRegistered
from jupyter_otel_telemetry.privacy.explain import MAX_ROWS
from jupyter_otel_telemetry.testing import EventSink

KEY = "a key of thirty-two bytes, or so"


def explained(schema, options=None, *handlers):
    """Return the rows of each destination, as (property, outcome, reason)."""
    log = EventLog(handlers=list(handlers), allowed_schemas={"*": options or {}}, pseudonym_key=KEY)
    log.register_schema({"$id": ID, "version": 1, **schema})
    return [[tuple(row.values()) for row in explanation["properties"]] for explanation in log.explain()]


def rows(schema, options=None):
    [found] = explained(schema, options)
    return found


def narrow(options):
    return OTLPHandler(allowed_schemas={ID: options}, pseudonym_key=KEY, logger_provider=LoggerProvider())


CLOSED = {"additionalProperties": False}


class TestRows:
    @pytest.mark.parametrize(
        "property_, options, outcome, reason",
        [
            ({}, {}, "recorded", "not flagged"),
            ({"pii": True}, {}, "withheld", "pii: true at #/properties/a"),
            ({"categories": ["c"]}, {}, "withheld", "category c at #/properties/a"),
            ({"categories": ["c"]}, {"allowed_categories": ["c"]}, "recorded", "allowed_categories"),
            ({"categories": ["unrestricted"]}, {}, "recorded", "not flagged"),
            ({"pii": True}, {"allowed_properties": ["a"]}, "recorded", "allowed_properties"),
            ({}, {"withheld_properties": ["a"]}, "withheld", "withheld_properties"),
            ({"pii": True}, {"pseudonymized_properties": ["a"]}, "pseudonymized", "pseudonymized_properties"),
            ({"anyOf": [{}, {"pii": True}]}, {}, "withheld", "pii: true at #/properties/a/anyOf/1"),
            ({"$ref": "#/definitions/p"}, {}, "withheld", "pii: true at #/definitions/p"),
        ],
    )
    def test_outcome_and_reason(self, property_, options, outcome, reason):
        """Which flag, and where it stands; or which option."""
        schema = {"properties": {"a": property_}, "definitions": {"p": {"pii": True}}, **CLOSED}

        assert rows(schema, options) == [("a", outcome, reason)]

    def test_properties_of_objects_and_of_items_are_dotted(self):
        """As options name them."""
        schema = {
            "properties": {
                "user": {"type": "object", "properties": {"name": {"pii": True}}, **CLOSED},
                "cells": {"type": "array", "items": {"properties": {"source": {"pii": True}}, **CLOSED}},
            },
            **CLOSED,
        }

        assert [(path, outcome) for path, outcome, _ in rows(schema)] == [
            ("user", "recorded"),
            ("user.name", "withheld"),
            ("cells", "recorded"),
            ("cells.source", "withheld"),
        ]

    def test_items_have_a_row_where_it_is_not_the_array_s(self):
        """Of all of them, or of one at the beginning."""
        schema = {
            "properties": {
                "all": {"type": "array", "items": {"pii": True}},
                "first": {"type": "array", "items": [{"pii": True}, {}]},
            },
            **CLOSED,
        }

        assert [(path, outcome) for path, outcome, _ in rows(schema)] == [
            ("all", "recorded"),
            ("all[]", "withheld"),
            ("first", "recorded"),
            ("first[0]", "withheld"),
        ]

    def test_what_may_lack_its_brackets_has_a_row_where_it_is_not_the_array_s(self):
        """It fares as an item."""
        schema = {"properties": {"all": {"items": {"pii": True}}}, **CLOSED}

        assert [(path, outcome) for path, outcome, _ in rows(schema)] == [
            ("all", "recorded"),
            ("all[]", "withheld"),
            ("all", "withheld"),
        ]

    def test_what_is_not_named_has_rows_too(self):
        """Patterns, whatever else may stand there, and what only options name."""
        schema = {"properties": {"a": {}}, "patternProperties": {"^x-": {"pii": True}}}

        assert [(path, outcome) for path, outcome, _ in rows(schema, {"withheld_properties": ["other.name"]})] == [
            ("a", "recorded"),
            ("other.name", "withheld"),
            ("/^x-/", "withheld"),
            ("*", "recorded"),
        ]

    def test_what_lies_in_a_withheld_object_has_rows_only_where_it_is_seen(self):
        """There the rest of the object is withheld."""
        schema = {"properties": {"user": {"pii": True, "properties": {"name": {}, "id": {}}}}, **CLOSED}

        assert [(path, outcome) for path, outcome, _ in rows(schema)] == [("user", "withheld")]
        assert [(path, outcome) for path, outcome, _ in rows(schema, {"pseudonymized_properties": ["user.id"]})] == [
            ("user", "withheld"),
            ("user.name", "withheld"),
            ("user.id", "pseudonymized"),
            ("user.*", "withheld"),
        ]

    def test_recursive_schema_ends(self):
        """With the first place that is like one above it."""
        schema = {"properties": {"name": {"pii": True}, "child": {"$ref": "#"}}, **CLOSED}

        assert [path for path, _, _ in rows(schema)] == ["name", "child", "child.name", "child.child"]

    def test_what_options_allow_or_name_below_has_rows(self):
        """Where the schema does not describe it, or repeats itself."""
        schema = {"properties": {"a": {}, "child": {"$ref": "#"}}, "additionalProperties": {"pii": True}}
        options = {"allowed_properties": ["d"], "withheld_properties": ["child.child.child.a"]}
        found = {path: outcome for path, outcome, _ in rows(schema, options)}

        assert found["d"] == "recorded"
        assert found["*"] == "withheld"
        assert found["child.child.child.a"] == "withheld"

    def test_object_of_which_only_the_others_are_described_has_their_row(self):
        """A mapping from names to values."""
        schema = {"properties": {"headers": {"type": "object", "additionalProperties": {"pii": True}}}, **CLOSED}

        assert ("headers.*", "withheld") in [(path, outcome) for path, outcome, _ in rows(schema)]

    def test_path_through_items_that_differ_has_a_row_for_each_outcome(self):
        """Since paths pass arrays unseen."""
        items = [{"properties": {"x": annotation}} for annotation in ({"pii": True}, {})]
        schema = {"properties": {"a": {"type": "array", "items": items}}}

        assert [(path, outcome) for path, outcome, _ in rows(schema) if path == "a.x"] == [
            ("a.x", "withheld"),
            ("a.x", "recorded"),
        ]

    def test_many_ways_to_the_same_items_are_one(self):
        """However deep the arrays are."""
        schema = {"definitions": {"d24": {"properties": {"x": {}}}}}
        for number in range(24):
            below = {"$ref": f"#/definitions/d{number + 1}"}
            schema["definitions"][f"d{number}"] = {"type": "array", "items": [below, below]}
        schema["properties"] = {"a": {"$ref": "#/definitions/d0"}}

        assert [path for path, _, _ in rows(schema)] == ["a", "a.x", "a.*", "*"]

    def test_tangled_schema_ends(self):
        """However many ways lead through it."""
        names = "abcdefghij"
        schema = {
            "definitions": {n: {"properties": {m: {"$ref": f"#/definitions/{m}"} for m in names}} for n in names}
        }

        assert len(rows({**schema, "properties": {"a": {"$ref": "#/definitions/a"}}})) == MAX_ROWS


class TestDestinations:
    def test_each_handler_has_its_own(self, tmp_path):
        """A file by its name."""
        file = logging.FileHandler(tmp_path / "events.jsonl", delay=True)
        log = EventLog(handlers=[file, narrow({})], allowed_schemas=[ID])
        log.register_schema({"$id": ID, "version": "2"})

        assert [explanation["destination"] for explanation in log.explain()] == [
            f"FileHandler {tmp_path / 'events.jsonl'}",
            "OTLPHandler",
        ]
        assert {(explanation["schema"], explanation["version"]) for explanation in log.explain()} == {(ID, "2")}

    def test_without_handlers_it_is_the_event_log(self):
        """Listeners hear of the same."""
        log = EventLog(allowed_schemas=[ID])
        log.register_schema({"$id": ID, "version": 1})

        assert [explanation["destination"] for explanation in log.explain()] == ["EventLog"]

    def test_strictest_policy_decides_and_is_named(self):
        """Of those that an event passes on its way."""
        schema = {"properties": {"a": {}, "b": {}, "c": {}, "d": {"pii": True}}, **CLOSED}
        handler = narrow({"withheld_properties": ["a"], "pseudonymized_properties": ["b", "c"]})
        sink, wire = explained(
            schema, {"pseudonymized_properties": ["b"], "withheld_properties": ["c"]}, EventSink(), handler
        )

        assert [outcome for _, outcome, _ in sink] == ["recorded", "pseudonymized", "withheld", "withheld"]
        assert wire == [
            ("a", "withheld", "withheld_properties (OTLPHandler allowed_schemas)"),
            ("b", "pseudonymized", "pseudonymized_properties (EventLog.allowed_schemas)"),
            ("c", "withheld", "withheld_properties (EventLog.allowed_schemas)"),
            ("d", "withheld", "pii: true at #/properties/d (EventLog.allowed_schemas)"),
        ]

    def test_schema_that_does_not_get_there_is_said_to(self):
        """With the policy that stops it."""
        log = EventLog(handlers=[narrow({})], allowed_schemas=["*"])
        log.register_schema({"$id": "https://example.org/other", "version": 1})
        [explanation] = log.explain()

        assert (explanation["allowed"], explanation["properties"]) == (False, [])
        assert explanation["because"] == ["OTLPHandler allowed_schemas has no entry for this schema"]

    def test_names_the_entries_that_count(self):
        """One for each policy."""
        log = EventLog(handlers=[narrow({})], allowed_schemas=["*", "https://*"])
        log.register_schema({"$id": ID, "version": 1})
        [explanation] = log.explain()

        assert explanation["because"] == [
            "EventLog.allowed_schemas['https://*']",
            f"OTLPHandler allowed_schemas['{ID}']",
        ]

    def test_is_json(self):
        """For machines."""
        log = EventLog(allowed_schemas=[ID])
        log.register_schema({"$id": ID, "version": 1, "properties": {"a": {}}})

        assert json.loads(json.dumps(log.explain())) == log.explain()

    @pytest.mark.parametrize("reference", ["person", "user#/definitions/x"])
    def test_schema_with_a_broken_reference_has_its_error_for_an_explanation(self, reference):
        """Nobody knows what it will flag, and none of its events is recorded; the others are explained."""
        log = EventLog(handlers=[EventSink()], allowed_schemas=["*"])
        log.register_schema({"$id": ID, "version": 1, "properties": {"a": {"$ref": reference}}})
        log.register_schema({"$id": "https://example.org/user", "version": 1, "properties": {"b": {}}})
        broken, other = log.explain()

        with pytest.raises((SchemaNotRegistered, jsonschema.SchemaError)) as error:
            log.record_event(ID, 1, {})
        assert (broken["allowed"], broken["because"], broken["properties"]) == (False, [str(error.value)], [])
        assert [row["property"] for row in other["properties"]] == ["b", "*"]
