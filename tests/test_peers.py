"""What goes wrong in comparable libraries, and must not go wrong here; each number is one such weakness."""

import gc
import io
import json
import logging
import math
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import weakref
from datetime import datetime, timedelta, timezone
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue
from types import SimpleNamespace

import jsonschema
import pytest
from builders import ID, free_port, schema, write_lines
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from traitlets.config import Application, Config

from jupyter_otel_telemetry import EventLog, OTLPHandler, SchemaConflict, SchemaNotRegistered
from jupyter_otel_telemetry.otlp.received import parse_protobuf
from jupyter_otel_telemetry.testing import EventSink

ONLY_IN_2020_12 = {"$schema": "https://json-schema.org/draft/2020-12/schema", "dependentRequired": {"a": ["b"]}}


class Raising(logging.Handler):
    """A handler that fails."""

    def handle(self, _record):
        raise RuntimeError("broken")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """No `OTEL_*` variable of this machine disturbs."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture(params=[OTLPHandler, LoggingHandler], ids=["ours", "stock"])
def wire(request):
    """Either handler, and what a receiver reads of what went through it, as one batch."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))

    def received():
        return parse_protobuf(encode_logs(exporter.get_finished_logs()).SerializeToString())

    return SimpleNamespace(handler=request.param(logger_provider=provider), received=received)


def line_of(sink):
    return json.loads(sink.lines[-1])


def run(program, timeout_s=180):
    """Run a program in a process of its own, which is ended if it takes too long."""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.stderr == ""
    return done.stdout


class TestLine:
    @pytest.mark.parametrize("zone", [timezone.utc, timezone(timedelta(hours=5)), None])
    def test_timestamp_is_rfc_3339_in_utc(self, server_log, event_sink, zone):
        """B1: a timestamp has one zone, and an override is converted to it."""
        moment = datetime(2026, 1, 2, 3, 4, 5, 678901, zone)
        server_log.record_event(ID, 1, {}, timestamp_override=moment)
        text = line_of(event_sink)["__timestamp__"]

        assert text[-1] == "Z"
        assert datetime.fromisoformat(text[:-1] + "+00:00") == moment.replace(tzinfo=zone or timezone.utc)

    @pytest.mark.parametrize("name", ["__schema__", "__schema_version__", "__timestamp__", "__metadata_version__"])
    def test_event_cannot_forge_the_envelope(self, server_log, event_sink, name):
        """B2: what looks like the envelope is refused in an event."""
        with pytest.raises(jsonschema.ValidationError):
            server_log.record_event(ID, 1, {name: "forged"})

        assert event_sink.records == []

    def test_holds_exactly_what_was_recorded(self, server_log, event_sink):
        """B3: an undeclared property, `message` too, does not vanish, and a declared one is not made up."""
        recorded = server_log.record_event(ID, 1, {"message": "hello", "odd key %s": 1})
        properties = {name: value for name, value in line_of(event_sink).items() if not name.startswith("__")}

        assert properties == recorded == {"message": "hello", "odd key %s": 1}

    def test_is_valid_json(self, server_log, event_sink):
        """B4: neither NaN nor a name twice is in a line."""
        server_log.record_event(ID, 1, {"x": math.nan} | dict.fromkeys(["a\ud800", "a\udfff"], 1))
        pairs = json.loads(event_sink.lines[0], object_pairs_hook=list, parse_constant=pytest.fail)

        assert len(pairs) == len(dict(pairs))

    def test_holds_no_repr_of_an_object(self, server_log, event_sink):
        """B4: what JSON cannot hold is refused."""
        with pytest.raises(jsonschema.ValidationError):
            server_log.record_event(ID, 1, {"x": object()})

        assert event_sink.records == []


class TestHandlers:
    def test_survive_a_later_configuration(self, event_sink):
        """B5: an update that does not name them leaves them alone."""
        app = Application()
        app.update_config(Config(EventLog={"handlers": [event_sink], "allowed_schemas": ["*"]}))
        log = EventLog(parent=app)
        log.register_schema(schema())
        app.update_config(Config(Application={"log_level": 40}, EventLog={"on_invalid": "log"}))
        log.record_event(ID, 1, {"action": "start"})

        assert event_sink.events == [{"action": "start"}]

    def test_raising_one_reaches_neither_caller_nor_others(self, event_sink):
        """B6: the handlers after it get the event."""
        log = EventLog(handlers=[Raising(), event_sink], allowed_schemas=["*"])
        log.register_schema(schema())

        assert log.record_event(ID, 1, {}) == {}
        assert event_sink.events == [{}]

    def test_serve_two_event_logs_with_the_users_formatter(self, event_sink, recording):
        """B7: neither takes the other's events or the formatter away."""
        event_sink.setFormatter(logging.Formatter("mine %(message)s"))
        recording(event_sink, {}, id="a")
        recording(event_sink, {}, id="b")

        assert [line.split()[0] for line in event_sink.lines] == ["mine", "mine"]
        assert [record.event_type.id for record in event_sink.records] == ["a", "b"]

    def test_die_with_their_event_log(self, recording):
        """B8, B19: nothing is left behind that another log could write into."""
        known = set(logging.Logger.manager.loggerDict)
        sink = EventSink()
        reference = weakref.ref(sink)
        recording(sink, {})
        del sink
        gc.collect()

        assert reference() is None
        assert set(logging.Logger.manager.loggerDict) == known

    @pytest.mark.parametrize(
        "handlers",
        [
            lambda sink: (sink,),
            lambda sink: lambda: [sink],
            lambda sink: [sink, {"class": "logging.NullHandler"}],
        ],
        ids=["tuple", "callable", "class path"],
    )
    def test_can_be_configured_as_people_write_them(self, event_sink, handlers):
        """B13: not only as a list of objects."""
        log = EventLog(config=Config(EventLog={"handlers": handlers(event_sink), "allowed_schemas": ["*"]}))

        assert log.handlers[0] is event_sink

    def test_can_be_appended_and_be_none(self, event_sink):
        """B13: `c.EventLog.handlers.append(…)`, and nothing at all."""
        config = Config()
        config.EventLog.handlers.append(event_sink)

        assert EventLog(config=config).handlers == [event_sink]
        assert EventLog(config=Config(EventLog={"handlers": None})).handlers is None

    def test_file_may_be_shared_by_processes(self, tmp_path):
        """B17: no line is lost or torn, be it long."""
        path, count = tmp_path / "events.jsonl", 30
        context = multiprocessing.get_context("spawn")
        writers = [context.Process(target=write_lines, args=[path, name, count]) for name in "abc"]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(180)
        events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]

        assert sorted(event["writer"] for event in events) == sorted("abc" * count)


class TestModifiers:
    def test_reach_schemas_that_come_later_in_order(self, event_log):
        """B9: a redactor for all schemas is one for all schemas."""
        event_log.add_modifier(lambda _id, _version, event: event | {"steps": ["first"]})
        event_log.add_modifier(lambda _id, _version, event: event | {"steps": [*event["steps"], "second"]})
        event_log.register_schema(schema())

        assert event_log.record_event(ID, 1, {}) == {"steps": ["first", "second"]}

    def test_returning_nothing_records_nothing(self, server_log, event_sink):
        """B9: no TypeError for the caller, and nothing that should have been removed in a record."""
        server_log.add_modifier(lambda _id, _version, event: event.clear())

        assert server_log.record_event(ID, 1, {"action": "secret"}) is None
        assert event_sink.records == []

    def test_may_be_changed_while_others_record(self, server_log, event_sink):
        """B16: an event sees the modifiers from before or from after a change."""
        failures = []

        def record():
            try:
                for _ in range(500):
                    server_log.record_event(ID, 1, {})
            except Exception as error:  # shown below
                failures.append(error)

        def modifier(_id, _version, event):
            return event

        threads = [threading.Thread(target=record) for _ in range(3)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            server_log.add_modifier(modifier)
            server_log.remove_modifier(modifier)

        assert failures == []
        assert event_sink.events == [{}] * 1500


class TestListeners:
    def test_async_one_needs_no_running_loop(self, server_log):
        """B10: it is run all the same."""
        heard = []

        async def listener(_id, _version, event):
            heard.append(event)

        server_log.add_listener(listener)
        server_log.record_event(ID, 1, {"action": "start"})

        assert heard == [{"action": "start"}]

    def test_get_copies(self, server_log, event_sink):
        """B10: what one changes, neither the caller nor another sees."""
        event = {"nested": {"a": 1}}
        server_log.add_listener(lambda _id, _version, event: event["nested"].clear())
        returned = server_log.record_event(ID, 1, event)

        assert event == returned == event_sink.events[0] == {"nested": {"a": 1}}


class TestSchemas:
    @pytest.mark.parametrize(
        "broken",
        [{"type": "strng"}, {"minLength": -1}, {"pattern": "("}, {"required": "a"}, {"$ref": "#/definitions/b"}],
    )
    def test_broken_one_is_refused_when_registered(self, event_log, broken):
        """B11, B18: not at every event."""
        with pytest.raises(jsonschema.SchemaError):
            event_log.register_schema(schema(properties={"a": broken}))

    def test_keywords_are_those_of_the_draft(self, event_log):
        """B11: 2020-12 is not read as draft 7."""
        event_log.register_schema(schema(**ONLY_IN_2020_12))
        with pytest.raises(jsonschema.ValidationError):
            event_log.record_event(ID, 1, {"a": 1})

    @pytest.mark.parametrize("valid", [True, {}, {"type": ["string", "null"]}, {"const": None}, {"enum": [1, "x"]}])
    def test_valid_draft_7_is_welcome(self, event_log, valid):
        """B11: there is no stricter meta-schema than JSON Schema's."""
        event_log.register_schema(schema(properties={"a": valid}))

        assert event_log.record_event(ID, 1, {}) == {}

    def test_versions_live_side_by_side(self, event_log):
        """B11: an old client goes on with the old one."""
        event_log.register_schema(schema(version=1, required=["old"]))
        event_log.register_schema(schema(version=2, required=["new"]))

        assert event_log.record_event(ID, 1, {"old": 1}) == {"old": 1}
        assert event_log.record_event(ID, 2, {"new": 1}) == {"new": 1}

    def test_callers_dict_is_neither_changed_nor_followed(self, event_log):
        """B12: its version stays a number, and editing it later changes nothing."""
        mine = schema(version=1)
        event_log.register_schema(mine)
        assert mine == schema(version=1)
        mine["required"] = ["x"]

        assert event_log.record_event(ID, 1, {}) == {}

    def test_replacement_is_never_silent(self, event_log):
        """B21: another schema of the same id and version is a conflict."""
        event_log.register_schema(schema())
        with pytest.raises(SchemaConflict):
            event_log.register_schema(schema(required=["x"]))

    def test_unregistered_one_is_an_error_each_time(self, event_log):
        """B18: not one warning per process, and silence."""
        for _ in range(2):
            with pytest.raises(SchemaNotRegistered):
                event_log.record_event(ID, 1, {})

    @pytest.mark.parametrize("scheme", ["http://127.0.0.1:{port}/a.json", "file://{path}"])
    def test_reference_is_never_fetched(self, event_log, tmp_path, scheme):
        """B20: neither over the network nor from the disk, neither at registration nor at an event."""
        other = tmp_path / "a.json"
        other.write_text("{}")
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(0)
            reference = scheme.format(port=server.getsockname()[1], path=other)
            event_log.register_schema(schema(properties={"a": {"$ref": reference}}))
            with pytest.raises(SchemaNotRegistered):
                event_log.record_event(ID, 1, {"a": 1})
            with pytest.raises(BlockingIOError):
                server.accept()


class TestHostileInput:
    def test_yaml_ends_in_a_clear_error(self):
        """B14: a few hundred bytes cost no minutes and no RecursionError."""
        bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        bomb += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 9)]
        texts = ["\n".join(bomb), "a: &a [*a]", "a: &a {b: *a}", "[" * 5000, "{a: " * 5000]
        said = run(
            "import io\n"
            "from jupyter_otel_telemetry import EventLog, SchemaSourceError\n"
            f"for text in {texts!r}:\n"
            "    try: EventLog().register_schema_file(io.StringIO(text))\n"
            "    except SchemaSourceError: print('refused')\n"
        )

        assert said == "refused\n" * len(texts)

    def test_pattern_takes_no_exponential_time(self):
        """B14: be the event ever so hostile, and in whatever keyword the pattern stands."""
        pattern = "^(a+)+$"
        schemas = [
            schema(properties={"a": {"pattern": pattern}}),
            schema(propertyNames={"pattern": pattern}),
            schema(patternProperties={pattern: False}),
            schema(patternProperties={pattern: {}}, additionalProperties=False),
        ]
        texts = ["a" * 60 + "!", "a" * 60 + "\ud800"]
        said = run(
            "import jsonschema, logging\n"
            "from jupyter_otel_telemetry import EventLog\n"
            f"for schema in {schemas!r}:\n"
            "    log = EventLog(handlers=[logging.NullHandler()], allowed_schemas=['*'])\n"
            "    log.register_schema(schema)\n"
            f"    for text in {texts!r}:\n"
            f"        try: log.record_event({ID!r}, 1, {{'a': text, text: 1, 'count': 'x'}})\n"
            "        except jsonschema.ValidationError: print('invalid')\n"
        )

        assert said == "invalid\n" * len(schemas) * len(texts)

    def test_deep_event_is_recorded_or_invalid(self, server_log):
        """B15: 400 levels are taken, 100,000 refused, never a RecursionError."""
        assert server_log.record_event(ID, 1, nested(400)) == nested(400)
        with pytest.raises(jsonschema.ValidationError):
            server_log.record_event(ID, 1, nested(100_000))

    def test_value_that_cannot_be_copied_is_invalid(self, server_log):
        """B15: a lock, for instance; no TypeError comes from a copy."""
        with pytest.raises(jsonschema.ValidationError):
            server_log.record_event(ID, 1, {"lock": threading.Lock()})

    def test_error_text_keeps_the_data_to_itself(self, server_log):
        """B15: it ends up in logs."""
        with pytest.raises(jsonschema.ValidationError) as caught:
            server_log.record_event(ID, 1, {"count": "geheim", "action": ["geheim"]})

        assert "geheim" not in str(caught.value) + repr(caught.value) + str(caught.value.instance)


def nested(depth):
    event = {}
    for _ in range(depth):
        event = {"a": event}
    return event


class TestMapping:
    def test_is_that_of_an_event_not_of_a_text(self, wire, recording):
        """B23: event name, typed attributes and one scope, through either handler."""
        recording(wire.handler, {"model": {"path": "a.ipynb", "size": 3}})
        [log] = wire.received()

        assert (log.event_name, log.scope_name) == (ID, "jupyter_otel_telemetry")
        assert log.attributes["jupyter.event.model.path"] == "a.ipynb"
        assert log.attributes["jupyter.event.model.size"] == 3
        assert log.body == "Server action model.path=a.ipynb model.size=3"

    @pytest.mark.parametrize("hostile", [2**64, "\ud800", nested(33), nested(200), [[2**64], {"\ud800": "\udfff"}]])
    def test_one_event_costs_no_other_its_place(self, wire, recording, hostile):
        """B24: nor does it lose a property of its own."""
        recording(wire.handler, {"n": 1}, {"n": 2, "hostile": hostile}, {"n": 3})
        logs = wire.received()

        assert [log.attributes["jupyter.event.n"] for log in logs] == [1, 2, 3]
        assert any(name.startswith("jupyter.event.hostile") for name in logs[1].attributes)

    @pytest.mark.filterwarnings("ignore:Log record attributes were dropped")
    def test_limit_of_attributes_never_takes_what_identifies_the_event(self, wire, recording):
        """B27: the oldest go, so it comes last."""
        recording(wire.handler, {f"p{number}": number for number in range(300)})
        [log] = wire.received()

        assert (log.attributes["jupyter.schema.id"], log.attributes["jupyter.schema.version"]) == (ID, "1")
        assert len(log.attributes["log.record.uid"]) == 26

    @pytest.mark.parametrize("wire", [OTLPHandler], ids=["ours"], indirect=True)
    def test_trace_context_passes_a_queue(self, wire, recording):
        """B29: it is that of the recording thread."""
        queue = SimpleQueue()
        with TracerProvider().get_tracer("test").start_as_current_span("request") as span:
            recording(QueueHandler(queue), {})
        listener = QueueListener(queue, wire.handler)
        listener.start()
        listener.stop()

        assert wire.received()[0].trace_id == f"{span.get_span_context().trace_id:032x}"

    def test_property_may_have_any_name(self, wire, recording):
        """B29: also those of a log record's own fields."""
        event = dict.fromkeys(["name", "message", "msg", "args", "levelname", "exc_info", "thread"], "mine")
        recording(wire.handler, event)
        [log] = wire.received()

        assert {name: log.attributes[f"jupyter.event.{name}"] for name in event} == event

    @pytest.mark.parametrize("build", [OTLPHandler, LoggingHandler], ids=["ours", "stock"])
    def test_failing_processor_does_not_reach_the_caller(self, build, server_log):
        """B29: neither handler lets it through."""

        def fail(_record):
            raise RuntimeError("broken")

        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleNamespace(on_emit=fail))
        server_log.handlers = [build(logger_provider=provider)]

        assert server_log.record_event(ID, 1, {}) == {}

    def test_processor_that_cannot_be_flushed_does_not_reach_the_caller(self, caplog):
        """It is logged, once, that the provider failed."""
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleNamespace(on_emit=print))
        handler = OTLPHandler(logger_provider=provider)

        assert handler.force_flush() is False
        handler.flush()
        [failure] = caplog.records
        assert "failed with AttributeError, and is not flushed" in failure.getMessage()

    def test_nothing_is_scrubbed_by_its_looks(self, wire, recording):
        """B30: a path with `session` or `auth` in it is a path."""
        event = {"path": "sessions/auth/password.ipynb", "timestamp": "mine", "session_id": "abc"}
        recording(wire.handler, event)
        [log] = wire.received()

        assert {name: log.attributes[f"jupyter.event.{name}"] for name in event} == event


class TestDelivery:
    def test_flush_tells_that_nobody_listened(self, recording, monkeypatch):
        """B25: True would be a lie."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        handler = OTLPHandler(endpoint=f"http://127.0.0.1:{free_port()}")
        recording(handler, {})

        assert handler.force_flush(20) is False
        handler.close()

    def test_flush_returns_after_the_receiver_has_it(self, otlp_receiver, recording):
        """B28: not before."""
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint)
        recording(handler, *[{}] * 10)
        handler.flush()

        assert len(otlp_receiver.logs) == 10
        handler.close()

    def test_event_of_an_ending_program_arrives(self, otlp_receiver):
        """B28: recorded in its last moment, by a function that atexit calls, it is not lost."""
        run(
            "import atexit\n"
            "from jupyter_otel_telemetry import EventLog, OTLPHandler\n"
            f"log = EventLog(handlers=[OTLPHandler(endpoint={otlp_receiver.endpoint!r})], allowed_schemas=['*'])\n"
            f"log.register_schema({schema()!r})\n"
            f"atexit.register(log.record_event, {ID!r}, 1, {{'action': 'stop'}})\n"
        )

        assert [log.attributes["jupyter.event.action"] for log in otlp_receiver.logs] == ["stop"]


class TestSeedDocument:
    def test_call_of_the_manual_works(self):
        """B21: as it was written in 2020, but for the import; `message` is recorded."""
        lines = io.StringIO()
        eventlog = EventLog(handlers=[logging.StreamHandler(lines)], allowed_schemas=["https://example.org/event"])
        eventlog.register_schema(
            {
                "$id": "https://example.org/event",
                "version": 1,
                "title": "My Event",
                "type": "object",
                "properties": {"thing": {"type": "string"}, "message": {"type": "string"}},
                "required": ["thing"],
            }
        )
        eventlog.record_event("https://example.org/event", 1, {"thing": "a", "message": "b"})
        line = json.loads(lines.getvalue())

        assert (line["__schema__"], line["thing"], line["message"]) == ("https://example.org/event", "a", "b")

    def test_allowed_schemas_stay_the_operators(self, event_sink):
        """B22: recording changes neither the option nor the event."""
        allowed, event = ["*"], {"a": {"b": None}}
        log = EventLog(handlers=[event_sink], allowed_schemas=allowed)
        log.register_schema(schema())
        log.record_event(ID, 1, event)

        assert (allowed, log.allowed_schemas, event) == (["*"], ["*"], {"a": {"b": None}})
