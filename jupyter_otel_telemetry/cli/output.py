"""How the commands print: with colours and frames on a terminal, as plain text elsewhere."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Commands", "print_report"]

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


class Commands(click.Group):
    """A group of commands that end with one line, not a traceback, when a file cannot be read or written."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.errno == errno.EPIPE:  # which click ends quietly
                raise
            # Python writes the rest of its buffer at exit, and would complain once more.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.ClickException(str(error)) from error
