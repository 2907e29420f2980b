"""A small OTLP/HTTP receiver of logs, for development and tests.

    with OTLPReceiver() as receiver:
        ...  # whatever exports to receiver.endpoint
        [log] = receiver.wait_for(1)

It authenticates nobody and stores nothing on disk: it is no replacement for a collector.
"""

from __future__ import annotations

import base64
import json
import math
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from typing_extensions import Self

__all__ = ["OTLPReceiver", "ReceivedLog"]

_PATH = "/v1/logs"
_JSON = "application/json"
_PROTOBUF = "application/x-protobuf"
_ZLIB_WBITS = {"gzip": 31, "deflate": 15}
_TRACE_ID_BYTES = 16
_SPAN_ID_BYTES = 8
_MAX_LENGTH_DIGITS = 18
_MAX_LINE_BYTES = 1024
_STOP_TIMEOUT_S = 5.0
_LINGER_S = 2.0
_LINGER_BYTES = 64 * 1024 * 1024
