"""Set up the real parts of the tests in this folder: the Collector, Prometheus, Kafka; with a wheel, JupyterHub too.

    python tests/stack/build_stack.py [wheel]

The Collector is made by its own builder of what collector.yaml lists, Prometheus from its module; both want Go.
Kafka's jars want Maven. All are kept outside the checkout, below JUPYTER_OTEL_STACK or the user's cache, each
under a hash of what describes it, and made again only when that changes.
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
BUILDER = "go.opentelemetry.io/collector/cmd/builder@v0.160.0"
DESCRIPTIONS = {"collector": "collector.yaml", "prometheus": "prometheus/go.mod", "kafka": "kafka/pom.xml"}
PROGRESS_S = 20


def place(name):
    """Return where a part is, or will be: its name has a hash of what it is made from."""
    description = (HERE / DESCRIPTIONS[name]).read_bytes() + BUILDER.encode()
    return CACHE / f"{name}-{hashlib.sha256(description).hexdigest()[:12]}"


def make_collector(folder):
    manifest = (HERE / DESCRIPTIONS["collector"]).read_text()
    (folder / "manifest.yaml").write_text(manifest.replace("dist:\n", f"dist:\n  output_path: {folder}\n"))
    run("go", "run", BUILDER, "--skip-compilation", f"--config={folder / 'manifest.yaml'}", cwd=folder)
    run("go", "build", "-v", "-trimpath", "-ldflags=-s -w", "-o", "otelcol", ".", cwd=folder)


def make_prometheus(folder):
    shutil.copy(HERE / DESCRIPTIONS["prometheus"], folder)
    # Its page is not in the module, and what finds targets in clouds is not needed.
    options = ["-v", "-mod=mod", "-trimpath", "-tags=remove_all_sd", "-ldflags=-s -w"]
    run("go", "build", *options, "-o", "prometheus", "github.com/prometheus/prometheus/cmd/prometheus", cwd=folder)


def make_kafka(folder):
    shutil.copy(HERE / DESCRIPTIONS["kafka"], folder)
    run("mvn", "--quiet", "--batch-mode", "dependency:copy-dependencies", f"-DoutputDirectory={folder}", cwd=folder)


def make(name, maker):
    if place(name).exists():
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    say(f"making {name}, once: some minutes")
    # Beside its place, so that it is there as a whole or not at all.
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{name}-unfinished-") as folder:
        maker(Path(folder))
        Path(folder).rename(place(name))
        Path(folder).mkdir()  # for what removes it
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
    for name, maker in [("collector", make_collector), ("prometheus", make_prometheus), ("kafka", make_kafka)]:
        try:
            make(name, maker)
        except (OSError, subprocess.SubprocessError) as error:
            say(str(error))


def make_hub(wheel):
    sys.path.append(str(HERE.parent / "jupyter"))
    from prepare import ENVIRONMENTS, install_proxy, make_environment

    try:
        make_environment("hub5", ENVIRONMENTS["hub5"], [str(Path(wheel).absolute())])
        install_proxy()
    except (OSError, subprocess.SubprocessError) as error:
        say(str(error))


if __name__ == "__main__":
    make_all()
    if len(sys.argv) > 1:
        make_hub(sys.argv[1])
