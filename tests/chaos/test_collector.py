"""A real collector that comes and goes under load."""

from __future__ import annotations

import threading

import pytest
from builders import ID, schema

from jupyter_otel_telemetry import EventLog, OTLPHandler


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
