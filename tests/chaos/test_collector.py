"""A real collector that comes and goes under load."""

from __future__ import annotations

import logging
import threading

import pytest
from builders import ID, schema
from click.testing import CliRunner

from jupyter_otel_telemetry import EventLog, OTLPHandler, OTLPJSONFormatter
from jupyter_otel_telemetry.cli.app import app
from jupyter_otel_telemetry.otlp.received import parse_json


def uid(log):
    return log.attributes["log.record.uid"]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_no_event_is_missing_after_restarts(collector, folder, protocol):
    """Though two threads record without a pause while it is down."""
    collector.receiver.clear()
    endpoint = collector.grpc if protocol == "grpc" else collector.http
    handler = OTLPHandler(endpoint=endpoint, protocol=protocol, spool=folder)
    log = EventLog(handlers=[handler], allowed_schemas=["*"])
    log.register_schema(schema())
    recorded = {}
    is_over = threading.Event()

    def record(name):
        number = 0
        while not is_over.wait(0.001):
            log.record_event(ID, 1, {"action": name, "count": number})
            number += 1
        recorded[name] = number

    threads = [threading.Thread(target=record, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for _ in range(3):
        before = len(collector.receiver.logs)
        collector.receiver.wait_for(before + 200, timeout_s=120)
        collector.stop()
        is_over.wait(0.5)  # for a while, nobody is there
        collector.start()
    is_over.set()
    for thread in threads:
        thread.join()
    assert handler.force_flush(120)
    while missing := sum(recorded.values()) - len({uid(log) for log in collector.receiver.logs}):
        collector.receiver.wait_for(len(collector.receiver.logs) + missing, timeout_s=120)  # some may come twice
    handler._provider.shutdown()

    arrived = {name: set() for name in recorded}
    for log in collector.receiver.logs:
        arrived[log.attributes["jupyter.event.action"]].add(log.attributes["jupyter.event.count"])
    assert arrived == {name: set(range(count)) for name, count in recorded.items()}


def test_killed_collector_gets_again_what_it_had_acknowledged(collector, folder, tmp_path):
    """It has no queue on its disk, so whatever it had not passed on is gone with it."""
    file = logging.FileHandler(tmp_path / "events.jsonl")
    file.setFormatter(OTLPJSONFormatter())
    handler = OTLPHandler(endpoint=collector.http, spool={"folder": folder, "keep_acknowledged_s": 3600})
    log = EventLog(handlers=[file, handler], allowed_schemas=["*"])
    log.register_schema(schema())
    collector.receiver.stop()
    try:
        for number in range(500):
            log.record_event(ID, 1, {"action": "a", "count": number})
        assert handler.force_flush(120)
        collector.kill()
    finally:
        collector.receiver.clear()
        collector.receiver.start()
    collector.start()
    handler._provider.shutdown()
    file.close()
    arguments = ["spool", "resend", str(folder), "--since", "1h", "--endpoint", collector.http]
    result = CliRunner().invoke(app, arguments)
    arrived = collector.receiver.wait_for(500, timeout_s=120)

    assert "accepted: 500, rejected: 0, not sent: 0" in result.output
    recorded = [one for line in (tmp_path / "events.jsonl").read_bytes().splitlines() for one in parse_json(line)]
    assert sorted(map(uid, arrived)) == sorted(map(uid, recorded))
