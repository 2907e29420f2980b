"""Checks the files of TLS at the start, where OpenSSL and gRPC say less."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Protocol

from jupyter_otel_telemetry.failures import file_problem

__all__ = ["check_files"]


class NamedFile(Protocol):
    """A file, or None without one, and the argument or variable that names it."""

    @property
    def value(self) -> str | None: ...

    @property
    def source(self) -> str: ...


def check_files(authorities: NamedFile, certificate: NamedFile, key: NamedFile) -> None:
    """Check that these are readable PEM files, and the last two a certificate and its key.

    Raises:
        ValueError: they are not; the text names the argument or variable, and the file.

    """
    for file in (authorities, certificate, key):
        if file.value is not None and (problem := _problem(file.value)):
            raise ValueError(f"{file.source} {file.value!r} cannot be read: {problem}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authorities.value is not None:
        try:
            context.load_verify_locations(authorities.value)
        except OSError:  # as ssl.SSLError is
            raise ValueError(f"{authorities.source} {authorities.value!r} has no certificate in PEM") from None
    if certificate.value is None and key.value is None:
        return
    if certificate.value is None or key.value is None:
        lone, other = (certificate, "client_key_file") if key.value is None else (key, "client_certificate_file")
        raise ValueError(f"{lone.source} needs {other} as well; a file that holds both is named in both")
    try:
        context.load_cert_chain(certificate.value, key.value, password=_no_password)
    except (OSError, ValueError):
        raise ValueError(
            f"{certificate.source} {certificate.value!r} and {key.source} {key.value!r} are not a certificate and "
            "its key, both in PEM and without a password"
        ) from None


def _problem(file: str) -> str | None:
    try:
        Path(file).read_bytes()
    except (OSError, ValueError) as error:
        return file_problem(error)
    return None


def _no_password() -> str:
    raise ValueError
