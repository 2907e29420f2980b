"""Real programs as parts of tests: started, waited for, and ended whatever happens."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import requests
from builders import absent, free_port

NOT_FOUND = 404
PREFIX = "jupyter.event."
ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache" / "jupyter"
MARK = "JUPYTER_OTEL_TELEMETRY_TEST"
"""A variable that every program of a test has, and what it starts inherits."""

http = requests.Session()
http.trust_env = False  # everything is on this machine


def environment(name):
    """Return the folder of the programs of an environment that prepare.py has made."""
    programs = CACHE / name / "bin"
    if not programs.is_dir():
        absent(f"the environment {name} of tests/jupyter/prepare.py")
    return programs


def wait_until(condition, what, timeout_s=180.0):
    """Return what `condition()` returns as soon as that is true."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if found := condition():
            return found
        time.sleep(0.05)
    raise TimeoutError(f"not within {timeout_s} s: {what}")


class Program:
    """A running program; its output goes to a file.

    `env` is all that it knows of this machine but for PATH.
    """

    def __init__(self, command, folder, env):
        folder.mkdir(exist_ok=True)
        self.mark = f"{os.getpid()}-{time.time_ns()}"
        self._log = folder / "output"
        path = os.pathsep.join([str(Path(command[0]).parent), os.environ["PATH"]])
        env = {"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8", "no_proxy": "127.0.0.1", MARK: self.mark} | env
        with self._log.open("ab") as output:
            options = {"cwd": folder, "env": env, "stdout": output, "stderr": output}
            command = [str(word) for word in command]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)

    @property
    def output(self):
        return self._log.read_text(errors="replace")

    def wait_until(self, condition, what, timeout_s=180.0):
        """Like the function, but gives up when the program has ended."""

        def checked():
            if self.process.poll() is not None:
                raise ChildProcessError(f"the program ended with {self.process.returncode} before {what}")
            return condition()

        return wait_until(checked, what, timeout_s)

    def stop(self, number=signal.SIGTERM, timeout_s=120.0):
        """Ask it to end, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def kill(self):
        """End it and everything that it has started."""
        for pid in self._descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait(120)

    def _descendants(self):
        wanted = f"{MARK}={self.mark}".encode()
        for folder in Path("/proc").iterdir():
            with suppress(OSError):
                if folder.name.isdigit() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)


def starter():
    """Make a function that starts a program, such as `Hub`, and waits until it is ready; at the end, kill all.

    What they print is shown where a test fails.
    """
    with ExitStack() as stack:

        def start(program, *arguments, **options):
            running = program(*arguments, **options)
            stack.callback(lambda: print(f"--- output of {type(running).__name__} ---\n{running.output}"))  # noqa: T201
            stack.callback(running.kill)
            running.wait_until_ready()
            return running

        yield start


def answers(url):
    """Tell whether something serves HTTP there."""
    try:
        return http.get(url, timeout=60).ok
    except requests.RequestException:
        return False


class Hub(Program):
    """A JupyterHub of its own, users' servers as processes.

    `config` is the text of a configuration file; `version` 5 or 6.
    """

    def __init__(self, version, config, folder, env):
        programs = environment(f"hub{version}")
        proxy = CACHE / "proxy" / "node_modules" / ".bin" / "configurable-http-proxy"
        if not proxy.exists():
            absent("configurable-http-proxy")
        folder.mkdir(exist_ok=True)
        self.url = f"http://127.0.0.1:{free_port()}"
        self.token = "a-token-of-the-tests"
        self._headers = {"Authorization": f"token {self.token}"}
        scopes = ["admin:users", "admin:servers", "access:servers"]
        settings = {
            "JupyterHub.bind_url": self.url,
            "JupyterHub.hub_bind_url": f"http://127.0.0.1:{free_port()}",
            "JupyterHub.db_url": "sqlite:///:memory:",
            "JupyterHub.cleanup_servers": True,
            "ConfigurableHTTPProxy.command": [str(proxy)],
            "ConfigurableHTTPProxy.api_url": f"http://127.0.0.1:{free_port()}",
            "JupyterHub.authenticator_class": "dummy",
            "Authenticator.allow_all": True,
            "JupyterHub.spawner_class": "simple",
            "SimpleLocalProcessSpawner.home_dir_template": str(folder / "home-{username}"),
            "Spawner.cmd": [str(programs / "jupyterhub-singleuser")],
            "Spawner.args": ["--allow-root"],
            "Spawner.env_keep": ["PATH", "LANG", "no_proxy", MARK],
            "Spawner.start_timeout": 60,
            "JupyterHub.services": [{"name": "driver", "api_token": self.token}],
            "JupyterHub.load_roles": [{"name": "driver", "scopes": scopes, "services": ["driver"]}],
        }
        lines = [f"c.{name} = {value!r}" for name, value in settings.items()]
        (folder / "jupyterhub_config.py").write_text("\n".join(lines) + "\n" + config)
        super().__init__([programs / "jupyterhub"], folder, env)

    def wait_until_ready(self):
        self.wait_until(lambda: answers(f"{self.url}/hub/health"), "the hub answers")

    def api(self, method, path, **options):
        answer = http.request(method, f"{self.url}/hub/api/{path}", headers=self._headers, timeout=60, **options)
        answer.raise_for_status()
        return answer

    def start_server(self, user="ada", name=""):
        """Start a user's server, and wait until it can be used."""
        if http.get(f"{self.url}/hub/api/users/{user}", headers=self._headers, timeout=60).status_code == NOT_FOUND:
            self.api("POST", f"users/{user}")
        self.api("POST", f"users/{user}/servers/{name}" if name else f"users/{user}/server")
        self.wait_until(lambda: self.server(user, name).get("ready"), "the user's server is ready")

    def stop_server(self, user="ada", name=""):
        self.api("DELETE", f"users/{user}/servers/{name}" if name else f"users/{user}/server")
        self.wait_until(lambda: not self.server(user, name), "the user's server is gone")

    def call_server(self, method, path, user="ada", name="", **options):
        """Send a request to the API of a user's server."""
        server = "/".join(filter(None, [user, name]))
        answer = http.request(
            method, f"{self.url}/user/{server}/api/{path}", headers=self._headers, timeout=60, **options
        )
        answer.raise_for_status()

    def server(self, user="ada", name=""):
        return self.api("GET", f"users/{user}").json()["servers"].get(name, {})


class Server(Program):
    """A Jupyter Server of its own, its files in `root`.

    `config` is what its configuration file holds: Python as text, or JSON as objects.
    """

    def __init__(self, config, folder, env, programs=None):
        self.programs = programs or Path(sys.executable).parent
        self.root = folder / "root"
        self.root.mkdir(parents=True, exist_ok=True)
        self.port, self.token = free_port(), "a-token-of-the-tests"
        self.url = f"http://127.0.0.1:{self.port}"
        name = f"jupyter_server_config.{'py' if isinstance(config, str) else 'json'}"
        (folder / name).write_text(config if isinstance(config, str) else json.dumps(config))
        command = [self.programs / self.program, "--no-browser", "--allow-root", f"--config={folder / name}"]
        command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0"]
        command += [f"--ServerApp.root_dir={self.root}", f"--IdentityProvider.token={self.token}"]
        super().__init__(command, folder, env)

    program = "jupyter-server"

    def wait_until_ready(self):
        self.wait_until(lambda: answers(f"{self.url}/api"), "the server answers")

    def api(self, method, path, **options):
        """Send a request, and return the answer, whatever its status."""
        headers = {"Authorization": f"token {self.token}"}
        return http.request(method, f"{self.url}/api/{path}", headers=headers, timeout=60, **options)

    def do(self, method, path, **options):
        """Send a request that must succeed, and return the JSON of the answer."""
        answer = self.api(method, path, **options)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def connect(self, path):
        """Open a WebSocket; it gives up after a minute."""
        try:
            import websocket
        except ImportError:
            absent("websocket-client")
        url = f"ws://127.0.0.1:{self.port}/api/{path}"
        return websocket.create_connection(url, timeout=60, header={"Authorization": f"token {self.token}"})


class Lab(Server):
    """A JupyterLab of its own."""

    program = "jupyter-lab"


def documented(page, language, number=0):
    """Return a block of code that a page of the documentation shows."""
    text = (ROOT / "docs" / "howto" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(?:# file: .*?\n)?(.*?)```", text, re.DOTALL)[number]


def event(log):
    """Return the properties of a received event."""
    return {name.removeprefix(PREFIX): value for name, value in log.attributes.items() if name.startswith(PREFIX)}
