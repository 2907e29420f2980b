"""Set up the real parts of the tests in this folder: JupyterHub 5 and 6, their proxy, jupyter_telemetry, a browser.

    python tests/jupyter/prepare.py [wheel]

Everything goes below .cache/jupyter in the project's root, but for Debian's Chromium, which is installed where it is
absent and this user may. Wants `uv`, and `npm` for the proxy. Without a wheel, the source tree is installed as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache" / "jupyter"
ENVIRONMENTS = {
    "hub5": ["jupyterhub==5.*", "jupyter_server==2.*"],
    "hub6": ["jupyterhub==6.*", "jupyter_server==2.*"],
    "server": ["jupyter_server==2.*"],
    "example": ["jupyter_server==2.*", f"{ROOT / 'examples' / 'jupyter_server_extension'}[test]"],
    "telemetry": ["jupyter_telemetry==0.1.0"],
}


def make_environment(name, packages, own):
    folder = CACHE / name
    if not folder.exists():
        run("uv", "venv", "--quiet", "--python", sys.executable, folder)
    # The wheel's version stays the same while its content changes.
    again = ["--reinstall-package", "jupyter-otel-telemetry", "--reinstall-package", "example-greeter"]
    run("uv", "pip", "install", "--quiet", "--python", folder / "bin" / "python", *again, *own, *packages)


def install_proxy():
    folder = CACHE / "proxy"
    if not (folder / "node_modules" / ".bin" / "configurable-http-proxy").exists():
        folder.mkdir(parents=True, exist_ok=True)
        run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, "configurable-http-proxy@5")


def install_chromium():
    if shutil.which("chromium") is None and shutil.which("apt-get") is not None and os.geteuid() == 0:
        quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
        run("apt-get", "update", **quiet)
        run("apt-get", "install", "--yes", "--no-install-recommends", "chromium", **quiet)


def run(*command, **options):
    subprocess.run([str(word) for word in command], check=True, timeout=600, **options)


if __name__ == "__main__":
    own = [str(Path(sys.argv[1]).absolute())] if len(sys.argv) > 1 else ["--editable", str(ROOT)]
    try:
        for name, packages in ENVIRONMENTS.items():
            make_environment(name, packages, own)
        install_proxy()
        install_chromium()
    except (OSError, subprocess.SubprocessError) as error:
        # What is absent now is skipped by its tests, or fails them, as they know better.
        print(f"prepare.py: {error}", file=sys.stderr)  # noqa: T201 - a script
