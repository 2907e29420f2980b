"""What may be recorded, what may leave: every rule of it, at `EventLog` and at `OTLPHandler`."""

from __future__ import annotations

import json
import logging
import pickle
import re
import threading
from logging.handlers import QueueHandler
from pathlib import Path
from queue import SimpleQueue

import pytest
from builders import ID
from jsonschema import ValidationError
from jupyter_events import EventLogger
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from traitlets import TraitError
from traitlets.config import Config

import jupyter_otel_telemetry
from jupyter_otel_telemetry import EventLog, OTLPHandler, TelemetryError
from jupyter_otel_telemetry.errors import PolicyError
from jupyter_otel_telemetry.privacy.pseudonyms import Pseudonymizer
from jupyter_otel_telemetry.testing import EventSink

KEY = "a key of thirty-two bytes, or so"
SCHEMA = {
    "$id": ID,
    "version": 1,
    "properties": {
        "action": {},
        "free": {"categories": ["unrestricted"]},
        "also_free": {"categories": ["category.jupyter.org/unrestricted"]},
        "user": {
            "categories": ["user-identifier"],
            "properties": {"email": {"categories": ["user-identifiable-information"]}, "id": {"type": "string"}},
        },
        "name": {"pii": True, "categories": ["user-identifier"]},
        "both": {"categories": ["user-identifier", "location"]},
        "cells": {"items": {"properties": {"source": {"type": "string"}, "number": {}}}},
        "a.b": {},
    },
}
EVENT = {
    "action": "start",
    "free": 1,
    "also_free": 2,
    "user": {"email": "ada@example.org", "id": "ada"},
    "name": "ada",
    "both": "here",
    "cells": [{"source": "x = 1", "number": 1}, {"source": "y", "number": 2}],
    "a.b": "dotted",
    "undeclared": True,
}


def pseudonym(value):
    return Pseudonymizer(KEY.encode())(value)


@pytest.fixture(autouse=True)
def no_key_around(monkeypatch):
    """No variable of this machine disturbs."""
    monkeypatch.delenv("JUPYTER_OTEL_PSEUDONYM_KEY", raising=False)
    monkeypatch.delenv("JUPYTER_OTEL_PSEUDONYM_KEY_FILE", raising=False)


class Memory:
    """A provider that keeps what it gets."""

    def __init__(self):
        self.exporter = InMemoryLogRecordExporter()
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))

    @property
    def logs(self):
        return [data.log_record for data in self.exporter.get_finished_logs()]

    @property
    def events(self):
        """The attributes that are properties, and the body, which shows the same."""
        return [
            ({name: value for name, value in log.attributes.items() if name.startswith("jupyter.event.")}, log.body)
            for log in self.logs
        ]


@pytest.fixture
def memory():
    """What leaves."""
    return Memory()


def as_sent(event):
    """Return what leaves of an event that nobody touches."""
    memory = Memory()
    event_log(["*"], OTLPHandler(logger_provider=memory.provider), schema={"$id": ID, "version": 1}).record_event(
        ID, 1, event
    )
    return memory.events


def event_log(allowed_schemas, *handlers, schema=SCHEMA):
    log = EventLog(handlers=list(handlers) or [EventSink()], allowed_schemas=allowed_schemas, pseudonym_key=KEY)
    log.register_schema(schema)
    return log


FLAGGED_ARE_NULL = {"user": None, "name": None, "both": None}
USER = {"user": EVENT["user"]}
RULES = {
    "flagged properties are null": ({}, FLAGGED_ARE_NULL),
    "a category that is allowed": (
        {"allowed_categories": ["user-identifier"]},
        FLAGGED_ARE_NULL | {"user": {"email": None, "id": "ada"}},
    ),
    "a category below one that is not allowed": (
        {"allowed_categories": ["user-identifiable-information"]},
        FLAGGED_ARE_NULL,
    ),
    "two categories, both allowed": (
        {"allowed_categories": ["user-identifier", "user-identifiable-information", "location"]},
        {"name": None},
    ),
    "unrestricted need not be allowed": ({"allowed_categories": ["unrestricted"]}, FLAGGED_ARE_NULL),
    "an allowed top-level property keeps all below": ({"allowed_properties": ["user"]}, FLAGGED_ARE_NULL | USER),
    "an allowed property that is pii": ({"allowed_properties": ["name"]}, FLAGGED_ARE_NULL | {"name": "ada"}),
    "withheld whatever the schema says": (
        {"withheld_properties": ["action", "undeclared"]},
        FLAGGED_ARE_NULL | {"action": None, "undeclared": None},
    ),
    "withheld though allowed": (
        {"allowed_properties": ["user"], "withheld_properties": ["user.email"]},
        FLAGGED_ARE_NULL | {"user": {"email": None, "id": "ada"}},
    ),
    "withheld though pseudonymized": (
        {"pseudonymized_properties": ["action"], "withheld_properties": ["action"]},
        FLAGGED_ARE_NULL | {"action": None},
    ),
    "withheld in each item": (
        {"withheld_properties": ["cells.source"]},
        FLAGGED_ARE_NULL | {"cells": [{"source": None, "number": 1}, {"source": None, "number": 2}]},
    ),
    "an array that is withheld": ({"withheld_properties": ["cells"]}, FLAGGED_ARE_NULL | {"cells": None}),
    "withheld inside of a flagged object of which something else is seen": (
        {"withheld_properties": ["user.email"], "pseudonymized_properties": ["user.email", "user.id"]},
        FLAGGED_ARE_NULL | {"user": {"email": None, "id": pseudonym("ada")}},
    ),
    "a name that holds a dot": ({"withheld_properties": ["a.b"]}, FLAGGED_ARE_NULL | {"a.b": None}),
    "pseudonymized": (
        {"pseudonymized_properties": ["action"]},
        FLAGGED_ARE_NULL | {"action": pseudonym("start")},
    ),
    "pseudonymized though flagged": (
        {"pseudonymized_properties": ["name"]},
        FLAGGED_ARE_NULL | {"name": pseudonym("ada")},
    ),
    "pseudonymized inside of what is flagged": (
        {"pseudonymized_properties": ["user.id"]},
        FLAGGED_ARE_NULL | {"user": {"email": None, "id": pseudonym("ada")}},
    ),
    "pseudonymized in each item": (
        {"pseudonymized_properties": ["cells.source"]},
        FLAGGED_ARE_NULL
        | {"cells": [{"source": pseudonym("x = 1"), "number": 1}, {"source": pseudonym("y"), "number": 2}]},
    ),
    "the items of an array are pseudonymized one by one": (
        {"pseudonymized_properties": ["cells"]},
        FLAGGED_ARE_NULL | {"cells": [pseudonym(cell) for cell in EVENT["cells"]]},
    ),
}


class TestRules:
    """The same at both places: `EventLog` for all handlers, `OTLPHandler` for what leaves."""

    @pytest.fixture(params=RULES.values(), ids=list(RULES))
    def rule(self, request):
        """Options, and what they change of the event."""
        options, changes = request.param
        # Undeclared, so that only an entry which is a pattern may name it.
        entry = "*" if "undeclared" in options.get("withheld_properties", ()) else ID
        return {entry: options}, EVENT | changes

    def test_at_event_log(self, rule):
        """In what is returned, in the file and to listeners."""
        allowed_schemas, expected = rule
        sink, heard = EventSink(), []
        log = event_log(allowed_schemas, sink)
        log.add_listener(lambda *args: heard.append(args[-1]))

        assert log.record_event(ID, 1, EVENT) == expected
        assert {k: v for k, v in json.loads(sink.lines[0]).items() if not k.startswith("__")} == expected
        assert heard == [expected]

    def test_at_handler(self, rule, memory):
        """Only in what leaves."""
        allowed_schemas, expected = rule
        sink = EventSink()
        handler = OTLPHandler(allowed_schemas=allowed_schemas, pseudonym_key=KEY, logger_provider=memory.provider)
        log = event_log({ID: {"allowed_properties": ["user", "name", "both"]}}, sink, handler)

        assert log.record_event(ID, 1, EVENT) == EVENT
        assert sink.events == [EVENT]
        assert memory.events == as_sent(expected)


def _with_strange_schema(record):
    return {"name": "e", "levelno": 20, "levelname": "INFO", "msg": {"__schema__": b"x", "event": record.event}}


class TestHandlerNarrows:
    """`OTLPHandler` has its own say, and neither undoes what the other withholds."""

    def test_none_narrows_nothing(self, memory):
        """The default."""
        log = event_log({ID: {"allowed_properties": ["name"]}}, OTLPHandler(logger_provider=memory.provider))
        log.record_event(ID, 1, {"name": "ada"})

        assert memory.events == as_sent({"name": "ada"})

    @pytest.mark.parametrize("entries", [[ID], {ID: {}}, {ID: None}])
    def test_list_is_a_mapping_without_options(self, memory, entries):
        """So what is flagged is null, whatever the EventLog recorded."""
        handler = OTLPHandler(allowed_schemas=entries, logger_provider=memory.provider)
        event_log({ID: {"allowed_properties": ["name"]}}, handler).record_event(ID, 1, {"name": "ada"})

        assert memory.events == as_sent({"name": None})

    def test_cannot_widen(self, memory):
        """What is null is null."""
        options = {"allowed_properties": ["name"], "pseudonymized_properties": ["user"]}
        handler = OTLPHandler(allowed_schemas={ID: options}, pseudonym_key=KEY, logger_provider=memory.provider)
        event_log([ID], handler).record_event(ID, 1, EVENT)

        assert memory.events == as_sent(EVENT | FLAGGED_ARE_NULL)

    def test_pseudonym_is_not_pseudonymized_again(self, memory):
        """The same person is the same value in the file and in what leaves."""
        options = {ID: {"pseudonymized_properties": ["name"]}}
        handler = OTLPHandler(allowed_schemas=options, pseudonym_key=KEY, logger_provider=memory.provider)
        event_log(options, handler).record_event(ID, 1, {"name": "ada"})

        assert memory.events == as_sent({"name": pseudonym("ada")})

    def test_is_the_same_log_record_to_every_handler(self, memory):
        """With one id, one time, and what logging filters added."""
        narrow = OTLPHandler(allowed_schemas=[ID], logger_provider=memory.provider)
        wide = OTLPHandler(logger_provider=memory.provider)
        wide.addFilter(lambda record: setattr(record, "deployment", "blue") or True)
        log = event_log({ID: {"allowed_properties": ["name"]}}, wide, narrow)
        log.record_event(ID, 1, {"name": "ada"})
        one, other = memory.logs

        assert one.attributes["log.record.uid"] == other.attributes["log.record.uid"]
        assert one.timestamp == other.timestamp
        assert [log.attributes["deployment"] for log in (one, other)] == ["blue", "blue"]
        assert ["jupyter.event.name" in log.attributes for log in (one, other)] == [True, False]

    def test_filter_that_masks_an_attribute_is_not_undone(self, memory):
        """A narrowed record keeps what a logging filter made of an attribute that stays."""
        handler = OTLPHandler(allowed_schemas=[ID], logger_provider=memory.provider)
        handler.addFilter(lambda record: vars(record).update({"jupyter.event.action": "masked"}) or True)
        event_log([ID], handler).record_event(ID, 1, {"action": "start", "name": "ada"})

        assert memory.logs[0].attributes["jupyter.event.action"] == "masked"

    def test_pickled_record_is_narrowed_like_any_other(self, memory):
        """Numbers, too, which are other objects afterwards."""
        sink = EventSink()
        event_log(["*"], sink).record_event(ID, 1, {"action": 1234567, "undeclared": 3.25})
        options = {"*": {"pseudonymized_properties": ["action", "undeclared"]}}
        handler = OTLPHandler(allowed_schemas=options, pseudonym_key=KEY, logger_provider=memory.provider)
        handler.handle(pickle.loads(pickle.dumps(sink.records[0])))

        assert memory.events == as_sent({"action": pseudonym(1234567), "undeclared": pseudonym(3.25)})

    def test_filter_that_rewrites_what_is_withheld_does_not_bring_it_back(self, memory):
        """And one that removes an attribute does not see it again."""

        def rewrite(record):
            fields = vars(record)
            fields["jupyter.event.name"] = fields["jupyter.event.name"].upper()
            del fields["jupyter.event.action"]
            return True

        wide, narrow = EventSink(), OTLPHandler(allowed_schemas=[ID], logger_provider=memory.provider)
        wide.addFilter(rewrite)
        log = event_log({ID: {"allowed_properties": ["name"]}}, wide, narrow)
        log.record_event(ID, 1, {"action": 1, "name": "ada"})

        assert memory.events[0][0] == {}

    @pytest.mark.parametrize("lose_form", [vars, _with_strange_schema])
    def test_event_that_has_lost_its_form_does_not_pass(self, memory, caplog, lose_form):
        """As an ordinary record, of which nobody could tell the properties; without a policy it does."""
        sink = EventSink()
        event_log({ID: {"allowed_properties": ["name"]}}, sink).record_event(ID, 1, {"name": "secret"})
        record = logging.makeLogRecord(lose_form(sink.records[0]))
        OTLPHandler(allowed_schemas=[ID], logger_provider=memory.provider).handle(record)
        assert memory.logs == []
        assert "is not sent: it was an event" in caplog.text
        assert "secret" not in caplog.text
        OTLPHandler(logger_provider=memory.provider).handle(record)

        assert len(memory.logs) == 1


class TestMostSpecificEntry:
    """Of several that match, one counts."""

    @pytest.mark.parametrize(
        "entries, shows_action",
        [
            ({"*": {"withheld_properties": ["action"]}, ID: {}}, True),
            ({"*": {}, ID: {"withheld_properties": ["action"]}}, False),
            ({"https://*": {}, "https://example.org/*": {"withheld_properties": ["action"]}}, False),
            ({"https://example.org/*": {}, "https://*": {"withheld_properties": ["action"]}}, True),
            ({"*server-action": {"withheld_properties": ["action"]}, "https://*": {}}, False),
        ],
    )
    def test_counts(self, entries, shows_action):
        """The id itself, else the pattern with the most characters beside the stars; the order is nothing."""
        recorded = event_log(entries).record_event(ID, 1, {"action": "start"})

        assert recorded == {"action": "start" if shows_action else None}


class TestChanges:
    def test_entries_assigned_later_count(self):
        """At once."""
        log = event_log([ID])
        log.allowed_schemas = {ID: {"withheld_properties": ["action"]}}

        assert log.record_event(ID, 1, {"action": "start"}) == {"action": None}

    def test_entries_changed_in_place_count(self):
        """At once, however deep."""
        log = event_log({ID: {"withheld_properties": ["free"]}})
        log.record_event(ID, 1, {"action": "start"})
        log.allowed_schemas[ID]["withheld_properties"].append("action")

        assert log.record_event(ID, 1, {"action": "start"}) == {"action": None}

    def test_one_read_long_ago_may_be_changed_in_place(self):
        """Also after other values were equal to it; one that was replaced has no effect any more."""
        log = event_log([])
        replaced = log.allowed_schemas
        log.allowed_schemas = []
        current = log.allowed_schemas
        replaced.append(ID)
        assert log.record_event(ID, 1, {}) is None
        current.append(ID)

        assert log.record_event(ID, 1, {}) == {}

    def test_list_that_was_given_may_be_used_for_something_else(self):
        """The trait keeps a copy, as those of traitlets do."""
        given = [ID]
        log = event_log(given)
        given.clear()

        assert log.record_event(ID, 1, {}) == {}

    def test_number_of_entries_costs_an_event_nothing(self):
        """As long as nobody has read them, they are not compared."""

        comparisons = []

        class Counted(str):
            __slots__ = ()
            __hash__ = str.__hash__

            def __eq__(self, other):
                comparisons.append(other)
                return super().__eq__(other)

        log = event_log([Counted(f"{ID}/{number}") for number in range(100)] + [ID])
        log.record_event(ID, 1, {})
        comparisons.clear()
        log.record_event(ID, 1, {})

        assert comparisons == []

    @pytest.mark.parametrize(
        "value", [(ID for _ in "a"), [threading.Lock()], {ID: {"withheld_properties": iter("a")}}]
    )
    def test_what_cannot_be_copied_is_refused_by_name(self, value):
        """As any other wrong value is."""
        with pytest.raises(TraitError, match="allowed_schemas"):
            EventLog(allowed_schemas=value)

    def test_schema_registered_later_changes_what_a_reference_flags(self):
        """A `$ref` means the highest version."""
        person = {"$id": "https://example.org/person", "version": 1, "properties": {"email": {}}}
        log = event_log(["*"], schema={"$id": ID, "version": 1, "properties": {"user": {"$ref": "person"}}})
        log.register_schema(person)
        before = log.record_event(ID, 1, {"user": {"email": "a@b"}})
        log.register_schema(person | {"version": 2, "properties": {"email": {"pii": True}}})

        assert before == {"user": {"email": "a@b"}}
        assert log.record_event(ID, 1, {"user": {"email": "a@b"}}) == {"user": {"email": None}}

    def test_callers_event_is_not_changed(self):
        """Not even where it is shared with what is recorded."""
        event = {"user": {"email": "a@b"}, "name": "ada"}
        event_log({ID: {"pseudonymized_properties": ["name"]}}).record_event(ID, 1, event)

        assert event == {"user": {"email": "a@b"}, "name": "ada"}

    def test_modifiers_see_the_event_and_what_they_leave_is_withheld(self):
        """They run before; what they move elsewhere is judged by where it then is."""
        log = event_log([ID])
        log.add_modifier(lambda _id, _version, event: {"name": event["action"], "user": {"copy": event["name"]}})

        assert log.record_event(ID, 1, {"action": "x", "name": "ada"}) == {"name": None, "user": None}


class TestMistakes:
    """A wrong option is an error when it is configured, with the place and the remedy."""

    @pytest.mark.parametrize(
        "options, message",
        [
            (
                {"witheld_properties": []},
                "has the unknown option 'witheld_properties'; did you mean 'withheld_properties'",
            ),
            ({"xyz": []}, "unknown option 'xyz'; known are allowed_properties, allowed_categories,"),
            ({3: []}, "unknown option 3"),
            ([], r"must be a mapping from options to lists, not \[\]"),
            ({"withheld_properties": "name"}, r"must be a list of texts, not 'name'; write \['name'\]"),
            ({"withheld_properties": {"name": 1}}, "must be a list of texts"),
            ({"withheld_properties": 3}, "must be a list of texts"),
            ({"withheld_properties": [3]}, "must hold texts, not 3"),
            ({"withheld_properties": [""]}, "must hold texts, not ''"),
            ({"withheld_properties": ["nmae"]}, "names 'nmae', which that schema does not have; did you mean 'name'"),
            ({"withheld_properties": ["user.emial"]}, "did you mean 'user.email'"),
            ({"withheld_properties": ["user.id.first"]}, "names 'user.id.first', which that schema does not have"),
            ({"pseudonymized_properties": ["cells.sauce"]}, "did you mean 'cells.source'"),
            ({"allowed_properties": ["usr"]}, "did you mean 'user'"),
            ({"allowed_properties": ["user.id"]}, "only a top-level property can be allowed.*: write 'user'"),
        ],
    )
    @pytest.mark.parametrize("where", ["before the schema", "after the schema", "at the handler", "handler later"])
    def test_is_an_error(self, options, message, where, memory):
        """Whatever comes first, the options or the schema, and wherever they stand."""
        log = EventLog(handlers=[EventSink()], allowed_schemas=[ID], pseudonym_key=KEY)

        def handler():
            return OTLPHandler(allowed_schemas={ID: options}, pseudonym_key=KEY, logger_provider=memory.provider)

        with pytest.raises(PolicyError, match=message):  # noqa: PT012 - one of them is where it shows
            if where == "before the schema":
                log.allowed_schemas = {ID: options}
            elif where == "at the handler":
                log.handlers = [handler()]
            log.register_schema(SCHEMA)
            if where == "after the schema":
                log.allowed_schemas = {ID: options}
            log.handlers = [handler()]

    def test_is_what_applications_and_callers_catch(self):
        """A TraitError, which applications report in one line, a ValueError, and one of ours."""
        for error in (TraitError, ValueError, TelemetryError):
            with pytest.raises(error, match=r"^EventLog.allowed_schemas\['https://example.org/server-action'\] has"):
                EventLog(allowed_schemas={ID: {"wrong": []}})

    def test_schema_with_which_an_option_cannot_be_is_not_registered(self):
        """Rather than recorded without the option."""
        log = EventLog(handlers=[EventSink()], allowed_schemas={ID: {"withheld_properties": ["nmae"]}})
        with pytest.raises(PolicyError):
            log.register_schema(SCHEMA)

        assert (ID, 1) not in log.schemas

    def test_refused_option_changes_nothing(self):
        """The entries before go on to count."""
        log = event_log({ID: {"withheld_properties": ["action"]}})
        with pytest.raises(PolicyError):
            log.allowed_schemas = {ID: {"withheld_properties": ["acton"]}}

        assert log.record_event(ID, 1, {"action": "start"}) == {"action": None}

    def test_property_of_any_version_is_known(self):
        """Versions may differ; a pattern may name what only a later one has."""
        log = event_log({ID: {"withheld_properties": ["action"]}})
        log.register_schema({"$id": ID, "version": 2, "properties": {"verb": {}}})
        log.allowed_schemas = {ID: {"withheld_properties": ["action", "verb"]}}

        assert log.record_event(ID, 2, {"verb": "start"}) == {"verb": None}

    def test_pattern_may_name_what_only_some_schemas_have(self):
        """It speaks of several."""
        log = event_log({"https://example.org/*": {"withheld_properties": ["only_elsewhere"]}})

        assert log.record_event(ID, 1, {"action": "start"}) == {"action": "start"}

    def test_versions_of_a_folder_are_known_together(self, tmp_path):
        """Whichever is read first."""
        for version, names in ((1, "a"), (2, "ab")):
            properties = {name: {} for name in names}
            text = json.dumps({"$id": ID, "version": version, "properties": properties})
            (tmp_path / f"v{version}.json").write_text(text)
        log = EventLog(handlers=[EventSink()], allowed_schemas={ID: {"withheld_properties": ["b"]}})

        assert log.register_schemas(tmp_path) == [(ID, "1"), (ID, "2")]

    def test_text_that_was_to_be_json_is_no_id(self):
        """On a command line, a bracket too few."""
        with pytest.raises(PolicyError, match="looks like JSON that could not be read"):
            EventLog(allowed_schemas=['{"https://example.org/a": {}'])

    def test_entries_changed_in_place_to_what_they_must_not_be_record_nothing(self, caplog):
        """The application goes on, and is told once."""
        log = event_log({ID: {"withheld_properties": ["action"]}})
        log.allowed_schemas[ID]["withheld_properties"] = ["acton"]

        assert [log.record_event(ID, 1, {"action": 1}) for _ in range(3)] == [None, None, None]
        assert caplog.text.count("did you mean 'action'") == 1

    def test_entries_updated_in_configuration_count(self):
        """Though the default that they update is a list."""
        config = Config()
        config.EventLog.allowed_schemas.update({ID: {}})

        assert EventLog(config=config).allowed_schemas == {ID: {}}

    @pytest.mark.parametrize(
        "schema, path",
        [
            ({"properties": {"a": {}}, "required": ["b"]}, "b"),
            ({"additionalProperties": {"properties": {"email": {}}}}, "anybody.email"),
            ({"additionalProperties": True}, "anything"),
            ({"patternProperties": {"^x-": {}}}, "x-user"),
            ({"properties": {"headers": {"type": "object"}}}, "headers.cookie"),
            ({"properties": {"rows": {"type": "array"}}}, "rows.name"),
            ({"properties": {"rows": {"items": {"items": {"properties": {"name": {}}}}}}}, "rows.name"),
            ({"anyOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, "b"),
            ({"properties": {"a.b": {"properties": {"c.d": {}}}}}, "a.b.c.d"),
            ({}, "anything"),
        ],
    )
    def test_place_that_the_schema_leaves_open_is_known(self, schema, path):
        """What it describes, or lets stand there."""
        log = event_log({ID: {"withheld_properties": [path]}}, schema={"$id": ID, "version": 1, **schema})

        assert (ID, 1) in log.schemas

    @pytest.mark.parametrize(
        "schema, path",
        [
            ({"properties": {"a": {}}}, "b"),
            ({"properties": {"a": {}}, "additionalProperties": False}, "b"),
            ({"additionalProperties": False}, "b"),
            ({"patternProperties": {"^x-": {}}}, "y"),
            ({"properties": {"a": {"type": ["string", "null"]}}}, "a.b"),
            ({"properties": {"a": {"items": {"type": "string"}}}}, "a.b"),
            ({"properties": {"a": {"items": {"properties": {"b": {}}}}}}, "a.c"),
        ],
    )
    def test_place_that_the_schema_does_not_have_is_an_error(self, schema, path):
        """Nothing can ever stand there, or the schema does not say so."""
        with pytest.raises(PolicyError, match=f"names '{path}', which that schema does not have"):
            event_log({ID: {"withheld_properties": [path]}}, schema={"$id": ID, "version": 1, **schema})

    def test_schema_that_waits_for_another_is_checked_when_that_comes(self):
        """Not before, since nobody knows what it has."""
        log = event_log(
            {ID: {"withheld_properties": ["user.emial"]}},
            schema={"$id": ID, "version": 1, "properties": {"user": {"$ref": "person"}}},
        )
        person = {"$id": "https://example.org/person", "version": 1, "properties": {"email": {}}}

        with pytest.raises(PolicyError, match=r"did you mean 'user\.email'"):
            log.register_schema(person)


class TestKey:
    """Without a key there is no pseudonym, and no event either."""

    OPTIONS = {ID: {"pseudonymized_properties": ["name"]}}  # noqa: RUF012 - nobody changes it

    def recorded(self, **arguments):
        log = EventLog(handlers=[EventSink()], allowed_schemas=self.OPTIONS, **arguments)
        log.register_schema(SCHEMA)
        return log.record_event(ID, 1, {"name": "ada"})

    def test_missing_is_an_error_that_says_how_to_get_one(self):
        """When it is configured."""
        with pytest.raises(
            PolicyError, match=r"pseudonymized_properties needs a key: set pseudonym_key_file,.*token_hex"
        ):
            EventLog(allowed_schemas=self.OPTIONS)
        with pytest.raises(PolicyError, match="needs a key"):
            OTLPHandler(allowed_schemas=self.OPTIONS)

    def test_is_not_needed_for_anything_else(self):
        """Nor read."""
        assert EventLog(allowed_schemas=[ID], pseudonym_key_file="/nowhere").allowed_schemas == [ID]

    @pytest.mark.parametrize("place", ["trait", "file", "variable", "file of a variable"])
    def test_is_the_same_wherever_it_comes_from(self, place, tmp_path, monkeypatch):
        """White space around that of a file does not count."""
        (tmp_path / "key").write_text(f"{KEY}\n")
        arguments = {}
        if place == "trait":
            arguments["pseudonym_key"] = KEY
        elif place == "file":
            arguments["pseudonym_key_file"] = str(tmp_path / "key")
        elif place == "variable":
            monkeypatch.setenv("JUPYTER_OTEL_PSEUDONYM_KEY", KEY)
        else:
            monkeypatch.setenv("JUPYTER_OTEL_PSEUDONYM_KEY_FILE", str(tmp_path / "key"))

        assert self.recorded(**arguments) == {"name": pseudonym("ada")}

    def test_trait_wins_over_the_environment(self, monkeypatch):
        """As everywhere."""
        monkeypatch.setenv("JUPYTER_OTEL_PSEUDONYM_KEY", "another key of some length")

        assert self.recorded(pseudonym_key=KEY) == {"name": pseudonym("ada")}

    def test_may_come_from_configuration_while_the_entries_are_arguments(self):
        """And the other way round; both count once all is known."""
        log = EventLog(config=Config({"EventLog": {"pseudonym_key": KEY}}), allowed_schemas=self.OPTIONS)
        other = EventLog(config=Config({"EventLog": {"allowed_schemas": self.OPTIONS}}), pseudonym_key=KEY)

        assert log.allowed_schemas == other.allowed_schemas == self.OPTIONS

    def test_another_key_makes_other_pseudonyms(self):
        """For all; here by assignment."""
        log = event_log(self.OPTIONS)
        log.pseudonym_key = "another key of some length"

        assert log.record_event(ID, 1, {"name": "ada"}) != {"name": pseudonym("ada")}

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({"pseudonym_key": "short"}, "EventLog.pseudonym_key has 5 bytes, fewer than 16"),
            ({"pseudonym_key": ""}, "pseudonym_key has 0 bytes"),
            ({"pseudonym_key": KEY, "pseudonym_key_file": "x"}, "are both given; give one of them"),
            (
                {"pseudonym_key_file": "/nowhere/key"},
                "pseudonym_key_file '/nowhere/key' cannot be read: No such file",
            ),
        ],
    )
    def test_that_cannot_be_one_is_an_error(self, arguments, message):
        """Which names the setting, and never shows the key."""
        with pytest.raises(PolicyError, match=message):
            self.recorded(**arguments)

    def test_cannot_be_taken_away_from_those_who_need_it(self):
        """The assignment fails, and the pseudonyms stay."""
        log = event_log(self.OPTIONS)
        with pytest.raises(PolicyError, match="needs a key"):
            log.pseudonym_key = None

        assert log.record_event(ID, 1, {"name": "ada"}) == {"name": pseudonym("ada")}


ENVELOPE = {"__schema__": ID, "__schema_version__": "1", "__timestamp__": "2026-01-02T03:04:05+00:00Z"}


class TestForeignEvents:
    """Events of `jupyter_events` loggers pass the policy of the handler."""

    def emit(self, memory, options, *events, schema_id=ID):
        handler = OTLPHandler(
            allowed_schemas={schema_id: options}, pseudonym_key=KEY, logger_provider=memory.provider
        )
        for event in events:
            capsule = ENVELOPE | event
            handler.handle(logging.LogRecord("jupyter_events", 20, "", 0, capsule, None, None))
        return memory.events

    def test_options_count(self, memory):
        """For schemas that nobody annotated, and that nobody has registered here."""
        options = {"pseudonymized_properties": ["username"], "withheld_properties": ["model.path"]}
        events = self.emit(memory, options, {"username": "ada", "model": {"path": "p", "type": "file"}})

        assert events == as_sent_by_others({"username": pseudonym("ada"), "model": {"path": None, "type": "file"}})

    def test_behind_a_queue_they_are_the_same(self, memory):
        """Where `logging` has made text of them."""
        queue = SimpleQueue()
        logger = EventLogger(handlers=[QueueHandler(queue)])
        logger.register_event_schema({"$id": ID, "version": "1", "properties": {"path": {"type": "string"}}})
        logger.emit(schema_id=ID, data={"path": "secret"})
        options = {ID: {"withheld_properties": ["path"]}}
        OTLPHandler(allowed_schemas=options, logger_provider=memory.provider).handle(queue.get())

        assert memory.logs[0].event_name == ID
        assert memory.events == as_sent_by_others({"path": None})

    def test_text_of_another_logger_is_no_event(self, memory):
        """Or whoever can get a text logged could make up events."""
        text = json.dumps({"__schema__": ID, "__schema_version__": "1", "username": "ada"})
        record = logging.LogRecord("some.app", 20, "", 0, text, None, None)
        OTLPHandler(logger_provider=memory.provider).handle(record)

        assert (memory.logs[0].event_name, memory.logs[0].body) == (None, text)

    def test_schema_that_is_not_listed_does_not_leave(self, memory):
        """Opt-in, also for others' events."""
        assert self.emit(memory, {}, {"a": 1}, schema_id="https://example.org/other") == []

    @pytest.mark.parametrize(
        "model", [("p", {"path": "secret"}), {"path": {"secret"}}, {1: "secret"}, NotImplemented]
    )
    def test_what_is_no_json_is_withheld_where_anything_in_it_might_be(self, memory, model):
        """Nobody knows what is where in it."""
        events = self.emit(
            memory, {"withheld_properties": ["model.path"]}, {"model": {"path": 1}}, {"model": model, "n": 1}
        )

        assert "secret" not in str(events)
        assert events[1][0]["jupyter.event.n"] == 1


def as_sent_by_others(event):
    memory = Memory()
    capsule = {"__schema__": ID, "__schema_version__": "1", **event}
    OTLPHandler(logger_provider=memory.provider).handle(logging.LogRecord("e", 20, "", 0, capsule, None, None))
    return memory.events


class TestTroubles:
    """Failures of handlers and functions are logged without anything of the event."""

    @pytest.fixture
    def failures(self, caplog):
        """Return what is logged, of which error reporters would show the variables of all frames."""

        def failures(expected):
            assert expected in caplog.text
            assert [record.exc_info for record in caplog.records if record.exc_info] == []
            return caplog.text

        return failures

    def test_no_module_logs_traceback_objects(self):
        """Whatever fails; `failure_text` is logged instead."""
        modules = Path(jupyter_otel_telemetry.__file__).parent.rglob("*.py")
        logging_them = re.compile(r"\.exception\(|exc_info=")

        assert [path for path in modules if logging_them.search(path.read_text(encoding="utf-8"))] == []

    @pytest.mark.parametrize(
        "error, named",
        [
            (ValueError("secret"), "failed with ValueError, and"),
            (KeyError("secret"), "failed with KeyError, and"),
            (OSError(28, "secret", "secret"), "failed with OSError (No space left on device), and"),
        ],
    )
    def test_of_a_handler(self, failures, error, named):
        """The type of the exception, the system's reason, and the code that it came from."""

        class Failing(logging.Handler):
            def emit(self, _record):
                raise error

        event_log(["*"], Failing()).record_event(ID, 1, {"action": "secret"})

        assert "secret" not in failures(named)
        assert "in emit\n    raise error" in failures("test_privacy.py")

    @pytest.mark.parametrize("is_async", [False, True])
    def test_of_a_listener(self, failures, is_async):
        """Plain or async."""

        def listener(_id, _version, event):
            raise ValueError(event["action"])

        async def async_listener(*arguments):
            listener(*arguments)

        log = event_log(["*"])
        log.add_listener(async_listener if is_async else listener)
        log.record_event(ID, 1, {"action": "secret"})

        assert "secret" not in failures("ValueError")

    def test_of_a_processor(self, failures):
        """Of the provider that `OTLPHandler` was given."""

        class Failing(SimpleLogRecordProcessor):
            def on_emit(self, log_record):
                raise ValueError(log_record.log_record.body)

        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(Failing(InMemoryLogRecordExporter()))
        event_log(["*"], OTLPHandler(logger_provider=provider)).record_event(ID, 1, {"action": "secret"})

        assert "secret" not in failures("ValueError")

    def test_of_the_encoding_for_a_spool(self, failures, tmp_path, monkeypatch):
        """A record that cannot be encoded is lost, not shown."""
        handler = OTLPHandler(spool=tmp_path, endpoint="http://127.0.0.1:9")
        monkeypatch.setattr(handler._spool._encoder, "entry", lambda record: int(record.log_record.body))
        handler.handle(logging.makeLogRecord({"name": "x", "msg": "secret", "levelno": logging.INFO}))

        assert "secret" not in failures("ValueError")


class TestErrors:
    """What is withheld is in no message either."""

    @pytest.mark.parametrize(
        "schema, event, message",
        [
            (
                {"properties": {"p": {"pii": True, "additionalProperties": False}}},
                {"p": {"secret": 1}},
                "at /p, a withheld value violates additionalProperties",
            ),
            (
                {"properties": {"p": {"pii": True, "additionalProperties": {"type": "object"}}}},
                {"p": {"secret": 1}},
                "at /p, a withheld value violates type",
            ),
            (
                {"properties": {"p": {"items": {"properties": {"q": {"pii": True, "enum": [1]}}}}}},
                {"p": [{"q": "secret"}]},
                "at /p/0/q, a withheld value violates enum",
            ),
            ({"pii": True}, {"__secret": 1}, "at /, a withheld value violates a rule of JSON"),
            ({"properties": {"p": {"pii": True}}}, {"p": {"secret": {1}}}, "at /p, a withheld value violates"),
            ({"properties": {"p": {}}}, {"p": {"seen": {1}}}, "at /p/seen, is a set, which JSON cannot hold"),
        ],
    )
    def test_invalid_event_is_described_up_to_what_is_withheld(self, schema, event, message, caplog):
        """By schema, place and rule."""
        log = event_log([ID], schema={"$id": ID, "version": 1, **schema})
        with pytest.raises(ValidationError) as caught:
            log.record_event(ID, 1, event)
        log.on_invalid = "log"
        log.record_event(ID, 1, event)

        assert message in str(caught.value)
        assert message in caplog.text
        assert "secret" not in str(caught.value) + caplog.text
        assert "secret" not in repr(vars(caught.value)) + str(pickle.loads(pickle.dumps(caught.value)))
        assert "secret" not in repr(caught.value.__context__)
