"""Fixtures with real programs. What they print is shown where a test fails."""

from contextlib import ExitStack

import pytest


@pytest.fixture
def started():
    """Return a function that starts a program, such as `Hub`, and waits until it is ready.

    It is killed when the test ends.
    """
    with ExitStack() as stack:

        def start(program, *arguments, **options):
            running = program(*arguments, **options)
            stack.callback(lambda: print(f"--- output of {type(running).__name__} ---\n{running.output}"))  # noqa: T201
            stack.callback(running.kill)
            running.wait_until_ready()
            return running

        yield start
