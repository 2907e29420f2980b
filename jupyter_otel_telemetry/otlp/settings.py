"""Where and how to export: arguments, `OTEL_EXPORTER_OTLP_*` variables and defaults."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.util.re import parse_env_headers

__all__ = ["CREDENTIAL_PROVIDERS", "ExporterOptions"]

PROTOCOLS: Final = ("http/protobuf", "grpc")
COMPRESSIONS: Final = ("gzip", "deflate", "none")
CREDENTIAL_PROVIDERS: Final = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_LOGS_CREDENTIAL_PROVIDER",
)
_DEFAULT_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True)
class ExporterOptions:
    """Where and how to export; what is None is left to `OTEL_EXPORTER_OTLP_*`, then to the defaults."""

    endpoint: str | None = None
    protocol: str | None = None
    headers: Mapping[str, str] | None = None
    compression: str | None = None
    certificate_file: str | None = None
    client_certificate_file: str | None = None
    client_key_file: str | None = None

    def __post_init__(self) -> None:
        _check_choice("protocol", self.protocol, PROTOCOLS)
        _check_choice("compression", self.compression, COMPRESSIONS)
        check_url("endpoint", self.endpoint)
        if self.headers is not None and not isinstance(self.headers, Mapping):
            raise ValueError("headers must be a mapping from names to texts")

    def chosen_protocol(self) -> str:
        """Return the argument, else what `OTEL_EXPORTER_OTLP_(LOGS_)PROTOCOL` says, else the default."""
        if self.protocol is not None:
            return self.protocol
        for variable in ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
            if value := os.environ.get(variable, "").strip():
                _check_choice(variable, value, PROTOCOLS)
                return value
        return PROTOCOLS[0]

    def destination(self) -> str:
        """Return where to and how, without what may be secret in a URL."""
        protocol = self.chosen_protocol()
        default = "http://localhost:4317" if protocol == "grpc" else "http://localhost:4318"
        variables = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        url = self.endpoint or next(filter(None, map(os.environ.get, variables)), default)
        return f"{re.sub('//[^/]*@', '//', url).partition('?')[0]} ({protocol})"


def check_url(name: str, value: str | None) -> None:
    if value is None or (value.startswith(("http://", "https://")) and urlsplit(value).hostname):
        return
    shown = re.sub(".*@", "", value, flags=re.DOTALL)  # without credentials
    raise ValueError(f"{name} {shown!r} is no URL; write http://host:4318, or https:// for TLS")


def _check_choice(name: str, value: str | None, choices: Sequence[str]) -> None:
    if value is not None and value not in choices:
        raise ValueError(f"{name} {value!r} is unknown; use one of {', '.join(choices)}")


def variable(name: str) -> str:
    """Return an `OTEL_EXPORTER_OTLP_*` variable, that of logs before that of all signals."""
    logs = os.environ.get(f"OTEL_EXPORTER_OTLP_LOGS_{name}", "").strip()
    return logs or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip()


def file_of(argument: str | None, name: str) -> str | None:
    return argument or variable(name) or None


def request_headers(options: ExporterOptions) -> dict[str, str]:
    found = dict(parse_env_headers(variable("HEADERS"), liberal=True))  # whose names are in lower case
    return found | {name.lower(): value for name, value in (options.headers or {}).items()}


def chosen_compression(options: ExporterOptions, offered: tuple[str, ...]) -> str:
    chosen = options.compression or variable("COMPRESSION").lower() or "gzip"
    if chosen not in offered:
        over = "grpc" if "deflate" not in offered else "http/protobuf"
        raise ValueError(f"compression {chosen!r} is not offered over {over}; use one of {', '.join(offered)}")
    return chosen


def timeout_s() -> float:
    text = variable("TIMEOUT")
    try:
        seconds = float(text) if text else _DEFAULT_TIMEOUT_S
    except ValueError:
        seconds = math.nan
    if 0 < seconds < math.inf:
        return seconds
    raise ValueError(f"OTEL_EXPORTER_OTLP_TIMEOUT {text!r} is no number of seconds that one can wait")


def http_url(options: ExporterOptions) -> str:
    endpoint = options.endpoint
    if endpoint is None:
        for variable in ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
            check_url(variable, os.environ.get(variable, "").strip() or None)
        if whole := os.environ.get("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "").strip():
            return whole
        endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip() or "http://localhost:4318"
    elif endpoint.rstrip("/").endswith("/v1/logs"):
        return endpoint
    return endpoint.rstrip("/") + "/v1/logs"


def grpc_target(options: ExporterOptions) -> tuple[str, bool]:
    endpoint = options.endpoint or variable("ENDPOINT") or "http://localhost:4317"
    parts = urlsplit(endpoint)
    if parts.scheme in ("http", "https") and parts.netloc:
        return parts.netloc, parts.scheme == "http"
    return endpoint, variable("INSECURE").lower() == "true"


def grpc_files(options: ExporterOptions) -> tuple[bytes | None, ...]:
    files = (
        file_of(options.certificate_file, "CERTIFICATE"),
        file_of(options.client_key_file, "CLIENT_KEY"),
        file_of(options.client_certificate_file, "CLIENT_CERTIFICATE"),
    )
    return tuple(Path(file).read_bytes() if file else None for file in files)
