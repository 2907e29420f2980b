"""`python -m jupyter_otel_telemetry.cli`."""

from jupyter_otel_telemetry.cli import main

main()
