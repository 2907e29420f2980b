"""Configuring `logging`, or shutting it down, never waits for the network, and loses nothing."""

import os
import subprocess
import sys
import threading

import pytest

from jupyter_otel_telemetry.otlp.receiver import OTLPReceiver

PROGRAM = """
import io, logging, logging.config
from builders import ID, schema
from jupyter_otel_telemetry import EventLog, OTLPHandler
from jupyter_otel_telemetry.export import handler as handlers
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from traitlets.config import Application

handlers.FLUSH_TIMEOUT_S = 600  # so that a flush which waits does not give up before the receiver does

def own_provider():
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    return provider

handler = OTLPHandler({arguments})
logging.getLogger().addHandler(handler)
log = EventLog(handlers=[handler], allowed_schemas=["*"])
log.register_schema(schema())
log.record_event(ID, 1, {{"count": 1}})
{configure}
print("returned", flush=True)
log.record_event(ID, 1, {{"count": 2}})
"""

INI = "[loggers]\\nkeys=root\\n[handlers]\\nkeys=\\n[formatters]\\nkeys=\\n[logger_root]\\nhandlers=\\n"

CONFIGURE = {
    "dictConfig": "logging.config.dictConfig({'version': 1})",
    "keeping loggers": "logging.config.dictConfig({'version': 1, 'disable_existing_loggers': False})",
    "fileConfig": f"logging.config.fileConfig(io.StringIO('{INI}'))",
    "basicConfig": "logging.basicConfig(force=True)",
    "shutdown": "logging.shutdown()",
    "traitlets": "app = Application(log_level=20); app.log.debug('x'); app.log_level = 'DEBUG'",
    "twice": "logging.shutdown(); logging.config.dictConfig({'version': 1})",
}


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs a program with a receiver that answers after `logging` has been configured.

    It returns the exit code, the errors, and the number of each event that arrived, with whether that was so.
    """
    returned, arrived = threading.Event(), set()

    def hold(log):
        arrived.add((log.attributes["jupyter.event.count"], returned.wait(60)))

    def run(arguments, configure):
        code = PROGRAM.format(arguments=arguments, configure=configure)
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "returned\n"
        returned.set()
        _, errors = process.communicate(timeout=120)
        return process.returncode, errors, arrived

    with OTLPReceiver(on_log=hold) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        yield run
        returned.set()


class TestConfiguringLogging:
    @pytest.mark.parametrize("configure", CONFIGURE.values(), ids=CONFIGURE)
    def test_waits_for_no_receiver(self, run, configure):
        """It holds the lock of `logging`, without which no HTTP library gets a logger."""
        assert run("", configure) == (0, "", {(1, True), (2, True)})

    @pytest.mark.parametrize("configure", ["dictConfig", "shutdown"])
    @pytest.mark.parametrize("arguments", ["spool={spool!r}", "logger_provider=own_provider()"], ids=["spool", "own"])
    def test_nor_with_a_spool_or_another_provider(self, run, configure, arguments, tmp_path):
        """Wherever records wait."""
        arguments = arguments.format(spool=str(tmp_path / "spool"))
        assert run(arguments, CONFIGURE[configure]) == (0, "", {(1, True), (2, True)})

    def test_builds_a_handler_with_a_spool(self, run, tmp_path):
        """`dictConfig` itself may name `OTLPHandler`."""
        handler = {"class": "jupyter_otel_telemetry.OTLPHandler", "spool": str(tmp_path / "spool")}
        config = {"version": 1, "handlers": {"otlp": handler}, "root": {"handlers": ["otlp"]}}
        code = (
            f"for _ in range(3): logging.config.dictConfig({config!r})\nlog.handlers = logging.getLogger().handlers"
        )

        assert run("", code) == (0, "", {(1, True), (2, True)})
