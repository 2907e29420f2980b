"""Points in time on the command line: so long ago, or an RFC 3339 time."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import Final

import click

from jupyter_otel_telemetry.times import datetime_to_ns

__all__ = ["MOMENT"]

_AGO: Final = re.compile(r"(\d{1,9})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RFC3339: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class _Moment(click.ParamType):
    """Nanoseconds since 1970."""

    name = "TIME"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if found := _AGO.fullmatch(value):
            return time.time_ns() - int(found[1]) * _SECONDS[found[2]] * 1_000_000_000
        if found := _RFC3339.fullmatch(value):
            zone = "+00:00" if found[4] in "Zz" else found[4]
            try:
                second_ns = datetime_to_ns(datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}"))
            except ValueError as error:
                self.fail(f"{value!r}: {error}", param, ctx)
            return second_ns + int((found[3] or "0").ljust(9, "0"))
        return self.fail(f"{value!r} is not a time; write 10m (s, m, h or d), or 2026-11-22T22:10:05Z", param, ctx)


MOMENT: Final = _Moment()
"""The type of such an option."""
