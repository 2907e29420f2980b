"""The lines that a handler logs at its first event: which events go where, and which personal data they hold."""

from __future__ import annotations

import logging
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from jupyter_otel_telemetry.hostlog import log_to_host
from jupyter_otel_telemetry.schemas.installed import installed_ids, personal_schema_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_otel_telemetry.privacy.policy import Policy

__all__ = [
    "log_summary",
    "log_switched_off",
    "log_withheld_whole",
    "warn_of_personal_data",
    "warn_of_unknown_schemas",
]

_CLOSE: Final = 0.9  # of two ids: a letter or two differ

_logger = logging.getLogger(__name__)


def log_summary(policies: Sequence[Policy], destination: str, waiting: object) -> None:
    """Log which events a handler sends where, with which policies, the wider one first, and where events wait."""
    events = ", narrowed to ".join(policy.summary() for policy in policies) or "all events, no property withheld"
    log_to_host(_logger, "sending %s, to %s%s", events, destination, f", {waiting}" if waiting else "")


def log_switched_off(reason: str) -> None:
    """Log that a handler sends no events."""
    log_to_host(_logger, "sending no events, since %s", reason)


def warn_of_personal_data(policy: Policy | None) -> None:
    """Warn of events that are marked as personal and sent whole, where events come without their schema."""
    if personal := _sent_whole(policy):
        _logger.warning(
            "these schemas say personal-data: true, and every property of their events is sent: %s; name properties "
            'in allowed_schemas to withhold, pseudonymize or knowingly allow them: {"%s": {"withheld_properties": '
            "[…]}}; `jupyter otel-telemetry explain` lists them",
            ", ".join(personal),
            personal[0],
        )


def warn_of_unknown_schemas(policy: Policy | None) -> None:
    """Warn of entries whose id is not installed but close to one that is: nothing would be sent, silently."""
    if policy is None:
        return
    known = installed_ids()
    for entry in set(policy.entries).difference(known):
        close = get_close_matches(entry, known, 1, _CLOSE)
        if close and policy.entry_for(close[0]) is None:
            text = "no installed package ships the schema %r, which %s names; did you mean %r?"
            _logger.warning(text, entry, policy.where, close[0])


def log_withheld_whole(policy: Policy, schema_id: str, lacking: list[str]) -> None:
    """Log that an event is withheld whole, since properties that an option names may be misspelt."""
    _logger.error(
        "an event of %s is withheld whole: it lacks %s, which %s[%r] names, no earlier event had that, and no "
        "installed package ships the schema; further ones are counted, not logged. If the name is misspelt, correct "
        "it. If the property is optional, its first event ends this; an id with * is not checked",
        schema_id,
        ", ".join(map(repr, lacking)),
        policy.where,
        policy.entry_for(schema_id),
    )


def _sent_whole(policy: Policy | None) -> list[str]:
    """Return the schemas marked as personal whose events are sent without an option about their properties."""
    return [
        schema_id
        for schema_id in personal_schema_ids()
        if policy is None or (policy.entry_for(schema_id) is not None and not policy.names_properties_of(schema_id))
    ]
