"""The properties that options name must exist: in the installed schema, else in the events themselves."""

import logging
from pathlib import Path

import pytest
from builders import ID
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from traitlets import TraitError

from jupyter_otel_telemetry import OTLPHandler

SERVER = "https://schema.jupyter.org/jupyterhub/events/server-action"
CONTENTS = "https://events.jupyter.org/jupyter_server/contents_service/v1"
KEY = "0123456789abcdef"
ROOT = Path(__file__).parents[2]


class Sent:
    """A handler with a policy, and the properties of the events that have passed it."""

    def __init__(self, **entries):
        self._exporter = InMemoryLogRecordExporter()
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleLogRecordProcessor(self._exporter))
        self._handler = OTLPHandler(logger_provider=provider, pseudonym_key=KEY, **entries)

    def emit(self, *events, schema_id=ID):
        for event in events:
            capsule = {"__schema__": schema_id, "__schema_version__": "1", **event}
            self._handler.handle(logging.LogRecord("jupyter_events.logger", 20, "", 0, capsule, None, None))
        return self

    @property
    def events(self):
        prefix = "jupyter.event."
        logs = [log.log_record.attributes for log in self._exporter.get_finished_logs()]
        return [{k.removeprefix(prefix): v for k, v in log.items() if k.startswith(prefix)} for log in logs]


class TestInstalledSchema:
    @pytest.mark.parametrize(
        "schema_id, option, name, hint",
        [
            (SERVER, "pseudonymized_properties", "user_name", "did you mean 'username'?"),
            (SERVER, "withheld_properties", "user.name", "did you mean 'username'?"),
            (CONTENTS, "withheld_properties", "paths", "did you mean 'path'?"),
            (CONTENTS, "allowed_properties", "nonsense", "it has action, path, source_path"),
        ],
    )
    def test_property_that_it_does_not_have_is_an_error(self, schema_id, option, name, hint):
        """When the handler is constructed, with the option, the name, and those that exist."""
        with pytest.raises(TraitError) as caught:
            Sent(allowed_schemas={schema_id: {option: [name]}})

        where = f"OTLPHandler allowed_schemas['{schema_id}'] {option}"
        assert str(caught.value).startswith(f"{where} names '{name}', which that schema does not have; {hint}")
        assert "Installed: version 1" in str(caught.value)

    def test_documentation_shows_the_error(self):
        """As the last line of the hub."""
        with pytest.raises(TraitError) as caught:
            Sent(allowed_schemas={SERVER: {"withheld_properties": ["usrname"]}})

        page = (ROOT / "docs" / "howto" / "jupyterhub.md").read_text("utf-8")
        assert f"during initialization: {caught.value}\n" in page

    def test_optional_property_may_be_absent(self):
        """`source_path` is there when a file is renamed only."""
        sent = Sent(allowed_schemas={CONTENTS: {"withheld_properties": ["source_path"]}})

        assert sent.emit({"action": "get"}, schema_id=CONTENTS).events == [{"action": "get"}]

    def test_pattern_names_properties_of_some(self):
        """It is not checked, here or when events arrive."""
        sent = Sent(allowed_schemas={"https://schema.jupyter.org/*": {"withheld_properties": ["path"]}})

        assert sent.emit({"action": "start"}, schema_id=SERVER).events == [{"action": "start"}]


class TestUnknownSchema:
    OPTIONS = {"withheld_properties": ["user.email"], "pseudonymized_properties": ["name"]}  # noqa: RUF012

    def sent(self, **options):
        return Sent(allowed_schemas={ID: options or self.OPTIONS})

    def test_event_that_lacks_a_named_property_is_withheld_whole(self, caplog):
        """As the name may be misspelt; that is logged once, with the remedy."""
        sent = self.sent(pseudonymized_properties=["usrname"]).emit({"username": "ada"}, {"username": "grace"})
        [record] = [record for record in caplog.records if record.levelno == logging.ERROR]

        assert sent.events == []
        assert f"an event of {ID} is withheld whole: it lacks 'usrname', which OTLPHandler allowed_" in record.message
        assert "If the name is misspelt, correct it" in record.message
        assert "ada" not in caplog.text

    def test_event_that_has_it_proves_the_name(self):
        """From then on it is an optional property."""
        sent = self.sent().emit({"n": 1}, {"n": 2, "name": "ada", "user": [{"email": "e"}]}, {"n": 3})

        assert [event["n"] for event in sent.events] == [2, 3]

    @pytest.mark.parametrize(
        "event, is_sent",
        [
            ({"user": {"email": None}}, True),
            ({"user.email": "e"}, True),
            ({"user": {"e": {}}}, False),
            ({"user": "email"}, False),
            ({"user": []}, False),
            ({"email": "e"}, False),
        ],
    )
    def test_path_is_dotted_and_passes_arrays(self, event, is_sent):
        """A name may hold dots; null stands there, too."""
        sent = self.sent(withheld_properties=["user.email"]).emit({"n": 1} | event)

        assert [event["n"] for event in sent.events] == [1] * is_sent

    def test_allowed_property_needs_no_proof(self):
        """A misspelt one withholds more, not less."""
        assert self.sent(allowed_properties=["nonsense"]).emit({"n": 1}).events == [{"n": 1}]

    @settings(deadline=None)
    @given(st.lists(st.dictionaries(st.sampled_from(["username", "usrname", "n"]), st.integers(0, 9))))
    def test_nothing_leaves_before_the_name_is_proven(self, events):
        """Whatever the events are."""
        sent = self.sent(withheld_properties=["usrname"]).emit(*events)
        proven_at = next((index for index, event in enumerate(events) if "usrname" in event), len(events))

        assert len(sent.events) == len(events) - proven_at
