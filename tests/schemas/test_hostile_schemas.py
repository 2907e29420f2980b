"""No schema of 1 MiB and no event keeps the application busy, or ends its process.

Each is registered and meets an event in a process of its own, which may use twenty seconds of CPU on a machine of any
speed; without bounds, each would need minutes, or all memory.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

SETUP = """
import resource
import jsonschema
from jupyter_otel_telemetry import EventLog

log = EventLog(allowed_schemas=["x"])
log.add_listener(lambda *_: None)
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))


def outcome(schema, *events):
    "Return what becomes of the events: recorded, or the class of the error."
    outcomes = []
    try:
        log.register_schema({"$id": "x", "version": 1, **schema})
        for event in events:
            try:
                log.record_event("x", 1, event)
                outcomes.append("recorded")
            except jsonschema.ValidationError as error:
                assert len(str(error)) < 10_000
                outcomes.append("invalid")
    except jsonschema.SchemaError as error:
        outcomes.append("SchemaError")
    print(*outcomes)


def nested(depth, leaf):
    for _ in range(depth):
        leaf = {"c": leaf}
    return leaf


def chain(count, link, end):
    "Return definitions that lead from one to the next."
    links = {f"d{n}": link({"$ref": f"#/definitions/d{n + 1}"}) for n in range(count)}
    return {"$ref": "#/definitions/d0", "definitions": {**links, f"d{count}": end}}


REF = {"$ref": "#"}
D7 = {"$schema": "http://json-schema.org/draft-07/schema#"}
D2020 = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
"""

CASES = {
    "flagged patterns that many names do not match": (
        (
            'outcome({"patternProperties": {f"^p{n}$": {"pii": True} for n in range(8000)}},'
            ' {f"q{n}": 1 for n in range(8000)})'
        ),
        "recorded",
    ),
    "names whose match is given up": (
        """outcome({"patternProperties": {r"^(?=a)(a|aa)+\\1$": {}}}, {"a" * 60 + str(i): 1 for i in range(9000)})""",
        "invalid",
    ),
    "two branches that recurse": (
        (
            'outcome({"properties": {"c": {"anyOf": [REF, REF]}, "x": {"type": "string"}}},'
            ' nested(40, {"x": 1}), nested(40, {"x": "1"}), nested(480, {"x": 1}))'
        ),
        "invalid recorded invalid",
    ),
    "two branches that recurse through other places": (
        (
            'outcome({"oneOf": [{"properties": {"c": {"allOf": [REF]}}}, {"patternProperties": {"c": REF}}],'
            ' "type": "object"}, nested(60, {"c": 1}))'
        ),
        "invalid",
    ),
    "allOf that doubles at each reference": (
        'outcome(chain(26, lambda ref: {"allOf": [ref, ref]}, {"type": "object"}), {})',
        "SchemaError",
    ),
    "if that doubles at each reference": (
        'outcome(chain(40, lambda ref: {"if": ref, "then": ref}, {"properties": {"c": REF}}), nested(3, {}))',
        "SchemaError",
    ),
    "properties that double at each level": (
        (
            'outcome(chain(45, lambda ref: {"allOf": [{"properties": {"c": ref}}, {"properties": {"c": ref}}]}, {}),'
            " nested(45, {}))"
        ),
        "SchemaError",
    ),
    "references that lead from one to the next": (
        'outcome(chain(5_000, lambda ref: {"not": ref}, {"properties": {"c": {"$ref": "#"}}}), nested(480, {}))',
        "SchemaError",
    ),
    "a reference to itself": ('outcome({"allOf": [REF]}, {})', "SchemaError"),
    "recursion as deep as events may be": (
        (
            'outcome({"properties": {"c": {"not": {"not": {"not": {"not": REF}}}}, "x": {"type": "string"}}},'
            ' nested(480, {"x": 1}))'
        ),
        "invalid",
    ),
    "references in propertyNames beside a flag": (
        (
            'outcome({"properties": {f"p{n}": {"propertyNames": REF} for n in range(1_500)} | {"f": {"pii": True}}},'
            ' {"p1": {"f": 1}})'
        ),
        "recorded",
    ),
    "an enum of many objects": (
        'outcome({"properties": {"e": {"enum": [{"a": n} for n in range(20_000)]}}}, {"e": {"a": 3}}, {"e": 3})',
        "recorded invalid",
    ),
    "uniqueItems beside another violation": (
        (
            'outcome({"properties": {"u": {"uniqueItems": True}, "x": {"type": "string"}}},'
            ' {"u": [{"a": [n]} for n in range(50_000)], "x": 1})'
        ),
        "invalid",
    ),
    "many branches, none of which an event of 1 MiB meets": (
        'outcome({"properties": {"a": {"anyOf": [{"type": "string"}, False] * 10_000}}}, {"a": ["x" * 1000] * 1000})',
        "invalid",
    ),
    "many unevaluatedProperties": (
        (
            'outcome({**D2020, "properties": {"c": {"anyOf": [REF, REF]}, "x": {"type": "string"}},'
            ' "unevaluatedProperties": False}, nested(40, {"x": 1}), nested(40, {"y": 1}))'
        ),
        "invalid invalid",
    ),
    "a pattern that backtracks": (
        'outcome({"properties": {"s": {"pattern": r"^(a|aa)+\\1$"}}}, {"s": "a" * 10_000 + "!"}, {"s": "aa"})',
        "invalid recorded",
    ),
    "a pattern that backtracks, below a reference to a schema that names its draft": (
        ('outcome({**D7, "properties": {"s": {"pattern": "^(a+)+$"}, "c": REF}}, {"c": {"s": "a" * 60 + "!"}})'),
        "invalid",
    ),
    "a pattern of Python that the engine does not know": (
        'outcome({"properties": {"s": {"pattern": "(?a)^(a+)+$"}}}, {"s": "a" * 60 + "!"})',
        "SchemaError",
    ),
    "patterns that are expensive to compile": (
        'outcome({"properties": {f"p{n}": {"pattern": r"^\\p{L}{20}" + str(n)} for n in range(20_000)}}, {})',
        "SchemaError",
    ),
    "thousands of patterns with a flag": (
        'outcome({"patternProperties": {f"^x{n}-": {"pii": True} for n in range(5_000)}}, *[{"x1-a": 1}] * 50)',
        " ".join(["recorded"] * 50),
    ),
    "many categories below many names": (
        (
            'outcome({"properties": {f"p{n}": {"categories": [f"c{n}"], "propertyNames": REF} for n in range(999)}},'
            ' {"p1": {}})'
        ),
        "recorded",
    ),
    "many references to what many others apply to": (
        (
            'branches = [{"title": str(n)} for n in range(5_000)]\n'
            'outcome({"properties": {f"p{n}": {"$ref": "#/definitions/d"} for n in range(10_000)},'
            ' "definitions": {"d": {"anyOf": branches, "pii": True}}}, {"p1": 1})'
        ),
        "recorded",
    ),
    "integers that Python does not print": (
        (
            'outcome({"properties": {"i": {"maximum": 5}, "m": {"multipleOf": 7}, "s": {"type": "string"}}},'
            ' {"i": 10**9_000}, {"i": -(10**9_000)}, {"m": 7**10_000}, {"m": 7**10_000 + 1}, {"s": 10**9_000},'
            ' {"i": 10**1_000_000})'
        ),
        "invalid recorded recorded invalid invalid invalid",
    ),
    "integers of a million digits that no rule is about": (
        (
            'outcome({"properties": {"i": {"type": "integer"}, "s": {"type": "string"}}},'
            ' {"i": 10**1_000_000}, {"s": 10**1_000_000})'
        ),
        "recorded invalid",
    ),
    "ninety thousand properties": (
        'outcome({"properties": {f"a{n}": {} for n in range(90_000)} | {"p": {"pii": True}}}, {"p": 1})',
        "recorded",
    ),
}


class TestHostileSchema:
    @pytest.mark.parametrize("code, expected", CASES.values(), ids=CASES)
    def test_has_a_verdict_with_bounded_work(self, code, expected):
        """A schema whose work has no bound is refused."""
        done = subprocess.run([sys.executable, "-c", SETUP + code], capture_output=True, text=True, check=False)

        assert (done.returncode, done.stdout.strip()) == (0, expected), done.stderr
