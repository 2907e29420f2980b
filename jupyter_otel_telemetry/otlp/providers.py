"""Credential providers: entry points of other packages that make a session or credentials."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jupyter_otel_telemetry.otlp.settings import Found

__all__ = ["made_by_provider"]

_GROUP: Final = "opentelemetry_otlp_credential_provider"


def made_by_provider(found: Found, wanted: type) -> Any:
    """Return the object that a credential provider makes.

    Raises:
        ValueError: no such provider is installed, or it makes something else.

    """
    for provider in entry_points(group=_GROUP, name=str(found.value)):
        made = provider.load()()
        if isinstance(made, wanted):
            return made
        kinds = f"a {type(made).__name__}, not a {wanted.__name__}"
        raise ValueError(f"{found.source}: the credential provider {found.value!r} makes {kinds}")
    raise ValueError(f"{found.source}: no credential provider {found.value!r} is installed")
