"""Errors about events, without the content of withheld values."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_otel_telemetry.privacy.redaction import Redaction

__all__ = ["censored"]


def censored(error: Exception, redaction: Redaction, schema: str) -> Exception:
    """Return an error without the content of redacted values, names included; messages call the schema `schema`."""
    import jsonschema  # see metaschema; both are imported when the first schema is registered

    from jupyter_otel_telemetry.schemas.validation import invalid_event

    if not isinstance(error, jsonschema.ValidationError):
        return error
    hidden = redaction.hidden_on(tuple(error.absolute_path))
    if hidden is None:
        return error
    rule = error.validator if isinstance(error.validator, str) else "a rule of JSON"
    return invalid_event(schema, hidden, f"a withheld value violates {rule}", validator=rule)
