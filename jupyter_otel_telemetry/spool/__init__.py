"""Delivery that loses nothing: records wait on the disk until a receiver has accepted them.

Only the names in `__all__` are public.
"""

from jupyter_otel_telemetry.spool.folder import SpoolOptions
from jupyter_otel_telemetry.spool.processor import SpoolLogRecordProcessor

__all__ = ["SpoolLogRecordProcessor", "SpoolOptions"]
