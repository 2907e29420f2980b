"""Fetch the suites of others that our tests run, out of source distributions.

    python tests/fetch_suite.py

The JSON-Schema-Test-Suite, for test_conformance.py, is that of the installed jsonschema. Its folder is the
environment variable JSON_SCHEMA_TEST_SUITE, else .cache/json-schema-test-suite in the project's root. The folder of
jupyter_telemetry's tests, for test_jupyter_telemetry.py, is JUPYTER_TELEMETRY_TESTS, else
.cache/jupyter-telemetry-tests. A suite that is there already is not fetched again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Suite(NamedTuple):
    """A folder of a source distribution, and the environment variable that says where to keep it."""

    name: str
    variable: str
    package: str
    version: str | None
    inside: str

    def folder(self):
        """Return where the suite is, or is to be."""
        return Path(os.environ.get(self.variable) or ROOT / ".cache" / self.name)


JSON_SCHEMA = Suite("json-schema-test-suite", "JSON_SCHEMA_TEST_SUITE", "jsonschema", None, "json")
TELEMETRY = Suite("jupyter-telemetry-tests", "JUPYTER_TELEMETRY_TESTS", "jupyter_telemetry", "0.1.0", "tests")


def fetch(suite):
    """Put a suite into its folder; return whether there was something to do."""
    wanted, target = suite.version or version(suite.package), suite.folder().absolute()
    mark = target / f"{suite.package}-version"
    if mark.is_file() and mark.read_text() == wanted:
        return False
    if target.exists() and not mark.is_file() and any(target.iterdir()):
        raise RuntimeError(f"{target} holds something else; name another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:  # on the same file system, so that it can be renamed
        unpacked = unpack(download(suite.package, wanted, Path(work)), suite.inside, Path(work))
        (unpacked / mark.name).write_text(wanted)
        shutil.rmtree(target, ignore_errors=True)
        unpacked.rename(target)
    return True


def download(package, wanted, work):
    # Only the package itself from source: the build backend, which pip needs for the metadata, may come as a wheel.
    command = [pip_python(work), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", package, "--dest", str(work), f"{package}=={wanted}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"pip could not download the source of {package} {wanted}:\n{done.stderr.strip()}")
    return next(work.glob(f"{package}-*.tar.gz"))


def pip_python(work):
    """Return a Python that has pip: this one, or one made for the purpose."""
    if find_spec("pip") is not None:
        return sys.executable
    venv.create(work / "venv", with_pip=True)
    return str(work / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")


def unpack(archive, inside, work):
    top = archive.name.removesuffix(".tar.gz")
    with tarfile.open(archive) as source:
        members = [member for member in source if member.name.startswith(f"{top}/{inside}/") and member.isreg()]
        source.extractall(work, members, filter="data")
    if not members:
        raise RuntimeError(f"{archive.name} has no folder {inside}: the suite is no longer part of it")
    return work / top / inside


if __name__ == "__main__":
    try:
        for suite in (JSON_SCHEMA, TELEMETRY):
            print("fetched" if fetch(suite) else "here already", suite.folder())  # noqa: T201 - a script
    except (RuntimeError, OSError, PackageNotFoundError, subprocess.SubprocessError) as error:
        sys.exit(f"fetch_suite.py: {error}")
