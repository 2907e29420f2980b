"""How the commands print: with colours and frames on a terminal, as plain text elsewhere; nothing that it obeys."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Commands", "json_text", "print_report", "printable", "printable_content", "printable_lines"]

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


class Commands(click.Group):
    """A group whose commands end with one line, not a traceback, when the disk is full or a pipe is closed.

    Error messages show no text that a terminal obeys: they quote files, ids and receivers.
    """

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command; stdout that cannot be written is an error in one line, not a traceback."""
        try:
            return super().main(*args, **options)
        except OSError as error:
            # Python writes the rest of its buffer at exit, and would complain once more.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            where = error.filename or "cannot write to stdout"
            click.ClickException(printable_lines(f"{where}: {error.strerror or error}")).show()
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            vars(error)["message"] = printable_lines(error.message)  # Final by type only
            raise
