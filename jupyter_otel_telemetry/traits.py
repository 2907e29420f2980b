"""The trait types of `EventLog`."""

from __future__ import annotations

import ast
import json
import logging
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Final

from traitlets import HasTraits, TraitError, TraitType

from jupyter_otel_telemetry.arguments import check_arguments
from jupyter_otel_telemetry.masking import mask_text, secrets_of_url
from jupyter_otel_telemetry.options import check_level, suggestion
from jupyter_otel_telemetry.privacy.policy import copy_option

__all__ = ["AllowedSchemasTrait", "Handlers", "SecretText"]

_EXAMPLE: Final = '{"class": "logging.FileHandler", "filename": "events.jsonl"}'
_HINT: Final = f"write a handler, or a mapping such as {_EXAMPLE}"
_EXTERNAL: Final = "ext://"
_NAME_OF_SECRET: Final = re.compile(r"header|password|secret|token|credential|auth|key(?!_file)", re.IGNORECASE)
_NAME_OF_URL: Final = re.compile(r"endpoint|ur[il]|dsn|proxy|host", re.IGNORECASE)


class Handlers(TraitType[list[logging.Handler] | None, Any]):
    """A list of logging handlers: instances, or mappings that name a class and its arguments.

    A tuple, and a callable that returns a list, will do as well. A mapping that this object has already turned
    into a handler yields the same handler again, so that reloading a configuration opens nothing twice.
    """

    info_text = "a list of logging handlers"

    def validate(self, obj: HasTraits, value: Any) -> list[logging.Handler] | None:
        """Return a list of handlers, the current one if it holds the same, or None."""
        if callable(value) and not isinstance(value, type):
            value = value()
        if value is None:
            return None
        if not isinstance(value, (list, tuple)):
            raise TraitError(f"{self._name(obj)} must be a list, not {_described(value)}; write [{_EXAMPLE}]")
        handlers = self.build_all(obj, value)
        current: list[logging.Handler] | None = getattr(obj, str(self.name)) if self._is_set(obj) else None
        return current if current == handlers else handlers

    def build_all(self, obj: HasTraits, items: list[Any] | tuple[Any, ...]) -> list[logging.Handler]:
        """Return the handlers that items are or describe.

        Raises:
            TraitError: an item is invalid; handlers that were built for the others are closed again.

        """
        built: list[tuple[dict[str, Any], logging.Handler]] = vars(obj).setdefault("_built_handlers", [])
        earlier = len(built)
        try:
            return [self._handler(f"{self._name(obj)}[{at}]", item, built) for at, item in enumerate(items)]
        except TraitError:
            for _, handler in built[earlier:]:
                handler.close()
            del built[earlier:]
            raise

    def from_string(self, s: str) -> Any:
        """Read the JSON of a command line option, or a Python literal."""
        return _literal(s)

    def from_string_list(self, s_list: list[str]) -> Any:
        """Read an option that was repeated on the command line."""
        return [item for s in s_list for item in _as_list(_literal(s))]

    def _is_set(self, obj: HasTraits) -> bool:
        return obj.trait_has_value(str(self.name))

    def _handler(self, where: str, item: Any, built: list[tuple[dict[str, Any], logging.Handler]]) -> logging.Handler:
        if isinstance(item, logging.Handler):
            return item
        if not isinstance(item, Mapping):
            hint = f"write {item.__name__}(…)" if isinstance(item, type) else _HINT
            raise TraitError(f"{where} must be a logging handler, not {_described(item)}; {hint}")
        for configuration, handler in built:
            if configuration == item:
                return handler
        handler = _built(where, item)
        built.append((dict(item), handler))
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
    elif isinstance(value, str) and not value.startswith(_EXTERNAL) and ("://" in value or _NAME_OF_URL.search(name)):
        yield from secrets_of_url(value)


def _built(where: str, item: Mapping[str, Any]) -> logging.Handler:
    """Build the handler that a mapping describes, and its formatter.

    Raises:
        TraitError: that is impossible; the text names the handler and the option, and shows no secret.

    """
    options = dict(item)
    name, formatter = options.pop("class", None), options.pop("formatter", None)
    if not isinstance(name, str):
        raise TraitError(f"{where}, {_described(item)}, lacks a class; {_HINT}")
    level = options.pop("level", logging.NOTSET)
    try:
        check_level(level)
        handler: logging.Handler = _instance(name, logging.Handler, options)
        handler.setLevel(level or handler.level)
        if formatter is not None:
            handler.setFormatter(_formatter(formatter))
    except Exception as error:  # the constructor of any class
        problem = error
    else:
        return handler
    secrets = set(_secrets(options))
    text = f"{where}: cannot build {name}: {mask_text(str(problem), secrets)}"
    raise TraitError(text) from None if secrets else problem


def _formatter(item: Any) -> logging.Formatter:
    if isinstance(item, logging.Formatter):
        return item
    if not isinstance(item, Mapping) or not isinstance(item.get("class"), str):
        hint = 'write {"class": "jupyter_otel_telemetry.OTLPJSONFormatter"}'
        raise TypeError(f"formatter must be a mapping with a class, not {_described(item)}; {hint}")
    options = dict(item)
    return _instance(options.pop("class"), logging.Formatter, options)  # type: ignore[no-any-return]


def _instance(name: str, base: type, options: Mapping[str, Any]) -> Any:
    """Return an instance of the class of this name, which must be a subclass of `base`."""
    arguments = {option: _resolved(value) for option, value in options.items()}
    cls = _class(name, base)
    check_arguments(cls, arguments)
    return cls(**arguments)


def _class(name: str, base: type) -> type:
    module_name, _, class_name = name.rpartition(".")
    if not module_name:
        raise TypeError(f"its module is missing; write it as in logging.{name}")
    module = import_module(module_name)
    cls = getattr(module, class_name, None)
    if cls is None:
        raise TypeError(f"{module_name} has no class {class_name!r}{suggestion(class_name, dir(module))}")
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise TypeError(f"{name} is not a subclass of logging.{base.__name__}")
    return cls


def _resolved(value: Any) -> Any:
    """Return an argument with the objects that `ext://sys.stdout` and the like name, as `dictConfig` does."""
    if isinstance(value, str) and value.startswith(_EXTERNAL):
        from logging.config import BaseConfigurator  # imports a server

        try:
            return BaseConfigurator({}).resolve(value[len(_EXTERNAL) :])
        except ValueError:
            name = value[len(_EXTERNAL) :]
            raise ValueError(f"{name} cannot be imported; write, for instance, sys.stdout behind ext:") from None
    if isinstance(value, dict):
        return {name: _resolved(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    return value


def _described(value: Any) -> str:
    """Name the type of a value, or the keys of a mapping; the rest may be secret."""
    if isinstance(value, Mapping):
        return f"a mapping with {', '.join(map(repr, value)) or 'nothing'}"
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _literal(text: str) -> Any:
    """Read JSON, or a Python literal as jupyter_telemetry took them."""
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(text.strip())


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple, set)) else [value]


class AllowedSchemasTrait(TraitType[Any, Any]):
    """Ids of schemas, or a mapping from ids to options, which the owner of the trait checks; see `Policy`."""

    info_text = "a list of schema ids, or a mapping from ids to options"

    def validate(self, obj: HasTraits, value: Any) -> Any:
        """Return a copy, which nobody can change in place without reading the trait first."""
        return copy_option(value, f"{type(obj).__name__}.{self.name}")

    def get(self, obj: HasTraits, cls: type | None = None) -> Any:
        """Return the value; from now on it may be changed in place, so its owner compares it for every event."""
        value = self.peek(obj, cls)
        vars(obj)["lent_option"] = value
        return value

    def peek(self, obj: HasTraits, cls: type | None = None) -> Any:
        """Return the value to its owner, which does not change it."""
        return super().get(obj, cls)

    def default_value_repr(self) -> str:
        """Return the default as help texts show it."""
        return "[]"

    def from_string(self, s: str) -> Any:
        """Read one id, or JSON or a Python literal of several, of a command line option."""
        return _literal(s) if s.lstrip().startswith(("[", "{", "(")) else [s]

    def from_string_list(self, s_list: list[str]) -> Any:
        """Read an option that may be repeated on the command line."""
        values = [self.from_string(s) for s in s_list]
        if len(values) == 1:
            return values[0]
        if any(isinstance(value, dict) for value in values):
            return {key: options for value in values for key, options in _entries(value)}
        return [schema_id for value in values for schema_id in _as_list(value)]


def _entries(value: Any) -> Any:
    return value.items() if isinstance(value, dict) else ((schema_id, {}) for schema_id in value)


class SecretText(TraitType[Any, Any]):
    """Text that no error shows, such as a key or a URL with a password."""

    info_text = "text"

    def validate(self, obj: HasTraits, value: Any) -> str:
        """Return the text."""
        if isinstance(value, str):
            return value
        raise TraitError(f"{type(obj).__name__}.{self.name} must be text, not {type(value).__name__}")
