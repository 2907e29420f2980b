"""Python types of events: a `TypedDict` for each schema, and an overload of `record_event` for each version."""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING, Any, Final

from jupyter_otel_telemetry.schemas.schema import last_segment
from jupyter_otel_telemetry.workshop.canonical import NotComparableError, canonical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jupyter_otel_telemetry.schemas.schema import Schema

__all__ = ["HEADER", "typed_module"]

HEADER: Final = (
    "# Made by `jupyter otel-telemetry schema types`. Do not edit: `--check` compares it with the schemas."
)

_START: Final = '''\
"""Types of the events that {names} describe.

Annotate a log, `log: Events = EventLog(…)`, and a type checker knows the events that it takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

if TYPE_CHECKING:
    from datetime import datetime

from typing_extensions import NotRequired, TypedDict
'''
_PLAIN: Final = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
    "array": "list[Any]",
    "object": "dict[str, Any]",
}


def typed_module(schemas: Sequence[Schema], targets: Mapping[str, dict[str, Any]] | None = None) -> str:
    """Return the source of a module with the types of events.

    Args:
        schemas: the schemas; two with the same name and version get different type names.
        targets: the schemas to which a `$ref` may lead, by `$id`.

    """
    classes = _Classes()
    overloads = []
    for schema in sorted(schemas, key=lambda one: one.key):
        try:
            described = canonical(schema.document, targets)
        except NotComparableError:  # a recursive schema, for instance
            described = {"type": "object"}
        texts = (schema.document.get("title"), schema.document.get("description"))
        name = classes.add(_class_name(schema), described, [text for text in texts if isinstance(text, str)])
        overloads.append(_overload(schema, name))
    names = ", ".join(sorted({last_segment(schema.id) for schema in schemas}))
    return "\n\n".join([f"{HEADER}\n{_START.format(names=_comment(names))}", *classes.sources, _events(overloads)])


def _class_name(schema: Schema) -> str:
    return _words(last_segment(schema.id)) + "V" + re.sub("[^a-zA-Z0-9]", "_", schema.version)


def _words(text: str) -> str:
    """Return a text as the name of a class."""
    name = "".join(word[:1].upper() + word[1:] for word in re.split(r"[^a-zA-Z0-9]+", text))
    return name if name[:1].isalpha() else f"Event{name}"


def _overload(schema: Schema, name: str) -> str:
    versions = [_quoted(schema.version)]
    if schema.version.isdecimal() and str(int(schema.version)) == schema.version:
        versions.insert(0, schema.version)
    return f"""\
    @overload
    def record_event(
        self,
        schema_id: Literal[{_quoted(schema.id)}],
        version: Literal[{", ".join(versions)}],
        event: {name},
        timestamp_override: datetime | None = None,
    ) -> dict[str, Any] | None: ..."""


def _events(overloads: list[str]) -> str:
    if len(overloads) == 1:  # a single one is not an overload
        overloads = [overloads[0].replace("    @overload\n", "")]
    return (
        "\n".join(['class Events(Protocol):\n    """An `EventLog` that takes these events."""\n', *overloads]) + "\n"
    )


class _Classes:
    """The classes of a module: `sources` are their texts, those that others name first."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self._names: set[str] = {"Any", "Events", "Literal", "NotRequired", "Protocol", "TypedDict"}

    def add(self, wanted: str, schema: Any, texts: Sequence[str] = ()) -> str:
        """Add a class for an object; return its name, another one than `wanted` if that is taken."""
        name = wanted
        count = 2
        while name in self._names:
            name, count = f"{wanted}{count}", count + 1
        self._names.add(name)
        required = set(schema.get("required", ()))
        fields = {
            key: self._type(f"{name}{_words(key)}", item) if key in required else self._optional(name, key, item)
            for key, item in schema.get("properties", {}).items()
        }
        self.sources.append(_source(name, fields, _comment(". ".join(texts) or "An object.")))
        return name

    def _optional(self, name: str, key: str, item: Any) -> str:
        return f"NotRequired[{self._type(f'{name}{_words(key)}', item)}]"

    def _type(self, wanted: str, schema: Any) -> str:
        """Return the type of a value."""
        if not isinstance(schema, dict):
            return "Any"
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else schema["enum"]
            return _literal(values)
        if branches := schema.get("anyOf"):
            return " | ".join(dict.fromkeys(self._type(wanted, branch) for branch in branches))
        if "allOf" in schema:
            rest = {name: value for name, value in schema.items() if name != "allOf"}
            found = {self._type(wanted, part) for part in (*schema["allOf"], rest)} - {"Any"}
            return found.pop() if len(found) == 1 else "Any"
        kinds = schema.get("type", "object" if "properties" in schema else None)
        if kinds is None:
            return "Any"
        return " | ".join(
            self._plain(wanted, kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)
        )

    def _plain(self, wanted: str, kind: str, schema: dict[str, Any]) -> str:
        if kind == "object" and schema.get("properties"):
            return self.add(wanted, schema)
        if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
            return f"dict[str, {self._type(wanted, schema['additionalProperties'])}]"
        if kind == "array" and isinstance(schema.get("items"), dict) and "prefixItems" not in schema:
            return f"list[{self._type(f'{wanted}Item', schema['items'])}]"
        return _PLAIN[kind]


def _literal(values: Sequence[Any]) -> str:
    """Return the type of listed values: literals where Python has them."""
    if values and all(value is None or isinstance(value, (str, bool, int)) for value in values):
        return f"Literal[{', '.join(_quoted(value) if isinstance(value, str) else repr(value) for value in values)}]"
    return "Any"


def _quoted(text: str) -> str:
    """Return a text as Python writes it, in double quotes where that needs no escape."""
    shown = repr(text)
    return shown if shown[0] == '"' or '"' in text or "\\" in shown else f'"{shown[1:-1]}"'


def _source(name: str, fields: dict[str, str], text: str) -> str:
    """Return a class, or a call where a name of a property cannot be that of an attribute."""
    if all(key.isidentifier() and not keyword.iskeyword(key) and not key.startswith("__") for key in fields):
        lines = [f"    {key}: {kind}" for key, kind in fields.items()]
        return "\n".join([f"class {name}(TypedDict):", f'    """{text}"""', *(["", *lines] if lines else [])]) + "\n"
    items = "".join(f"\n        {_quoted(key)}: {_quoted(kind)}," for key, kind in fields.items())
    return f'# {text}\n{name} = TypedDict(\n    "{name}",\n    {{{items}\n    }},\n)\n'


def _comment(text: str) -> str:
    """Return a text that ends neither a docstring nor a comment."""
    plain = " ".join(text.split()).replace("\\", "/").replace('"', "'")
    printable = "".join(character for character in plain if character.isprintable())
    return printable if printable.endswith((".", "!", "?")) else f"{printable}."
