"""How commands show log records: as the rows of a table, or as JSON, a line each."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import SERVICE_NAME
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jupyter_otel_telemetry.cli.output import json_text, printable
from jupyter_otel_telemetry.names import EVENT_PREFIX
from jupyter_otel_telemetry.schemas.annotations import RESERVED_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_otel_telemetry.otlp.received import ReceivedLog

__all__ = ["Rows", "json_line"]

_HEADER = ("time (UTC)", "service", "level", "event")
_MIN_TABLE_WIDTH = 72
_LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_STYLES = ("dim", "dim", "green", "yellow", "red", "bold red")
_NUMBERS_PER_LEVEL = 4  # OTel counts severities from 1 (TRACE) to 24 (FATAL4)
_NEEDS_QUOTES = re.compile(r'[\s"=]|^$')


def json_line(log: ReceivedLog) -> str:
    """Return a log record as one line of JSON."""
    return json_text(log.to_dict()) + "\n"


class Rows:
    """Renders one row a log, the first with the header above.

    On a terminal the last column is wrapped; in a pipe, or where it would be too narrow, a log is one line.
    """

    def __init__(self) -> None:
        self._console = Console()
        time_width = len("hh:mm:ss.mmm" if self._console.is_terminal else "yyyy-mm-dd hh:mm:ss.mmm")
        self._widths = (time_width, 16, 5)  # the last column takes what is left
        self._header_is_due = True

    def __call__(self, log: ReceivedLog) -> str:
        """Return a row, the first with the header above."""
        text = self._row(_cells(log, short_time=self._console.is_terminal))
        if self._header_is_due:
            self._header_is_due = False
            text = self._row([Text(title, style="bold") for title in _HEADER]) + text
        return text

    def _row(self, cells: Sequence[Text]) -> str:
        if not self._console.is_terminal or self._console.width < _MIN_TABLE_WIDTH:
            padded = (cell.plain.ljust(width) for cell, width in zip(cells, (*self._widths, 0), strict=True))
            return "  ".join(padded).rstrip() + "\n"
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for width in self._widths:
            table.add_column(width=width, overflow="fold")
        table.add_column(overflow="fold")
        table.add_row(*cells)
        with self._console.capture() as capture:
            self._console.print(table)
        return capture.get()


def _cells(log: ReceivedLog, *, short_time: bool) -> tuple[Text, ...]:
    content = log.to_dict()
    service = content["resource"].get(SERVICE_NAME, "")
    return (
        Text(_time(content["timestamp"], short=short_time), style="dim"),
        Text(printable(str(service))),
        _level(log),
        _event(content),
    )


def _time(timestamp: str | None, *, short: bool) -> str:
    """Return date and time to the millisecond, on the day itself the time alone if it is to be short."""
    if timestamp is None:
        return ""
    day, _, clock = timestamp.partition("T")
    clock = clock[: len("hh:mm:ss.mmm")]
    is_today = day == datetime.now(timezone.utc).date().isoformat()
    return clock if short and is_today else f"{day} {clock}"


def _level(log: ReceivedLog) -> Text:
    index = (log.severity_number - 1) // _NUMBERS_PER_LEVEL
    if 0 <= index < len(_LEVELS):
        return Text(_LEVELS[index], style=_STYLES[index])
    return Text(printable(log.severity_text))


def _event(content: dict[str, Any]) -> Text:
    """Return the event's name, or the text of a log that is not an event, and its properties as `key=value`."""
    if content["event_name"]:
        words = [Text(printable(content["event_name"]), style="bold")]
    else:
        body = content["body"]
        words = [Text(printable(body if isinstance(body, str) else _word(body)))]
    for name, value in content["attributes"].items():
        if name.startswith(EVENT_PREFIX) or not name.startswith(RESERVED_ATTRIBUTES):
            key = printable(name.removeprefix(EVENT_PREFIX))
            words.append(Text.assemble((f"{key}=", "cyan"), printable(_word(value))))
    return Text(" ").join(words)


def _word(value: Any) -> str:
    """Return logfmt: text that needs no quotes as it is, everything else as JSON."""
    if isinstance(value, str) and not _NEEDS_QUOTES.search(value):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
