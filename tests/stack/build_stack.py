"""Set up the real parts of the tests in this folder: what deploy/ uses; with a wheel, JupyterHub too.

    python tests/stack/build_stack.py [wheel]

Each part is made from the folder of its name: the Collector by its own builder of what manifest.yaml lists,
Prometheus and the Compose specification's loader by Go from their modules, Kafka of jars by Maven, Grafana's parser
of LogQL by npm. All are kept outside the checkout, below JUPYTER_OTEL_STACK or the user's cache, each under a hash
of its folder, and made again only when that changes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(
    os.environ.get("JUPYTER_OTEL_STACK")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jupyter-otel-telemetry" / "stack"
)
FLAGS = ["-v", "-mod=mod", "-trimpath", "-ldflags=-s -w"]
BUILDER = "go.opentelemetry.io/collector/cmd/builder@v0.160.0"
COMMANDS = {
    "collector": [
        ["go", "run", BUILDER, "--skip-compilation", "--config=manifest.yaml"],
        ["go", "build", "-C", "source", *FLAGS, "-o", "../otelcol", "."],
    ],
    # Its page is not in the module, and what finds targets in clouds is not needed.
    "prometheus": [
        ["go", "build", *FLAGS, "-tags=remove_all_sd", "-o", ".", "github.com/prometheus/prometheus/cmd/prometheus"]
    ],
    "compose": [["go", "build", *FLAGS, "-o", "compose", "."]],
    "kafka": [["mvn", "--quiet", "--batch-mode", "dependency:copy-dependencies", "-DoutputDirectory=jars"]],
    "logql": [["npm", "install", "--silent", "--no-audit", "--no-fund"]],
}
PROGRESS_S = 20


def place(name):
    """Return where a part is, or will be: its name has a hash of what it is made from."""
    digest = hashlib.sha256(repr(COMMANDS[name]).encode())
    for path in sorted((HERE / name).iterdir()):
        digest.update(path.read_bytes())
    return CACHE / f"{name}-{digest.hexdigest()[:12]}"


def make(name):
    CACHE.mkdir(parents=True, exist_ok=True)
    say(f"making {name}, once")
    began_s = time.monotonic()
    # Beside its place, so that it is there as a whole or not at all.
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{name}-unfinished-") as folder:
        made = shutil.copytree(HERE / name, Path(folder) / name)
        for command in COMMANDS[name]:
            run(*command, cwd=made)
        made.rename(place(name))
    say(f"made {name} in {time.monotonic() - began_s:.0f} s")


def run(*command, cwd):
    """Run it, and tell now and then how many lines it has written: for `go build -v`, one a package."""
    environment = os.environ | {"CGO_ENABLED": "0"}
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines, told_s = [], time.monotonic()
    for line in process.stdout:
        lines.append(line.rstrip())
        if time.monotonic() - told_s > PROGRESS_S:
            told_s = time.monotonic()
            say(f"  {command[0]} {command[1]}: {len(lines)} done, now {lines[-1][:80]}")
    if process.wait() != 0:
        raise ChildProcessError(f"{' '.join(command)} ended with {process.returncode}:\n" + "\n".join(lines[-20:]))


def say(text):
    print(f"build_stack.py: {text}", file=sys.stderr, flush=True)  # noqa: T201 - a script


def make_all():
    """Make what can be made. What is absent then is skipped by its tests, or fails them, as they know better."""
    for name in COMMANDS:
        if not place(name).exists():
            try:
                make(name)
            except (OSError, subprocess.SubprocessError) as error:
                say(str(error))


def make_hub(wheel):
    sys.path.append(str(HERE.parent / "jupyter"))
    from prepare import ENVIRONMENTS, install_proxy, make_environment

    try:
        make_environment("hub5", [*ENVIRONMENTS["hub5"], "ipykernel"], [str(Path(wheel).absolute())])
        install_proxy()
    except (OSError, subprocess.SubprocessError) as error:
        say(str(error))


if __name__ == "__main__":
    make_all()
    if len(sys.argv) > 1:
        make_hub(sys.argv[1])
