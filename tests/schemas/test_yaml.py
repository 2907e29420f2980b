"""Schemas in YAML are YAML 1.2: its core schema, each key once, nothing else, in bounded time."""

import io
import json
import math
import re

import pytest
import yaml
from builders import ID, schema
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jupyter_otel_telemetry import SchemaSourceError
from jupyter_otel_telemetry.schemas.documents import parse

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True, params=["libyaml", "without libyaml"])
def parser(request, monkeypatch):
    """Both of PyYAML's parsers; which one there is depends on the platform."""
    if request.param == "without libyaml":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)


def value_of(text):
    return parse(f"a: {text}\n", "test")["a"]


def refusal(content):
    with pytest.raises(SchemaSourceError) as error:
        parse(content, "test.yaml")
    assert str(error.value).startswith("no schema from test.yaml: ")
    return error.value.problem


def core_schema(text):
    """Return what the table of YAML 1.2.2, section 10.3.2, says of a plain scalar."""
    if re.fullmatch(r"null|Null|NULL|~|", text):
        return None
    if re.fullmatch(r"true|True|TRUE|false|False|FALSE", text):
        return text.lower() == "true"
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return int(text)
    if found := re.fullmatch(r"0o([0-7]+)|0x([0-9a-fA-F]+)", text):
        return int(found[1], 8) if found[1] else int(found[2], 16)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
        return float(text)
    if re.fullmatch(r"[-+]?(\.inf|\.Inf|\.INF)", text):
        return -math.inf if text[0] == "-" else math.inf
    return math.nan if re.fullmatch(r"\.nan|\.NaN|\.NAN", text) else text


OF_YAML_1_1 = (
    "on off yes no y n On OFF 010 0b11 1_000 12:30 1:0:0:0 2020-01-01 2001-12-14t21:59:43Z 0777 + - . 1e5 =".split()
)
SCALARS = st.one_of(
    st.sampled_from(
        OF_YAML_1_1 + "null Null ~ true TRUE .inf -.INF .nan 0o17 0x1F .5 5. -1.5e-3 1E400x tRue 0o8".split()
    ),
    st.from_regex(r"[-+]?[0-9.][0-9.eEoxb_:+-]{0,8}", fullmatch=True),
    st.text("abcdefnoyNOY01.~", min_size=1, max_size=6),
)


class TestPlainScalars:
    @pytest.mark.parametrize(
        "text, value",
        [
            ("on", "on"),
            ("no", "no"),
            ("010", 10),
            ("12:30", "12:30"),
            ("1:0:0:0:0", "1:0:0:0:0"),
            ("2020-01-01", "2020-01-01"),
            ("0b11", "0b11"),
            ("1_000", "1_000"),
            ("0o17", 15),
            ("1e5", 1e5),
            ("! 12", "12"),
            ("!!str 12", "12"),
            ("!!float 12", 12.0),
            ("'12'", "12"),
            ("", None),
        ],
    )
    def test_mean_what_yaml_1_2_says(self, text, value):
        """Names and values of events stay text that YAML 1.1 read as booleans, octal numbers, times and dates."""
        assert value_of(text) == value
        assert type(value_of(text)) is type(value)

    @UNHURRIED
    @given(SCALARS)
    def test_are_those_of_the_core_schema(self, text):
        """For every scalar that is one, in a mapping and in a list."""
        try:
            read, listed = value_of(text), parse(f"a: [{text}]", "test")["a"]
        except SchemaSourceError:
            return  # such as `- ` or `1:`
        if isinstance(read, dict):
            return
        assert repr(read) == repr(core_schema(text))
        assert repr(listed) == repr([read])

    def test_as_property_names_are_text(self, event_log):
        """A property may be called on, and `on` is one of the texts that an enum may hold."""
        event_log.register_schema_file(
            io.StringIO(f"$id: {ID}\nversion: 1\nproperties:\n  on: {{enum: [on, off]}}\n")
        )

        assert event_log.record_event(ID, 1, {"on": "off"}) == {"on": "off"}


class TestVersions:
    @pytest.mark.parametrize("text", ["1.10", "01", "1e3", "0x1", "+1", "1.", "2020.10"])
    @pytest.mark.parametrize("form", ["$id: x\nversion: {}\n", '{{"$id": "x",\n"version": {}}}'])
    def test_that_are_ambiguous_must_be_quoted(self, text, form):
        """1.10 would be 1.1 without a word; in YAML and in JSON."""
        problem = refusal(form.format(text))

        assert problem.startswith("line 2, column 1")
        assert f'quote it, version: "{text}"' in problem

    @pytest.mark.parametrize(
        "text, value", [("1", 1), ("1.1", 1.1), ("1.0", 1.0), ('"1.10"', "1.10"), ("1.2.3", "1.2.3")]
    )
    def test_that_are_not_ambiguous_are_taken(self, text, value):
        """Numbers that keep their text, and text."""
        assert parse(f"version: {text}\n", "test")["version"] == value
        assert parse(f'{{"version": {json.dumps(value)}}}', "test")["version"] == value

    def test_elsewhere_are_numbers(self):
        """Only the version of the schema is compared as text."""
        assert parse("properties: {version: {const: 1.10}}", "test")["properties"]["version"] == {"const": 1.1}


class TestKeys:
    @pytest.mark.parametrize(
        "content, place",
        [
            ("a: 1\nb:\n  pii: true\n  pii: false\n", "line 4, column 3: the key 'pii' is given twice"),
            ('{"a": 1,\n "a": 2}', "line 2, column 2: the key 'a' is given twice"),
            ('{"t": "\\ud83d\\ude00",\n "a": {"b": 1,\n "b": 2}}', "the key 'b' is given twice"),
            ("a: &x pii\nb:\n  *x : true\n  pii: false\n", "line 4, column 3: the key 'pii' is given twice"),
        ],
    )
    def test_given_twice_are_refused_with_their_place(self, content, place):
        """Which one counts is not obvious, and a flag may be lost."""
        assert place in refusal(content)

    @pytest.mark.parametrize("key", ["1", "true", "~", "1.5", "[a]", "{a: b}"])
    def test_must_be_text(self, key):
        """As JSON has it; the remedy is said with the place."""
        assert re.match(
            r"line 2, column \d+: expected text as key, got .*; quote it", refusal(f"a: 1\n? {key}\n: x\n")
        )


class TestTags:
    @pytest.mark.parametrize(
        "tag", ["!!python/object/apply:os.system", "!!binary", "!!set", "!!omap", "!!timestamp", "!mine", "!<x>"]
    )
    @pytest.mark.parametrize("value", ["x", "[x]", "{x: y}"])
    def test_beyond_the_core_schema_are_refused_with_their_place(self, tag, value):
        """Nothing is constructed by them."""
        assert re.match(
            r"line 2, column 4: the tag .* is not one of YAML's core schema", refusal(f"a: 1\nb: {tag} {value}")
        )

    @pytest.mark.parametrize("text", ["!!int x", "!!bool 1", "!!null x", "!!float true", "!!int 1.5"])
    def test_must_fit_the_value(self, text):
        """A wrong tag is a mistake."""
        assert refusal(f"a: {text}").startswith("line 1, column 4")


class TestAliases:
    def test_stand_for_what_is_anchored(self):
        """Once for all."""
        assert parse("a: &x {pii: true}\nb: *x\n", "test") == {"a": {"pii": True}, "b": {"pii": True}}

    @pytest.mark.parametrize("merge", ["*x", "[*x]", "[{type: string}, *x]"])
    def test_are_merged_by_merge_keys(self, merge):
        """YAML 1.2 has no merge keys, but schemas have them, and a flag must not get lost."""
        read = parse(f"a: &x {{pii: true, type: integer}}\nb: {{<<: {merge}, type: string}}\n", "test")

        assert read["b"] == {"pii": True, "type": "string"}

    @pytest.mark.parametrize("text", ["{<<: 1}", "{<<: [a]}", "{<<: {a: 1}, <<: {b: 1}}"])
    def test_merge_keys_merge_mappings_once(self, text):
        """All else is a mistake."""
        assert refusal(f"a: {text}").startswith("line 1")

    def test_quoted_merge_key_is_a_name(self):
        """As every quoted text."""
        assert value_of('{"<<": 1}') == {"<<": 1}


PIECES = "{ } [ ] : , - ? &a *a << !! !t | > ' # --- ... a \\U00110000 \\ud800 1e999".split()
FRAGMENTS = st.lists(
    st.sampled_from([*PIECES, '"', " ", "\n", "\n  ", "\t", "\0", "\ufeff", "%YAML 1.2\n", "9" * 5000]), max_size=40
).map("".join)


class TestAnyContent:
    @UNHURRIED
    @given(st.one_of(st.binary(), st.text(), FRAGMENTS))
    @example('"\\UFFFFFFFF"')
    @example("\ud800")
    @example("a: " + "1:" * 5_000 + "1")
    @example('{"a": NaN}')
    @example("!" * 1_000)
    def test_is_a_mapping_or_a_source_error(self, content):
        """Whatever is in a file, nothing else is raised, in one line; and the mapping is one of JSON."""
        try:
            outcome = json.dumps(parse(content, "test"))
        except SchemaSourceError as error:
            outcome = str(error)

        assert len(outcome.splitlines()) == 1

    @UNHURRIED
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda below: st.lists(below) | st.dictionaries(st.text(), below),
        )
    )
    def test_of_json_is_read_as_json(self, value):
        """Also through the parser of YAML, as far as YAML goes."""
        assert parse(json.dumps({"a": value}), "test") == {"a": value}

    def test_is_cut_off_before_much_work_is_done(self):
        """Aliases that stand for more than 100,000 nodes, each level, and each document."""
        assert "more than 100000 nodes" in refusal("a: &a [" + "x, " * 1000 + "]\nb: [" + "*a, " * 1000 + "]")
        assert "nested deeper than 100" in refusal("- " * 101 + "x")
        assert "single document" in refusal("a: 1\n---\nb: 2")


class TestBuiltSchemas:
    def test_arrive_as_they_were(self, event_log):
        """Written by PyYAML, which quotes what YAML 1.1 would misread."""
        event_log.register_schema_file(io.StringIO(yaml.safe_dump(schema())))

        assert event_log.schemas[ID, 1] == schema()
