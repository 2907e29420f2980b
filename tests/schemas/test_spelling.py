"""Annotations that would have no effect are refused; unknown keywords that do no harm pass."""

from importlib.metadata import distributions
from pathlib import Path

import pytest
from builders import ID, schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema_specifications import REGISTRY

from jupyter_otel_telemetry import EventLog, SchemaSourceError
from jupyter_otel_telemetry.schemas import documents
from jupyter_otel_telemetry.schemas.keywords import HOLD_LIST, HOLD_MAPPING, HOLD_SCHEMA
from jupyter_otel_telemetry.schemas.spelling import spelling_problems

FLAGGED = {"type": "string", "pii": True}

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def refusal(**keywords):
    """Return the text with which a schema is refused."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the tests look at its text
        EventLog().register_schema(schema(**keywords))
    return str(refused.value)


class TestAnnotations:
    @pytest.mark.parametrize(
        "key",
        [
            *["Pii", "PII", "pi", "piii", "ppi", "pii ", "p_i_i", "piis"],
            *[
                "isPii",
                "isPII",
                "is_pii",
                "is-pii",
                "ispii",
                "IS_PII",
                "containsPii",
                "has.pii",
                "piiFlag",
                "pii_data",
            ],
            *["ｐｉｉ", "ｉｓＰＩＩ", "píï", "pıı", "PİI", "p\u200bii", "рii", "ріі", "ΡΙΙ", "is_рii"],  # noqa: RUF001
        ],
    )
    @pytest.mark.parametrize("value", [True, False])
    def test_near_pii_are_refused(self, key, value):
        """With the place and what was meant."""
        assert f"at /properties/a/{key}: did you mean pii?" in refusal(properties={"a": {key: value}})

    @pytest.mark.parametrize(
        "key",
        ["category", "Categories", "catgories", "catagories", "categorys", "categorie", "сategories"],  # noqa: RUF001
    )
    def test_near_categories_are_refused(self, key):
        """Also where the value is one text."""
        for value in (["user-identifier"], "user-identifier"):
            assert f"at /items/{key}: did you mean categories?" in refusal(items={key: value})

    @pytest.mark.parametrize("key", ["Otel", "otell", "otl", "oetl", "OTEL"])
    def test_near_otel_are_refused(self, key):
        """At the top and on a property."""
        assert f"at /{key}: did you mean otel?" in refusal(**{key: {"event_name": "a"}})
        assert f"at /properties/a/{key}: did you mean otel?" in refusal(
            properties={"a": {key: {"attribute": "user.name"}}}
        )

    @pytest.mark.parametrize("keyword", ["definitions", "patternProperties", "$defs", "dependentSchemas"])
    def test_are_found_wherever_a_subschema_is(self, keyword):
        """In every keyword that holds some."""
        assert f"at /{keyword}/x/Pii: did you mean pii?" in refusal(**{keyword: {"x": {"Pii": True}}})

    @UNHURRIED
    @given(st.sampled_from(["pii", "categories", "otel"]), st.data())
    def test_with_one_edit_are_refused(self, word, data):
        """Whichever it is: an insertion, a deletion, another letter, or two swapped."""
        index = data.draw(st.integers(0, len(word) - 1))
        letter = data.draw(st.sampled_from("abcxyz"))
        head, tail = word[:index], word[index:]
        key = data.draw(st.sampled_from([head + letter + tail, head + tail[1:], head + letter + tail[1:]]))
        value = {"pii": True, "categories": ["a"], "otel": {"event_name": "a"}}[word]
        if key != word:
            assert f"did you mean {word}?" in refusal(**{key: value})

    @pytest.mark.parametrize(
        "name, value", [("pii", True), ("PII", False), ("isPii", True), ("píi", True), ("categories", True)]
    )
    @pytest.mark.parametrize("keyword", ["properties", "patternProperties", "definitions"])
    def test_as_names_of_properties_are_refused(self, keyword, name, value):
        """`pii: true` directly below `properties` flags nothing."""
        assert f"at /{keyword}/{name}: {name} is an annotation, and here the name" in refusal(
            **{keyword: {name: value}}
        )

    def test_otel_as_name_of_a_property_is_refused(self):
        """With nothing but annotations in it."""
        assert "at /properties/otel: otel is an annotation" in refusal(
            properties={"otel": {"attribute": "user.name"}}
        )


class TestPlaces:
    @pytest.mark.parametrize(
        "keyword, meant",
        [
            ("propertys", "properties"),
            ("propertes", "properties"),
            ("Properties", "properties"),
            ("property", "properties"),
            ("patternPropertys", "patternProperties"),
            ("pattern_properties", "patternProperties"),
            ("definition", "definitions"),
        ],
    )
    @pytest.mark.parametrize("below", [FLAGGED, {"categories": ["a"]}, {"otel": {"attribute": "a.b"}}, {"$ref": "x"}])
    def test_below_a_misspelt_keyword_is_refused(self, keyword, meant, below):
        """A flag, an attribute, or a reference, which may lead to a flag."""
        text = refusal(**{keyword: {"email": below}})

        assert f"at /{keyword}/email/" in text
        assert f" has no effect below '{keyword}'; did you mean {meant}?" in text

    @pytest.mark.parametrize(
        "keyword, meant",
        [("item", "items"), ("additionalProperty", "additionalProperties"), ("prefixItem", "prefixItems")],
    )
    def test_below_a_misspelt_keyword_that_holds_one_schema_is_refused(self, keyword, meant):
        """Nested ones too."""
        text = refusal(properties={"a": {keyword: FLAGGED}})

        assert f"at /properties/a/{keyword}/pii: pii has no effect below '{keyword}'; did you mean {meant}?" in text

    @pytest.mark.parametrize("keyword", ["fields", "attributes", "extends", "metadata"])
    def test_below_what_is_no_keyword_is_refused(self, keyword):
        """With the keywords that there are."""
        assert "which JSON Schema does not know; use properties" in refusal(**{keyword: {"email": FLAGGED}})
        assert "which JSON Schema does not know" in refusal(**{keyword: [{"deep": {"Pii": True}}]})

    def test_that_yaml_1_1_would_have_understood_is_found_too(self):
        """`pii: yes` is text in YAML 1.2."""
        assert "no effect below 'fields'" in refusal(fields={"email": {"pii": "yes"}})

    def test_of_a_known_keyword_with_the_wrong_kind_of_value_is_refused(self):
        """Draft 7 knows no prefixItems, so its meta-schema does not object."""
        assert "no effect below 'prefixItems'" in refusal(prefixItems={"a": FLAGGED})

    @pytest.mark.parametrize("key", ["ref", "$Ref", "$reff", "$rf"])
    def test_of_a_misspelt_reference_is_refused(self, key):
        """What it was to lead to may be flagged."""
        text = refusal(properties={"a": {key: "#/definitions/email"}}, definitions={"email": FLAGGED})

        assert "did you mean $ref?" in text

    def test_to_which_a_reference_leads_is_taken(self, event_log):
        """Definitions may stand anywhere, and count."""
        event_log.register_schema(
            schema(fields={"email": FLAGGED, "other": FLAGGED}, properties={"a": {"$ref": "#/fields/email"}})
        )

        assert event_log.record_event(ID, 1, {"a": "x"}) == {"a": None}


class TestHarmless:
    @pytest.mark.parametrize(
        "keywords",
        [
            {"x-foo": {"pii": True}},
            {"X-Owner": "me"},
            {"example": {"pii": True, "categories": ["a"]}},
            {"examples": [{"pii": True}]},
            {"default": {"otel": {"attribute": "a"}}},
            {"enum": [{"pii": True}]},
            {"const": {"categories": ["a"]}},
            {"deprecated": True, "readOnly": True, "personal-data": True, "redactionPolicies": ["x"]},
            {"tittle": "T", "hotel": {"stars": 5}, "pie": 3, "url": "#x", "href": "a#b", "id": "x"},
            {"propertys": {"a": {"type": "string"}}, "item": {"type": "string"}},
            {"metadata": {"category": "demo", "pi": "3.14", "otel": {"collector": "x"}}},
            {"properties": {"pi": {"type": "number"}, "Pii": {"type": "string"}, "category": {"type": "string"}}},
            {"properties": {"pii": {"type": "boolean"}, "categories": {"type": "array"}, "otel": {"type": "object"}}},
            {"recipii": True, "shippii": False, "pii_policy": "x", "кии": True, "piiVersion": 3},
            {"properties": {"is_pii": {"type": "boolean"}, "isPii": {}}},
            {"properties": {"pi": True, "item": {"$ref": "#/definitions/x"}}, "definitions": {"x": FLAGGED}},
        ],
    )
    def test_keywords_and_names_pass(self, keywords):
        """Nothing is lost by them."""
        log = EventLog()
        log.register_schema(schema(**keywords))

        assert len(log.schemas) == 1

    @UNHURRIED
    @given(st.dictionaries(st.text("abcdefg-", min_size=5), st.integers() | st.text("abc#/") | st.lists(st.text())))
    def test_unknown_keywords_pass(self, keywords):
        """Whatever they are, where nothing like an annotation is near."""
        assert list(spelling_problems(schema(**keywords))) == []

    def test_installed_schemas_pass(self):
        """None of the schemas in the packages of this environment, Jupyter's above all, is taken for misspelt."""
        checked = 0
        for path in _installed_schemas():
            try:
                document = documents.parse(path.read_bytes(), str(path))
            except SchemaSourceError:
                continue  # not a mapping, or too large
            checked += 1
            assert list(spelling_problems(dict(document))) == [], path
        assert checked > 10

    def test_known_keywords_are_those_of_the_drafts(self):
        """Every keyword whose meta-schema refers to schemas is one that is walked through."""
        metaschemas = [REGISTRY.contents(uri) for uri in REGISTRY if "draft-03" not in uri]
        found = {
            keyword
            for metaschema in metaschemas
            for keyword, rule in metaschema.get("properties", {}).items()
            if _refers_to_schemas(rule)
        }

        assert found - {"$recursiveAnchor"} == HOLD_SCHEMA | HOLD_LIST | HOLD_MAPPING


def _refers_to_schemas(rule):
    text = str(rule)
    return "'$ref': '#'" in text or "schemaArray" in text or "'$recursiveRef': '#'" in text or "'$dynamicRef'" in text


def _installed_schemas():
    for distribution in distributions():
        for file in distribution.files or ():
            if file.suffix in {".json", ".yaml", ".yml"} and "schema" in str(file).lower():
                path = Path(distribution.locate_file(file))
                if path.is_file() and "$schema" in path.read_text("utf-8", "replace"):
                    yield path
