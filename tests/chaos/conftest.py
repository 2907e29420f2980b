"""What the tests of delivery share."""

from __future__ import annotations

import multiprocessing
import signal
from contextlib import ExitStack

import pytest
import workers
from builders import schema
from receivers import NOWHERE, Receiver, grpc_receiver, http_receiver

from jupyter_otel_telemetry import EventLog, OTLPHandler


@pytest.fixture(params=["http/protobuf", "grpc"])
def receiver(request):
    """A receiver that accepts until its `behave` is set."""
    receiver = Receiver(request.param)
    with (grpc_receiver if receiver.protocol == "grpc" else http_receiver)(receiver):
        yield receiver


@pytest.fixture
def http():
    """The same, where the protocol makes no difference."""
    with http_receiver(Receiver("http/protobuf")) as receiver:
        yield receiver


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def spooling(folder):
    """Return a function that makes an EventLog with a spool; all are ended after the test."""
    kept = []
    with ExitStack() as stack:

        def make(receiver, **options):
            handler = OTLPHandler(
                endpoint=receiver if isinstance(receiver, str) else receiver.url,
                protocol=None if isinstance(receiver, str) else receiver.protocol,
                spool={"folder": folder, **options},
            )
            stack.callback(handler._provider.shutdown)
            log = EventLog(handlers=[handler], allowed_schemas=["*"])
            log.register_schema(schema())
            kept.append(log)  # a handler that nobody has any more ends its pipeline
            return log

        yield make


@pytest.fixture
def remembering(monkeypatch):
    """Return a function that makes an EventLog whose records wait in memory; all are ended after the test."""
    kept = []
    with ExitStack() as stack:

        def make(receiver, queue_size=2048):
            monkeypatch.setenv("OTEL_BLRP_MAX_QUEUE_SIZE", str(queue_size))
            monkeypatch.setenv("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", str(min(queue_size, 512)))
            monkeypatch.setenv("OTEL_BLRP_SCHEDULE_DELAY", "50")
            handler = OTLPHandler(endpoint=receiver.url, protocol=receiver.protocol)
            stack.callback(handler._provider.shutdown)
            stack.callback(handler._delivery.give_up_in, 0)
            log = EventLog(handlers=[handler], allowed_schemas=["*"])
            log.register_schema(schema())
            kept.append(log)  # as above
            return log

        yield make


@pytest.fixture(scope="session")
def processes():
    """Processes that are quick to start, and not forked from this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(workers.STARTUP)
    return context


@pytest.fixture
def leave(folder, processes):
    """Return a function that leaves events in the spool, as a killed process does, and returns its segments."""

    def leave(count, happened=None):
        process = processes.Process(target=workers.leave, args=(NOWHERE, folder, count, happened))
        process.start()
        process.join(180)
        assert process.exitcode == -signal.SIGKILL
        return sorted((folder / "queue").glob("*/*.seg"))

    return leave


@pytest.fixture(autouse=True)
def fast_retries(monkeypatch):
    """Let retries come quickly; how they grow is tested for itself."""
    monkeypatch.setattr("jupyter_otel_telemetry.otlp.batch_sender._FIRST_DELAY_S", 0.02)
    monkeypatch.setattr("jupyter_otel_telemetry.otlp.batch_sender._MAX_DELAY_S", 0.1)
