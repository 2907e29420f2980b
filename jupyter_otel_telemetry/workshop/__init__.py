"""The workshop of schema authors: check schemas, and compare their versions."""

from jupyter_otel_telemetry.workshop.check import check_schemas
from jupyter_otel_telemetry.workshop.findings import Finding, Level
from jupyter_otel_telemetry.workshop.rules import RULES

__all__ = ["RULES", "Finding", "Level", "check_schemas"]
