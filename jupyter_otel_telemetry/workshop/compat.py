"""Whether a new version of a schema breaks those who write its events, or those who read them.

An event is an object. Backward: every event that is valid under the old schema is valid under the new one; otherwise
the change hurts those who write events. Forward: every event that is valid under the new schema is valid under the
old one; otherwise it hurts those who read them. These are questions about sets of JSON values. By default, the side
that makes an event is taken as closed: it records described properties only; and the side that takes it as open: it
ignores undescribed properties, whatever `additionalProperties` says. So an optional property may come or go.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.jsondata import json_pointer
from jupyter_otel_telemetry.schemas.keywords import without_texts
from jupyter_otel_telemetry.workshop.canonical import NotComparableError, canonical, closed, key, opened
from jupyter_otel_telemetry.workshop.changes import Change, Hurt
from jupyter_otel_telemetry.workshop.drafts import draft_of
from jupyter_otel_telemetry.workshop.inclusion import Proof
from jupyter_otel_telemetry.workshop.meaning import changed_meaning
from jupyter_otel_telemetry.workshop.shapes import checker
from jupyter_otel_telemetry.workshop.witness import Witnesses, mentioned_texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jupyter_otel_telemetry.workshop.versions import Pair, SchemaSet

__all__ = ["Comparison", "Verdict", "compare_pair", "compare_schemas"]

_MAX_CANDIDATES: Final = 4_000
_MAX_CHANGES: Final = 20
_MAX_EVENTS: Final = 100
"""Events that are searched for different reasons."""


class Verdict(Enum):
    """The outcome of a comparison."""

    SAFE = "safe"
    BREAKING = "breaking"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Comparison:
    """The verdict on two versions; `reasons` say why it is undecided, if it is."""

    changes: list[Change] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    is_same: bool = False

    @property
    def verdict(self) -> Verdict:
        """Breaking if one change breaks, although others may be undecided."""
        if self.changes:
            return Verdict.BREAKING
        return Verdict.UNDECIDED if self.reasons else Verdict.SAFE

    @property
    def bump(self) -> str:
        """Which part of a version must grow: "none", "minor" or "major"; "unknown" if undecided."""
        if self.verdict is Verdict.SAFE:
            return "none" if self.is_same else "minor"
        return "major" if self.verdict is Verdict.BREAKING else "unknown"


def compare_schemas(
    old: dict[str, Any],
    new: dict[str, Any],
    *,
    strict: bool = False,
    old_others: Mapping[str, dict[str, Any]] | None = None,
    new_others: Mapping[str, dict[str, Any]] | None = None,
) -> Comparison:
    """Compare two versions of a schema, both valid ones.

    Args:
        old: the schema before the change.
        new: the schema after it.
        strict: whether both sides are taken as they are written, instead of writers as closed and readers as open.
        old_others: the schemas to which `$ref`s of `old` may lead, by `$id`.
        new_others: likewise, of `new`.

    """
    changes = list(changed_meaning(old, new))
    reasons: list[str] = []
    if _are_alike(old, new) and (old_others == new_others or "$ref" not in key(old)):
        return Comparison(changes, is_same=not changes)
    if (draft_of(old).number == 4) != (draft_of(new).number == 4):
        return Comparison(
            changes, ["one is of draft 4, to which 1.0 is not an integer, and the other of a later draft"]
        )
    try:
        before, after = canonical(old, old_others), canonical(new, new_others)
        is_same = key(before) == key(after)
    except NotComparableError as error:
        return Comparison(changes, [str(error)])
    directions = ((before, after, Hurt.WRITERS), (after, before, Hurt.READERS))
    for made, accepted, hurt in () if is_same else directions:
        question = _Inclusion(made, accepted, strict=strict)
        found = list(islice(question.changes(hurt), _MAX_CHANGES))
        changes += found
        if not found and not question.is_proven():
            reasons.append(f"it is neither proven nor refuted that the change is safe for {hurt.value}")
    return Comparison(changes, reasons, is_same and not changes)


def compare_pair(pair: Pair, old: SchemaSet, new: SchemaSet, *, strict: bool = False) -> Comparison:
    """Compare a schema of one set with its version in another one; see `compare_schemas`."""
    if pair.old is None:
        return Comparison()
    if pair.new is None:
        text = f"the schema {pair.old.id!r} was removed, so its events are no longer recorded"
        return Comparison([Change(Hurt.WRITERS, "", "$id", text)])
    before, after = pair.old.document, pair.new.document
    found = compare_schemas(before, after, strict=strict, old_others=old.targets(), new_others=new.targets())
    if pair.old.key == pair.new.key and not _are_alike(before, after):
        text = f"the content of version {pair.new.version} has changed; give the changed schema a new version"
        return replace(found, changes=[Change(Hurt.READERS, "", "version", text), *found.changes], is_same=False)
    return found


def _are_alike(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Tell whether two schemas differ in version, titles and descriptions at most."""
    return key(without_texts(old) | {"version": 0}) == key(without_texts(new) | {"version": 0})


_OBJECT: Final = {"type": "object"}


class _Inclusion:
    """The question whether everything that one schema makes is accepted by another one."""

    def __init__(self, made: Any, accepted: Any, *, strict: bool) -> None:
        self._made = (_OBJECT, made if strict else closed(made))
        self._accepted = (accepted if strict else opened(accepted),)
        self._texts = [*mentioned_texts(made), *mentioned_texts(accepted)]

    def is_proven(self) -> bool:
        """Tell whether it is proven."""
        try:
            return Proof().holds(self._made, self._accepted)
        except (NotComparableError, RecursionError):
            return False

    def changes(self, hurt: Hurt) -> Iterator[Change]:
        """Yield a change for each rule that an event violates."""
        seen: set[tuple[str, str]] = set()
        for event in islice(self._counterexamples(), _MAX_EVENTS):
            for pointer, keyword, message in _violations(self._accepted[0], event):
                if (pointer, keyword) not in seen:
                    seen.add((pointer, keyword))
                    yield Change(hurt, pointer, keyword, message, event)

    def _is_made(self, value: Any) -> bool:
        import jsonschema  # as in metaschema

        return jsonschema.Draft202012Validator({"allOf": list(self._made)}).is_valid(value)

    def _counterexamples(self) -> Iterator[dict[str, Any]]:
        try:
            is_made, is_accepted = checker(self._made), checker(self._accepted)
            for value in islice(Witnesses(self._texts).between(self._made, self._accepted), _MAX_CANDIDATES):
                if is_made(value) and not is_accepted(value) and self._is_made(value):
                    yield value
        except (NotComparableError, RecursionError):
            return


def _violations(schema: Any, event: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield place, keyword and text of each rule that an event violates, by jsonschema."""
    import jsonschema  # as in metaschema

    for error in jsonschema.Draft202012Validator(schema).iter_errors(event):
        yield json_pointer(list(error.absolute_path)), str(error.validator), error.message[:200]
