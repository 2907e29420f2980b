"""The verdict on one event: jsonschema-rs decides the common case, jsonschema every other, and explains."""

from __future__ import annotations

import re
from copy import deepcopy
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urldefrag, urljoin

import jsonschema
from jsonschema.exceptions import best_match
from jsonschema_specifications import REGISTRY as METASCHEMAS
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT4, specification_with

from jupyter_otel_telemetry.jsondata import NotJSONError, clean_text, is_mapping, json_copy, json_pointer
from jupyter_otel_telemetry.schema import Path, validator_class, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from referencing import Registry, Resource

__all__ = ["EventValidator", "external_references"]

Document = dict[str, Any]


class EventValidator:
    """Validates instances of one schema.

    Args:
        document: the schema.
        needed: further documents that it reaches by `$ref`, by their URI.
        name: how messages call the schema.

    Raises:
        jsonschema.SchemaError: a `$ref` points to a place that does not exist.

    """

    def __init__(self, document: Document, needed: Mapping[str, Document], name: str) -> None:
        document = _prepared(document)
        needed = {uri: _prepared(found) for uri, found in needed.items()}
        registry = METASCHEMAS.with_resources(
            (uri, _resource(found)) for uri, found in [*needed.items(), *_own_name(document)]
        ).crawl()
        for found in (document, *needed.values()):
            _check_references(found, registry)
        self._name = name
        self._known_names = document.get("properties", {}).keys()  # none of which is reserved
        self._reference = _with_safe_patterns(validator_class(document))(document, registry=registry)
        self._fast = _fast_verdict(document, needed)

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
        except Exception as error:
            # What a $ref reaches in a place that the draft does not take for a schema is not checked in full.
            raise jsonschema.SchemaError(f"{self._name} cannot be applied: {type(error).__name__}") from error
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


def external_references(document: Document) -> list[str]:
    """Return the URIs of other documents that this schema's `$ref`s name.

    Raises:
        jsonschema.SchemaError: a `$ref` into the schema itself points to a place that does not exist.

    """
    document = _prepared(document)
    registry = METASCHEMAS.with_resources((uri, _resource(found)) for uri, found in _own_name(document)).crawl()
    return list(dict.fromkeys(_unresolved(document, registry)))


def _check_references(document: Document, registry: Registry[Any]) -> None:
    for uri in _unresolved(document, registry):
        raise jsonschema.SchemaError(f"schema {document.get('$id')!r} has a $ref to {uri!r}, which does not exist")


def _unresolved(document: Document, registry: Registry[Any]) -> Iterator[str]:
    for path, base, reference in _references(document):
        try:
            _check_target(document, path, reference, registry.resolver(base).lookup(reference).contents)
        except (Unresolvable, AttributeError, TypeError):  # the latter: it points into what is no object
            uri = base + reference if reference.startswith("#") else urljoin(base, reference)
            if urldefrag(uri).url in registry or reference.startswith("#"):
                raise jsonschema.SchemaError(
                    f"schema {document.get('$id')!r} has at {json_pointer(path)} a $ref to {reference!r}, "
                    "which does not exist; correct the $ref or add what it names"
                ) from None
            yield urldefrag(uri).url


def _check_target(document: Document, path: Path, reference: str, target: Any) -> None:
    """Check what a `$ref` reaches: in an unknown keyword, such as $defs in draft 7, the meta-schema lets all pass."""
    try:
        validator_class(document).check_schema(target)
    except jsonschema.SchemaError as error:
        error.message = (
            f"schema {document.get('$id')!r} has at {json_pointer(path)} a $ref to {reference!r}, "
            f"which is no valid JSON Schema: at {json_pointer(list(error.absolute_path))}, {error.message}"
        )
        raise


def _references(document: Document) -> Iterator[tuple[Path, str, str]]:
    """Yield every reference with its path and the base URI it is relative to."""
    bases: dict[Path, str] = {}
    for path, subschema in walk(document):
        parent = next((bases[path[:n]] for n in range(len(path) - 1, -1, -1) if path[:n] in bases), "")
        own = _id_of(document, subschema) if path else document.get("$id")
        bases[path] = urljoin(parent, own) if own else parent
        for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
            if isinstance(reference := subschema.get(keyword), str):
                yield path, bases[path], reference


def _id_of(document: Document, subschema: Document) -> str | None:
    try:
        return _specification(document).id_of(subschema)  # type: ignore[no-any-return]
    except AttributeError:  # no text, in a keyword that the draft does not know and so did not check
        return None


def _specification(document: Document) -> Any:
    metaschema = validator_class(document).META_SCHEMA
    return specification_with(metaschema.get("$id") or metaschema["id"])


def _resource(document: Document) -> Resource[Any]:
    return _specification(document).create_resource(document)  # type: ignore[no-any-return]


def _prepared(document: Document) -> Document:
    """Return a document as the validators understand it, itself if they do."""
    if _specification(document) is DRAFT4 and "$id" in document:
        document = {**document, "id": document["$id"]}  # the name that this draft knows
    if any(_has_mixed_dependencies(subschema) for _, subschema in walk(document)):
        document = deepcopy(document)
        for subschema in [found for _, found in walk(document) if _has_mixed_dependencies(found)]:
            # referencing takes all of them for schemas if the first is one.
            subschema["dependencies"] = {
                name: {"required": wanted} if isinstance(wanted, list) else wanted
                for name, wanted in subschema["dependencies"].items()
            }
    return document


def _has_mixed_dependencies(subschema: Document) -> bool:
    dependencies = subschema.get("dependencies")
    return isinstance(dependencies, dict) and len({type(wanted) for wanted in dependencies.values()} - {bool}) > 1


def _own_name(document: Document) -> list[tuple[str, Document]]:
    return [(str(document.get("$id", "")), document)]


def _fast_verdict(document: Document, needed: Mapping[str, Document]) -> Callable[[Any], bool] | None:
    """Compile for jsonschema-rs; None where it is not installed or cannot compile this schema."""
    try:
        import jsonschema_rs  # noqa: PLC0415 - not available on every platform
    except ImportError:
        return None
    draft = getattr(jsonschema_rs, validator_class(document).__name__)
    try:
        known = jsonschema_rs.Registry([*needed.items(), *_own_name(document)], retriever=_refuse) if needed else None
        validator = draft(document, registry=known, retriever=_refuse, validate_formats=False)
    except ValueError:
        return None
    return validator.is_valid  # type: ignore[no-any-return]


def _refuse(uri: str) -> Any:
    raise LookupError(f"{uri} is not registered, and nothing is fetched")


@cache
def _with_safe_patterns(cls: Callable[..., Any]) -> Any:
    """Replace `re`, whose time can grow exponentially with a hostile event, by jsonschema-rs's matcher."""
    keywords = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    }
    return jsonschema.validators.extend(cls, keywords)  # type: ignore[no-untyped-call]  # no annotations there


def _pattern(validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    if validator.is_type(instance, "string") and not _matches(pattern, instance):
        yield jsonschema.ValidationError(f"does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Document, instance: Any, _schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "object"):
        for pattern, subschema in patterns.items():
            for name, value in instance.items():
                if _matches(pattern, name):
                    yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Document) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    patterns = schema.get("patternProperties", ())
    known = schema.get("properties", ())
    extra = [name for name in instance if name not in known and not any(_matches(p, name) for p in patterns)]
    if allowed is False and extra:
        names = ", ".join(repr(name) for name in extra)
        yield jsonschema.ValidationError(f"has properties that the schema does not allow: {names}")
    elif validator.is_type(allowed, "object"):
        for name in extra:
            yield from validator.descend(instance[name], allowed, path=name)


def _matches(pattern: str, text: str) -> bool:
    try:
        return _matcher(pattern)(text)
    except ValueError:  # a lone surrogate
        return _matcher(pattern)(clean_text(text))


@lru_cache(maxsize=1024)
def _matcher(pattern: str) -> Callable[[str], bool]:
    fast = _fast_verdict({"pattern": pattern}, {})
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
