"""The command line: `jupyter-otel-telemetry`, also reached as `jupyter otel-telemetry`."""

from __future__ import annotations

import sys

__all__ = ["main"]

_EXTRA = frozenset({"click", "rich"})


def main() -> None:
    """Run the command line; without the packages of the extra `cli`, say so and exit with status 1."""
    try:
        from jupyter_otel_telemetry.cli.app import app  # may be missing what it needs
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRA:
            raise
        sys.exit('the command line needs two more packages: pip install "jupyter-otel-telemetry[cli]"')
    app(prog_name="jupyter-otel-telemetry")
