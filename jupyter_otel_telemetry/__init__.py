"""Validated Jupyter events as OpenTelemetry log records."""
