import os
import random
import sys
from copy import deepcopy

import jsonschema
import pytest
from builders import schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_schemas import Maker, counterexample

from jupyter_otel_telemetry.schemas.installed import installed_files
from jupyter_otel_telemetry.schemas.sources import read_file
from jupyter_otel_telemetry.workshop import Hurt, Verdict, compare_schemas
from jupyter_otel_telemetry.workshop.canonical import NotComparableError, canonical, closed, opened

PAIRS = int(os.environ.get("SCHEMA_PAIRS", "2000"))
"""Each Python tries others: the five sessions of `make test` make ten thousand."""
CHUNKS = 20
FIRST_SEED = sys.version_info[1] * 1_000_000 + (
    500_000 if "lowest" in os.environ.get("JSON_SCHEMA_TEST_SUITE", "") else 0
)


def same(schema):
    return schema


def compare(old, new, **options):
    """Compare the properties of two versions."""
    return compare_schemas(schema(properties=old), schema(version=2, properties=new), **options)


def hurt(found):
    return {change.hurt for change in found.changes}


class TestVerdict:
    @pytest.mark.parametrize("chunk", range(CHUNKS))
    def test_is_never_wrong(self, chunk):
        """Of random pairs, whose truth enumeration finds; every second pair is compared strictly."""
        undecided = 0
        for index in range(PAIRS // CHUNKS):
            maker = random.Random(FIRST_SEED + chunk * 10_000 + index)
            undecided += _check(*Maker(maker).pair(), strict=bool(index % 2))
        assert undecided <= max(3, 0.05 * PAIRS / CHUNKS)

    def test_is_rarely_undecided(self):
        """Fewer than two of a hundred random pairs."""
        pairs = [Maker(random.Random(seed)).pair() for seed in range(400)]
        verdicts = [compare_schemas(old, new, strict=bool(seed % 2)).verdict for seed, (old, new) in enumerate(pairs)]

        assert verdicts.count(Verdict.UNDECIDED) < 8

    def test_pairs_of_shipped_schemas_are_decided(self):
        """Each with each, and each with itself."""
        shipped = [dict(read_file(path)) for _, path in installed_files()]
        assert len(shipped) >= 4

        for old in shipped:
            for new in shipped:
                verdict = compare_schemas(old, new).verdict
                assert verdict is (Verdict.SAFE if old is new else Verdict.BREAKING)


def _check(old, new, *, strict):
    """Check the verdict on a pair; return whether it is undecided."""
    found = compare_schemas(old, new, strict=strict)
    make, take = (same, same) if strict else (closed, opened)
    before, after = canonical(old), canonical(new)
    if found.verdict is Verdict.SAFE:
        assert counterexample(make(before), take(after)) is None, (old, new)
        assert counterexample(make(after), take(before)) is None, (old, new)
    for change in found.changes:
        made, refused = (old, new) if change.hurt is Hurt.WRITERS else (new, old)
        assert jsonschema.Draft7Validator(made).is_valid(change.event), (old, new, change)
        assert not jsonschema.Draft7Validator(refused).is_valid(change.event), (old, new, change)
    return found.verdict is Verdict.UNDECIDED


class TestChanges:
    @pytest.mark.parametrize(
        "old, new",
        [
            ({}, {"a": {"type": "string"}}),
            ({"a": {"type": "string"}}, {}),
            ({"a": {"title": "A", "type": "string"}}, {"a": {"description": "B", "type": "string"}}),
            ({"a": {"type": "string"}}, {"a": {"type": "string", "pii": True}}),
            ({"a": {"default": 1}}, {"a": {"default": 2}}),
            ({"a": {"enum": [1, 2]}}, {"a": {"enum": [2, 1]}}),
            ({"a": {"type": ["null", "string"]}}, {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}),
            ({"a": {"minimum": 1, "type": "integer"}}, {"a": {"exclusiveMinimum": 0, "type": "integer"}}),
            ({"a": {"oneOf": [{"type": "string"}, {"type": "number"}]}}, {"a": {"type": ["number", "string"]}}),
        ],
    )
    def test_safe(self, old, new):
        """Optional properties, texts, stricter privacy, and the same in other words."""
        assert compare(old, new).verdict is Verdict.SAFE

    @pytest.mark.parametrize(
        "old, new, whom",
        [
            ({"a": {"type": "string"}}, {"a": {"type": "integer"}}, {Hurt.READERS, Hurt.WRITERS}),
            ({"a": {"enum": ["x"]}}, {"a": {"enum": ["x", "y"]}}, {Hurt.READERS}),
            ({"a": {"enum": ["x", "y"]}}, {"a": {"enum": ["x"]}}, {Hurt.WRITERS}),
            ({"a": {"type": "integer"}}, {"a": {"type": "number"}}, {Hurt.READERS}),
            ({"a": {"maxLength": 5, "type": "string"}}, {"a": {"type": "string"}}, {Hurt.READERS}),
            ({"a": {"type": "string"}}, {"a": {"type": ["string", "null"]}}, {Hurt.READERS}),
            ({"a": {"pattern": "^a", "type": "string"}}, {"a": {"type": "string"}}, {Hurt.READERS}),
            ({"a": {"const": 1}}, {"a": {"const": True}}, {Hurt.READERS, Hurt.WRITERS}),
            ({"a": {"type": "string", "pii": True}}, {"a": {"type": "string"}}, {Hurt.PERSONS}),
            ({"a": {"categories": ["x", "y"]}}, {"a": {"categories": ["y"]}}, {Hurt.PERSONS}),
            ({"a": {"otel": {"attribute": "a.b"}}}, {"a": {}}, {Hurt.READERS}),
            ({"a": {"items": {"pii": True}}}, {"a": {"items": {"pii": False}}}, {Hurt.PERSONS}),
        ],
    )
    def test_breaking(self, old, new, whom):
        """And whom it hurts."""
        found = compare(old, new)

        assert (found.verdict, hurt(found), found.bump) == (Verdict.BREAKING, whom, "major")

    def test_required_property_hurts_writers_who_lack_it(self):
        """And its removal readers who rely on it."""
        optional, required = schema(), schema(required=["action"])

        assert hurt(compare_schemas(optional, required)) == {Hurt.WRITERS}
        assert hurt(compare_schemas(required, optional)) == {Hurt.READERS}
        assert compare_schemas(optional, required).changes[0].keyword == "required"

    @pytest.mark.parametrize(
        "keywords", [{"id": "https://example.org/b"}, {"otel": {"event_name": "a.b"}}, {"otel": {"severity": "WARN"}}]
    )
    def test_names_of_a_store_hurt_readers(self, keywords):
        """Whose queries name them."""
        assert hurt(compare_schemas(schema(), schema(**keywords))) == {Hurt.READERS}

    def test_flag_of_an_object_is_kept_by_its_properties(self):
        """It holds for all that the object has."""
        whole = {"user": {"pii": True, "properties": {"name": {"type": "string"}}}}
        part = {"user": {"properties": {"name": {"type": "string", "pii": True}}}}

        assert hurt(compare(part, whole)) == set()

    def test_each_rule_that_is_violated_is_listed(self):
        """With the place in the event."""
        found = compare(
            {"a": {"type": "string"}, "b": {"maxLength": 3}}, {"a": {"type": "null"}, "b": {"maxLength": 2}}
        )

        writers = {(change.pointer, change.keyword) for change in found.changes if change.hurt is Hurt.WRITERS}
        assert writers == {("/a", "type"), ("/b", "maxLength")}

    def test_same_content_needs_no_new_version(self):
        """Another one that is safe needs a minor one."""
        assert compare({"a": {}}, {"a": {"title": "x"}}).bump == "none"
        assert compare({"a": {}}, {"a": {}, "b": {}}).bump == "minor"


class TestStrict:
    def test_undescribed_property_may_have_been_anything(self):
        """So its description hurts those who have written it."""
        old, new = {}, {"a": {"type": "string"}}

        assert compare(old, new).verdict is Verdict.SAFE
        assert hurt(compare(old, new, strict=True)) == {Hurt.WRITERS}

    def test_closed_schema_refuses_a_new_property(self):
        """Which hurts readers who check it."""
        old, new = schema(additionalProperties=False), schema(additionalProperties=False)
        new["properties"] = {**new["properties"], "new": {"type": "string"}}

        assert compare_schemas(old, new).verdict is Verdict.SAFE
        assert hurt(compare_schemas(old, new, strict=True)) == {Hurt.READERS}


class TestReferences:
    def test_leads_to_a_definition(self):
        """The verdict is about its content."""
        user = schema(properties={"a": {"$ref": "#/definitions/user"}}, definitions={"user": {"type": "string"}})

        assert compare_schemas(user, schema(properties={"a": {"type": "string"}})).verdict is Verdict.SAFE

    def test_leads_to_another_schema(self):
        """Which may differ between the two sides."""
        referrer = schema(properties={"a": {"$ref": "https://example.org/user"}})
        text, number = ({"https://example.org/user": {"type": kind}} for kind in ("string", "number"))

        assert compare_schemas(referrer, referrer, old_others=text, new_others=text).verdict is Verdict.SAFE
        assert compare_schemas(referrer, referrer, old_others=text, new_others=number).verdict is Verdict.BREAKING

    @pytest.mark.parametrize("target", ["#", "https://example.org/unknown", "#/definitions/none"])
    def test_leads_where_nothing_can_be_compared(self, target):
        """Then the verdict is open, with the reason."""
        found = compare({"a": {"$ref": target}}, {"a": {"type": "string"}})

        assert (found.verdict, found.bump) == (Verdict.UNDECIDED, "unknown")
        assert target in found.reasons[0]


class TestDrafts:
    def test_draft_4_is_not_compared_with_a_later_one(self):
        """They differ about 1.0, which is a hole in any proof."""
        old, new = (schema(**{"$schema": f"http://json-schema.org/draft-0{number}/schema#"}) for number in (4, 7))

        assert compare_schemas(old, new).verdict is Verdict.UNDECIDED
        assert compare_schemas(old, old | {"version": 2}).verdict is Verdict.SAFE


DRAFTS = {
    "http://json-schema.org/draft-04/schema#": jsonschema.Draft4Validator,
    "http://json-schema.org/draft-06/schema#": jsonschema.Draft6Validator,
    "http://json-schema.org/draft-07/schema#": jsonschema.Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": jsonschema.Draft201909Validator,
    "https://json-schema.org/draft/2020-12/schema": jsonschema.Draft202012Validator,
}
KEYWORDS = [
    {"exclusiveMinimum": True, "minimum": 2},
    {"exclusiveMaximum": 2},
    {"items": [{"type": "string"}], "additionalItems": False},
    {"items": {"type": "string"}, "additionalItems": False},
    {"prefixItems": [{"type": "string"}], "items": False},
    {"dependencies": {"a": ["b"]}},
    {"dependencies": {"a": {"required": ["b"]}, "b": ["c"]}},
    {"dependentRequired": {"a": ["b"]}},
    {"const": 1},
    {"contains": {"type": "string"}, "minContains": 2},
    {"if": {"type": "string"}, "then": {"minLength": 2}},
    {"then": {"minLength": 2}},
    {"oneOf": [{"type": "string"}, {"minLength": 2}, {"const": 1}]},
    {"oneOf": [True, True]},
    {"$ref": "#/definitions/a", "minLength": 3},
    {"propertyNames": {"maxLength": 1}},
    {"not": {"type": "string"}},
    {"format": "date", "default": 3},
]
INSTANCES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "a", "ab", "abc", 1.5]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "cc"]), inner, max_size=3),
    max_leaves=6,
)


class TestCanonical:
    @pytest.mark.parametrize("dialect", DRAFTS)
    @pytest.mark.parametrize("keywords", KEYWORDS, ids="-".join)
    def test_has_the_verdicts_of_each_draft(self, keywords, dialect):
        """Which differ in many keywords."""
        document = {"$schema": dialect, "definitions": {"a": {"type": "string"}}, "allOf": [keywords]}
        reference = DRAFTS[dialect]
        try:
            reference.check_schema(document)
            plain = jsonschema.Draft202012Validator(canonical(document))
        except (jsonschema.SchemaError, NotComparableError):
            return

        @settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.nested_given])
        @given(INSTANCES)
        def agrees(instance):
            assert plain.is_valid(instance) == reference(document).is_valid(instance)

        agrees()

    def test_does_not_change_the_schema(self):
        """It belongs to the caller."""
        document = schema(oneOf=[{"required": ["a"]}, {"items": [{}]}], dependencies={"a": ["b"]})
        before = deepcopy(document)
        closed(canonical(document))
        opened(canonical(document))

        assert document == before
