"""The verdict on one event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema

from jupyter_otel_telemetry.jsondata import NotJSONError, is_mapping, json_copy, json_pointer
from jupyter_otel_telemetry.schemas.engine import MAX_DIGITS, LongIntegerError, compile_schema, encodable
from jupyter_otel_telemetry.schemas.explaining import broken_rule, explanation

if TYPE_CHECKING:
    from jupyter_otel_telemetry.schemas.keywords import Path
    from jupyter_otel_telemetry.schemas.references import Document, SchemaDocuments

__all__ = ["EventValidator", "invalid_event"]


class EventValidator:
    """Validates instances of one schema.

    Args:
        documents: the schema, and those that it reaches by `$ref`.
        name: how messages call the schema; also an attribute.

    Raises:
        jsonschema.SchemaError: the schema cannot be applied.

    """

    def __init__(self, documents: SchemaDocuments, name: str) -> None:
        self.name = name
        self._known_names = documents.root.get("properties", {}).keys()  # none of which is reserved
        self._documents = documents
        self._compiled_rules: dict[Any, Any] = {}
        self._is_valid = compile_schema(documents.root, documents.by_uri() if documents.needed else (), name)

    def checked(self, event: Any) -> Document:
        """Return a copy of an event that is valid.

        Raises:
            jsonschema.ValidationError: the event does not match the schema, is not a mapping, is not JSON, or
                has a property that begins with `__`. The message says where and which rule, never a value of the
                event, since messages end up in logs; `instance` is unset for the same reason.

        """
        copy = self.json_copy(event)
        if not copy.keys() <= self._known_names:
            for name in filter(_is_reserved, copy):
                raise self._invalid((name,), "names that begin with __ are reserved for the envelope")
        if not self._allows(copy):
            raise self._explained(copy)
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

        """
        if not self._allows(instance):
            raise self._explained(instance)

    def _explained(self, instance: Any) -> jsonschema.ValidationError:
        error = explanation(self._documents, instance, self._compiled_rules)
        return self._invalid(
            tuple(error.absolute_path),
            broken_rule(error),
            validator=error.validator,
            validator_value=error.validator_value,
            schema=error.schema,
            schema_path=error.absolute_schema_path,
        )

    def _allows(self, instance: Any) -> bool:
        try:
            return self._is_valid(instance)
        except LongIntegerError:
            raise self._invalid((), f"holds an integer of more than {MAX_DIGITS} digits") from None
        except ValueError:  # a lone surrogate
            try:
                return self._is_valid(encodable(instance))
            except ValueError as error:
                raise self._invalid((), str(error)) from None

    def _invalid(self, path: Path, problem: str, **details: Any) -> jsonschema.ValidationError:
        return invalid_event(self.name, path, problem, **details)


def invalid_event(schema: str, path: Path, problem: str, /, **details: Any) -> jsonschema.ValidationError:
    """Return the error of an event that does not match its schema, which messages call `schema`."""
    message = f"event does not match {schema}: at {json_pointer(path)}, {problem}"
    return jsonschema.ValidationError(message, path=path, **details)


def _is_reserved(name: str) -> bool:
    return name.startswith("__")
