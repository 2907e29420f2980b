"""The workshop of schema authors: check schemas, and compare their versions."""

from jupyter_otel_telemetry.workshop.changes import Change, Hurt
from jupyter_otel_telemetry.workshop.check import check_schemas
from jupyter_otel_telemetry.workshop.compat import Comparison, Verdict, compare_schemas
from jupyter_otel_telemetry.workshop.findings import Finding, Level
from jupyter_otel_telemetry.workshop.rules import RULES

__all__ = [
    "RULES",
    "Change",
    "Comparison",
    "Finding",
    "Hurt",
    "Level",
    "Verdict",
    "check_schemas",
    "compare_schemas",
]
