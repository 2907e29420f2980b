"""`explain` tells what every receiver gets, before there is an event."""

import io
import logging
import pickle
from itertools import product

import pytest
from builders import ID
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import ValidationError
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from test_privacy_properties import cases, examples, rewrapped

from jupyter_otel_telemetry import EventLog, OTLPHandler
from jupyter_otel_telemetry.spool.inspection import waiting
from jupyter_otel_telemetry.spool.journal import Journal

ENTRY = "https://example.org/*"
KEY = {"pseudonym_key": "k" * 32}


class Pickled(logging.Handler):
    """Hands each record to another handler, as it arrives in another process."""

    def __init__(self, handler):
        super().__init__()
        self.handler, self.policy = handler, handler.policy

    def emit(self, record):
        self.handler.handle(pickle.loads(pickle.dumps(record)))


class Destinations:
    """A file, and ways into OTLP: in memory, through a filter of another process, into a spool."""

    def __init__(self, schema, options, narrower, folder):
        self.file, self.filtered, self.folder = io.StringIO(), [], folder
        allowed = KEY | {"allowed_schemas": None if narrower is None else {ENTRY: narrower}}
        self._memory, self._other_process = InMemoryLogRecordExporter(), InMemoryLogRecordExporter()
        in_memory, in_other_process = (
            OTLPHandler(logger_provider=provider(exporter), **allowed)
            for exporter in (self._memory, self._other_process)
        )
        in_other_process.addFilter(self._look)
        spool = OTLPHandler(endpoint="http://127.0.0.1:9", spool=folder, **allowed)
        handlers = [logging.StreamHandler(self.file), in_memory, Pickled(in_other_process), spool]
        self.log = EventLog(handlers=handlers, allowed_schemas={ENTRY: options}, **KEY)
        self.log.register_schema(schema)

    def _look(self, record):
        """Look at a record wherever a filter may."""
        self.filtered += [record.getMessage(), dict(record.msg), vars(record).copy(), record.event]
        return True

    def received(self):
        """Return all that each got, as text."""
        [journal] = Journal.all_in(self.folder / "queue")
        return [
            self.file.getvalue(),
            encoded(self._memory),
            encoded(self._other_process) + repr(self.filtered),
            repr([entry.record for entry in waiting(journal, pytest.fail)]),
        ]


def provider(exporter):
    built = LoggerProvider(shutdown_on_exit=False)
    built.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    return built


def encoded(exporter):
    return repr(encode_logs(exporter.get_finished_logs()).SerializeToString())


def told(rows, path):
    """Return the outcomes told of a place: of its name, else of the pattern that it matches, else of any other."""
    ways = product(*([name, *(["/^k/"] if name.startswith("k") else []), "*"] for name in path))
    return next((rows[dotted] for way in ways if (dotted := ".".join(way)) in rows), None)


def fates(explanation, mark):
    """Return the outcomes told of every place on the way to a mark."""
    rows = {}
    for row in explanation["properties"]:
        rows.setdefault(row["property"].partition("[")[0], set()).add(row["outcome"])
    return [told(rows, mark.path[:end]) for end in range(1, len(mark.path) + 1)]


class TestExplainTellsTheTruth:
    @given(cases(), st.data())
    @examples(100)
    def test_about_each_receiver(self, tmp_path_factory, case, data):
        """A value arrives in clear where it is told that it may, and nowhere else."""
        schema, event, marks, options, narrower = case
        if data.draw(st.booleans()):  # so that it is the handlers which withhold
            options, narrower = {"allowed_properties": sorted(event)}, options
        event = {name: rewrapped(data.draw, item, objects=False) for name, item in event.items()}
        destinations = Destinations(schema, options, narrower, tmp_path_factory.mktemp("spool"))
        try:
            destinations.log.record_event(ID, 1, event)
        except ValidationError:
            return
        for explanation, received in zip(destinations.log.explain(), destinations.received(), strict=True):
            for text in {mark.text for mark in marks}:
                ways = [fates(explanation, mark) for mark in marks if mark.text == text]
                if any(None in way for way in ways):
                    continue
                if text in received:
                    assert any(all("recorded" in outcomes for outcomes in way) for way in ways)
                else:
                    assert all(any(outcomes != {"recorded"} for outcomes in way) for way in ways)
