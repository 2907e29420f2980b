"""The verdict on one event: jsonschema-rs decides the common case, jsonschema every other, and explains."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import jsonschema
from jsonschema.exceptions import best_match

try:
    import jsonschema_rs
except ImportError:  # it is not available on every platform
    jsonschema_rs = None  # type: ignore[assignment]

from jupyter_otel_telemetry.jsondata import NotJSONError, clean_text, is_mapping, json_copy, json_pointer
from jupyter_otel_telemetry.schemas.schema import Path, validator_class

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from jupyter_otel_telemetry.privacy.redaction import Redaction
    from jupyter_otel_telemetry.schemas.references import Document, SchemaDocuments

__all__ = ["EventValidator", "matches"]


class EventValidator:
    """Validates instances of one schema.

    Args:
        documents: the schema, and what it reaches by `$ref`.
        name: how messages call the schema.

    """

    def __init__(self, documents: SchemaDocuments, name: str) -> None:
        root = documents.root
        self._name = name
        self._known_names = root.get("properties", {}).keys()  # none of which is reserved
        self._reference = _with_safe_patterns(validator_class(root))(root, registry=documents.registry)
        self._fast = _fast_verdict(root, documents.by_uri() if documents.needed else ())

    def checked(self, event: Any) -> Document:
        """Return a copy of an event that is valid.

        Raises:
            jsonschema.ValidationError: the event does not match the schema, is no mapping, holds what JSON cannot, or
                has a property that begins with `__`. The message says where and which rule, never a value of the
                event, since messages end up in logs; `instance` is unset for the same reason.

        """
        copy = self.json_copy(event)
        if not copy.keys() <= self._known_names:
            for name in filter(_is_reserved, copy):
                raise self._invalid((name,), "names that begin with __ are reserved for the envelope")
        self.check(copy)
        return copy

    def json_copy(self, event: Any) -> Document:
        """Return a copy of an event that is a mapping of JSON; otherwise raise as `checked` does."""
        if type(event) is not dict and not is_mapping(event):  # the first is seven times as fast
            raise self._invalid((), f"an event must be a mapping, not {type(event).__name__}")
        try:
            copy: Document = json_copy(event)
        except NotJSONError as error:
            raise self._invalid(error.path, error.problem) from None
        return copy

    def check(self, instance: Any) -> None:
        """Check any JSON value.

        Raises:
            jsonschema.ValidationError: the schema does not allow it.
            jsonschema.SchemaError: the schema turns out to be none.

        """
        if self.accepts(instance):
            return
        try:
            error = best_match(self._reference.iter_errors(instance))
        except RecursionError:
            raise self._invalid((), "is nested too deeply to be validated") from None
        except ValueError:  # Python refuses to print it, and jsonschema's messages do
            raise self._invalid((), "holds an integer of too many digits to be validated") from None
        except Exception as error:  # noqa: BLE001 - see below
            # What a $ref reaches in a place that the draft does not take for a schema is not checked in full.
            # Without the cause, whose text may repeat values.
            raise jsonschema.SchemaError(f"{self._name} cannot be applied: {type(error).__name__}") from None
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            # How Rust code, beneath the registry of references, passes on a RecursionError. Its class has no module.
            raise self._invalid((), "is nested too deeply to be validated") from None
        if error is not None:
            raise self._invalid(
                tuple(error.absolute_path),
                _broken_rule(error),
                validator=str(error.validator),
                validator_value=error.validator_value,
                schema=error.schema,
                schema_path=error.absolute_schema_path,
            )

    def _invalid(self, path: Path, problem: str, **details: Any) -> jsonschema.ValidationError:
        message = f"event does not match {self._name}: at {json_pointer(path)}, {problem}"
        return jsonschema.ValidationError(message, path=path, **details)

    def censored(self, error: Exception, redaction: Redaction) -> Exception:
        """Return an error without what stands inside a value that is not recorded as it is, the names there too."""
        if not isinstance(error, jsonschema.ValidationError):
            return error
        hidden = redaction.hidden_on(tuple(error.absolute_path))
        if hidden is None:
            return error
        rule = error.validator if isinstance(error.validator, str) else "a rule of JSON"
        return self._invalid(hidden, f"what is not to be seen breaks {rule}", validator=rule)

    def accepts(self, event: Any) -> bool:
        """Tell whether the fast validator takes the event. False means only that jsonschema must decide."""
        if self._fast is None:
            return False
        try:
            return self._fast(event)
        except ValueError:  # for instance a lone surrogate, or more nesting than it can follow
            return False


def _is_reserved(name: str) -> bool:
    return name.startswith("__")


def _fast_verdict(
    document: Document, documents: Collection[tuple[str, Document]] = ()
) -> Callable[[Any], bool] | None:
    """Compile for jsonschema-rs; None where it is not installed or cannot compile this schema."""
    if jsonschema_rs is None:
        return None
    draft = getattr(jsonschema_rs, validator_class(document).__name__)
    try:
        known = jsonschema_rs.Registry(documents, retriever=_refuse) if documents else None
        validator = draft(document, registry=known, retriever=_refuse, validate_formats=False)
    except ValueError:
        return None
    return validator.is_valid  # type: ignore[no-any-return]


def _refuse(uri: str) -> Any:
    raise LookupError(f"{uri} is not registered, and nothing is fetched")


@cache
def _with_safe_patterns(cls: Callable[..., Any]) -> Any:
    """Replace `re`, whose time can grow exponentially with a hostile event, by jsonschema-rs's matcher.

    Not where a `$ref` leads to a schema of another draft.
    """
    keywords = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    }
    safe: Any = jsonschema.validators.extend(cls, keywords)  # type: ignore[no-untyped-call]  # no annotations there
    evolve = safe.evolve

    def evolve_safely(self: Any, **changes: Any) -> Any:
        schema = changes.get("schema")
        if isinstance(schema, dict) and "$schema" in schema and _dialect_class(schema) is cls:
            # jsonschema would return to its own class where a $ref reaches a schema that names its draft.
            changes["schema"] = {keyword: value for keyword, value in schema.items() if keyword != "$schema"}
        return evolve(self, **changes)

    safe.evolve = evolve_safely
    return safe


def _dialect_class(schema: Document) -> object:
    try:
        return validator_class(schema)
    except ValueError:
        return None


def _pattern(validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    if validator.is_type(instance, "string") and not matches(pattern, instance):
        yield jsonschema.ValidationError(f"does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Document, instance: Any, _schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "object"):
        for pattern, subschema in patterns.items():
            for name, value in instance.items():
                if matches(pattern, name):
                    yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Document) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    patterns = schema.get("patternProperties", ())
    known = schema.get("properties", ())
    extra = [name for name in instance if name not in known and not any(matches(p, name) for p in patterns)]
    if allowed is False and extra:
        names = ", ".join(repr(name) for name in extra)
        yield jsonschema.ValidationError(f"has properties that the schema does not allow: {names}")
    elif validator.is_type(allowed, "object"):
        for name in extra:
            yield from validator.descend(instance[name], allowed, path=name)


def matches(pattern: str, text: str) -> bool:
    """Tell whether a pattern of JSON Schema matches anywhere in a text."""
    try:
        return _matcher(pattern)(text)
    except ValueError:  # a lone surrogate
        return _matcher(pattern)(clean_text(text))


@lru_cache(maxsize=1024)
def _matcher(pattern: str) -> Callable[[str], bool]:
    fast = _fast_verdict({"pattern": pattern})
    return fast or (lambda text: re.search(pattern, text) is not None)


_SAFE_MESSAGES = frozenset(
    "additionalProperties dependencies dependentRequired required unevaluatedProperties".split()
)
"""Keywords whose messages name properties, never values."""


def _broken_rule(error: jsonschema.ValidationError) -> str:
    keyword, value = str(error.validator), error.validator_value
    if error.schema is False:
        return "nothing is allowed"
    if keyword in _SAFE_MESSAGES:
        return str(error.message)
    if keyword == "type":
        wanted = " or ".join(value) if isinstance(value, list) else value
        return f"{wanted} is wanted, not {_type_name(error.instance)}"
    text = repr(value)
    return f"the value breaks {keyword}: {text if len(text) <= 200 else text[:197] + '...'}"  # noqa: PLR2004


def _type_name(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")
