"""How the commands print: with colours and frames on a terminal, as plain text elsewhere; nothing that it obeys."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["json_text", "print_report", "printable", "printable_content", "printable_lines"]

_PIPE_WIDTH = 130


def print_report(show: Callable[[Console], None]) -> None:
    """Let `show` print to a console."""
    console = Console(highlight=False)
    if console.is_terminal:
        show(console)
        return
    if "COLUMNS" not in os.environ:
        console.width = _PIPE_WIDTH  # rich takes a pipe for 80 columns
    with console.capture() as capture:
        show(console)
    # rich fills its columns with spaces, which nobody wants in a file.
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def printable(text: str) -> str:
    """Escape what a terminal may obey: control characters, escape sequences, bidi overrides, line ends."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def printable_lines(text: str) -> str:
    """Do as `printable` does, but keep line ends, for texts that may have several lines."""
    return "\n".join(map(printable, text.split("\n")))


def printable_content(content: Any) -> Any:
    """Return the content of JSON with every text in it, names included, made printable."""
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, dict):
        return {printable(name): printable_content(value) for name, value in content.items()}
    return [printable_content(item) for item in content] if isinstance(content, list) else content


def json_text(content: Any, *, indent: int | None = None) -> str:
    """Return JSON without characters that a terminal may obey, on one line unless `indent` is given."""
    separators = (",", ":") if indent is None else None
    # ASCII, in which only DEL is left to be escaped.
    return json.dumps(content, indent=indent, separators=separators).replace("\x7f", r"\u007f")
