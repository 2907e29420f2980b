"""The operator's choice: which schemas are recorded and may leave, and which of their properties."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.errors import PolicyError
from jupyter_otel_telemetry.handlers import final_handler
from jupyter_otel_telemetry.options import suggestion
from jupyter_otel_telemetry.privacy.names import UPGRADE, UnseenNames, check_names
from jupyter_otel_telemetry.privacy.pseudonyms import Pseudonymizer, missing_key
from jupyter_otel_telemetry.privacy.redaction import NO_PATHS, Options, Redaction
from jupyter_otel_telemetry.schemas.installed import installed_versions
from jupyter_otel_telemetry.schemas.schema import id_pattern

if TYPE_CHECKING:
    from jupyter_otel_telemetry.schemas.flags import Location
    from jupyter_otel_telemetry.schemas.registry import Schemas
    from jupyter_otel_telemetry.schemas.schema import EventType

__all__ = ["Policy", "copy_option", "policies_of"]

_MAX_KEPT: Final = 1024
_MAX_COPIES: Final = 100
_MAX_SHOWN: Final = 10


class Policy:
    """A compiled `allowed_schemas`: which schemas are allowed, and the outcome for the properties of their events.

    Args:
        option: ids, or a mapping from ids to options. An id may hold `*`, which stands for any text. Of several
            entries that match an id, the most specific one counts: the id itself, else the pattern with the most
            characters beside `*`.
        find_key: returns the key of pseudonyms, or None; called only where there is something to pseudonymize.
        where: its name in messages.

    Raises:
        PolicyError: `option` is something else, or something is to be pseudonymized and there is no key.

    """

    def __init__(
        self, option: Any, find_key: Callable[[], bytes | None] = lambda: None, where: str = "allowed_schemas"
    ) -> None:
        self.where = where
        self._source = copy_option(option, where)
        self.entries = _parsed(self._source, where)
        patterns = sorted((entry for entry in self.entries if "*" in entry), key=_specificity, reverse=True)
        self._patterns = [(id_pattern(pattern), pattern) for pattern in patterns]
        self._found: dict[str, str | None] = {}
        self._unseen = UnseenNames()
        self._redactions: dict[EventType | tuple[EventType, frozenset[str]], Redaction | None] = {}
        self._pseudonymize: Callable[[Any], Any] = _no_pseudonym
        if needing := [entry for entry, options in self.entries.items() if options.pseudonymized_properties]:
            key = find_key()
            if key is None:
                raise missing_key(f"{where}[{needing[0]!r}] pseudonymized_properties")
            self._pseudonymize = Pseudonymizer(key)

    def was_made_from(self, option: object) -> bool:
        """Tell whether `option`, which its owner may have changed in place, still equals the compiled value."""
        try:
            is_same: bool = self._source == option
        except Exception:  # "dictionary changed size": another thread is changing it
            return False
        return is_same

    def entry_for(self, schema_id: str) -> str | None:
        """Return the entry that counts for a schema, or None if the schema is not allowed."""
        try:
            return self._found[schema_id]
        except KeyError:
            return self._find(schema_id)

    def redaction(self, event_type: EventType, pseudonyms: frozenset[str] = NO_PATHS) -> Redaction | None:
        """Return the redaction for the events of an allowed schema, or None if the schema is not allowed.

        `pseudonyms` are the paths at which events hold pseudonyms already.
        """
        key = (event_type, pseudonyms) if pseudonyms else event_type
        try:
            return self._redactions[key]
        except KeyError:
            found = self.redaction_of(event_type.id, event_type.flags.root if event_type.flags else None, pseudonyms)
        if len(self._redactions) >= _MAX_KEPT:
            self._redactions.clear()
        self._redactions[key] = redaction = None if found.root.is_plain else found
        return redaction

    def redaction_of(self, schema_id: str, root: Location | None, pseudonyms: frozenset[str] = NO_PATHS) -> Redaction:
        """Make the redaction of a schema from the flags at its root."""
        options = self.entries[self.entry_for(schema_id) or schema_id]
        return Redaction(options, root, self._pseudonymize, pseudonyms, schema_id=schema_id)

    def check(self, schemas: Schemas, schema_ids: Collection[str]) -> set[str]:
        """Check that the properties that an entry for one schema names exist in a registered version.

        An entry that is a pattern is not checked: it may name properties that only some of its schemas have.

        Args:
            schemas: the registered schemas.
            schema_ids: the ids to check.

        Returns:
            The ids that could not be checked, since something that they need by `$ref` is missing.

        Raises:
            PolicyError: it does not exist.

        """
        unchecked = set()
        for schema_id in schema_ids:
            options = self.entries.get(schema_id)
            if options is None or not options.names_properties:
                continue
            keys = [key for key in schemas if key[0] == schema_id]
            if any(schemas.fault(key) is not None for key in keys):
                unchecked.add(schema_id)
            else:
                check_names(options, [schemas.compiled(*key) for key in keys], f"{self.where}[{schema_id!r}]")
        return unchecked

    def check_installed(self) -> None:
        """Check that the properties that an entry for one schema names exist in a version of an installed package.

        A handler of events that come without their schema calls this when it is constructed. The entries for schemas
        that are not installed are checked by the first events: see `lacking`.

        Raises:
            PolicyError: a property does not exist.

        """
        for schema_id, options in self.entries.items():
            if "*" in schema_id or not options.names_properties:
                continue
            if versions := installed_versions(schema_id):
                check_names(options, versions, f"{self.where}[{schema_id!r}]", UPGRADE)
            else:
                self._unseen.add(schema_id, options)

    def lacking(self, event_type: EventType, event: Mapping[str, Any]) -> list[str]:
        """Return the properties because of which an event that came without its schema must not leave.

        They are named in the entry for its schema, which is not installed, and no event has had them yet: maybe they
        are misspelt.
        """
        return self._unseen.lacking(event_type.id, event)

    def names_properties_of(self, schema_id: str) -> bool:
        """Tell whether the entry for a schema has an option about its properties."""
        entry = self.entry_for(schema_id)
        return entry is not None and self.entries[entry].names_properties

    def summary(self) -> str:
        """Return the entries in words, for one line of a log."""
        shown = [
            entry + (f" ({'; '.join(options.summary())})" if options.summary() else "")
            for entry, options in islice(self.entries.items(), _MAX_SHOWN)
        ]
        if len(self.entries) > _MAX_SHOWN:
            shown.append(f"{len(self.entries) - _MAX_SHOWN} more")
        return f"events of {', '.join(shown)}" if shown else "no events"

    def _find(self, schema_id: str) -> str | None:
        found: str | None = schema_id
        if not isinstance(schema_id, str):
            raise TypeError(f"expected a schema id, got {type(schema_id).__name__}")
        if schema_id not in self.entries or "*" in schema_id:
            found = next((entry for pattern, entry in self._patterns if pattern.fullmatch(schema_id)), None)
        if len(self._found) >= _MAX_KEPT:  # ids of foreign events are untrusted
            self._found.clear()
        self._found[schema_id] = found
        return found


def policies_of(handler: Any) -> tuple[Policy, ...]:
    """Return the policy that a logging handler has of its own, if it has one."""
    policy = getattr(final_handler(handler), "policy", None)
    return (policy,) if isinstance(policy, Policy) else ()


def copy_option(option: Any, where: str) -> Any:
    """Copy an option, all of it as it was at one moment, though another thread may be changing it."""
    _check_kind(option, where)
    for _ in range(_MAX_COPIES):
        try:
            source = copy.deepcopy(option)
            if source == option:
                return source
        except RuntimeError:  # "dictionary changed size during iteration"
            continue
        except Exception:
            _parsed(option, where)  # whose error names the item that has no place here
            raise
    raise PolicyError(f"{where} is changed by another thread all the time; change it once, or set it anew")


def _check_kind(option: Any, where: str) -> None:
    if isinstance(option, str):
        raise PolicyError(f"{where} must be a list of schema ids: write [{option!r}]")
    if not isinstance(option, (list, tuple, set, frozenset, Mapping)):
        raise PolicyError(
            f"{where} must be a list of schema ids, or a mapping from ids to options, "
            f'not {type(option).__name__}; write ["https://schema.example.org/event"]'
        )


def _parsed(option: Any, where: str) -> dict[str, Options]:
    for schema_id in option:
        if not isinstance(schema_id, str) or not schema_id:
            raise PolicyError(f"{where} must hold schema ids, not {schema_id!r}")
        if schema_id.startswith(("{", "[")):
            raise PolicyError(f"{where} must hold schema ids; {schema_id!r} looks like JSON that could not be read")
    options = option if isinstance(option, Mapping) else dict.fromkeys(option)
    return {schema_id: _options(value, f"{where}[{schema_id!r}]") for schema_id, value in options.items()}


def _options(value: Any, where: str) -> Options:
    if value is not None and not isinstance(value, Mapping):
        raise PolicyError(f"{where} must be a mapping from options to lists, not {value!r}; write {{}} for none")
    known = [field.name for field in fields(Options)]
    for name, items in (value or {}).items():
        if name not in known:
            hint = suggestion(str(name), known) or f"; known are {', '.join(known)}"
            raise PolicyError(f"{where} has the unknown option {name!r}{hint}")
        if isinstance(items, (str, Mapping)) or not isinstance(items, Collection):
            raise PolicyError(f"{where} {name} must be a list of texts, not {items!r}; write [{str(items)!r}]")
        for item in items:
            if not isinstance(item, str) or not item:
                raise PolicyError(f"{where} {name} must hold texts, not {item!r}")
    return Options(**{name: frozenset(items) for name, items in (value or {}).items()})


def _specificity(pattern: str) -> tuple[int, str]:
    return len(pattern.replace("*", "")), pattern


def _no_pseudonym(_value: Any) -> None:
    """Withhold, where nothing can be pseudonymized because no option says so."""
