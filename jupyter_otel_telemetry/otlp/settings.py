"""Where and how to export: arguments, `OTEL_EXPORTER_OTLP_*` variables and defaults, resolved in this module only."""

from __future__ import annotations

import base64
import math
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from jupyter_otel_telemetry.masking import HIDDEN, mask_text, mask_url, secrets_of_url
from jupyter_otel_telemetry.otlp.headers import RequestHeaders, checked_headers, parsed_headers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ExporterOptions", "ExporterSettings", "Found", "switched_off"]

PROTOCOLS: Final = ("http/protobuf", "grpc")
COMPRESSIONS: Final = {"http/protobuf": ("gzip", "deflate", "none"), "grpc": ("gzip", "none")}
_DEFAULT_TIMEOUT_S: Final = 10.0
_MAX_TIMEOUT_S: Final = 600.0
_MIN_TIMEOUT_MS: Final = 1000.0
_GRPC_TARGET: Final = re.compile(
    r"(?:unix|unix-abstract|dns|ipv4|ipv6|vsock|xds):\S+|(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?"
)
_HOSTS: Final = re.compile(r"(?:dns:(?://[\w.:-]*/)?|ipv4:|ipv6:)?[\w.:,\[\]-]+")
_PORT: Final = re.compile(r"(?<=[\w.\]-]):([0-9]+)(?=,|$)")
_MAX_PORT: Final = 65_535
_WITHOUT_HOST: Final = ("unix", "vsock", "xds")


class Found(NamedTuple):
    """A setting, and the argument or variable that says so."""

    value: str | None
    source: str
    is_argument: bool = False


@dataclass(frozen=True)
class ExporterOptions:
    """Where and how to export; the options of `OTLPHandler`.

    An option that is None or blank is left to its `OTEL_EXPORTER_OTLP_*` variable, then to its default.
    """

    endpoint: str | None = field(default=None, repr=False)
    protocol: str | None = None
    headers: Mapping[str, Any] | None = field(default=None, repr=False)
    compression: str | None = None
    certificate_file: str | None = None
    client_certificate_file: str | None = None
    client_key_file: str | None = None
    proxy: str | None = field(default=None, repr=False)

    @cached_property
    def settings(self) -> ExporterSettings:
        """Resolve the options, once.

        Raises:
            ValueError: an option or environment variable has no meaning, or names a file that cannot be used. The
                text says which one, and what to write.

        """
        return _resolved(self)

    def destination(self) -> str:
        """Return the receiver and the protocol, without secrets."""
        return self.settings.destination


@dataclass(frozen=True, repr=False)
class ExporterSettings:
    """The resolved and checked options of an exporter.

    Args:
        protocol: one of `PROTOCOLS`.
        url: over HTTP the URL to post to, over gRPC the target; without user and password.
        is_insecure: whether the connection is plain, without TLS.
        headers: of each request.
        compression: or None if nobody has chosen one.
        timeout_s: of a request.
        certificate_file, client_certificate_file, client_key_file: PEM files, or None.
        proxy: URL of a proxy, or None.
        credential_provider: the entry point that makes the session or the credentials, or None.
        destination: the receiver and the protocol, for people.
        remarks: variables that have no effect, or another one than their reader may expect.
        secrets: those of the URLs.

    """

    protocol: str
    url: str
    is_insecure: bool
    headers: RequestHeaders
    compression: str | None
    timeout_s: float
    certificate_file: str | None
    client_certificate_file: str | None
    client_key_file: str | None
    proxy: str | None
    credential_provider: Found | None
    destination: str
    remarks: tuple[str, ...]
    secrets: frozenset[str]

    def mask(self, text: str) -> str:
        """Return a text without the secrets of these settings."""
        return mask_text(text, {*self.secrets, *self.headers.secrets()})

    def compression_or(self, default: str) -> str:
        """Return the compression that was chosen, else `default`."""
        return self.compression or default

    @property
    def files(self) -> tuple[str | None, str | None, str | None]:
        """The files of the authorities to trust, of the client's key and of its certificate."""
        return self.certificate_file, self.client_key_file, self.client_certificate_file

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.destination}>"


def switched_off() -> str | None:
    """Return the variable that switches the export of logs off, or None if none does."""
    if _environ("OTEL_SDK_DISABLED").lower() == "true":
        return "OTEL_SDK_DISABLED is true"
    if _environ("OTEL_LOGS_EXPORTER").lower() == "none":
        return "OTEL_LOGS_EXPORTER is none"
    return None


def _resolved(options: ExporterOptions) -> ExporterSettings:
    protocol = _choice(_found(options.protocol, "protocol", "PROTOCOL"), PROTOCOLS) or PROTOCOLS[0]
    endpoint = _found(options.endpoint, "endpoint", "ENDPOINT")
    address = _grpc_address(endpoint, insecure=_is_insecure()) if protocol == "grpc" else _http_address(endpoint)
    timeout_s, remarks = _timeout()
    proxy = _found(options.proxy, "proxy", None)
    check_url("proxy", proxy.value)
    if proxy.value is not None and address.url.startswith("unix"):
        raise ValueError("proxy has no meaning for a Unix socket; leave it out")
    return ExporterSettings(
        protocol=protocol,
        url=address.url,
        is_insecure=address.is_insecure,
        headers=_headers(options, protocol, address.user_info),
        compression=_choice(
            _found(options.compression, "compression", "COMPRESSION"), COMPRESSIONS[protocol], protocol
        ),
        timeout_s=timeout_s,
        **_files(options, endpoint, is_insecure=address.is_insecure),
        proxy=proxy.value,
        credential_provider=_credential_provider(protocol),
        destination=f"{address.shown} ({protocol})",
        remarks=(*remarks, *_remarks()),
        secrets=frozenset().union(*map(secrets_of_url, filter(None, (endpoint.value, address.url, proxy.value)))),
    )


def _environ(name: str) -> str:
    return os.environ.get(name, "").strip()


def _found(argument: Any, name: str, variable: str | None) -> Found:
    """Return an argument, else a variable, that of logs before that of all signals."""
    if argument is not None and not isinstance(argument, (str, os.PathLike)):
        raise ValueError(f"{name} must be text, not {type(argument).__name__}")
    if argument is not None and (text := os.fsdecode(argument).strip()):
        return Found(text, name, is_argument=True)
    for prefix in ("OTEL_EXPORTER_OTLP_LOGS_", "OTEL_EXPORTER_OTLP_") if variable else ():
        if text := _environ(f"{prefix}{variable}"):
            return Found(text, f"{prefix}{variable}")
    return Found(None, name)


def _choice(found: Found, choices: Sequence[str], protocol: str = "") -> str | None:
    chosen = None if found.value is None else found.value.lower()
    if chosen is None or chosen in choices:
        return chosen
    shown = f" {chosen!r}" if re.fullmatch(r"[a-z/-]{1,20}", chosen) else ""
    over = f" over {protocol}" if protocol else ""
    raise ValueError(f"{found.source}{shown} is not supported{over}; use one of {', '.join(choices)}")


class _Address(NamedTuple):
    url: str
    is_insecure: bool
    user_info: str
    shown: str


def check_url(name: str, value: str | None) -> None:
    """Check that a text is a URL with a host.

    Raises:
        ValueError: it is not; the text shows no secret.

    """
    if value is None:
        return
    hint = "write http://host:4318, or https:// for TLS"
    if value.isprintable() and " " not in value and _has_host(value):
        parts = urlsplit(value)
        if "@" not in f"{parts.path}{parts.query}{parts.fragment}":
            return
        hint = "write %40 for an @, %2F for a / and %3F for a ? in user, password, path or query"
    raise _not_a_url(name, value, hint)


def _not_a_url(name: str, value: str, hint: str) -> ValueError:
    shown = mask_url(value)
    return ValueError(f"{name} {'' if shown == HIDDEN else f'{shown!r} '}is not a URL; {hint}")


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port, or of brackets
        return False


def _http_address(endpoint: Found) -> _Address:
    check_url(endpoint.source, endpoint.value)
    url = endpoint.value or "http://localhost:4318"
    parts = urlsplit(url)
    user_info, _, host = parts.netloc.rpartition("@")
    path = parts.path.rstrip("/")
    # The specification takes the variable of logs as it is, and adds the path to that of all signals.
    if endpoint.source == "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT":
        path = parts.path
    elif not (endpoint.is_argument and path.endswith("/v1/logs")):
        path += "/v1/logs"
    target = urlunsplit((parts.scheme, host, path, parts.query, ""))
    return _Address(target, parts.scheme == "http", user_info, mask_url(url))


def _grpc_address(endpoint: Found, *, insecure: bool | None) -> _Address:
    url = endpoint.value or "http://localhost:4317"
    if url.lower().startswith(("http://", "https://")):
        check_url(endpoint.source, url)
        parts = urlsplit(url)
        user_info, _, host = parts.netloc.rpartition("@")
        return _Address(host, parts.scheme == "http", user_info, mask_url(url))
    user_info, _, target = url.rpartition("@")
    if not _GRPC_TARGET.fullmatch(target) or _wrong_port(target) or re.search(r"[/?#@\s]", user_info):
        hint = "write http://host:4317, https:// for TLS, or unix:/path"
        raise _not_a_url(endpoint.source, url, hint)
    if insecure is None:  # a Unix socket does not leave the machine
        insecure = target.startswith("unix")
    is_plain = target.startswith("unix") or _HOSTS.fullmatch(target)
    return _Address(target, insecure, user_info, target if is_plain else mask_url(f"//{target}")[2:])


def _wrong_port(target: str) -> bool:
    ports = () if target.startswith(_WITHOUT_HOST) else _PORT.findall(target)
    return any(not 0 < int(port[:6]) <= _MAX_PORT for port in ports)


def _is_insecure() -> bool | None:
    found = _found(None, "", "INSECURE")
    if found.value is None or found.value.lower() in ("true", "false"):
        return None if found.value is None else found.value.lower() == "true"
    raise ValueError(f"{found.source} must be true or false")


def _headers(options: ExporterOptions, protocol: str, user_info: str) -> RequestHeaders:
    variable = _found(None, "", "HEADERS")
    fixed, _ = checked_headers(parsed_headers(variable.value or "", variable.source), variable.source, protocol)
    given, files = checked_headers({} if options.headers is None else options.headers, "headers", protocol)
    if user_info:
        pair = base64.b64encode(unquote(user_info).encode()).decode()
        fixed = {"authorization": f"Basic {pair}"} | fixed
    of_files = {file.name for file in files}
    return RequestHeaders({name: value for name, value in (fixed | given).items() if name not in of_files}, files)


def _timeout() -> tuple[float, tuple[str, ...]]:
    """Return the seconds that a request may take.

    Numbers up to 600 are seconds, as in OpenTelemetry's SDK for Python; from 1000 on they are milliseconds, as in the
    specification. Either reading of a number waits at most ten minutes.
    """
    found = _found(None, "", "TIMEOUT")
    try:
        number = _DEFAULT_TIMEOUT_S if found.value is None else float(found.value)
    except ValueError:
        number = math.nan
    if 0 < number <= _MAX_TIMEOUT_S:
        return number, ()
    if _MIN_TIMEOUT_MS <= number <= _MAX_TIMEOUT_S * 1000:
        return number / 1000, (f"{found.source} {found.value} is read as milliseconds: {number / 1000:g} seconds",)
    raise ValueError(
        f"{found.source} {found.value!r} is not a time limit; write seconds, at most {_MAX_TIMEOUT_S:g}, "
        f"or milliseconds, from {_MIN_TIMEOUT_MS:g} to {_MAX_TIMEOUT_S * 1000:g}"
    )


def _files(options: ExporterOptions, endpoint: Found, *, is_insecure: bool) -> dict[str, str | None]:
    authorities = _found(options.certificate_file, "certificate_file", "CERTIFICATE")
    certificate = _found(options.client_certificate_file, "client_certificate_file", "CLIENT_CERTIFICATE")
    key = _found(options.client_key_file, "client_key_file", "CLIENT_KEY")
    files = [file for file in (authorities, certificate, key) if file.value is not None]
    if is_insecure and files:
        # A variable may be meant for other exporters of a program that gives an endpoint to this one.
        if meant := [file for file in files if file.is_argument or not endpoint.is_argument]:
            raise ValueError(
                f"{meant[0].source} has no effect without TLS; write https:// in the endpoint, or leave it out"
            )
        return dict.fromkeys(("certificate_file", "client_certificate_file", "client_key_file"))
    if files:
        from jupyter_otel_telemetry.otlp.certificates import check_files  # imports ssl

        check_files(authorities, certificate, key)
    return {
        "certificate_file": authorities.value,
        "client_certificate_file": certificate.value,
        "client_key_file": key.value,
    }


def _credential_provider(protocol: str) -> Found | None:
    over = "GRPC" if protocol == "grpc" else "HTTP"
    for signal in ("", "LOGS_"):  # in the order of the SDK
        if name := _environ(source := f"OTEL_PYTHON_EXPORTER_OTLP_{over}_{signal}CREDENTIAL_PROVIDER"):
            return Found(name, source)
    return None


def _remarks() -> list[str]:
    """Return a sentence on each variable that the SDK knows and this package leaves alone."""
    remarks = [
        f"{name} is not read; use arguments and OTEL_EXPORTER_OTLP_* variables"
        for name in ("OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE", "OTEL_BLRP_EXPORT_TIMEOUT")
        if _environ(name)
    ]
    if _environ("OTEL_LOGS_EXPORTER").lower() not in ("", "otlp", "none"):
        remarks.append("OTEL_LOGS_EXPORTER has no effect unless it is none; OTEL_EXPORTER_OTLP_PROTOCOL is read")
    if _environ("OTEL_SDK_DISABLED").lower() not in ("", "true", "false"):
        remarks.append("OTEL_SDK_DISABLED is neither true nor false, and has no effect")
    return remarks
