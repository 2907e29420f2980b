"""Fixtures with real programs."""

import pytest
from programs import starter

started = pytest.fixture(starter, name="started")
start_in_module = pytest.fixture(starter, name="start_in_module", scope="module")
