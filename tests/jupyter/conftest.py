"""Fixtures with real programs. What they print is shown where a test fails."""

from contextlib import ExitStack

import pytest


def starter():
    """Make a function that starts a program, such as `Hub`, and waits until it is ready; at the end, kill all."""
    with ExitStack() as stack:

        def start(program, *arguments, **options):
            running = program(*arguments, **options)
            stack.callback(lambda: print(f"--- output of {type(running).__name__} ---\n{running.output}"))  # noqa: T201
            stack.callback(running.kill)
            running.wait_until_ready()
            return running

        yield start


started = pytest.fixture(starter, name="started")
start_in_module = pytest.fixture(starter, name="start_in_module", scope="module")
