"""Later versions change neither a verdict nor what is seen of an event."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from itertools import permutations

import jsonschema
import pytest
from builders import ID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_otel_telemetry import EventLog, SchemaNotRegistered
from jupyter_otel_telemetry.schemas.versions import version_order

USER = "https://example.org/user"


def registered(*schemas):
    log = EventLog(allowed_schemas=["*"])
    log.add_listener(lambda *_: None)
    for schema in schemas:
        log.register_schema(schema)
    return log


def user(version, **keywords):
    return {"$id": USER, "version": version, **keywords}


RESULT = {"$id": ID, "version": 1, "properties": {"user": {"$ref": "user"}}}
FLAGGED = {"properties": {"name": {"pii": True}}}


class TestOrder:
    @pytest.mark.parametrize(
        "versions",
        [
            ["1", "2", "10"],
            ["v1", "v2", "v10"],
            ["1.2", "1.10"],
            ["1.0-alpha", "1.0-beta.2", "1.0-beta.10", "1.0-rc1", "1.0", "1.0.1", "1.1"],
            ["2024-01-02", "2024-01-15", "2024-02-01"],
            ["v1", "2", "v3"],
            ["9" * 5000, "1" + "0" * 5000],
            ["draft", "1"],
        ],
    )
    def test_is_that_of_people(self, versions):
        """Numbers count as numbers, pre-releases come first, a leading v does not count."""
        for shuffled in permutations(versions) if len(versions) < 5 else [versions[::-1]]:
            assert sorted(shuffled, key=version_order) == versions

    @given(st.lists(st.text("0123456789.vab-é٣"), min_size=2, max_size=3, unique=True))
    def test_is_total(self, versions):
        """Of two versions, always the same one is higher."""
        keys = [version_order(version) for version in versions]

        assert len(set(map(str, keys))) == len(keys)
        assert sorted(versions, key=version_order) == sorted([*versions[1:], versions[0]], key=version_order)


class TestVerdict:
    def test_is_by_the_highest_version_that_was_there(self):
        """Not by one that comes later."""
        log = registered(user("v2", type="string"), user("v10", type="integer"), RESULT, user("v11", type="null"))

        assert log.record_event(ID, 1, {"user": 3}) == {"user": 3}
        with pytest.raises(jsonschema.ValidationError, match="at /user, expected integer, got string"):
            log.record_event(ID, 1, {"user": "x"})

    def test_is_by_the_first_version_that_comes_where_none_was_there(self):
        """Until then there is none."""
        log = registered(RESULT)
        with pytest.raises(SchemaNotRegistered):
            log.record_event(ID, 1, {})
        log.register_schema(user(1, type="string"))
        log.register_schema(user(2, type="integer"))

        assert log.record_event(ID, 1, {"user": "x"}) == {"user": "x"}

    @pytest.mark.parametrize("names", list(permutations("abc")))
    def test_does_not_depend_on_the_order_of_files(self, tmp_path, names):
        """Those of one folder are registered together."""
        for name, schema in zip(names, [RESULT, user(1, type="string"), user(2, type="integer")], strict=True):
            (tmp_path / f"{name}.json").write_text(json.dumps(schema))
        log = registered()
        log.register_schemas(tmp_path)

        assert log.record_event(ID, 1, {"user": 3}) == {"user": 3}

    def test_stays_where_a_needed_schema_gets_a_version_with_other_needs(self):
        """Through others, too."""
        name = {"$id": "https://example.org/name", "version": 1, "type": "string"}
        log = registered(name, user(1, properties={"name": {"$ref": "name"}}), RESULT)
        log.register_schema(name | {"version": 2, "type": "integer"})
        log.register_schema(user(2, properties={"name": {"$ref": "missing"}}))

        assert log.record_event(ID, 1, {"user": {"name": "x"}}) == {"user": {"name": "x"}}


class TestFlags:
    def test_of_the_version_that_was_there_stay(self):
        """A later version without them changes nothing."""
        log = registered(user(1, **FLAGGED), RESULT, user(2, properties={"name": {}}))

        assert log.record_event(ID, 1, {"user": {"name": "ada"}}) == {"user": {"name": None}}

    def test_of_any_later_version_count(self):
        """It knows better what is personal."""
        log = registered(user(1), RESULT)

        assert log.record_event(ID, 1, {"user": {"name": "ada"}}) == {"user": {"name": "ada"}}
        log.register_schema(user(2, **FLAGGED))
        assert log.record_event(ID, 1, {"user": {"name": "ada"}}) == {"user": {"name": None}}

    def test_of_what_another_version_needs_count(self):
        """As soon as it is registered; until then, only what is known does."""
        log = registered(user(1), RESULT, user(2, properties={"name": {"$ref": "name#/definitions/n"}}))
        assert log.record_event(ID, 1, {"user": {"name": "ada"}}) == {"user": {"name": "ada"}}
        log.register_schema({"$id": "https://example.org/name", "version": 1, "definitions": {"n": {"pii": True}}})

        assert log.record_event(ID, 1, {"user": {"name": "ada"}}) == {"user": {"name": None}}

    def test_of_another_version_of_the_schema_itself_do_not_count(self):
        """Events of each version are judged by that version."""
        log = registered(
            {"$id": ID, "version": 1, "properties": {"a": {"$ref": "#/definitions/a"}}, "definitions": {"a": {}}}
        )
        log.register_schema({"$id": ID, "version": 2, "definitions": {"a": {"pii": True}}})

        assert log.record_event(ID, 1, {"a": 1}) == {"a": 1}


# ---- any schemas ----

IDS = [ID, USER, "https://example.org/name"]
TARGETS = ["user", "user", "name", "server-action", "user#/definitions/d", "name#/definitions/d", "#/definitions/d"]


def subschemas():
    leaves = st.sampled_from(
        [{}, {"pii": True}, {"categories": ["c"]}, {"type": "string"}, {"type": ["object", "array"]}]
        + [{"$ref": target} for target in TARGETS]
    )
    return st.recursive(
        leaves,
        lambda some: st.one_of(
            st.builds(lambda a, b: {"properties": {"a": a, "b": b}}, some, some),
            st.builds(lambda item: {"items": item}, some),
            st.builds(lambda a, b: {"allOf": [a, b]}, some, some),
            st.builds(lambda a, other: {"properties": {"a": a}, "additionalProperties": other}, some, some),
            st.builds(lambda pattern: {"patternProperties": {"^a": pattern}}, some),
        ),
        max_leaves=4,
    )


def documents(*ids, versions=("1", "v2", "10")):
    return st.builds(
        lambda schema_id, version, root, definition: {
            **root,
            "$id": schema_id,
            "version": version,
            "definitions": {"d": definition},
        },
        st.sampled_from(ids),
        st.sampled_from(versions),
        st.one_of(
            st.builds(lambda a, b: {"properties": {"a": a, "b": b}}, subschemas(), subschemas()),
            st.builds(lambda b: {"properties": {"a": {"$ref": "user"}, "b": b}}, subschemas()),
            st.builds(lambda a: {"additionalProperties": a}, subschemas()),
        ),
        subschemas(),
    )


first_documents = st.tuples(*(documents(schema_id, versions=["1"]) for schema_id in IDS))
later_documents = st.lists(documents(*IDS), min_size=1, max_size=4)
values = st.recursive(
    st.sampled_from(["x", 1]),
    lambda some: st.lists(some, max_size=2) | st.dictionaries(st.sampled_from("ab"), some, min_size=1, max_size=2),
    max_leaves=5,
)
events = st.lists(st.dictionaries(st.sampled_from("abz"), values, min_size=1, max_size=3), min_size=1, max_size=3)


def outcome(log, event):
    """Return what is recorded of an event of the first schema, or the class of the error."""
    try:
        return log.record_event(ID, "1", event)
    except (ValueError, jsonschema.ValidationError, jsonschema.SchemaError) as error:
        return type(error)


def shows_no_more(before, after, event):
    """Tell whether nothing of an event is seen that was withheld before."""
    if before is None:
        return after is None or event is None or (isinstance(event, (dict, list)) and _is_empty(after))
    if isinstance(before, dict) and isinstance(after, dict):
        return all(shows_no_more(before.get(name), item, event[name]) for name, item in after.items())
    if isinstance(before, list) and isinstance(after, list):
        return all(map(shows_no_more, before, after, event))
    return after is None or before == after


def _is_empty(value):
    """Tell whether nothing but names and brackets is left."""
    if isinstance(value, (dict, list)):
        return all(map(_is_empty, value.values() if isinstance(value, dict) else value))
    return value is None


class TestAnySchemas:
    @given(first_documents, later_documents, events)
    @settings(
        max_examples=300,
        deadline=None,
        derandomize=os.environ.get("CI") == "true",
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    def test_registered_later_change_no_verdict_and_show_no_more(self, first, later, some):
        """Whatever refers to what, an event that had a verdict keeps it, and what was withheld stays so."""
        log = registered()
        for document in first:
            register(log, document)
        before = [outcome(log, event) for event in some]
        for document in later:
            register(log, document)
        for event, earlier in zip(some, before, strict=True):
            now = outcome(log, event)
            if earlier in (SchemaNotRegistered, jsonschema.SchemaError):
                continue
            assert isinstance(earlier, dict) == isinstance(now, dict), (earlier, now)
            assert not isinstance(now, dict) or shows_no_more(earlier, now, event)


def register(log, document):
    with suppress(ValueError, jsonschema.SchemaError):
        log.register_schema(document)


class TestReferenceReachedThroughAnotherVersion:
    def test_flags_what_the_pinned_version_flags(self, event_log):
        """A place in a schema to which a later version of a third one leads back."""
        event_log.register_schema({"$id": "name", "version": 1, "definitions": {"d": {"pii": True}}})
        event_log.register_schema({"$id": "user", "version": 1, "properties": {"b": {"$ref": "name#/definitions/d"}}})
        properties = {"a": {"$ref": "user"}, "b": {"$ref": "name"}}
        event_log.register_schema({"$id": "action", "version": 1, "properties": properties})
        later = {"properties": {"a": {"$ref": "user"}}, "definitions": {"d": {}}}
        event_log.register_schema({"$id": "name", "version": 2, **later})

        assert event_log.record_event("action", 1, {"a": {"b": "ada"}}) == {"a": {"b": None}}
