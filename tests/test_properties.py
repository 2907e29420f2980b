"""What holds for any event, any schema and any log record, whatever they contain."""

from __future__ import annotations

import enum
import io
import json
import logging
import math
import os
import sys
from collections import ChainMap, OrderedDict, UserList
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from logging.handlers import MemoryHandler, QueueHandler
from queue import SimpleQueue
from types import MappingProxyType
from typing import NamedTuple

import jsonschema
import pytest
from builders import ID, schema
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider, LogRecordLimits
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from jupyter_otel_telemetry import EventLog, JSONLinesFormatter, OTLPHandler
from jupyter_otel_telemetry.otlp.received import parse_protobuf
from jupyter_otel_telemetry.testing import EventSink

PREFIX = "jupyter.event."
DIALECTS = [
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
]


def examples(count):
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=os.environ.get("CI") == "true",
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )


def event_log(*handlers):
    """Return an `EventLog` with a schema that allows every object."""
    log = EventLog(handlers=list(handlers), allowed_schemas=["*"])
    log.register_schema({"$id": ID, "version": 1})
    return log


# ---- any JSON ----


def nested(depth, bottom, container):
    """Wrap a value in that many lists or objects."""
    for _ in range(depth):
        bottom = [bottom] if container is list else {"a": bottom}
    return bottom


NAMES = ["", "a", "b", "a.b", ".", "é", "\ud800x", "\n", '"', "=", " ", "message", "name", "args", "msg", "exc_info"]
NAMES += ["levelno", "otel.event.name", "jupyter.schema.id", "log.record.uid", "event_type", "$ref", "_x"]
BOUNDS = [2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**400]

names = st.sampled_from(NAMES) | st.text(max_size=4).filter(lambda name: not name.startswith("__"))
texts = st.text(st.characters(), max_size=8)  # with control characters and lone surrogates
huge = st.builds(lambda sign: sign * 10**5000, st.sampled_from([1, -1]))  # Python refuses to print it
atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(BOUNDS),
    huge,
    st.floats(),
    texts,
    st.just([]),
    st.just({}),
)
deep = st.builds(nested, st.integers(10, 400), atoms, st.sampled_from([list, dict]))
values = st.recursive(atoms, lambda some: st.lists(some, max_size=4) | st.dictionaries(names, some, max_size=4))
wide = st.integers(129, 300).map(lambda count: {f"p{number}": number for number in range(count)})
events = st.dictionaries(names, values | deep, max_size=6) | wide


def clean(text):
    """Replace lone surrogates by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def printable(number):
    """Return an integer as text: decimal if Python can."""
    return hex(number) if abs(number) > 10**4000 else str(number)


def written(value):
    """Return what a line of a file holds of a JSON value."""
    if isinstance(value, dict):
        return {clean(name): written(item) for name, item in value.items()}
    if isinstance(value, list):
        return [written(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and abs(value) > 10**4000:
        return printable(value)
    return clean(value) if isinstance(value, str) else value


def read_strictly(line):
    """Parse one line of JSON, and no other text that Python takes for it."""

    def refuse(constant):
        pytest.fail(f"{constant} is no JSON")

    return json.loads(line, parse_constant=refuse)


def identical(one, other):
    """Compare JSON values with their types, the order of names and the sign of zero; NaN is NaN."""
    return repr(one) == repr(other)


# ---- files ----


class TestLine:
    @given(events)
    @examples(120)
    def test_holds_the_event_that_went_in(self, event):
        """One line of valid JSON per event, equal but for NaN, lone surrogates and what Python cannot print."""
        file = io.BytesIO()
        stream = io.TextIOWrapper(file, encoding="utf-8", newline="\n", write_through=True)
        event_log(logging.StreamHandler(stream)).record_event(ID, 1, event)
        line, rest = file.getvalue().split(b"\n")
        properties = dict(list(read_strictly(line).items())[4:])

        assert rest == b""
        assert identical(properties, written(event))


# ---- OpenTelemetry ----


class Wire:
    """A handler, and what a receiver reads of what it sends."""

    def __init__(self, build):
        limits = LogRecordLimits(max_log_record_attributes=LogRecordLimits.UNSET)
        provider = LoggerProvider(log_record_limits=limits, shutdown_on_exit=False)
        self._exporter = InMemoryLogRecordExporter()
        provider.add_log_record_processor(SimpleLogRecordProcessor(self._exporter))
        self.handler = build(logger_provider=provider)
        self._log = event_log(self.handler)

    def send(self, *events):
        """Record events; return them as they arrive in one batch."""
        for event in events:
            self._log.record_event(ID, 1, event)
        return self.received()

    def received(self):
        """Encode everything new as one batch, and decode it."""
        body = encode_logs(self._exporter.get_finished_logs()).SerializeToString()
        self._exporter.clear()
        return parse_protobuf(body)


@pytest.fixture(scope="module", params=[OTLPHandler, LoggingHandler], ids=["ours", "stock"])
def wire(request):
    """Either handler, over the encoder of the exporters."""
    return Wire(request.param)


@pytest.fixture(scope="module")
def our_wire():
    return Wire(OTLPHandler)


def rebuilt(value, name, attributes):
    """Take from the attributes what arrived of a value, dotted or whole."""
    if name in attributes:
        return attributes.pop(name)
    if isinstance(value, dict):
        return {clean(key): rebuilt(item, f"{name}.{clean(key)}", attributes) for key, item in value.items()}
    return None


def arrived_whole(event, log):
    """Tell whether a log holds an event, and nothing that is not in it."""
    attributes = {name: value for name, value in log.attributes.items() if name.startswith(PREFIX)}
    arrived = {clean(key): rebuilt(item, PREFIX + clean(key), attributes) for key, item in event.items()}
    return same(event, arrived) and not attributes


def same(sent, arrived):
    """Tell whether what arrived is what was sent, but for the documented conversions."""
    if isinstance(sent, (dict, list)) and isinstance(arrived, str):  # too deep, or with an empty name
        return identical(read_strictly(arrived), written(sent))
    if isinstance(sent, dict):
        return [clean(name) for name in sent] == list(arrived) and all(map(same, sent.values(), arrived.values()))
    if isinstance(sent, list):
        return len(sent) == len(arrived) and all(map(same, sent, arrived))
    if type(sent) is int and not -(2**63) <= sent < 2**63:
        return arrived == printable(sent)
    return identical(clean(sent) if isinstance(sent, str) else sent, arrived)


class TestOTLP:
    @given(event=events)
    @examples(120)
    def test_brings_the_event_that_went_in(self, wire, event):
        """Nothing is missing, nothing is added, through either handler."""
        [log] = wire.send(event)

        assert arrived_whole(event, log)

    @given(good=events, hostile=events)
    @examples(40)
    def test_hostile_event_does_not_disturb_its_neighbours(self, wire, good, hostile):
        """A batch is encoded as a whole, so one value that cannot be would cost all of it."""
        before, between, after = wire.send(good, hostile, good)

        assert arrived_whole(good, before)
        assert arrived_whole(hostile, between)
        assert arrived_whole(good, after)


# ---- what belongs to the caller ----


def snapshot(value):
    """Note identity, type and content of a value and of all below it."""
    if isinstance(value, dict):
        return id(value), type(value), [(name, snapshot(item)) for name, item in value.items()]
    if isinstance(value, list):
        return id(value), type(value), [snapshot(item) for item in value]
    return id(value), type(value)


def spoil(value):
    """Change a value and all below it."""
    for item in list(value.values()) if isinstance(value, dict) else value:
        if isinstance(item, (dict, list)):
            spoil(item)
    if isinstance(value, dict):
        value["spoiled"] = True
    else:
        value.append("spoiled")


class TestCallersEvent:
    @given(events)
    @examples(60)
    def test_is_not_changed(self, event):
        """Neither its content nor the objects it is made of."""
        before = snapshot(event)
        event_log(EventSink()).record_event(ID, 1, event)

        assert snapshot(event) == before

    @given(events)
    @examples(60)
    def test_may_be_changed_while_the_record_waits(self, event):
        """So may what record_event returned: a record is emitted as it was."""
        recorded, sink, queue = written(event), EventSink(), SimpleQueue()
        memory = MemoryHandler(1000, target=sink)
        returned = event_log(memory, QueueHandler(queue)).record_event(ID, 1, event)
        spoil(event)
        spoil(returned)
        memory.flush()

        assert identical(written(sink.events[0]), recorded)
        assert identical(written(dict(queue.get().event)), recorded)


# ---- garbage ----


class Hostile:
    """An object with which nothing can be done."""

    def refuse(self, *_):
        raise RuntimeError("hands off")

    __str__ = __repr__ = __eq__ = __len__ = __bool__ = __iter__ = __getitem__ = __format__ = __lt__ = refuse
    __hash__ = refuse


class HostileClass:
    @property
    def __class__(self):
        raise RuntimeError("no class")


class HostileText(str):
    __slots__ = ()

    def refuse(self, *_):
        raise RuntimeError("hands off")

    __str__ = __repr__ = encode = startswith = __format__ = refuse


class HostileInt(int):
    def refuse(self, *_):
        raise RuntimeError("hands off")

    __int__ = __index__ = __str__ = __repr__ = refuse


class HostileDict(dict):
    def items(self):
        raise RuntimeError("hands off")


class HostileList(list):
    def __iter__(self):
        raise RuntimeError("hands off")


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 1


@dataclass
class Point:
    x: int = 0


def circle(container):
    circular = container()
    if container is dict:
        circular["again"] = circular
    else:
        circular.append(circular)
    return circular


class Pair(NamedTuple):
    x: int = 0


GARBAGE = [
    *(Hostile, HostileInt, Point, Pair, object, set, frozenset, bytes, UserList, complex),
    *(lambda: HostileText("text"), lambda: HostileDict(a=1), lambda: HostileList([1]), lambda: OrderedDict(a={1})),
    *(lambda: Colour.RED, lambda: Level.HIGH, lambda: int, lambda: ..., lambda: range(3), lambda: (1, "a")),
    *(lambda: Decimal(1), lambda: datetime.now(timezone.utc), lambda: (item for item in ())),
    *(lambda: MappingProxyType({"a": 1}), lambda: OrderedDict(a=1), lambda: ChainMap({"a": 1})),
    *(lambda: {1: 2}, lambda: {None: 1}, lambda: {(1, 2): 1}, lambda: {HostileText("key"): 1}, lambda: {b"": 1}),
    *(lambda: circle(list), lambda: circle(dict), lambda: nested(10_000, 1, list), lambda: nested(10_000, 1, dict)),
]
garbage = st.sampled_from(range(len(GARBAGE))).map(
    lambda index: GARBAGE[index]()
)  # Hypothesis would print the objects
mess = st.recursive(
    garbage | atoms, lambda some: st.lists(some, max_size=3) | st.dictionaries(names, some, max_size=3)
)


class TestGarbageAsEvent:
    strict = schema(properties={"a": {"type": ["string", "integer"]}, "b": {"items": {"type": "object"}}})

    @given(event=st.dictionaries(names, mess, max_size=3) | mess, keywords=st.sampled_from([{}, strict]))
    @examples(300)
    def test_is_recorded_or_invalid(self, event, keywords):
        """Nothing but ValidationError comes back, whatever the event is."""
        log = EventLog(handlers=[logging.StreamHandler(io.StringIO())], allowed_schemas=["*"])
        log.register_schema({**keywords, "$id": ID, "version": 1})
        try:
            log.record_event(ID, 1, event)
        except jsonschema.ValidationError as error:
            assert str(error)  # noqa: PT017 - it is one of two good ends

    @pytest.mark.parametrize("build", [HostileClass, lambda: {"a": HostileClass()}], ids=["alone", "inside"])
    def test_is_invalid_if_not_even_its_class_can_be_asked_for(self, build):
        """Hypothesis cannot take such an object, the package can."""
        with pytest.raises(jsonschema.ValidationError):
            event_log(EventSink()).record_event(ID, 1, build())


KEYWORDS = """
$id $schema $ref $anchor $recursiveRef $dynamicRef $defs definitions id title type enum const properties
patternProperties additionalProperties propertyNames items prefixItems additionalItems contains minContains
allOf anyOf not if then required dependencies dependentRequired dependentSchemas minLength pattern minimum
exclusiveMinimum multipleOf format unevaluatedProperties unevaluatedItems otel default uniqueItems
""".split()
WORDS = [
    "",
    "#",
    "#/",
    "#foo",
    "#/properties/a",
    "#/$defs/x",
    "http://[",
    "http://e.org/a#b",
    "%zz",
    "urn:x:y",
    "(",
    "[",
]
WORDS += [
    "(?<n>a)",
    r"\p{L}",
    "a{99999999999}",
    "string",
    "any",
    "INFO",
    "user.name",
    "jupyter.x",
    "\ud800",
    *DIALECTS,
]
SCHEMA = {
    "$id": ID,
    "version": 1,
    "title": "A good schema",
    "type": "object",
    "otel": {"event_name": "good", "severity": "WARN"},
    "required": ["a"],
    "properties": {
        "a": {"type": ["string", "null"], "pattern": "^a", "otel": {"attribute": "user.name"}},
        "b": {"$ref": "#/$defs/x"},
        "c": {"type": "array", "items": {"enum": [1, "x"]}, "contains": {"const": 1}},
        "d": {"type": "object", "patternProperties": {"^x": {"minimum": 0}}, "additionalProperties": False},
    },
    "dependencies": {"a": ["b"], "b": {}},
    "if": {"required": ["b"]},
    "then": {},
    "$defs": {"x": {"anyOf": [{"type": "string"}, {"$ref": "#"}]}},
}

any_name = st.sampled_from(KEYWORDS) | names | st.just("__x")
any_atom = atoms.filter(lambda value: type(value) is not int or abs(value) < 10**400) | st.sampled_from(WORDS)
anything = st.recursive(
    any_atom, lambda some: st.lists(some, max_size=3) | st.dictionaries(any_name, some, max_size=4), max_leaves=10
)
labelled = st.fixed_dictionaries(
    {"$id": st.sampled_from(["a", "#a", "urn:a:b", ID]), "version": st.sampled_from([1, "1", 1.5])},
    optional={keyword: anything for keyword in KEYWORDS if keyword != "$id"},
)


def places(value, path=()):
    """Yield the path to everything inside a value."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(value[key], (*path, key))


@st.composite
def mutants(draw):
    """A good schema with one thing in it replaced, removed or added."""
    mutant = {**deepcopy(SCHEMA), "$schema": draw(st.sampled_from(DIALECTS))}
    *way, last = draw(st.sampled_from(list(places(SCHEMA))))
    holder = mutant
    for step in way:
        holder = holder[step]
    change = draw(st.sampled_from(["replace", "remove", "add"]))
    if change == "remove":
        del holder[last]
    elif change == "add" and isinstance(holder, dict):
        holder[draw(any_name)] = draw(anything)
    else:
        holder[last] = draw(anything | garbage)
    return mutant


class TestGarbageAsSchema:
    @given(anything | labelled | mutants() | garbage)
    @examples(400)
    @example({"$id": ID, "version": 1, "$defs": {"x": {"type": "strng"}}, "properties": {"a": {"$ref": "#/$defs/x"}}})
    @example({"$id": ID, "version": 1, "$defs": None, "properties": {"a": {"$ref": "#/$defs/x"}}})
    @example({"$id": ID, "version": 1, "unevaluatedProperties": {"$id": True}})
    @example({"$id": ID, "version": 1, "dependencies": {"a": {}, "b": ["a"]}})
    def test_is_registered_or_refused(self, candidate):
        """Nothing but ValueError and SchemaError comes back; so too from the first event of what was registered."""
        log = EventLog(handlers=[logging.NullHandler()], allowed_schemas=["*"])
        try:
            log.register_schema(candidate)
            [key] = log.schemas
            log.record_event(*key, {"a": "a", "b": {"a": [{}]}, "c": [1], "d": {"x": 1}})
        except (ValueError, jsonschema.SchemaError, jsonschema.ValidationError) as error:
            assert str(error)  # noqa: PT017 - it is one of two good ends

    @pytest.mark.parametrize("build", [Hostile, lambda: nested(10_000, 1, list)], ids=["hostile", "deep"])
    def test_is_refused_if_its_id_cannot_be_printed(self, build):
        """The error would otherwise name it."""
        with pytest.raises(ValueError, match="is not JSON"):
            EventLog().register_schema({"$id": build(), "version": 1})


# ---- the verdict ----


few = st.integers(0, 3)
keys = st.sampled_from(["a", "b", "ab", "", "é"])
numbers = st.sampled_from([0, 1, -1, 2, -0.0, 1.0, 1.5, 0.1, 0.3, 1e-9, 1e300, 2**53 + 1, 2**63, 2**64, 10**30])
words = st.sampled_from(["", "a", "ab", "aé", "🐍", "a\n", "1", "\ud800"])
types = st.sampled_from("object array string integer number boolean null".split())
patterns = st.sampled_from(["^a", "b$", "", "^.$", "[ab]+", r"\d", r"^\S*$", r"\w"])
small = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda some: st.lists(some, max_size=3) | st.dictionaries(keys, some, max_size=3),
    max_leaves=6,
)


def schemas_of(some):
    """Schemas with any keywords, some schemas below them."""
    key_lists = st.lists(keys, min_size=1, max_size=2, unique=True)
    keywords = {
        "type": types | st.lists(types, min_size=1, max_size=3, unique=True),
        "enum": st.lists(small, min_size=1, max_size=3),
        "required": key_lists,
        "properties": st.dictionaries(keys, some, max_size=3),
        "patternProperties": st.dictionaries(patterns, some, max_size=2),
        "dependencies": st.dictionaries(keys, some | key_lists, max_size=2),
        "dependentRequired": st.dictionaries(keys, key_lists, max_size=2),
        "dependentSchemas": st.dictionaries(keys, some, max_size=2),
        "prefixItems": st.lists(some, min_size=1, max_size=2),
        "uniqueItems": st.booleans(),
        "pattern": patterns,
        "multipleOf": st.sampled_from([1, 2, 0.1, 0.5, 3, 1e-9]),
        "format": st.sampled_from(["date-time", "email"]),
        "const": small,
        **dict.fromkeys("allOf anyOf oneOf".split(), st.lists(some, min_size=1, max_size=2)),
        **dict.fromkeys("items contains additionalProperties propertyNames not if then else".split(), some),
        **dict.fromkeys("unevaluatedProperties unevaluatedItems".split(), some),
        **dict.fromkeys("minLength maxLength minItems maxItems minContains maxContains".split(), few),
        **dict.fromkeys("minProperties maxProperties".split(), few),
        **dict.fromkeys("minimum maximum exclusiveMinimum exclusiveMaximum".split(), numbers),
    }
    return st.fixed_dictionaries({}, optional=keywords)


some_schemas = schemas_of(st.recursive(st.booleans() | st.builds(dict, type=types), schemas_of, max_leaves=4))


def verdict_of_jsonschema(document, event):
    """Return whether jsonschema allows an event; None: it knows no answer."""
    cls = jsonschema.validators.validator_for(document)
    try:
        cls.check_schema(document)
        return cls(document).is_valid(event)
    except (jsonschema.SchemaError, TypeError):  # the latter for boolean `items` beside `unevaluatedItems`
        return None


def our_verdict(document, event):
    log = EventLog(handlers=[logging.NullHandler()], allowed_schemas=["*"])
    log.register_schema(document)
    try:
        return log.record_event(ID, 1, event) is not None
    except jsonschema.ValidationError:
        return False


class TestVerdict:
    @given(st.sampled_from(DIALECTS), some_schemas, st.lists(st.dictionaries(keys, small, max_size=4), max_size=4))
    @examples(100)
    def test_is_that_of_jsonschema(self, dialect, keywords, events):
        """With jsonschema-rs deciding most cases, events are accepted and refused as by jsonschema alone."""
        document = {"$id": ID, "version": 1, "$schema": dialect, **keywords}
        # The later drafts have other keywords for it, and only suggest to go on with this one, as jsonschema-rs does.
        assume("dependencies" not in str(keywords) or "draft-0" in dialect)
        expected = [verdict_of_jsonschema(document, event) for event in events]
        assume(None not in expected)

        assert [our_verdict(document, event) for event in events] == expected


# ---- records of others ----


def exc_info():
    try:
        raise ValueError(Hostile())
    except ValueError:
        return sys.exc_info()


def is_key(value):
    """Tell whether a dict can have it as a key at all."""
    try:
        return hash(value) is not None and value == value  # noqa: PLR0124 - may raise
    except (RuntimeError, TypeError):
        return False


properties = st.dictionaries(names | st.integers() | garbage.filter(is_key), mess, max_size=3)
envelopes = st.fixed_dictionaries(
    {"__schema__": st.just(ID)},
    optional={
        "__schema_version__": st.just(1) | mess,
        "__timestamp__": st.sampled_from(["2026-01-02T03:04:05+00:00Z", "2026-01-02T03:04:05Z", "?"]) | mess,
        "__metadata_version__": mess,
    },
)
CAPSULES = st.builds(lambda envelope, rest: envelope | rest, envelopes, properties)
MESSAGES = CAPSULES | properties | mess | st.sampled_from(["%s", "%d %d", "%(x)s", "%"])


class Record(logging.LogRecord):
    """One that can be printed, whatever its message is."""

    __repr__ = object.__repr__


@st.composite
def foreign_records(draw, messages):
    """What other libraries may put into a log record."""
    record = Record(
        draw(st.sampled_from(["name", "", "\ud800"])),
        draw(st.sampled_from([0, 5, 10, 20, 21, 50, 1000, -1])),
        "path",
        1,
        draw(messages),
        draw(st.none() | st.tuples(mess) | st.tuples(mess, mess)),
        draw(st.none() | st.builds(exc_info) | st.just((None, None, None))),
    )
    vars(record).update(draw(st.dictionaries(st.sampled_from(["extra", "otel.event.name", "a.b"]), mess, max_size=1)))
    return record


class TestForeignRecord:
    @given(record=foreign_records(MESSAGES))
    @examples(300)
    def test_is_one_line_of_valid_json(self, record):
        """Whatever its message, arguments and exception are."""
        line = JSONLinesFormatter().format(record)

        assert "\n" not in line
        assert "__timestamp__" in read_strictly(line.encode())

    @pytest.mark.parametrize("timestamp", [Hostile, lambda: None, lambda: 1, lambda: "?", bytes, list])
    def test_of_an_unreadable_time_has_that_of_its_arrival(self, timestamp):
        """An event is an event."""
        record = Record("e", 20, "", 0, {"__schema__": ID, "__timestamp__": timestamp()}, None, None)
        record.created = 1767323045.0

        assert '"__timestamp__":"2026-01-02T03:04:05.000000Z"' in JSONLinesFormatter().format(record)

    @given(record=foreign_records(MESSAGES))
    @examples(200)
    def test_never_raises_through_our_handler(self, record):
        """What cannot be sent is logged."""
        assert Wire(OTLPHandler).handler.handle(record)

    @given(record=foreign_records(CAPSULES))
    @examples(100)
    def test_does_not_disturb_its_neighbours(self, our_wire, record):
        """An event of another library may hold anything, and costs no other its place in a batch."""
        our_wire.handler.handle(record)
        logs = our_wire.send({"a": 1})

        assert arrived_whole({"a": 1}, logs[-1])
