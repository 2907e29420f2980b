"""Points in time on the command line: so long ago, or an RFC 3339 time."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Final

from click import BadParameter

from jupyter_otel_telemetry.times import datetime_to_ns

if TYPE_CHECKING:
    import click

__all__ = ["moment"]

_AGO: Final = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RFC3339: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def moment(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """Return the value of an option as nanoseconds since 1970; a callback of click."""
    if text is None:
        return None
    if found := _AGO.fullmatch(text):
        return time.time_ns() - int(found[1]) * _SECONDS[found[2]] * 1_000_000_000
    if (found := _RFC3339.fullmatch(text)) is None:
        raise BadParameter(f"{text!r} is not a time; write 10m (s, m, h or d), or 2026-11-22T22:10:05Z")
    zone = "+00:00" if found[4] in "Zz" else found[4]
    try:
        second_ns = datetime_to_ns(datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}"))
    except ValueError as error:
        raise BadParameter(f"{text!r}: {error}") from error
    return second_ns + int((found[3] or "0").ljust(9, "0"))
