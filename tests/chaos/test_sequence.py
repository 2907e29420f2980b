"""Each process numbers its records without gaps, whatever becomes of them."""

import json
import logging
import os

from builders import ID, schema
from click.testing import CliRunner

from jupyter_otel_telemetry import EventLog, OTLPHandler
from jupyter_otel_telemetry.cli.app import app


def numbers_by_process(logs):
    """Return the numbers that arrived of each process, by its service.instance.id."""
    found = {}
    for log in logs:
        found.setdefault(log.resource["service.instance.id"], []).append(log.attributes["jupyter.sequence"])
    return found


def event_log(handler):
    log = EventLog(handlers=[handler], allowed_schemas=["*"])
    log.register_schema(schema())
    return log


class TestNumbers:
    def test_count_events_and_log_records(self, otlp_receiver, tmp_path):
        """One series for all that leaves through a handler, from 1, in memory and with a spool."""
        for spool in (None, tmp_path):
            handler = OTLPHandler(endpoint=otlp_receiver.endpoint, spool=spool)
            event_log(handler).record_event(ID, 1, {"action": "start"})
            handler.handle(logging.makeLogRecord({"name": "x", "msg": "hello", "levelno": logging.INFO}))
            event_log(handler).record_event(ID, 1, {"action": "stop"})
            assert handler.force_flush(60)

        assert [log.attributes["jupyter.sequence"] for log in otlp_receiver.logs] == [1, 2, 3, 1, 2, 3]

    def test_do_not_count_what_a_policy_keeps_back(self, otlp_receiver):
        """Then a gap would look like a loss."""
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint, allowed_schemas=[ID])
        log = event_log(handler)
        log.register_schema(schema(id="other"))
        for schema_id in (ID, "other", ID):
            log.record_event(schema_id, 1, {"action": "start"})
        assert handler.force_flush(60)

        assert list(numbers_by_process(otlp_receiver.logs).values()) == [[1, 2]]

    def test_begin_again_in_a_forked_child(self, otlp_receiver, tmp_path):
        """With another service.instance.id, so that both series are complete."""
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint, spool=tmp_path)
        log = event_log(handler)
        log.record_event(ID, 1, {"action": "start"})
        if not (child := os.fork()):
            log.record_event(ID, 1, {"action": "start"})
            handler.force_flush(60)
            os._exit(0)
        os.waitpid(child, 0)
        log.record_event(ID, 1, {"action": "stop"})

        assert sorted(numbers_by_process(otlp_receiver.wait_for(3)).values()) == [[1], [1, 2]]


class TestVerify:
    def test_finds_what_was_lost_on_the_way(self, otlp_receiver, tmp_path):
        """What a receiver has stored, less two records."""
        handler = OTLPHandler(endpoint=otlp_receiver.endpoint)
        log = event_log(handler)
        for _ in range(10):
            log.record_event(ID, 1, {"action": "start"})
        assert handler.force_flush(60)
        kept = [log for log in otlp_receiver.logs if log.attributes["jupyter.sequence"] not in (4, 7)]
        export = tmp_path / "export.jsonl"
        export.write_text("".join(json.dumps(log.to_dict()) + "\n" for log in kept))

        run = CliRunner().invoke(app, ["verify", "--json", str(export)])
        assert json.loads(run.stdout)["processes"][0]["missing_ranges"] == [[4, 4], [7, 7]]
        assert run.exit_code == 1
