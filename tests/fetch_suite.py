"""Fetch the JSON-Schema-Test-Suite, which is part of jsonschema's source distribution, for test_conformance.py.

    python tests/fetch_suite.py [folder]

The folder is the argument, else the environment variable JSON_SCHEMA_TEST_SUITE, else .cache/json-schema-test-suite
in the project's root. The suite is that of the installed jsonschema; if the folder has it already, nothing is done.
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

ROOT = Path(__file__).resolve().parent.parent


def folder():
    """Return where the suite is, or is to be."""
    return Path(os.environ.get("JSON_SCHEMA_TEST_SUITE") or ROOT / ".cache" / "json-schema-test-suite")


def fetch(target):
    """Put the suite into a folder; return whether there was something to do."""
    wanted = version("jsonschema")
    mark = target / "jsonschema-version"
    if mark.is_file() and mark.read_text() == wanted:
        return False
    if target.exists() and not mark.is_file() and any(target.iterdir()):
        raise RuntimeError(f"{target} holds something else; name another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:  # on the same file system, so that it can be renamed
        suite = unpack(download(wanted, Path(work)), Path(work))
        (suite / mark.name).write_text(wanted)
        shutil.rmtree(target, ignore_errors=True)
        suite.rename(target)
    return True


def download(wanted, work):
    # Only jsonschema itself from source: the build backend, which pip needs for the metadata, may come as a wheel.
    command = [pip_python(work), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", "jsonschema", "--dest", str(work), f"jsonschema=={wanted}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"pip could not download the source of jsonschema {wanted}:\n{done.stderr.strip()}")
    return next(work.glob("jsonschema-*.tar.gz"))


def pip_python(work):
    """Return a Python that has pip: this one, or one made for the purpose."""
    if find_spec("pip") is not None:
        return sys.executable
    venv.create(work / "venv", with_pip=True)
    return str(work / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")


def unpack(archive, work):
    top = archive.name.removesuffix(".tar.gz")
    with tarfile.open(archive) as source:
        members = [member for member in source if member.name.startswith(f"{top}/json/") and member.isreg()]
        source.extractall(work, members, filter="data")
    suite = work / top / "json"
    if not (suite / "tests").is_dir():
        raise RuntimeError(f"{archive.name} has no folder json/tests: the suite is no longer part of it")
    return suite


if __name__ == "__main__":
    target = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else folder()
    try:
        print("fetched" if fetch(target) else "here already", target)  # noqa: T201 - a script
    except (RuntimeError, OSError, PackageNotFoundError, subprocess.SubprocessError) as error:
        sys.exit(f"fetch_suite.py: {error}")
