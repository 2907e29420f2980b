"""Explains why an event is invalid: jsonschema looks for the broken rule, with bounded work.

The verdict is not decided here. If the rule is not found within `MAX_STEPS`, the explanation is vaguer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import jsonschema
from jsonschema.exceptions import best_match

from jupyter_otel_telemetry.failure_log import is_panic
from jupyter_otel_telemetry.schemas.engine import Matcher, encodable, holds
from jupyter_otel_telemetry.schemas.metaschema import validator_class

if TYPE_CHECKING:
    from jupyter_otel_telemetry.schemas.keywords import Path
    from jupyter_otel_telemetry.schemas.references import Document, SchemaDocuments

__all__ = ["broken_rule", "explanation"]

Errors = Iterator[jsonschema.ValidationError]

MAX_STEPS: Final = 20_000
_MAX_ERRORS: Final = 1_000
_MAX_KEPT: Final = 1_000
_MAX_TEXT: Final = 200
_MAX_NAMES: Final = 20
_BY_ENGINE: Final = (
    "const enum exclusiveMaximum exclusiveMinimum maxItems maxLength maxProperties maximum minItems minLength "
    "minProperties minimum multipleOf pattern uniqueItems".split()
)
"""Keywords without subschemas that jsonschema applies slowly, or whose messages repeat values."""
_UNEXPLAINED: Final = ("unevaluatedItems", "unevaluatedProperties")
"""Keywords that depend on all others, so that jsonschema's time for them is not bounded."""
_SAFE_MESSAGES: Final = frozenset("additionalProperties dependencies dependentRequired required".split())
"""Keywords whose messages name properties, never values."""


def explanation(documents: SchemaDocuments, instance: Any, compiled: dict[Any, Any]) -> jsonschema.ValidationError:
    """Return the error that explains best why a schema does not allow an instance.

    Its `absolute_path` leads to the value that violates the rule. `validator` is None if the rule was not found.
    `compiled` keeps compiled parts of the schema for the next explanation.
    """
    work = _Work(compiled)
    token = _current.set(work)
    errors: list[jsonschema.ValidationError] = []
    try:
        validator = work.compiled(documents, lambda: _explaining_validator(documents))
        for error in islice(validator.iter_errors(instance), _MAX_ERRORS):
            errors.append(error)  # noqa: PERF402 - those found before the work is cut short count
    except Exception:  # noqa: S110 - cut short, too deep, or a reference's target that jsonschema trips over
        pass
    except BaseException as error:
        if not is_panic(error):  # which is how Rust code, beneath the registry of references, ends a deep recursion
            raise
    finally:
        _current.reset(token)
    return best_match(errors) or work.vague_error(instance)


def _explaining_validator(documents: SchemaDocuments) -> Any:
    return _explaining_class(validator_class(documents.root))(documents.root, registry=documents.registry)


def broken_rule(error: jsonschema.ValidationError) -> str:
    """Describe the rule that was violated, without the value."""
    keyword, value = error.validator, error.validator_value
    if keyword is None and error.schema is not False:
        return f"the value violates a rule that was not found in {MAX_STEPS} steps"
    if error.schema is False:
        return "nothing is allowed"
    if keyword in _SAFE_MESSAGES:
        return str(error.message)
    if keyword == "type":
        expected = " or ".join(value) if isinstance(value, list) else value
        return f"expected {expected}, got {_type_name(error.instance)}"
    text = repr(value)
    return f"the value violates {keyword}: {text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 3] + '...'}"


def _type_name(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _error_without_rule(**details: Any) -> jsonschema.ValidationError:
    nothing: Any = None  # the stubs do not know that it may be unset for good
    return jsonschema.ValidationError("", validator=nothing, validator_value=None, **details)


_GIVING_UP: Final = 100
"""Steps that a pattern is worth whose match was given up, after ten thousand steps back."""


class _CutShort(Exception):
    """The explanation has taken enough work."""


class _Work:
    """The work for one explanation, and its findings so far."""

    def __init__(self, compiled: dict[Any, Any]) -> None:
        self._steps = 0
        self._unexplained: list[tuple[str, Any, Document, Any]] = []
        self._compiled = compiled

    def step(self, weight: int = 1) -> None:
        self._steps += weight
        if self._steps > MAX_STEPS:
            raise _CutShort

    def compiled(self, key: Any, build: Callable[[], Any]) -> Any:
        found = self._compiled.get(key)
        if found is None:
            self.step(10)
            found = build()
            if len(self._compiled) < _MAX_KEPT:
                self._compiled[key] = found
        return found

    def matches(self, pattern: str, name: str) -> bool:
        self.step()
        matcher: Matcher = self.compiled(pattern, lambda: Matcher(pattern))
        answer = matcher.matches(name)
        if answer is None:
            self.step(_GIVING_UP)
        return answer is True

    def leave(self, keyword: str, value: Any, schema: Document, instance: Any) -> None:
        """Note a keyword that is the cause if no other is found."""
        self._unexplained.append((keyword, value, schema, instance))

    def vague_error(self, event: Any) -> jsonschema.ValidationError:
        for keyword, value, schema, instance in self._unexplained:
            path = _path_to(instance, event)
            return jsonschema.ValidationError("", keyword, path, validator_value=value, schema=schema)
        return _error_without_rule(schema=None)


_current: ContextVar[_Work] = ContextVar("work")


def _path_to(wanted: Any, event: Any) -> Path:
    waiting: list[tuple[Path, Any]] = [((), event)]
    while waiting:
        path, value = waiting.pop()
        if value is wanted:
            return path
        steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        waiting += [((*path, step), item) for step, item in steps if isinstance(item, (dict, list))]
    return ()


@cache
def _explaining_class(cls: Callable[..., Any]) -> Any:
    """Return a class of jsonschema's validators whose work is counted."""
    rules: dict[str, Any] = {name: partial(_by_engine, name, cls.__name__) for name in _BY_ENGINE}
    rules |= {name: partial(_unexplained, name) for name in _UNEXPLAINED} | _RULES
    known: Any = cls
    rules = {name: rule for name, rule in rules.items() if name in known.VALIDATORS}
    rules["dependencies"] = jsonschema.Draft7Validator.VALIDATORS["dependencies"]  # as the engine: in all drafts
    explaining: Any = jsonschema.validators.extend(known, rules)  # type: ignore[no-untyped-call]  # no annotations there
    evolve, descend = explaining.evolve, explaining.descend

    def counting_evolve(self: Any, **changes: Any) -> Any:
        _current.get().step()
        schema = changes.get("schema")
        if isinstance(schema, dict) and "$schema" in schema:
            # jsonschema would return to its own class where a $ref reaches a schema that names its draft.
            changes["schema"] = {keyword: value for keyword, value in schema.items() if keyword != "$schema"}
        return evolve(self, **changes)

    def counting_descend(
        self: Any, instance: Any, schema: Any, path: Any = None, *args: Any, **options: Any
    ) -> Errors:
        _current.get().step(1 + _length(schema) // 4)
        if schema is False:  # jsonschema's message holds the value
            steps = () if path is None else (path,)
            yield _error_without_rule(path=steps, instance=instance, schema=False)
        else:
            yield from descend(self, instance, schema, path, *args, **options)

    explaining.evolve, explaining.descend = counting_evolve, counting_descend
    return explaining


def _by_engine(keyword: str, draft: str, _validator: Any, value: Any, instance: Any, schema: Document) -> Errors:
    work = _current.get()
    work.step(1 + (_length(value) + _length(instance)) // 32)
    # In draft 4, `exclusiveMinimum` is an adverb.
    beside = {name: schema[name] for name in ("exclusiveMinimum", "exclusiveMaximum") if schema.get(name) is True}
    rule = work.compiled((id(value), keyword, *beside), lambda: holds(draft, {**beside, keyword: value}))
    try:
        is_satisfied = rule(instance)
    except ValueError:  # a lone surrogate
        is_satisfied = rule(encodable(instance))
    if not is_satisfied:
        yield jsonschema.ValidationError("")


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (dict, list, str)) else 0


def _unexplained(keyword: str, _validator: Any, value: Any, instance: Any, schema: Document) -> Errors:
    _current.get().leave(keyword, value, schema, instance)
    return iter(())


def _type(validator: Any, types: Any, instance: Any, _schema: Document) -> Errors:
    if not any(validator.is_type(instance, kind) for kind in ([types] if isinstance(types, str) else types)):
        yield jsonschema.ValidationError("")


def _not(validator: Any, schema: Any, instance: Any, _schema: Document) -> Errors:
    if next(validator.descend(instance, schema), None) is None:
        yield jsonschema.ValidationError("")


def _any_of(validator: Any, subschemas: Any, instance: Any, _schema: Document) -> Errors:
    errors = _errors_of_each(validator, subschemas, instance)
    if all(errors):
        yield jsonschema.ValidationError("", context=[error for branch in errors for error in branch])


def _one_of(validator: Any, subschemas: Any, instance: Any, _schema: Document) -> Errors:
    errors = _errors_of_each(validator, subschemas, instance)
    if all(errors):
        yield jsonschema.ValidationError("", context=[error for branch in errors for error in branch])
    elif sum(not branch for branch in errors) > 1:
        yield jsonschema.ValidationError("")


def _errors_of_each(validator: Any, subschemas: Any, instance: Any) -> list[list[jsonschema.ValidationError]]:
    return [
        list(islice(validator.descend(instance, subschema, schema_path=index), _MAX_ERRORS))
        for index, subschema in enumerate(subschemas)
    ]


def _contains(validator: Any, subschema: Any, instance: Any, schema: Document) -> Errors:
    if validator.is_type(instance, "array"):
        count = sum(next(validator.descend(item, subschema), None) is None for item in instance)
        if not schema.get("minContains", 1) <= count <= schema.get("maxContains", len(instance)):
            yield jsonschema.ValidationError("")


def _pattern_properties(validator: Any, patterns: Document, instance: Any, _schema: Any) -> Errors:
    if validator.is_type(instance, "object"):
        for pattern, subschema in patterns.items():
            for name, value in instance.items():
                if _current.get().matches(pattern, name):
                    yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Document) -> Errors:
    if not validator.is_type(instance, "object"):
        return
    matches = _current.get().matches
    patterns = schema.get("patternProperties", ())
    known = schema.get("properties", ())
    extra = [name for name in instance if name not in known and not any(matches(p, name) for p in patterns)]
    if allowed is False and extra:
        names = ", ".join(map(repr, extra[:_MAX_NAMES]))
        names += f" and {len(extra) - _MAX_NAMES} more" if len(extra) > _MAX_NAMES else ""
        yield jsonschema.ValidationError(f"has properties that the schema does not allow: {names}")
    elif validator.is_type(allowed, "object"):
        for name in extra:
            yield from validator.descend(instance[name], allowed, path=name)


_RULES: Final = {
    "type": _type,
    "not": _not,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "contains": _contains,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
}
