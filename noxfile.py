"""What `make` runs, each session in an environment of its own, with the wheel, not the source tree, installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False  # nox names those that are not here
nox.options.reuse_existing_virtualenvs = True
os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")

CACHE = Path(".cache").resolve()
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]

# pyenv keeps interpreters where nothing else looks, and uv may be beside nox only.
_PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
os.environ["PATH"] = os.pathsep.join(
    [*map(str, sorted(_PYENV.glob("versions/3.1*/bin"))), os.environ["PATH"], str(Path(sys.executable).parent)]
)


def _wheel(session: nox.Session) -> str:
    folder = Path(session.create_tmp()) / "wheel"
    for old in folder.glob("*.whl"):
        old.unlink()
    session.run("uv", "build", "--quiet", "--wheel", "--out-dir", str(folder), external=True)
    return str(next(folder.glob("*.whl")))


def _install(session: nox.Session, extras: str, *more: str) -> None:
    # The wheel's version stays the same while its content changes.
    session.install(f"{_wheel(session)}[{extras}]", "--reinstall-package", "jupyter-otel-telemetry", *more)


def _pytest(session: nox.Session, suite: str = "newest") -> None:
    env = {"JSON_SCHEMA_TEST_SUITE": str(CACHE / "json-schema-test-suite" / suite)}
    session.run("python", "tests/fetch_suite.py", env=env)
    if agent := _collector(session):
        env["ROTEL_AGENT"] = agent
    apart = [f"--ignore=tests/{name}" for name in ("chaos", "jupyter", "stack")]
    session.run("pytest", *(session.posargs or ["--numprocesses=auto", *apart]), env=env)


def _collector(session: nox.Session) -> str | None:
    """Fetch the collector that is in the wheels of rotel; each needs the libpython of its Python as a library."""
    for python in PYTHONS:
        folder = CACHE / "collector" / python
        agent = folder / "rotel" / "rotel-agent"
        if not agent.exists():
            # Under the name of another Python, since only the program is wanted.
            session.run(
                *("uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)),
                *("--python-version", python, "rotel>=0.0.1a15"),
                external=True,
            )
        if subprocess.run([agent, "--version"], capture_output=True, check=False).returncode == 0:
            return str(agent)
    session.warn("no libpython is here that the collector could run with")
    return None


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types, and that the documentation builds."""
    _install(session, "test,docs", "ruff==0.17.*", "mypy==2.*", "types-PyYAML", "types-jsonschema", "types-protobuf")
    session.install("-r", "tests/stack/requirements.txt")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("mypy", "deploy/grafana/dashboards.py")
    session.run("mypy", "tests/workshop/typed_usage.py")
    site = Path(session.create_tmp()).resolve() / "site"
    session.run("sphinx-build", "-W", "--keep-going", "--quiet", "--fresh-env", "docs", str(site))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run every test with the newest versions of what we depend on."""
    _install(session, "test", "--upgrade")
    _pytest(session)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Run every test with the lowest versions that pyproject.toml allows."""
    _install(session, "test", "--resolution", "lowest-direct")
    _pytest(session, "lowest")


@nox.session(python=[PYTHONS[0], PYTHONS[-1]])
def chaos(session: nox.Session) -> None:
    """Run the tests that kill processes, fill disks and lie to senders."""
    _install(session, "test", "--upgrade")
    env = {"ROTEL_AGENT": agent} if (agent := _collector(session)) else {}
    session.run("pytest", *(session.posargs or ["--numprocesses=auto", "tests/chaos"]), env=env)


@nox.session(python=PYTHONS[-1])
def jupyter(session: nox.Session) -> None:
    """Run the tests with real JupyterHubs, a real Jupyter Server and a real browser."""
    _install(session, "test", "--upgrade", "-r", "tests/jupyter/requirements.txt")
    session.run("python", "tests/jupyter/prepare.py", _wheel(session))
    env = {"ROTEL_AGENT": agent} if (agent := _collector(session)) else {}
    session.run("pytest", *(session.posargs or ["--numprocesses=2", "tests/jupyter"]), env=env)


@nox.session(python=PYTHONS[-1])
def stack(session: nox.Session) -> None:
    """Run the tests of deploy/ with a real Collector, Prometheus, Kafka and JupyterHub."""
    _install(session, "test", "--upgrade", "-r", "tests/stack/requirements.txt")
    session.run("python", "tests/stack/build_stack.py", _wheel(session))
    session.run("pytest", *(session.posargs or ["--numprocesses=2", "--dist=loadfile", "tests/stack"]))


@nox.session
def demo(session: nox.Session) -> None:
    """Show the main job."""
    _install(session, "cli")
    session.run("jupyter-otel-telemetry", "demo", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Compare with the peers, event by event, on the whole way to a collector, and at growing sizes."""
    _install(session, "test", "-r", "benchmarks/requirements.txt")
    env = {"ROTEL_AGENT": agent} if (agent := _collector(session)) else {}
    if session.posargs:
        session.run("python", "benchmarks/compare.py", *session.posargs)
        return
    for program in ("compare", "whole_way", "latency", "growth"):
        session.run("python", f"benchmarks/{program}.py", env=env)
