"""Verdicts where JSON Schema, its two implementations and Python differ."""

from __future__ import annotations

import math

import jsonschema
import pytest
from builders import ID

from jupyter_otel_telemetry import EventLog
from jupyter_otel_telemetry.schemas.engine import compile_schema


def verdict(schema, event):
    """Return None if an event is valid, else the message."""
    log = EventLog(allowed_schemas=["*"])
    log.add_listener(lambda *_: None)
    log.register_schema({"$id": ID, "version": 1, **schema})
    try:
        log.record_event(ID, 1, event)
    except jsonschema.ValidationError as error:
        return error.message
    return None


def of_type(*types, **keywords):
    return {"properties": {"a": {"type": list(types), **keywords}}}


class TestNumbers:
    @pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
    def test_that_are_not_finite_are_numbers_within_any_bounds(self, number):
        """As a measurement can be; JSON has no text for them, so no schema speaks of them."""
        assert verdict(of_type("number", minimum=0, maximum=1), {"a": number}) is None
        assert verdict(of_type("number", "null"), {"a": number}) is None
        assert "expected integer, got number" in verdict(of_type("integer"), {"a": number})
        assert "expected string or null, got number" in verdict(of_type("string", "null"), {"a": number})

    @pytest.mark.parametrize("value", ["x", None, True, [], {}])
    def test_are_not_anything_else(self, value):
        """Where numbers are expected."""
        assert "expected number, got" in verdict(of_type("number"), {"a": value})
        assert "expected number, got" in verdict(
            of_type("number") | {"allOf": [{"not": {"required": ["b"]}}]}, {"a": value}
        )

    @pytest.mark.parametrize("number, is_valid", [(1.1, True), (1.15, False), (3, True), (10**300, True)])
    def test_multiples_are_decimal(self, number, is_valid):
        """Not binary."""
        assert (verdict(of_type("number", multipleOf=0.1), {"a": number}) is None) is is_valid

    def test_of_more_digits_than_a_rule_can_judge_are_named(self):
        """Without their digits."""
        message = verdict(of_type("integer", minimum=0), {"a": 10**20_000})

        assert message.endswith("at /, holds an integer of more than 10000 digits")


class TestTexts:
    def test_with_lone_surrogates_are_judged(self):
        """UTF-8 cannot carry them, but they count as one character each."""
        schema = {"properties": {"a": {"maxLength": 2, "pattern": "^x"}}, "additionalProperties": {"type": "integer"}}

        assert verdict(schema, {"a": "x\ud800", "\udfff": 1}) is None
        assert "at /a, the value violates maxLength: 2" in verdict(schema, {"a": "x\ud800\ud800"})
        assert "at /\udfff, expected integer, got string" in verdict(schema, {"\udfff": "x"})

    def test_as_names_that_would_become_one_are_refused(self):
        """Rather than judged without one of them."""
        event = {"\ud800": 1, "\U0010f800": "x"}

        assert "two names differ by a lone surrogate only" in verdict(
            {"additionalProperties": {"type": "integer"}}, event
        )

    def test_of_many_properties_that_are_not_allowed_are_counted(self):
        """The message names the first."""
        message = verdict({"additionalProperties": False}, {f"p{number}": 1 for number in range(1_000)})

        assert message.endswith("'p18', 'p19' and 980 more")


class TestKeywords:
    def test_for_content_are_annotations(self):
        """As `format` is."""
        assert verdict({"properties": {"a": {"contentMediaType": "application/json"}}}, {"a": "{"}) is None

    @pytest.mark.parametrize("schema_id", ["a name", "événement", "100%", "urn:example:a"])
    def test_id_may_be_any_text(self, schema_id):
        """Also one that is not a URI; so may the place of a definition."""
        is_valid = compile_schema(
            {
                "$id": schema_id,
                "properties": {"a": {"$ref": "#/definitions/a b"}},
                "definitions": {"a b": {"type": "string"}},
            }
        )

        assert is_valid({"a": "x"})
        assert not is_valid({"a": 1})


class TestExplanations:
    def test_that_jsonschema_cannot_make_leave_the_verdict(self):
        """Keywords of another draft's definitions are not checked, and can be anything."""
        draft, odd = "http://json-schema.org/draft-06/schema#", {"anyOf": [{"type": "string", "$id": []}]}
        schema = {"$schema": draft, "properties": {"b": {"$ref": "#/$defs/x"}}, "$defs": {"x": odd}}

        assert "violates a rule" in verdict(schema, {"b": 5})
