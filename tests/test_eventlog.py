"""`EventLog`: what it records, what it refuses, and what it never lets through."""

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from logging.handlers import MemoryHandler, QueueHandler, QueueListener
from queue import SimpleQueue
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from builders import ID, schema
from jsonschema import ValidationError

from jupyter_otel_telemetry import EventLog, JSONLinesFormatter, SchemaNotRegistered
from jupyter_otel_telemetry.schemas import explaining
from jupyter_otel_telemetry.testing import EventSink


class BrokenHandler(logging.Handler):
    broken = True
    count = 0

    def emit(self, _record):
        if self.broken:
            raise OSError("no space left")
        self.count += 1


class TestRecordEvent:
    def test_returns_the_event_as_recorded(self, server_log, event_sink):
        """What comes back is what handlers got."""
        assert server_log.record_event(ID, 1, {"action": "start"}) == {"action": "start"}
        assert event_sink.events == [{"action": "start"}]

    @pytest.mark.parametrize("version", [1, "1"])
    def test_compares_versions_as_text(self, server_log, version):
        """`1` and `"1"` are the same version."""
        assert server_log.record_event(ID, version, {}) == {}

    def test_records_nothing_for_a_schema_that_is_not_allowed(self, server_log, event_sink):
        """Telemetry is opt-in: an event nobody allowed is not even looked at."""
        server_log.allowed_schemas = ["https://example.org/other"]

        assert server_log.record_event(ID, 1, {"count": "no integer"}) is None
        assert event_sink.records == []

    @pytest.mark.parametrize("schema_id", [5, None, b"x"])
    def test_id_must_be_text(self, server_log, schema_id):
        """A mistake of the caller."""
        with pytest.raises(TypeError, match="expected a schema id, got"):
            server_log.record_event(schema_id, 1, {})

    def test_allows_nothing_by_default(self, event_sink):
        """The default list is empty."""
        log = EventLog(handlers=[event_sink])
        log.register_schema(schema())

        assert log.record_event(ID, 1, {}) is None

    def test_records_nothing_without_handlers(self):
        """Without anywhere to go, nothing is recorded, as in jupyter_telemetry."""
        log = EventLog(allowed_schemas=[ID])

        assert log.record_event("unregistered", 1, object()) is None

    def test_raises_for_a_schema_that_is_allowed_but_not_registered(self, server_log):
        """The error names what is registered instead."""
        with pytest.raises(SchemaNotRegistered, match="registered versions: 1"):
            server_log.record_event(ID, 2, {})

    def test_suggests_the_id_that_was_meant(self, server_log):
        """A misspelt id is answered with the right one."""
        with pytest.raises(SchemaNotRegistered, match=f"did you mean '{ID}'"):
            server_log.record_event(ID + "s", 1, {})

    def test_unregistered_schema_is_a_value_error(self, server_log):
        """Code written for jupyter_telemetry catches ValueError."""
        with pytest.raises(ValueError, match="not registered"):
            server_log.record_event("https://example.org/unknown", 1, {})

    def test_invalid_event_reaches_no_handler(self, server_log, event_sink):
        """An event that breaks its schema raises, and no handler sees it."""
        with pytest.raises(ValidationError, match="at /count, expected integer, got string"):
            server_log.record_event(ID, 1, {"count": "secret"})

        assert event_sink.records == []

    def test_error_text_does_not_repeat_the_data(self, server_log):
        """Values stay out of messages, which end up in logs."""
        with pytest.raises(ValidationError) as caught:
            server_log.record_event(ID, 1, {"count": "secret"})

        assert "secret" not in str(caught.value)
        assert list(caught.value.absolute_path) == ["count"]
        assert caught.value.validator == "type"

    @pytest.mark.parametrize("event", [None, "text", [("a", 1)], 3, object()])
    def test_refuses_an_event_that_is_no_mapping(self, server_log, event):
        """The message says which type came."""
        with pytest.raises(ValidationError, match=f"must be a mapping, not {type(event).__name__}"):
            server_log.record_event(ID, 1, event)

    @pytest.mark.parametrize("value", [object(), {1}, b"bytes", datetime.now(timezone.utc), {1: 2}, [{"a": {2: 3}}]])
    def test_refuses_what_json_cannot_hold(self, server_log, value):
        """Also deep inside, and without a repr of it."""
        with pytest.raises(ValidationError, match="at /x"):
            server_log.record_event(ID, 1, {"x": value})

    def test_refuses_names_of_the_envelope(self, server_log):
        """An event cannot spoof its schema or time."""
        with pytest.raises(ValidationError, match="at /__schema__, names that begin with __ are reserved"):
            server_log.record_event(ID, 1, {"__schema__": "other"})

    def test_never_changes_the_callers_event(self, server_log):
        """Neither do later changes by the caller reach what was recorded."""
        event = {"model": {"path": "a"}}
        returned = server_log.record_event(ID, 1, event)
        returned["model"]["path"] = "changed"

        assert event == {"model": {"path": "a"}}

    def test_later_changes_do_not_reach_a_record_that_waits(self, event_sink):
        """A buffered record keeps what was recorded."""
        memory = MemoryHandler(100, target=event_sink)
        log = EventLog(handlers=[memory], allowed_schemas=["*"])
        log.register_schema(schema())
        event = {"model": {"path": "a"}}
        log.record_event(ID, 1, event)["model"]["path"] = "b"
        event["model"]["path"] = "c"
        memory.flush()

        assert event_sink.events == [{"model": {"path": "a"}}]

    def test_takes_subclasses_and_other_mappings(self, server_log):
        """What behaves as JSON is recorded as JSON."""
        assert server_log.record_event(ID, 1, {"t": (1, 2)}) == {"t": [1, 2]}

    def test_panic_of_rust_code_in_an_explanation_leaves_it_vague(self, server_log, monkeypatch):
        """So it passes on that the stack is too deep: as something that is no Exception."""
        panic = type("PanicException", (BaseException,), {})
        iter_errors = Mock(side_effect=panic("eq failed"))
        validator = Mock(return_value=SimpleNamespace(iter_errors=iter_errors))
        monkeypatch.setattr(explaining, "_explaining_class", lambda _: validator)
        with pytest.raises(ValidationError, match="at /, the value violates a rule that was not found"):
            server_log.record_event(ID, 1, {"count": "x"})

        iter_errors.side_effect = KeyboardInterrupt
        with pytest.raises(KeyboardInterrupt):
            server_log.record_event(ID, 1, {"count": "x"})

    def test_survives_threads(self, server_log, event_sink):
        """Recording, registering and configuring at once lose nothing."""

        def work(number):
            server_log.register_schema(schema(id=f"{ID}/{number}"))
            for _ in range(200):
                server_log.record_event(ID, 1, {"count": number})

        threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(event_sink.records) == 1600


class TestTimestamp:
    def line_time(self, sink):
        return json.loads(JSONLinesFormatter().format(sink.records[-1]))["__timestamp__"]

    @pytest.mark.parametrize(
        "moment, written",
        [
            (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05.000000Z"),  # noqa: DTZ001 - naive is the point
            (datetime(2026, 1, 2, 3, 4, 5, 678, timezone(timedelta(hours=5))), "2026-01-01T22:04:05.000678Z"),
            (datetime(1, 1, 1, tzinfo=timezone.utc), "0001-01-01T00:00:00.000000Z"),
        ],
    )
    def test_override_is_written_in_utc(self, server_log, event_sink, moment, written):
        """A naive override is UTC; any other is converted."""
        server_log.record_event(ID, 1, {}, timestamp_override=moment)

        assert self.line_time(event_sink) == written

    def test_override_must_fit_into_utc(self, server_log):
        """The year 0 is nowhere to be written."""
        moment = datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))
        with pytest.raises(ValueError, match="outside the years 1 to 9999"):
            server_log.record_event(ID, 1, {}, timestamp_override=moment)

    def test_override_must_be_a_datetime(self, server_log):
        """The error names the argument."""
        with pytest.raises(TypeError, match="timestamp_override must be a datetime"):
            server_log.record_event(ID, 1, {}, timestamp_override="yesterday")


class TestOnInvalid:
    def test_log_counts_logs_and_returns_none(self, server_log, caplog):
        """With on_invalid="log" the application goes on."""
        server_log.on_invalid = "log"

        assert server_log.record_event(ID, 1, {"count": "x"}) is None
        assert server_log.record_event("unregistered", 1, {}) is None
        assert "number 2, is not recorded: schema 'unregistered'" in caplog.text


class TestHandlers:
    def test_broken_handler_starves_no_other(self, caplog):
        """A handler that raises harms neither the caller nor the next handler."""
        sink = EventSink()
        log = EventLog(handlers=[BrokenHandler(), sink], allowed_schemas=["*"])
        log.register_schema(schema())

        assert log.record_event(ID, 1, {"count": 1}) == {"count": 1}
        assert sink.events == [{"count": 1}]
        assert "BrokenHandler" in caplog.text

    def test_failure_is_logged_once_and_recovery_with_the_number_of_losses(self, caplog):
        """A handler that fails for a thousand events fills no log."""
        handler = BrokenHandler()
        log = EventLog(handlers=[handler], allowed_schemas=["*"])
        log.register_schema(schema())
        for _ in range(5):
            log.record_event(ID, 1, {})
        handler.broken = False
        log.record_event(ID, 1, {})

        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
        assert "works again; it failed 5 times" in caplog.messages[-1]

    def test_handler_without_formatter_writes_json_lines(self):
        """A plain StreamHandler is enough."""
        stream = io.StringIO()
        log = EventLog(handlers=[logging.StreamHandler(stream)], allowed_schemas=["*"])
        log.register_schema(schema())
        log.record_event(ID, 1, {"count": 1})

        assert json.loads(stream.getvalue())["count"] == 1

    def test_users_formatter_stays(self):
        """A formatter is its owner's."""
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
        log = EventLog(handlers=[handler], allowed_schemas=["*"])
        log.register_schema(schema())
        log.record_event(ID, 1, {"count": 1})

        assert stream.getvalue() == "INFO jupyter_otel_telemetry Server action count=1\n"

    def test_level_and_filter_decide(self, event_sink):
        """Levels and filters work as everywhere in logging."""
        event_sink.setLevel("WARNING")
        log = EventLog(handlers=[event_sink], allowed_schemas=["*"])
        log.register_schema(schema())
        log.register_schema(schema(id="https://example.org/w", otel={"severity": "ERROR"}))
        log.record_event(ID, 1, {})
        log.record_event("https://example.org/w", 1, {})

        assert [record.levelname for record in event_sink.records] == ["ERROR"]

    def test_one_handler_serves_several_event_logs(self, event_sink):
        """Neither takes the handler from the other."""
        for number in range(2):
            log = EventLog(handlers=[event_sink], allowed_schemas=["*"])
            log.register_schema(schema())
            log.record_event(ID, 1, {"count": number})

        assert event_sink.events == [{"count": 0}, {"count": 1}]

    def test_leaves_nothing_in_the_logging_registry(self, recording, event_sink):
        """A thousand EventLogs leak no logger."""
        before = set(logging.root.manager.loggerDict)
        for _ in range(3):
            recording(event_sink, {})

        assert set(logging.root.manager.loggerDict) == before

    def test_full_disk_is_logged_once_and_does_not_reach_the_caller(self, caplog, capsys):
        """Not with a traceback on stderr for every event."""
        handler = logging.FileHandler("/dev/full") if sys.platform == "linux" else pytest.skip("/dev/full is absent")
        log = EventLog(handlers=[handler], allowed_schemas=["*"])
        log.register_schema(schema())

        for _ in range(3):
            assert log.record_event(ID, 1, {"count": 1}) == {"count": 1}
        with pytest.raises(OSError, match="No space left"):
            handler.stream.close()
        assert (len(caplog.records), capsys.readouterr().err) == (1, "")
        assert "No space left" in caplog.text

    def test_record_passes_a_queue(self, event_sink):
        """Behind a QueueHandler the event is still an event."""
        queue = SimpleQueue()
        listener = QueueListener(queue, event_sink)
        listener.start()
        log = EventLog(handlers=[QueueHandler(queue)], allowed_schemas=["*"])
        log.register_schema(schema())
        log.record_event(ID, 1, {"count": 1})
        listener.stop()

        assert event_sink.events == [{"count": 1}]
        assert event_sink.records[0].getMessage() == "Server action count=1"


class TestModifiers:
    def test_run_in_order_before_validation_on_a_copy(self, server_log):
        """What they return is validated and recorded."""
        server_log.add_modifier(lambda _id, _version, event: event | {"count": 1})
        server_log.add_modifier(lambda _id, _version, event: event | {"count": event["count"] + 1})
        event = {"action": "start"}

        assert server_log.record_event(ID, 1, event) == {"action": "start", "count": 2}
        assert event == {"action": "start"}

    def test_reach_schemas_registered_later(self, event_log):
        """A redactor for all schemas means all."""
        event_log.add_modifier(lambda *_: {"count": 0})
        event_log.register_schema(schema())

        assert event_log.record_event(ID, 1, {"count": 5}) == {"count": 0}

    def test_can_be_for_one_schema_and_removed(self, server_log):
        """Only events of that schema pass through it, and none after its removal."""

        def modifier(_id, _version, event):
            return event | {"count": 1}

        server_log.add_modifier(modifier, schema_id="https://example.org/other")
        assert server_log.record_event(ID, 1, {}) == {}
        server_log.add_modifier(modifier, schema_id=ID)
        assert server_log.record_event(ID, 1, {}) == {"count": 1}
        server_log.remove_modifier(modifier, schema_id=ID)
        assert server_log.record_event(ID, 1, {}) == {}

    @pytest.mark.parametrize("modifier", [lambda *_: None, lambda *_: 1 / 0])
    def test_event_of_a_failing_modifier_is_not_recorded(self, server_log, event_sink, modifier, caplog):
        """What it would have removed must not be recorded, and the caller is not at fault."""
        server_log.add_modifier(modifier)

        assert server_log.record_event(ID, 1, {"action": "secret"}) is None
        assert event_sink.records == []
        assert "not recorded" in caplog.text
        assert "secret" not in caplog.text

    def test_must_be_callable(self, server_log):
        """The error comes at once."""
        with pytest.raises(TypeError, match="expected a function, got str"):
            server_log.add_modifier("no function")

    def test_function_with_other_arguments_is_refused(self, server_log):
        """Before the first event would show it; jupyter_events, for one, has others."""
        with pytest.raises(TypeError, match=r"\(schema_id, version, event\), got <lambda>\(event\): too many"):
            server_log.add_modifier(lambda event: event)
        with pytest.raises(TypeError, match="missing a required argument: 'version'"):
            server_log.add_listener(lambda logger, schema_id, data, version: (logger, schema_id, data, version))


class TestListeners:
    def test_are_called_after_recording_with_a_copy(self, server_log, event_sink):
        """A listener cannot change what was recorded."""
        heard = []

        def listener(schema_id, version, event):
            heard.append((schema_id, version, dict(event), len(event_sink.records)))
            event.clear()

        server_log.add_listener(listener)

        assert server_log.record_event(ID, 1, {"count": 1}) == {"count": 1}
        assert heard == [(ID, "1", {"count": 1}, 1)]

    def test_work_without_handlers(self):
        """A listener is a place to go."""
        heard = []
        log = EventLog(allowed_schemas=["*"])
        log.register_schema(schema())
        log.add_listener(lambda *args: heard.append(args))
        log.record_event(ID, 1, {})

        assert len(heard) == 1

    def test_failure_is_logged_never_raised(self, server_log, caplog):
        """The next listener still hears."""
        heard = []
        server_log.add_listener(lambda *_: 1 / 0)
        server_log.add_listener(lambda *args: heard.append(args))

        assert server_log.record_event(ID, 1, {}) == {}
        assert len(heard) == 1
        assert "ZeroDivisionError" in caplog.text

    def test_async_one_runs_as_a_task_of_the_running_loop(self, server_log):
        """record_event does not wait for it."""
        heard = []

        async def listener(_id, _version, event):
            await asyncio.sleep(0)
            heard.append(event)

        async def main():
            server_log.record_event(ID, 1, {"count": 1})
            assert heard == []
            await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})

        server_log.add_listener(listener)
        asyncio.run(main())

        assert heard == [{"count": 1}]

    def test_async_one_runs_to_its_end_without_a_loop(self, server_log, caplog):
        """Its failure is logged as well."""
        heard = []

        async def listener(_id, _version, event):
            await asyncio.sleep(0)
            heard.append(event)
            raise ZeroDivisionError

        server_log.add_listener(listener)
        server_log.record_event(ID, 1, {"count": 1})

        assert heard == [{"count": 1}]
        assert "ZeroDivisionError" in caplog.text

    def test_removed_one_hears_nothing(self, server_log):
        """Removing what was never added is no error."""
        heard = []

        def listener(*args):
            heard.append(args)

        server_log.add_listener(listener)
        server_log.remove_listener(listener)
        server_log.remove_listener(listener)
        server_log.record_event(ID, 1, {})

        assert heard == []


class TestAllowedSchemas:
    def test_pattern_allows_what_it_matches(self, server_log):
        """`*` stands for any text."""
        server_log.allowed_schemas = ["https://example.org/*"]
        server_log.register_schema(schema(id="https://example.com/x"))

        assert server_log.record_event(ID, 1, {}) == {}
        assert server_log.record_event("https://example.com/x", 1, {}) is None

    def test_mapping_lists_ids(self, server_log):
        """The keys of a mapping are the ids."""
        server_log.allowed_schemas = {ID: {}}

        assert server_log.record_event(ID, 1, {}) == {}

    def test_may_be_changed_in_place(self, server_log):
        """A list that its owner shortens allows less from then on."""
        server_log.allowed_schemas = [ID]
        assert server_log.record_event(ID, 1, {}) == {}
        server_log.allowed_schemas.clear()

        assert server_log.record_event(ID, 1, {}) is None

    def test_dots_of_an_id_are_dots(self, server_log):
        """A pattern is no regular expression."""
        server_log.allowed_schemas = ["https://exampleXorg/*"]

        assert server_log.record_event(ID, 1, {}) is None


FORKED = """
import os
from jupyter_otel_telemetry import EventLog
from jupyter_otel_telemetry.testing import EventSink

sink = EventSink()
log = EventLog(handlers=[sink], allowed_schemas=["x"])
log.register_schema({"$id": "x", "version": 1})
log.record_event("x", 1, {})
if os.fork() == 0:
    log.record_event("x", 1, {})
    print([record.process for record in sink.records] == [os.getppid(), os.getpid()], flush=True)
else:
    os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_record_knows_its_process():
    """Also in a child that was forked from the one which recorded before."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)

    assert done.stdout == "True\n"
