"""Delivery that loses nothing: records wait on the disk until a receiver has accepted them.

What is not in `__all__` is not public.
"""

from jupyter_otel_telemetry.spool.folder import SpoolOptions
from jupyter_otel_telemetry.spool.processor import SpoolLogRecordProcessor

__all__ = ["SpoolLogRecordProcessor", "SpoolOptions"]
