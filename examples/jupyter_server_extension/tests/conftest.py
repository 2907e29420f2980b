"""Fixtures of pytest-jupyter; those of jupyter-otel-telemetry are there without a word."""

pytest_plugins = ["pytest_jupyter.jupyter_server"]
