"""What runs in processes of their own."""

from __future__ import annotations

import os
import signal
import sys
import threading

from builders import ID, schema

from jupyter_otel_telemetry import EventLog, OTLPHandler
from jupyter_otel_telemetry.export import lifecycle
from jupyter_otel_telemetry.otlp.receiver import OTLPReceiver
from jupyter_otel_telemetry.spool import processor

STARTUP = ["workers", "jupyter_otel_telemetry.spool", "jsonschema", "jsonschema_rs", "requests"]
"""What a fork server imports, so that its children are quick."""


def event_log(endpoint, folder, *, patient=True, **options):
    """Make an EventLog; at its end a patient process waits longer for its receiver than any busy machine takes."""
    if patient:
        processor.SHUTDOWN_TIMEOUT_S = lifecycle.FLUSH_TIMEOUT_S = 60.0
    log = EventLog(
        handlers=[OTLPHandler(endpoint=endpoint, spool={"folder": folder, **options})], allowed_schemas=["*"]
    )
    log.register_schema(schema())
    return log


def record(endpoint, folder, writer, told, count=None, padding=0, *, stay=False, **options):
    """Record events, and say of each through a descriptor that `record_event` has returned; end, or stay."""
    log = event_log(endpoint, folder, **options)
    number = 0
    while number != count:
        log.record_event(ID, 1, {"action": writer, "count": number, "padding": "x" * padding})
        os.write(told.fileno(), f"{number}\n".encode())
        number += 1
    if stay:
        threading.Event().wait()


def store(port, path):
    """Acknowledge records and keep them in memory, as a store does before it writes; note uid and number of each."""
    with path.open("ab", buffering=0) as file:

        def note(log):
            uid, number = log.attributes["log.record.uid"], log.attributes["jupyter.event.count"]
            file.write(f"{uid} {number}\n".encode())

        with OTLPReceiver(port=port, on_log=note):
            threading.Event().wait()


def visit(endpoint, folder):
    """Record nothing, and end: what others have left is sent."""
    handler = event_log(endpoint, folder).handlers[0]
    handler.close()


def leave(endpoint, folder, count, happened):
    """Record events, and be killed."""
    log = event_log(endpoint, folder)
    for number in range(count):
        log.record_event(ID, 1, {"action": "a", "count": number}, timestamp_override=happened)
    os.kill(os.getpid(), signal.SIGKILL)


def imports(endpoint, folder, protocol):
    """Say which modules are imported by the first event, and by sending it."""
    os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = protocol
    log = event_log(endpoint.replace("127.0.0.1", "localhost"), folder)
    before = set(sys.modules)
    log.record_event(ID, 1, {"action": "a", "count": 1})
    log.handlers[0].force_flush(20)
    log.handlers[0].close()
    sys.stdout.write(" ".join(sorted(set(sys.modules) - before)))


def fork_at_first_event(endpoint, folder):
    """Fork while another thread records the first event; the child records, and ends."""
    log = event_log(endpoint, folder)
    begin = threading.Event()

    def record():
        begin.set()
        log.record_event(ID, 1, {"action": "parent", "count": 0})

    thread = threading.Thread(target=record)
    thread.start()
    begin.wait()
    if child := os.fork():
        thread.join()
        os.waitpid(child, 0)
    else:
        log.record_event(ID, 1, {"action": "child", "count": 0})
        os._exit(0)


def record_and_fork(endpoint, folder, how):
    """Record before and after a fork, in both processes; the child ends in the given way."""
    log = event_log(endpoint, folder)
    log.record_event(ID, 1, {"action": "parent", "count": 0})
    child = os.fork()
    name = "parent" if child else "child"
    for number in (1, 2):
        log.record_event(ID, 1, {"action": name, "count": number})
    if not child:
        if how == "_exit":
            os._exit(0)
        sys.exit(0)
    os.waitpid(child, 0)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
