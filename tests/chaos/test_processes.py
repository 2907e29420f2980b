"""Whatever becomes of a process, each event whose `record_event` has returned arrives; whoever is alive sends it."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import workers
from builders import ID
from receivers import BAD, OK, UNAVAILABLE, Receiver, Reply, grpc_receiver, http_receiver

WORKERS = Path(workers.__file__)


def start(processes, receiver_url, folder, writer, **arguments):
    told, tells = multiprocessing.Pipe(duplex=False)
    process = processes.Process(target=workers.record, args=(receiver_url, folder, writer, tells), kwargs=arguments)
    process.start()
    tells.close()
    return process, told


def said(told):
    """Return how many events a process has said were recorded."""
    with os.fdopen(os.dup(told.fileno()), "rb") as stream:
        return stream.read().count(b"\n")


def run(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [
        sys.executable,
        "-W",
        "ignore::DeprecationWarning:workers",
        "-W",
        "ignore:This process:DeprecationWarning",
        str(WORKERS),
        *map(str, arguments),
    ]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=180, check=False, **options
    )


PATIENTLY = "while True: time.sleep(0.1)"
"""Wait for a signal. One that comes just before a long sleep is handled when that is over."""


class TestKill:
    def test_a_hundred_times_at_random_points(self, http, folder, processes, spooling):
        """Under a receiver that fails now and then: zero missing, and each process's events in order."""
        fate = random.Random(20261124)
        http.behave = lambda _: UNAVAILABLE if fate.random() < 0.2 else Reply(reset=fate.random() < 0.05)
        recorded = {}
        for turn in range(100):
            process, told = start(processes, http.url, folder, f"w{turn}", padding=fate.choice((0, 100, 10_000)))
            with os.fdopen(os.dup(told.fileno()), "rb", buffering=0) as stream:
                stream.read(fate.randrange(1, 400))
            process.kill()
            process.join()
            # What was read before does not matter: the numbers are counted from 0.
            recorded[f"w{turn}"] = _last_number(told)
        http.behave = lambda _: OK
        spooling(http)
        found = _wait_until_all(http, recorded)

        missing = {name: set(range(last + 1)) - set(found[name]) for name, last in recorded.items()}
        assert {name: numbers for name, numbers in missing.items() if numbers} == {}
        assert {name for name in recorded if found[name] != sorted(found[name])} == set()

    def test_of_the_only_process_is_made_good_by_the_next(self, folder, processes, http, spooling):
        """With nobody listening meanwhile."""
        process, told = start(processes, "http://127.0.0.1:9", folder, "first", count=200)
        process.join()
        assert said(told) == 200
        spooling(http)
        http.wait_for(lambda found: len(found.logs) >= 200)

        assert http.arrived["first"] == list(range(200))


def _last_number(told):
    with os.fdopen(told.fileno(), "rb", closefd=False) as stream:
        lines = stream.read().split(b"\n")
    return int(lines[-2]) if len(lines) > 1 and lines[-2] else 0


def _wait_until_all(receiver, recorded):
    """Wait until as many events of each writer have arrived as it is known to have recorded."""
    receiver.wait_for(lambda found: all(len(found.arrived.get(name, ())) > last for name, last in recorded.items()))
    return receiver.arrived


class TestManyProcesses:
    def test_eight_on_one_folder(self, http, folder, processes):
        """Each sends its own in order, all of it, and what one leaves another sends."""
        started = [start(processes, http.url, folder, f"w{number}", count=500) for number in range(8)]
        for process, _ in started:
            process.join(180)
        http.wait_for(lambda found: len(found.logs) >= 8 * 500)

        assert http.arrived == {f"w{number}": list(range(500)) for number in range(8)}
        assert list((folder / "queue").iterdir()) == []

    @pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking with threads is the point
    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_child_of_multiprocessing_loses_nothing(self, http, folder, method):
        """Nobody else has to be there."""
        _, tells = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context(method)
        arguments = (http.url, folder, "child", tells, 3)
        child = context.Process(target=workers.record, args=arguments)
        child.start()
        child.join(180)

        assert (child.exitcode, http.arrived) == (0, {"child": [0, 1, 2]})

    def test_terminated_child_of_multiprocessing_loses_nothing(self, http, folder, processes, spooling):
        """SIGTERM is how pools end their workers; what one cannot send within its five seconds, another sends."""
        process, told = start(processes, http.url, folder, "child")
        http.wait_for(lambda found: found.logs)
        process.terminate()
        process.join(180)
        recorded = _last_number(told)

        assert process.exitcode == -signal.SIGTERM
        assert len(http.arrived["child"]) > recorded / 2
        spooling(http)
        assert _wait_until_all(http, {"child": recorded})


class TestFork:
    @pytest.mark.parametrize("how", ["exit", "_exit"])
    def test_both_deliver_their_own(self, http, folder, how, spooling):
        """The child never what its parent has recorded; what it leaves by ending at once, another process sends."""
        result = run("record_and_fork", http.url, folder, how)
        spooling(http)
        http.wait_for(lambda found: len(found.logs) >= 5)

        assert (result.returncode, result.stderr) == (0, "")
        assert http.arrived == {"parent": [0, 1, 2], "child": [1, 2]}

    def test_child_ends_though_nobody_listens(self, folder, http, spooling):
        """What it has recorded waits for whoever comes next."""
        assert run("record_and_fork", "http://127.0.0.1:9", folder, "exit").returncode == 0
        spooling(http)
        http.wait_for(lambda found: len(found.logs) >= 5)

        assert http.arrived == {"parent": [0, 1, 2], "child": [1, 2]}

    def test_over_grpc(self, folder, monkeypatch):
        """Whose library does not work in forked children: the parent sends what they leave."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        with grpc_receiver(Receiver("grpc")) as receiver:
            assert run("record_and_fork", receiver.url, folder, "exit").returncode == 0
            run("visit", receiver.url, folder)
            receiver.wait_for(lambda found: len(found.logs) >= 5)

            assert receiver.arrived == {"parent": [0, 1, 2], "child": [1, 2]}


class TestFirstEvent:
    @pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
    def test_imports_nothing(self, folder, protocol):
        """Nor does sending it: a child that is forked meanwhile would wait forever for the import to end."""
        answers = iter([UNAVAILABLE, Reply(503, "UNAVAILABLE", retry_after_s=0), BAD])
        receiver = Receiver(protocol, behave=lambda _: next(answers, OK))
        with (grpc_receiver if protocol == "grpc" else http_receiver)(receiver):
            result = run("imports", receiver.url, folder, protocol)

        assert (result.returncode, result.stdout) == (0, "")
        assert len(receiver.requests) == 3

    @pytest.mark.parametrize("turn", range(8))
    def test_fork_meanwhile_hangs_nobody(self, http, folder, turn):
        """On any thread; the child's event arrives too."""
        assert run("fork_at_first_event", http.url, folder / str(turn)).returncode == 0
        run("visit", http.url, folder / str(turn))

        assert http.arrived == {"parent": [0], "child": [0]}


class TestExit:
    PROGRAM = """
import os, sys, signal, time
sys.path[:0] = {path!r}
import workers
log = workers.event_log({url!r}, {folder!r}, patient={patient})
for number in range(3):
    log.record_event(workers.ID, 1, {{"action": "a", "count": number}})
print("recorded", flush=True)
{rest}
"""

    def start(self, http_url, folder, rest, *, patient=True):
        path = [p for p in sys.path if p]
        code = self.PROGRAM.format(path=path, url=http_url, folder=str(folder), rest=rest, patient=patient)
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "recorded\n"
        return process

    @pytest.mark.parametrize(
        "rest,signal_number,code",
        [
            ("", None, 0),
            ("sys.exit(3)", None, 3),
            ("raise SystemError", None, 1),
            (PATIENTLY, signal.SIGTERM, -signal.SIGTERM),
            (PATIENTLY, signal.SIGINT, -signal.SIGINT),
            ("log.handlers[0].close()", None, 0),
        ],
        ids=["end", "sys.exit", "exception", "SIGTERM", "SIGINT", "close"],
    )
    def test_delivers(self, http, folder, rest, signal_number, code):
        """However a program ends; and it ends as it would without us."""
        process = self.start(http.url, folder, rest)
        if signal_number is not None:
            process.send_signal(signal_number)
        process.communicate(timeout=180)

        assert (process.returncode, http.arrived) == (code, {"a": [0, 1, 2]})
        assert list((folder / "queue").iterdir()) == []

    def test_events_after_close_wait_for_the_next_start(self, http, folder, spooling):
        """`shutdown` is the end of sending, not of recording."""
        rest = "log.handlers[0]._provider.shutdown()\nlog.record_event(workers.ID, 1, {'action': 'a', 'count': 3})"
        process = self.start(http.url, folder, rest)
        process.communicate(timeout=180)
        assert http.arrived == {"a": [0, 1, 2]}
        spooling(http)
        http.wait_for(lambda found: len(found.logs) >= 4)

        assert http.arrived == {"a": [0, 1, 2, 3]}

    @pytest.mark.parametrize("signal_number", [None, signal.SIGTERM])
    def test_is_bounded_where_the_receiver_never_answers(self, http, folder, signal_number):
        """The events stay in the spool."""
        http.behave = lambda _: Reply(wait_s=600)
        rest = "" if signal_number is None else PATIENTLY
        process = self.start(http.url, folder, rest, patient=False)
        if signal_number is not None:
            process.send_signal(signal_number)
        _, errors = process.communicate(timeout=300)

        assert "Traceback" not in errors
        assert len(list((folder / "queue").iterdir())) == 1

    def test_signal_handler_of_the_program_stays(self, http, folder):
        """Who has decided what SIGTERM does is not disturbed."""
        rest = f"signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nprint('set', flush=True)\n{PATIENTLY}"
        process = self.start(http.url, folder, rest)
        process.stdout.readline()
        process.terminate()
        process.communicate(timeout=180)

        assert (process.returncode, http.arrived) == (7, {"a": [0, 1, 2]})


class TestThreads:
    def test_many_threads_lose_nothing(self, http, spooling):
        """And each one's events are in order."""
        log = spooling(http)

        def work(name):
            for number in range(500):
                log.record_event(ID, 1, {"action": name, "count": number})

        threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert log.handlers[0].force_flush(180)
        assert http.arrived == {f"t{number}": list(range(500)) for number in range(8)}
