"""Credential providers: entry points of other packages that make a session or credentials."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

__all__ = ["made_by_provider"]

_GROUP = "opentelemetry_otlp_credential_provider"


def made_by_provider(name: str, wanted: type) -> Any:
    """Return the object that the credential provider of this name makes.

    Raises:
        ValueError: no such provider is installed, or it makes something else.

    """
    for provider in entry_points(group=_GROUP, name=name):
        made = provider.load()()
        if isinstance(made, wanted):
            return made
        raise ValueError(f"the credential provider {name!r} makes a {type(made).__name__}, not a {wanted.__name__}")
    raise ValueError(f"no credential provider {name!r} is installed; its entry point belongs into the group {_GROUP}")
