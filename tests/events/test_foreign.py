"""Events of other libraries, and events that other handlers have turned into something else on their way."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from logging.handlers import MemoryHandler, QueueHandler, SocketHandler
from queue import SimpleQueue

import pytest
from builders import ID, schema
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from pythonjsonlogger.json import JsonFormatter

from jupyter_otel_telemetry import EventLog, JSONLinesFormatter, OTLPHandler
from jupyter_otel_telemetry.testing import EventSink

SECRET = "geheim"
LOGGERS = ["jupyter_events.logger.139", "jupyter_telemetry.eventlog.4", "binderhub.events"]
CAPSULE = {"__schema__": ID, "__schema_version__": "1", "__timestamp__": "2026-01-02T03:04:05+00:00Z"}
BINDER_CAPSULE = {"schema": ID, "version": 1, "timestamp": "2026-01-02T03:04:05.678901Z"}


class Sent:
    """What a handler sends."""

    def __init__(self, **options):
        self._exporter = InMemoryLogRecordExporter()
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleLogRecordProcessor(self._exporter))
        self.handler = OTLPHandler(logger_provider=provider, **options)

    @property
    def logs(self):
        return [data.log_record for data in self._exporter.get_finished_logs()]

    @property
    def text(self):
        """All of it."""
        return str([(log.body, dict(log.attributes), log.event_name, log.severity_text) for log in self.logs])


@pytest.fixture
def guarded():
    """What a handler sends whose policy withholds the user."""
    return Sent(allowed_schemas={ID: {"withheld_properties": ["user"]}})


def foreign(event, logger=LOGGERS[0]):
    """Return an event as another library puts it into a log record."""
    capsule = BINDER_CAPSULE if logger == "binderhub.events" else CAPSULE
    return logging.LogRecord(logger, logging.INFO, "", 0, capsule | event, (), None)


def ours(event):
    """Return a record of an event whose user is personal, and who the `EventLog` lets pass."""
    sink = EventSink()
    log = EventLog(handlers=[sink], allowed_schemas={"*": {"allowed_properties": ["user"]}})
    log.register_schema(schema(properties={"user": {"pii": True}}))
    log.record_event(ID, 1, event)
    return sink.records[0]


def through_socket(record):
    """Return what a program gets at the other end of a `SocketHandler`."""
    return logging.makeLogRecord(pickle.loads(SocketHandler("localhost", 0).makePickle(record)[4:]))


def through_queue(formatter=None):
    """Return what a `QueueHandler` with a formatter makes of records."""

    def prepare(record):
        handler = QueueHandler(SimpleQueue())
        handler.setFormatter(formatter)
        return handler.prepare(record)

    return prepare


def with_message(change):
    """Return what changes the message of records."""

    def changed(record):
        record = copy.copy(record)
        record.msg, record.args = change(record.msg), None
        return record

    return changed


UNREADABLE = {
    "socket": through_socket,
    "queue with a text formatter": through_queue(logging.Formatter("%(asctime)s %(message)s")),
    "repr": with_message(str),
    "bytes of a repr": with_message(lambda message: str(message).encode()),
    "truncated JSON": with_message(lambda message: json.dumps(message)[:-1]),
    "JSON in a list": with_message(lambda message: json.dumps([message])),
    "wrapped": with_message(lambda message: {"message": message}),
    "pickled": with_message(pickle.dumps),
}
READABLE = {
    "as it was": lambda record: record,
    "pickle": lambda record: pickle.loads(pickle.dumps(record)),
    "queue": through_queue(JsonFormatter()),
    "queue with JSON lines": through_queue(JSONLinesFormatter()),
    "queue with a JSON formatter of many fields": through_queue(JsonFormatter("%(name)s %(asctime)s %(message)s")),
    "JSON in another order": with_message(lambda message: json.dumps(dict(reversed(message.items())), indent=1)),
    "bytes of JSON": with_message(lambda message: json.dumps(message).encode()),
    "copy": copy.deepcopy,
    "with an exception": lambda record: logging.makeLogRecord(
        vars(record) | {"exc_info": (ValueError, ValueError(), None)}
    ),
}


class TestRefusal:
    """A handler with a policy fails closed."""

    @pytest.mark.parametrize("lose_form", UNREADABLE.values(), ids=UNREADABLE)
    @pytest.mark.parametrize("logger", LOGGERS)
    def test_unreadable_event_does_not_leave(self, guarded, caplog, logger, lose_form):
        """It is logged without its content; nobody could tell which property is where in it."""
        guarded.handler.handle(lose_form(foreign({"user": SECRET}, logger)))

        assert guarded.logs == []
        assert f"a record of logger {logger} is not sent" in caplog.text
        assert SECRET not in caplog.text

    @pytest.mark.parametrize("form", READABLE.values(), ids=READABLE)
    @pytest.mark.parametrize("logger", LOGGERS)
    def test_readable_event_leaves_as_the_policy_says(self, guarded, logger, form):
        """In whatever form it can be read."""
        guarded.handler.handle(form(foreign({"user": SECRET, "n": 1}, logger)))
        (log,) = guarded.logs

        assert (log.event_name, log.attributes["jupyter.event.n"]) == (ID, 1)
        assert SECRET not in guarded.text

    @pytest.mark.parametrize("change", [through_socket, lambda record: logging.makeLogRecord(vars(record))])
    def test_event_of_ours_that_became_an_ordinary_record_does_not_leave(self, guarded, change):
        """Its schema's flags and its pseudonyms are unknown then."""
        guarded.handler.handle(change(ours({"user": SECRET})))

        assert guarded.logs == []

    def test_is_logged_once_and_leaves_events_alone(self, guarded, caplog):
        """Readable events pass between; the second refusal is counted only."""
        for _ in range(2):
            guarded.handler.handle(foreign({"user": "ada"}))
            guarded.handler.handle(through_socket(foreign({"user": "ada"})))

        assert len(guarded.logs) == 2
        assert len(caplog.records) == 1

    def test_without_a_policy_nothing_is_refused(self):
        """All that reaches such a handler leaves."""
        sent = Sent()
        sent.handler.handle(through_socket(foreign({"n": 1})))

        assert ID in sent.logs[0].body

    def test_ordinary_records_pass_a_policy(self, guarded):
        """`allowed_schemas` concerns events."""
        guarded.handler.handle(logging.LogRecord("app", 20, "", 0, "hello", None, None))

        assert [log.body for log in guarded.logs] == ["hello"]

    @pytest.mark.parametrize("options", [{}, {"allowed_schemas": [ID]}], ids=["without policy", "with one"])
    def test_handler_for_events_only_sends_nothing_else(self, options):
        """Neither ordinary records nor what was an event; whatever name its logger has."""
        sent = Sent(events_only=True, **options)
        sent.handler.handle(logging.LogRecord("app", 20, "", 0, f"the event was {CAPSULE}", None, None))
        sent.handler.handle(through_socket(foreign({"n": 1})))
        sent.handler.handle(foreign({"n": 2}))

        assert [log.attributes["jupyter.event.n"] for log in sent.logs] == [2]


events = st.fixed_dictionaries(
    {"user": st.sampled_from([SECRET, [SECRET], {"name": SECRET}, {"a": [{SECRET: SECRET}]}])},
    optional={"n": st.integers(), "message": st.text(max_size=3), "event": st.just({"a": 1}), "exc_info": st.none()},
)
sources = st.one_of([st.just(ours), *(st.just(lambda event, name=name: foreign(event, name)) for name in LOGGERS)])
steps = [
    *(step for name, step in (UNREADABLE | READABLE).items() if "JSON" not in name and name != "wrapped"),
    through_queue(),
    through_queue(logging.Formatter("%(levelname)s %(name)s %(message)s")),
    copy.copy,
    lambda record: logging.makeLogRecord(dict(vars(record))),
    lambda record: logging.makeLogRecord(vars(record) | {"extra": 1}),
]


class TestChains:
    @given(sources, events, st.lists(st.sampled_from(steps), max_size=4))
    @settings(max_examples=300, deadline=None)
    def test_nothing_withheld_ever_leaves(self, source, event, chain):
        """Through whichever handlers an event has come, and however often it was turned into something else."""
        # Of our own events, handlers know what the schema flags.
        guarded = Sent(allowed_schemas=[ID] if source is ours else {ID: {"withheld_properties": ["user"]}})
        record = source(event)
        for step in chain:
            record = step(record)
        buffer = MemoryHandler(1, target=guarded.handler)
        buffer.handle(record)
        buffer.close()

        assert SECRET not in guarded.text


class TestBinderhub:
    def test_event_is_read_as_one(self):
        """Id, version and time stand under other names in its capsule; everything else is a property."""
        sent = Sent()
        sent.handler.handle(foreign({"provider": "GitHub", "spec": "a/b/HEAD"}, "binderhub.events"))
        (log,) = sent.logs

        assert log.event_name == log.attributes["jupyter.schema.id"] == ID
        assert log.attributes["jupyter.schema.version"] == "1"
        assert log.timestamp == 1767323045678901000
        assert log.body == "server-action provider=GitHub spec=a/b/HEAD"

    def test_line_is_that_of_any_event(self):
        """In a file."""
        line = json.loads(JSONLinesFormatter().format(foreign({"status": "success"}, "binderhub.events")))

        assert line.pop("__timestamp__") == "2026-01-02T03:04:05.678901Z"
        assert line == {"__schema__": ID, "__schema_version__": "1", "__metadata_version__": 1, "status": "success"}

    def test_its_formatter_is_for_events_only(self):
        """binderhub puts it on every handler; it would drop the message of an ordinary record."""

        def serialize(record, **_options):
            return json.dumps({key: value for key, value in record.items() if key != "message"})

        serialize.__module__ = "binderhub.events"
        sent = Sent()
        sent.handler.setFormatter(JsonFormatter(json_serializer=serialize))
        sent.handler.handle(logging.LogRecord("app", 20, "", 0, "hello", None, None))

        assert [log.body for log in sent.logs] == ["hello"]

    def test_capsule_of_another_logger_is_an_ordinary_message(self):
        """`schema` and `version` may mean anything there."""
        sent = Sent()
        sent.handler.handle(logging.LogRecord("app", 20, "", 0, BINDER_CAPSULE, None, None))

        assert sent.logs[0].event_name is None


class TestFilters:
    """Filters of operators read `record.msg["__schema__"]`, as Jupyter Server's events have it."""

    @pytest.mark.parametrize("on_the_way", [lambda record: record, through_queue(), pickle.dumps])
    def test_read_the_capsule(self, on_the_way):
        """Also behind a queue, which replaces the messages of other records by text."""
        record = on_the_way(ours({"action": "start"}))
        record = pickle.loads(record) if isinstance(record, bytes) else record

        assert isinstance(record.msg, dict)
        assert (record.msg["__schema__"], record.msg["__schema_version__"], record.msg["action"]) == (ID, 1, "start")
        assert record.msg["__timestamp__"].endswith("Z")
        assert record.msg.get("user") is None

    def test_choose_events_of_a_schema(self):
        """As a filter on a handler of an `EventLog`."""
        sink = EventSink()
        sink.addFilter(lambda record: record.msg["__schema__"] == ID and record.msg["count"] > 1)
        log = EventLog(handlers=[sink], allowed_schemas=["*"])
        log.register_schema(schema())
        for count in (1, 2):
            log.record_event(ID, 1, {"count": count})

        assert sink.events == [{"count": 2}]

    @pytest.mark.parametrize("record", [ours, foreign])
    def test_see_what_the_policy_of_their_handler_lets_be_seen(self, guarded, record):
        """Not the event as it was recorded; and what they add is sent."""
        seen = []

        def look(record):
            seen.append((record.msg["user"], record.msg["n"], record.levelname))
            record.tenant = "blue"
            return True

        guarded.handler.addFilter(look)
        guarded.handler.handle(record({"user": SECRET, "n": 1}))

        assert seen == [(None, 1, "INFO")]
        assert guarded.logs[0].attributes["tenant"] == "blue"

    def test_see_the_logger_of_an_event_of_another_library(self, guarded):
        """`logging.Filter` goes by its name."""
        guarded.handler.addFilter(logging.Filter("jupyter_events"))
        guarded.handler.handle(foreign({"user": "ada"}))

        assert len(guarded.logs) == 1

    def test_of_a_handler_with_pseudonyms_may_replace_the_record(self):
        """A copy that a filter returns is not pseudonymized twice."""
        options = {"pseudonymized_properties": ["user"]}
        one, other = (Sent(allowed_schemas={ID: options}, pseudonym_key="x" * 16) for _ in range(2))
        other.handler.filter = copy.copy
        for sent in (one, other):
            sent.handler.handle(ours({"user": "ada"}))

        assert one.logs[0].attributes["jupyter.event.user"] == other.logs[0].attributes["jupyter.event.user"]

    def test_that_fails_reaches_no_caller(self, guarded, caplog):
        """The event is not sent, and that is logged without it."""
        guarded.handler.addFilter(lambda record: record.msg["absent"])

        assert not guarded.handler.handle(ours({"user": SECRET}))
        assert "KeyError" in caplog.text
        assert SECRET not in caplog.text

    @pytest.mark.parametrize(
        "change",
        [
            lambda capsule: capsule.update(a=1),
            lambda capsule: capsule.pop("action"),
            lambda capsule: capsule.__setitem__("action", 1),
            lambda capsule: capsule.clear(),
        ],
    )
    def test_cannot_change_an_event(self, change):
        """Other handlers get the same one."""
        with pytest.raises(TypeError, match="add_modifier"):
            change(ours({"action": "start"}).msg)

    def test_text_of_the_message_is_the_id(self):
        """Error reports print it: `logging`'s own, and Sentry's."""
        message = ours({"user": SECRET}).msg

        assert (str(message), repr(message), f"{message}") == (ID, repr(ID), ID)

    def test_json_formatters_of_others_find_the_properties(self):
        """They look for a dict, too."""
        line = json.loads(JsonFormatter().format(ours({"action": "start"})))

        assert (line["__schema__"], line["action"]) == (ID, "start")
