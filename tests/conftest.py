"""Fixtures that several test modules share, a real collector among them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders import ID, absent, free_port, make_certificate, schema

from jupyter_otel_telemetry import EventLog
from jupyter_otel_telemetry.export import lifecycle
from jupyter_otel_telemetry.jsondata import clean_text
from jupyter_otel_telemetry.otlp.receiver import OTLPReceiver

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A script's shell ignores SIGINT for its background jobs, and the programs that tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_handler_outlives_its_test():
    """End the pipelines that a test left open: collected as garbage later, they would log in another test."""
    yield
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifecycle, "FLUSH_TIMEOUT_S", 0.5)
        for pipeline in list(lifecycle._pipelines._open):
            pipeline.end()


@pytest.fixture
def server_log(event_log):
    """`event_log` with the schema of `schema()`."""
    event_log.register_schema(schema())
    return event_log


@pytest.fixture
def recording():
    """Return a function that records events with given handlers and schema keywords."""

    def record(handler, *events, **changes):
        log = EventLog(handlers=[handler], allowed_schemas=["*"])
        log.register_schema(schema(**changes))
        for event in events:
            log.record_event(changes.get("id", ID), 1, event)

    return record


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Make a certificate for localhost that vouches for itself; it has files `cert` and `key`."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


class Collector:
    """A real collector that forwards to `receiver`; it has endpoints `grpc` and `http`, and can be restarted."""

    def __init__(self, receiver, log):
        self.receiver = receiver
        self._agent = os.environ.get("ROTEL_AGENT") or shutil.which("rotel-agent") or _agent_in_wheel()
        if (
            self._agent is None
            or subprocess.run([self._agent, "--version"], capture_output=True, check=False).returncode
        ):
            absent("a rotel-agent that runs, the collector in the wheel rotel,")
        self._log = log
        self._ports = free_port(), free_port()
        self.grpc, self.http = (f"http://127.0.0.1:{port}" for port in self._ports)

    def start(self):
        grpc, http = self._ports
        command = [self._agent, "start", "--otlp-grpc-endpoint", f"127.0.0.1:{grpc}"]
        command += ["--otlp-http-endpoint", f"127.0.0.1:{http}", "--exporter", "otlp"]
        command += ["--otlp-exporter-endpoint", self.receiver.endpoint, "--otlp-exporter-protocol", "http"]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        for port in self._ports:
            _wait_for_port(port, self._process, self._log)

    def stop(self):
        self._process.terminate()
        self._process.wait(120)

    def kill(self):
        self._process.kill()
        self._process.wait(120)


@pytest.fixture(scope="module")
def collector(tmp_path_factory):
    """Run a collector."""
    with OTLPReceiver() as receiver:
        collector = Collector(receiver, tmp_path_factory.mktemp("collector") / "log")
        collector.start()
        try:
            yield collector
        finally:
            collector.stop()


def _agent_in_wheel():
    folders = [Path(folder, "rotel", "rotel-agent") for folder in sys.path]
    return next((str(path) for path in folders if path.is_file()), None)


def _wait_for_port(port, process, log):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    pytest.fail(f"the collector did not come up:\n{log.read_text(errors='replace')[-2000:]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Keep lone surrogates, which tests log on purpose, out of reports: pytest-xdist cannot send them."""
    report = yield
    report.sections = [(name, clean_text(text)) for name, text in report.sections]
    return report
