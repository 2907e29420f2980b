from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from builders import read_terminal
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

COMMAND = (sys.executable, "-m", "jupyter_otel_telemetry.cli")
CONTROL = re.compile(r"[^\n -~\xa1-\uffff]")
STYLES = re.compile(r"\x1b\[[0-9;]*m")
EVIL = "\x1b[31m\x1b]0;title\x07\r\n\x9b2J\u202e\x7f[red]x[/red]:smile:"
FULL = Path("/dev/full")
TIMEOUT_S = 180

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and terminals")


def run(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def send(endpoint, *records, service="hub", timeout_s=120):
    """Deliver the records, one request each, with OpenTelemetry's own exporter."""
    exporter = OTLPLogExporter(f"{endpoint}/v1/logs", timeout=timeout_s)
    provider = LoggerProvider(Resource({"service.name": service}), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    for record in records:
        provider.get_logger("test").emit(record)
    provider.shutdown()


def event(name="event", severity=SeverityNumber.INFO, **properties):
    attributes = {f"jupyter.event.{key}": value for key, value in properties.items()}
    envelope = {"jupyter.schema.id": "hidden", "log.record.uid": "hidden"}
    return LogRecord(
        timestamp=time.time_ns(), severity_number=severity, event_name=name, attributes=attributes | envelope
    )


class Listening:
    """A running `listen`; `lines` are what it said on stderr until it was ready."""

    def __init__(self, process):
        self.process = process
        self.lines = []
        while not self.lines or "listening" not in self.lines[-1]:
            line = process.stderr.readline()
            assert line, self.lines
            self.lines.append(line)
        self.endpoint = re.search(r"listening on (http://[^;]+);", line)[1]

    def end(self, number=signal.SIGTERM):
        """Send the signal; return exit status, stdout and stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, out, err


@contextmanager
def listening(*arguments, stdout=subprocess.PIPE, **options):
    command = [*COMMAND, "listen", "--port", "0", *arguments]
    pipes = {"stdout": stdout, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    with subprocess.Popen(command, **pipes, **options) as process:
        try:
            yield Listening(process)
        finally:
            process.kill()


def shown(*records, arguments=(), **send_options):
    """Return what a `listen` in a pipe writes to stdout for these records."""
    with listening(*arguments) as listener:
        send(listener.endpoint, *records, **send_options)
        return listener.end()[1]


def shown_on_terminal(columns, *records):
    """Return what a `listen` on a terminal of that width writes, line ends as in a file."""
    ours, theirs = os.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment |= {"TERM": "xterm-256color", "COLUMNS": str(columns)}
    with listening(stdout=theirs, env=environment) as listener:
        os.close(theirs)
        chunks = []
        reader = threading.Thread(target=read_terminal, args=(ours, chunks))
        reader.start()
        send(listener.endpoint, *records)
        listener.end()
    reader.join()
    os.close(ours)
    return b"".join(chunks).decode().replace("\r\n", "\n")


class TestCommandLine:
    @pytest.mark.parametrize("option", ["-h", "--help"])
    def test_help_has_examples_and_commands(self, option):
        """The help shows how to begin."""
        out = run(option).stdout

        assert "jupyter otel-telemetry listen" in out
        assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318" in out

    def test_version_is_printed(self):
        """The version is the distribution's."""
        assert re.fullmatch(r"jupyter-otel-telemetry, version \d\S*\n", run("--version").stdout)

    @pytest.mark.parametrize("package", ["click", "rich"])
    def test_missing_extra_is_named(self, package):
        """Without the extra's packages one line says what to install."""
        result = without(package)

        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        assert 'pip install "jupyter-otel-telemetry[cli]"' in result.stderr

    def test_other_import_errors_show(self):
        """What is broken is not mistaken for what is not installed."""
        result = without("opentelemetry.sdk.resources")

        assert "ModuleNotFoundError: import of opentelemetry.sdk.resources halted" in result.stderr
        assert "pip install" not in result.stderr


def without(package):
    code = f"import sys; from jupyter_otel_telemetry.cli import main; sys.modules[{package!r}] = None; main()"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


class TestStart:
    def test_says_where_and_how(self):
        """One line tells where it listens and what to set elsewhere."""
        with listening() as listener:
            [line] = listener.lines

        assert f" OTEL_EXPORTER_OTLP_ENDPOINT={listener.endpoint} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in line
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", listener.endpoint)

    def test_other_hosts_are_warned_about(self):
        """Listening beyond loopback is announced first."""
        with listening("--host", "0.0.0.0") as listener:
            assert "warning: 0.0.0.0 is not loopback" in listener.lines[0]

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.2"])
    def test_loopback_needs_no_warning(self, host):
        """Every name of this machine alone is fine."""
        if sys.platform != "linux" and host == "127.0.0.2":
            pytest.skip("only Linux has all of 127/8")
        with listening("--host", host) as listener:
            assert len(listener.lines) == 1

    def test_port_in_use_is_named_with_the_remedy(self):
        """An error line, not a traceback, says which port and which option."""
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = taken.getsockname()[1]
            result = run("listen", "--port", str(port))

        assert (result.returncode, result.stdout) == (1, "")
        assert re.fullmatch(rf"Error: .*127\.0\.0\.1 port {port}: .*in use; .* --port.*\n", result.stderr)

    @pytest.mark.parametrize("arguments", [("--port", "65536"), ("--port", "-1"), ("--max-body-mib", "0")])
    def test_numbers_out_of_range_are_usage_errors(self, arguments):
        """Options are checked before anything happens."""
        result = run("listen", *arguments)

        assert result.returncode == 2
        assert "is not in the range" in result.stderr


class TestTable:
    def test_in_a_pipe_each_log_is_a_line_below_one_header(self):
        """Piped output is for grep: a header once, then one line a log, the date included."""
        header, first, second = shown(event("a.b", x=1), event("c" * 300)).splitlines()

        assert header.split("  ")[0] == "time (UTC)"
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  hub +INFO   a\.b x=1", first)
        assert second.endswith("c" * 300)

    def test_properties_are_logfmt_and_the_envelope_is_hidden(self):
        """Properties lose their prefix, and are quoted where a reader needs it."""
        properties = {"s": "x", "e": "", "q": 'a "b"', "i": 1, "t": True, "l": ["a", 1], "n.m": "="}

        assert shown(event("name", **properties)).endswith(
            r'name s=x e="" q="a \"b\"" i=1 t=true l=["a",1] n.m="="' + "\n"
        )

    def test_attributes_with_names_of_their_own_are_shown(self):
        """A property that leaves as `user.name` is not lost."""
        assert shown(LogRecord(event_name="e", attributes={"user.name": "ada"})).endswith(" e user.name=ada\n")

    def test_ordinary_log_shows_its_text(self):
        """A log that is no event has a text instead of a name."""
        assert shown(LogRecord(body="two words", severity_text="odd")).endswith("  odd    two words\n")

    @pytest.mark.parametrize(
        "number, level", [(1, "TRACE"), (8, "DEBUG"), (9, "INFO"), (13, "WARN"), (20, "ERROR"), (24, "FATAL")]
    )
    def test_severity_is_named(self, number, level):
        """The 24 numbers have six names."""
        assert f" {level} " in shown(event(severity=SeverityNumber(number)))

    def test_nothing_received_can_control_the_terminal(self):
        """Control characters and escape sequences are shown, not sent; markup is text."""
        out = shown(event(EVIL, **{EVIL: EVIL}), LogRecord(body=EVIL, severity_text=EVIL), service=EVIL)

        assert not CONTROL.search(out)
        assert r"\x1b[31m\x1b]0;title\x07\r\n\x9b2J\u202e\x7f[red]x[/red]:smile:" in out
        assert out.count("\n") == 3


@posix
class TestTerminal:
    def test_long_logs_wrap_within_their_column(self):
        """No line is longer than the terminal, and none breaks in a word that fits."""
        words = {f"key{number}": "value" * 3 for number in range(20)}
        lines = STYLES.sub("", shown_on_terminal(100, event("name", **words))).splitlines()

        assert max(len(line) for line in lines) <= 100
        assert [f"{key}={value}" for key, value in words.items()] == " ".join(lines[1:]).split()[4:]

    def test_narrow_terminals_get_whole_lines(self):
        """Where a column would be too narrow to read the terminal does the wrapping."""
        assert len(shown_on_terminal(40, event("name", text="x" * 100)).splitlines()) == 2

    def test_today_needs_no_date(self):
        """The time alone is shown, unless the log is of another day."""
        old = LogRecord(timestamp=1_000_000_000_000_000_000, event_name="old")
        out = STYLES.sub("", shown_on_terminal(100, old))

        assert re.search(r"^2001-09-09 .* old *\n01:46:40\.000", out, re.MULTILINE)

    def test_severities_are_coloured(self):
        """Errors are red, and information is green."""
        out = shown_on_terminal(100, event(), event(severity=SeverityNumber.ERROR))

        assert "\x1b[32mINFO" in out
        assert "\x1b[31mERROR" in out

    def test_nothing_received_can_control_the_terminal(self):
        """The only escape sequences are our own colours."""
        out = shown_on_terminal(200, event(EVIL, **{EVIL: EVIL}))

        assert not CONTROL.search(STYLES.sub("", out))
        assert r"\x1b[31m\x1b]0;title\x07\r\n\x9b2J\u202e\x7f[red]x[/red]:smile:" in STYLES.sub("", out)


class TestJSON:
    def test_each_log_is_an_object_on_a_line(self):
        """Everything that arrived is there, and nothing but JSON is on stdout."""
        first, second = map(json.loads, shown(event("a", x=1), event("b"), arguments=["--json"]).splitlines())

        assert (first["event_name"], second["event_name"]) == ("a", "b")
        assert first["attributes"]["jupyter.event.x"] == 1
        assert first["resource"]["service.name"] == "hub"

    def test_lines_come_at_once(self):
        """A reader gets each line when its log arrives, not when a buffer is full."""
        with listening("--json") as listener:
            for name in ("a", "b"):
                send(listener.endpoint, event(name))
                assert json.loads(listener.process.stdout.readline())["event_name"] == name

    def test_nothing_received_can_control_the_terminal(self):
        """The line is ASCII without controls, and says what was sent."""
        out = shown(event(EVIL), arguments=["--json"])

        assert re.fullmatch(r"[ -~]+\n", out)
        assert json.loads(out)["event_name"] == EVIL


class TestEnd:
    @posix
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_signals_end_it_cleanly(self, number):
        """Ctrl-C and SIGTERM are the way to stop: status 0, and a count."""
        with listening("--json") as listener:
            send(listener.endpoint, event(), event())
            status, out, err = listener.end(number)

        assert (status, err) == (0, "logs received: 2\n")
        assert out.count("\n") == 2

    @pytest.mark.parametrize("arguments", [(), ("--json",)])
    def test_closed_stdout_ends_it_quietly(self, arguments):
        """With its reader gone it goes, without a word of complaint."""
        with listening(*arguments) as listener:
            listener.process.stdout.close()
            send(listener.endpoint, event())

            assert listener.process.wait(TIMEOUT_S) == 0
            assert listener.process.stderr.read() == "logs received: 1\n"

    @pytest.mark.skipif(not FULL.exists(), reason="needs a full device")
    def test_unwritable_stdout_is_an_error(self):
        """A full disk is told from a reader that has left."""
        with FULL.open("w") as full, listening("--json", stdout=full) as listener:
            send(listener.endpoint, event())

            assert listener.process.wait(TIMEOUT_S) == 1
            assert listener.process.stderr.read().startswith("Error: cannot write to stdout: ")

    @posix
    def test_reader_that_has_stopped_reading_does_not_keep_it(self):
        """With stdout full to the brim it still ends, as it would otherwise."""
        with listening("--json") as listener:
            send(listener.endpoint, event(x="x" * 1_000_000), timeout_s=0.2)
            listener.process.send_signal(signal.SIGTERM)

            assert listener.process.wait(TIMEOUT_S) == 0
