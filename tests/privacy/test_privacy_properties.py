"""Nothing flagged is ever seen where it is not allowed, whatever the schema, the event and the options are."""

from __future__ import annotations

import io
import json
import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest
from builders import ID
from hypothesis import HealthCheck, given, settings
from hypothesis import event as note
from hypothesis import strategies as st
from jsonschema import ValidationError
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from jupyter_otel_telemetry import EventLog, OTLPHandler
from jupyter_otel_telemetry.schemas import flags

D7 = "http://json-schema.org/draft-07/schema#"
D2020 = "https://json-schema.org/draft/2020-12/schema"
CATEGORIES = ["c1", "c2", "unrestricted"]


@dataclass
class Mark:
    """A text in an event: its dotted path, and the flags of all that it lies in."""

    text: str
    path: tuple[str, ...] = ()
    flags: tuple[Any, ...] = ()

    def below(self, name):
        return Mark(self.text, (name, *self.path), self.flags)

    def flagged(self, flag):
        return Mark(self.text, self.path, (*self.flags, flag))

    def may_be_seen(self, options):
        dotted = ".".join(self.path)
        for path in (*options.get("withheld_properties", ()), *options.get("pseudonymized_properties", ())):
            if dotted == path or dotted.startswith(f"{path}."):
                return False
        if self.path and self.path[0] in options.get("allowed_properties", ()):
            return True
        allowed = {"unrestricted", *options.get("allowed_categories", ())}
        return all(flag != "pii" and set(flag) <= allowed for flag in self.flags)


@dataclass
class Node:
    """A schema, a value that is valid, and the marks in it."""

    schema: Any
    value: Any
    marks: list[Mark] = field(default_factory=list)

    def below(self, name):
        return [mark.below(name) for mark in self.marks]


class Builder:
    """Draws schemas with flags in every place that JSON Schema has."""

    def __init__(self, draw, draft):
        self.draw, self.draft = draw, draft
        self.definitions: dict[str, Any] = {}
        self.count = 0

    def text(self):
        self.count += 1
        return f"mark{self.count}x"

    def node(self, depth):
        kinds = ["leaf", "flag"] if depth <= 0 else ["leaf", "flag", *self.COMPOUND]
        return getattr(self, self.draw(st.sampled_from(kinds)))(depth - 1)

    def leaf(self, _depth):
        text = self.text()
        return Node({}, text, [Mark(text)])

    def flag(self, depth):
        node = self.node(depth)
        if self.draw(st.booleans()):
            annotation, flag = {"pii": True}, "pii"
        else:
            flag = tuple(self.draw(st.lists(st.sampled_from(CATEGORIES), min_size=1, max_size=2)))
            annotation = {"categories": list(flag)}
        # As a branch where the place has a flag already.
        schema = {"allOf": [node.schema, annotation]}
        return Node(schema, node.value, [mark.flagged(flag) for mark in node.marks])

    COMPOUND = (
        "properties array tuple_ pattern additional names content contains ref all_of any_of one_of not_ then else_ "
        "dependent recursive unevaluated"
    ).split()

    def properties(self, depth):
        names = self.draw(st.lists(st.sampled_from(["a", "b", "c.d", "e"]), unique=True, min_size=1, max_size=3))
        nodes = {name: self.node(depth) for name in names}
        schema = {"properties": {name: node.schema for name, node in nodes.items()}}
        return self.object(schema, nodes)

    def object(self, schema, nodes):
        marks = [mark for name, node in nodes.items() for mark in node.below(name)]
        return Node(schema, {name: node.value for name, node in nodes.items()}, marks)

    def pattern(self, depth):
        node = self.node(depth)
        return self.object({"patternProperties": {"^k": node.schema}}, {"k1": node})

    def additional(self, depth):
        node = self.node(depth)
        return self.object({"properties": {"a": {}}, "additionalProperties": node.schema}, {"zz": node})

    def unevaluated(self, depth):
        node = self.node(depth)
        keyword = "unevaluatedProperties" if self.draft == D2020 else "additionalProperties"
        return self.object({"properties": {"a": {}}, keyword: node.schema}, {"zz": node})

    def names(self, _depth):
        text = self.text()
        return Node({"propertyNames": {"anyOf": [{"pii": True}]}}, {text: 1}, [Mark(text, (), ("pii",))])

    def content(self, _depth):
        text = self.text()
        schema = {"contentSchema": {"properties": {"in": {"pii": True}}}}
        return Node(schema, json.dumps({"in": text}), [Mark(text, (), ("pii",))])

    def array(self, depth):
        node = self.node(depth)
        return Node({"items": node.schema}, [node.value, node.value], node.marks)

    def contains(self, depth):
        node = self.node(depth)
        return Node({"contains": node.schema}, [node.value], node.marks)

    def tuple_(self, depth):
        first, second = self.node(depth), self.node(depth)
        keyword = "prefixItems" if self.draft == D2020 else "items"
        rest = self.node(depth)
        rest_keyword = "items" if self.draft == D2020 else "additionalItems"
        schema = {keyword: [first.schema, second.schema], rest_keyword: rest.schema}
        return Node(schema, [first.value, second.value, rest.value], first.marks + second.marks + rest.marks)

    def ref(self, depth):
        node = self.node(depth)
        name = f"d{len(self.definitions)}"
        self.definitions[name] = node.schema
        return Node({"$ref": f"#/definitions/{name}"}, node.value, node.marks)

    def recursive(self, depth):
        node = self.node(depth)
        name = f"d{len(self.definitions)}"
        self.definitions[name] = {"properties": {"v": node.schema, "child": {"$ref": f"#/definitions/{name}"}}}
        value = {"v": node.value, "child": {"child": {"v": node.value}}}
        marks = [mark for path in (("v",), ("child", "child", "v")) for mark in self.under(node, path)]
        return Node({"$ref": f"#/definitions/{name}"}, value, marks)

    def under(self, node, path):
        return [Mark(mark.text, (*path, *mark.path), mark.flags) for mark in node.marks]

    def all_of(self, depth):
        return self.wrapped(depth, lambda schema: {"allOf": [{}, schema]})

    def any_of(self, depth):
        return self.wrapped(depth, lambda schema: {"anyOf": [{}, schema]})

    def one_of(self, depth):
        return self.wrapped(depth, lambda schema: {"oneOf": [False, schema, {"allOf": [schema, False]}]})

    def not_(self, depth):
        return self.wrapped(depth, lambda schema: {"not": {"allOf": [schema, False]}})

    def then(self, depth):
        return self.wrapped(depth, lambda schema: {"if": {}, "then": schema})

    def else_(self, depth):
        return self.wrapped(depth, lambda schema: {"if": schema, "else": schema})

    def dependent(self, depth):
        keyword = "dependentSchemas" if self.draft == D2020 else "dependencies"
        return self.wrapped(depth, lambda schema: {keyword: {"a": schema}})

    def wrapped(self, depth, wrap):
        node = self.node(depth)
        return Node(wrap(node.schema), node.value, node.marks)


@st.composite
def cases(draw):
    """Draw a schema, a valid event, its marks, and options for the EventLog and for the handler."""
    builder = Builder(draw, draw(st.sampled_from([D7, D2020])))
    root = builder.properties(4)
    schema = {**root.schema, "$id": ID, "version": 1, "$schema": builder.draft, "definitions": builder.definitions}
    paths = sorted({".".join(mark.path[:end]) for mark in root.marks for end in range(1, len(mark.path) + 1)})
    some_paths = st.lists(st.sampled_from(paths), max_size=2, unique=True) if paths else st.just([])
    options = st.fixed_dictionaries(
        {},
        optional={
            "allowed_properties": st.lists(st.sampled_from(sorted(root.value)), max_size=1),
            "allowed_categories": st.lists(st.sampled_from(CATEGORIES), unique=True),
            "withheld_properties": some_paths,
            "pseudonymized_properties": some_paths,
        },
    )
    return schema, root.value, root.marks, draw(options), draw(st.none() | options)


def examples(count):
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=os.environ.get("CI") == "true",
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@contextmanager
def everything_logged():
    """Collect whatever anybody logs, tracebacks included."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


class Sinks:
    """An EventLog with a file, a listener, and what goes over the wire."""

    def __init__(self, schema, options, narrower):
        entry = "https://example.org/*"
        key = {"pseudonym_key": "k" * 32}
        self.file, self.heard = io.StringIO(), []
        self._exporter = InMemoryLogRecordExporter()
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleLogRecordProcessor(self._exporter))
        allowed = None if narrower is None else {entry: narrower}
        handlers = [
            logging.StreamHandler(self.file),
            OTLPHandler(logger_provider=provider, allowed_schemas=allowed, **key),
        ]
        self.log = EventLog(handlers=handlers, allowed_schemas={entry: options}, **key)
        self.log.register_schema(schema)
        self.log.add_listener(lambda *args: self.heard.append(args))

    @property
    def wire(self):
        return encode_logs(self._exporter.get_finished_logs()).SerializeToString().decode("latin-1")


class TestNothingLeaks:
    @given(cases())
    @examples(300)
    def test_into_file_wire_listeners_logs_and_what_is_returned(self, case):
        """A mark that may not be seen is nowhere; one that may is everywhere, if no flag is near it."""
        schema, event, marks, options, narrower = case
        sinks = Sinks(schema, options, narrower)
        with everything_logged() as logged:
            returned = sinks.log.record_event(ID, 1, event)
        seen_at_home = sinks.file.getvalue() + repr(returned) + repr(sinks.heard) + logged.getvalue()

        for mark in marks:
            others = [other for other in marks if other.text == mark.text]
            if not any(other.may_be_seen(options) for other in others):
                note("withheld")
                assert mark.text not in seen_at_home + sinks.wire
            elif narrower is not None and not any(other.may_be_seen(narrower) for other in others):
                note("withheld by the handler")
                assert mark.text not in sinks.wire

    @given(cases(), st.integers(0, 3))
    @examples(150)
    def test_where_patterns_are_too_many(self, case, trials):
        """A property that no pattern was tried on is withheld if any pattern or name has a flag."""
        schema, event, marks, options, _ = case
        with patch.object(flags, "MAX_TRIALS", trials):
            sinks = Sinks(schema, options, None)
            returned = sinks.log.record_event(ID, 1, event)
        hidden = {mark.text for mark in marks} - {mark.text for mark in marks if mark.may_be_seen(options)}

        assert [text for text in hidden if text in sinks.file.getvalue() + repr(returned)] == []

    @given(cases())
    @examples(100)
    def test_what_nothing_flags_or_names_is_recorded(self, case):
        """As it is."""
        schema, event, marks, _, _ = case
        if not any(mark.flags for mark in marks) and "pii" not in str(schema) and "categories" not in str(schema):
            assert Sinks(schema, {}, {}).log.record_event(ID, 1, event) == event

    @given(cases(), st.data())
    @examples(150)
    def test_into_what_is_said_of_an_invalid_event(self, case, data):
        """Wherever it is invalid."""
        schema, event, marks, options, narrower = case
        broken = _with_garbage(event, data.draw(st.integers(0, 50)))
        sinks = Sinks(schema, options, narrower)
        with everything_logged() as logged:
            with pytest.raises(ValidationError) as caught:
                sinks.log.record_event(ID, 1, broken)
            sinks.log.on_invalid = "log"
            sinks.log.record_event(ID, 1, broken)
        said = str(caught.value) + logged.getvalue()

        assert [mark.text for mark in marks if mark.text in said and not mark.may_be_seen(options)] == []


def rewrapped(draw, value, *, objects):
    """Put any values of an event into brackets, take any out, or replace brackets by those of an object."""
    if isinstance(value, dict):
        value = {name: rewrapped(draw, item, objects=objects) for name, item in value.items()}
    if isinstance(value, list):
        value = [rewrapped(draw, item, objects=objects) for item in value]
        kinds = ["as it is", "without", "object"] if objects else ["as it is", "without"]
        kind = draw(st.sampled_from(kinds))
        if kind == "object":
            return {f"k{index}": item for index, item in enumerate(value)}
        if kind == "without" and len(value) == 1:
            value = value[0]
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        value = [value]
    return value


def leaves(before, after, path=()):
    """Yield the dotted path to every text of an event, and whether it was recorded."""
    if isinstance(before, dict):
        for name, item in before.items():
            yield from leaves(item, after and after.get(name), (*path, name))
    elif isinstance(before, list):
        for index, item in enumerate(before):
            yield from leaves(item, after and after[index], path)
    elif isinstance(before, str):
        yield path, after is not None


class TestBrackets:
    @given(cases(), st.data())
    @examples(300)
    def test_hide_nothing_from_a_flag(self, case, data):
        """Whatever stands in brackets, without its brackets, or in an object instead, is as flagged as before."""
        schema, event, marks, _, _ = case
        sinks = Sinks(schema, {}, None)
        wrapped = {name: rewrapped(data.draw, item, objects=True) for name, item in event.items()}
        try:
            recorded = sinks.log.record_event(ID, 1, wrapped)
        except ValidationError:
            return
        flagged = {mark.text for mark in marks} - {mark.text for mark in marks if mark.may_be_seen({})}

        assert [text for text in flagged if text in repr(recorded)] == []

    @given(cases(), st.data())
    @examples(200)
    def test_hide_nothing_from_an_option(self, case, data):
        """Nor from a path that an option withholds or pseudonymizes, though the schema flags nothing."""
        schema, event, marks, options, _ = case
        options = {"allowed_categories": CATEGORIES} | options
        sinks = Sinks(schema, options, None)
        wrapped = {name: rewrapped(data.draw, item, objects=True) for name, item in event.items()}
        try:
            recorded = sinks.log.record_event(ID, 1, wrapped)
        except ValidationError:
            return
        hidden = {mark.text for mark in marks} - {mark.text for mark in marks if mark.may_be_seen(options)}

        assert [text for text in hidden if text in repr(recorded)] == []

    @given(cases(), st.data())
    @examples(200)
    def test_are_passed_unseen_by_what_explain_says(self, case, data):
        """A withheld value lies at or below a row that says so, a recorded one nowhere below rows that all do."""
        schema, event, _, _, _ = case
        log = Sinks(schema, {}, None).log
        wrapped = {name: rewrapped(data.draw, item, objects=False) for name, item in event.items()}
        try:
            recorded = log.record_event(ID, 1, wrapped)
        except ValidationError:
            return
        said: dict[str, set[str]] = {}
        for row in log.explain()[0]["properties"]:
            said.setdefault(row["property"].partition("[")[0], set()).add(row["outcome"])
        for path, is_recorded in leaves(wrapped, recorded):
            outcomes = [said.get(".".join(path[:end])) for end in range(1, len(path) + 1)]
            if None not in outcomes:
                assert not is_recorded or all("recorded" in some for some in outcomes)
                assert is_recorded or any("withheld" in some for some in outcomes)


def _with_garbage(value, countdown):
    """Put something that is no JSON somewhere into a value."""
    if isinstance(value, dict) and value and countdown % 5:
        names = list(value)
        name = names[countdown % len(names)]
        return value | {name: _with_garbage(value[name], countdown // 2)}
    if isinstance(value, list) and value and countdown % 3:
        return [_with_garbage(value[0], countdown // 2), *value[1:]]
    return {"garbage": {1}} if not isinstance(value, dict) else value | {"garbage": {1}}
