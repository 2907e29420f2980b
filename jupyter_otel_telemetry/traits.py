"""The trait types of `EventLog`."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from traitlets import HasTraits, TraitError, TraitType
from traitlets.utils.importstring import import_item

from jupyter_otel_telemetry.masking import mask_text, secrets_of_url

__all__ = ["AllowedSchemasTrait", "Handlers", "SecretText"]

_HINT = 'write logging handlers, or mappings such as {"class": "logging.FileHandler", "filename": "events.jsonl"}'
_NAME_OF_SECRET: Final = re.compile(r"header|password|secret|token|credential|auth|key(?!_file)", re.IGNORECASE)
_NAME_OF_URL: Final = re.compile(r"endpoint|ur[il]|dsn|proxy|host", re.IGNORECASE)


class Handlers(TraitType[list[logging.Handler] | None, Any]):
    """A list of logging handlers: instances, or mappings that name a class and its arguments.

    A tuple, and a callable that returns a list, will do as well. A mapping that this object has already turned
    into a handler yields the same handler again, so that reloading a configuration opens nothing twice.
    """

    info_text = "a list of logging handlers"

    def validate(self, obj: HasTraits, value: Any) -> list[logging.Handler] | None:
        """Return a new list of handlers, or None."""
        if callable(value) and not isinstance(value, type):
            value = value()
        if value is None:
            return None
        if not isinstance(value, (list, tuple)):
            raise TraitError(f"{self._name(obj)} must be a list, not {type(value).__name__}; {_HINT}")
        return [self._handler(obj, item) for item in value]

    def from_string(self, s: str) -> Any:
        """Read the JSON of a command line option."""
        try:
            return json.loads(s)
        except ValueError as error:
            raise ValueError(f"handlers must be JSON on the command line ({error}); {_HINT}") from None

    def _handler(self, obj: HasTraits, item: Any) -> logging.Handler:
        if isinstance(item, logging.Handler):
            return item
        if not isinstance(item, Mapping):
            raise TraitError(f"{self._name(obj)} cannot hold an item of type {type(item).__name__}; {_HINT}")
        built: list[tuple[dict[str, Any], logging.Handler]] = vars(obj).setdefault("_built_handlers", [])
        for configuration, handler in built:
            if configuration == item:
                return handler
        handler = self._build(obj, item)
        built.append((dict(item), handler))
        return handler

    def _build(self, obj: HasTraits, item: Mapping[str, Any]) -> logging.Handler:
        arguments = dict(item)
        name, level = arguments.pop("class", None), arguments.pop("level", None)
        if not isinstance(name, str):
            names = ", ".join(map(str, item)) or "no members"
            raise TraitError(f"{self._name(obj)}: a mapping with {names} lacks a class; {_HINT}")
        problem: Exception | None = None
        try:
            cls = _imported(name)
            if not (isinstance(cls, type) and issubclass(cls, logging.Handler)):
                raise TypeError(f"{name} is no logging handler class")
            handler: logging.Handler = cls(**arguments)
            if level is not None:
                handler.setLevel(level)
        except Exception as error:  # noqa: BLE001 - a class of anybody raises anything
            problem = error
        if problem is not None:
            secrets = set(_secrets(arguments))
            text = f"{self._name(obj)}: cannot build {name}: {mask_text(str(problem), secrets)}"
            raise TraitError(text) from None if secrets else problem
        return handler

    def _name(self, obj: HasTraits) -> str:
        return f"{type(obj).__name__}.{self.name}"


def _secrets(value: Any, name: str = "") -> Iterator[str]:
    """Return the texts in the arguments of a handler that may be secret: by the name above them, or in a URL."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _secrets(item, f"{name} {key}")
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _secrets(item, name)
    elif _NAME_OF_SECRET.search(name):
        yield from (str(value), *str(value).split())
    elif isinstance(value, str) and ("://" in value or _NAME_OF_URL.search(name)):
        yield from secrets_of_url(value)


def _imported(name: str) -> Any:
    try:
        return import_item(name)
    except ImportError as error:
        if error.name is not None:  # a module, maybe one that the handler's own module imports
            raise
        raise TypeError("the module has no such class") from None


class AllowedSchemasTrait(TraitType[Any, Any]):
    """Ids of schemas, or a mapping from ids to options, which the owner of the trait checks; see `Policy`."""

    info_text = "a list of schema ids, or a mapping from ids to options"

    def default_value_repr(self) -> str:
        """Return what help texts show as the default."""
        return "[]"

    def from_string(self, s: str) -> Any:
        """Read one id, or the JSON of several, of a command line option."""
        return json.loads(s) if s.startswith(("[", "{")) else [s]

    def from_string_list(self, s_list: list[str]) -> Any:
        """Read an option that was repeated on the command line."""
        return s_list if len(s_list) > 1 else self.from_string(s_list[0])


class SecretText(TraitType[Any, Any]):
    """Text that no error shows, such as a key or a URL with a password."""

    info_text = "text"

    def validate(self, obj: HasTraits, value: Any) -> str:
        """Return the text."""
        if isinstance(value, str):
            return value
        raise TraitError(f"{type(obj).__name__}.{self.name} must be text, not {type(value).__name__}")
