"""A store acknowledges records, dies before they are on its disk, and gets them again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys

import pytest
import workers
from builders import free_port
from receivers import wait_until

COUNT = 2000


@pytest.fixture
def store(processes, tmp_path):
    """Return a function that starts a store that forgets everything when it is killed; always at the same port."""
    port = free_port()
    started = []

    def start():
        path = tmp_path / f"store{len(started)}"
        process = processes.Process(target=workers.store, args=(port, path))
        process.start()
        started.append(process)
        wait_until(path.exists)
        return process, path, f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture
def application(processes, folder):
    """Return a function that starts a program which records events, and then stays until it is killed."""
    started = []

    def start(endpoint):
        told, tells = multiprocessing.Pipe(duplex=False)
        options = {"count": COUNT, "stay": True, "keep_acknowledged_s": 3600}
        process = processes.Process(target=workers.record, args=(endpoint, folder, "a", tells), kwargs=options)
        process.start()
        tells.close()
        started.append(process)
        return process, told

    yield start
    for process in started:
        process.kill()
        process.join()


def command(name, folder, *arguments, **options):
    arguments = [sys.executable, "-m", "jupyter_otel_telemetry.cli", "spool", name, str(folder), *arguments]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def finished(process):
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    return output


def noted(path):
    """Return the number of each record by uid, as a store has noted them before it acknowledged them."""
    pairs = (line.split() for line in path.read_text().splitlines())
    return {uid: int(number) for uid, number in pairs}


def read_all(told):
    with os.fdopen(os.dup(told.fileno()), "rb") as stream:
        for _ in range(COUNT):
            assert stream.readline().endswith(b"\n")


class TestStoreThatForgets:
    def test_gets_everything_back_while_the_program_runs(self, store, application, folder):
        """By their uids: records that the killed store had acknowledged, that waited, and that came since."""
        process, path, endpoint = store()
        program, told = application(endpoint)
        wait_until(lambda: len(noted(path)) >= 100)
        process.kill()
        process.join()
        lost = noted(path)
        _, path, _ = store()
        read_all(told)
        finished(command("resend", folder, "--since", "10m", "--endpoint", endpoint))
        program.kill()
        program.join()
        finished(command("drain", folder, "--endpoint", endpoint))
        found = noted(path)

        assert lost.keys() <= found.keys()
        assert sorted(found.values()) == list(range(COUNT))

    def test_gets_everything_back_when_the_program_is_gone(self, store, application, folder):
        """And though the command is killed in the middle, and repeated."""
        process, path, endpoint = store()
        program, told = application(endpoint)
        read_all(told)
        wait_until(lambda: len(noted(path)) >= COUNT // 2)
        process.kill()
        process.join()
        program.kill()
        program.join()
        lost = noted(path)
        _, path, _ = store()
        interrupted = command("resend", folder, "--since", "10m", "--endpoint", endpoint)
        wait_until(lambda: noted(path) or interrupted.poll() is not None)
        interrupted.send_signal(signal.SIGKILL)
        interrupted.communicate(timeout=180)
        finished(command("resend", folder, "--since", "10m", "--endpoint", endpoint))
        finished(command("drain", folder, "--endpoint", endpoint))
        found = noted(path)

        assert lost.keys() <= found.keys()
        assert sorted(found.values()) == list(range(COUNT))
