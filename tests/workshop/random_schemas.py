"""Random pairs of schemas, and the truth about them by enumeration.

Bounds are small, so that a few hundred values show every difference. The verdict on an event depends on its
properties only by the verdicts of the subschemas for them. So one value for each combination of these verdicts
represents all others.
"""

from __future__ import annotations

import json
from copy import deepcopy
from itertools import product

import jsonschema_rs

NAMES = ("a", "b", "c")
NUMBERS = [*range(-2, 13), 0.5, 1.5, 2.5, 3.5, 4.5, -0.5]
STRINGS = ["", "a", "b", "ab", "ba", "aa", "aab", "aaa", "bab", "abab", "aaaa", "aaaaa", "aaaab", "baaaa", "x"]
ATOMS = [
    None,
    False,
    True,
    *range(-1, 8),
    0.5,
    1.5,
    2.5,
    3.5,
    12,
    "",
    "a",
    "b",
    "ab",
    "aa",
    "aaa",
    "aab",
    "aaaa",
    "aaaaa",
]
ARRAYS = [
    [],
    *([x] for x in ATOMS),
    *([x, y] for x, y in product(ATOMS, ATOMS)),
    *([x, y, z] for x, y, z in product([0, 1, "a", None], repeat=3)),
]
ARRAYS += [["a"] * 4, [0, 1, 2, 3], ["a", "ab", "aaa", ""], [0] * 5, [0, 1, 2, 3, 4], [1, 1, 1, 1]]
OBJECTS = [
    {},
    *({"x": x} for x in ATOMS),
    *({"y": y} for y in ATOMS),
    *({"x": x, "y": y} for x, y in product(ATOMS, ATOMS)),
    *({"x": x, "y": y, "z": 0} for x, y in product(ATOMS, ATOMS)),
    {"z": 0},
    {"x": 0, "z": 0},
    {"x": 0, "y": 0, "z": 0},
    {"x": "a", "y": "a", "z": "a"},
    {"z": "a"},
]
VALUES = [None, False, True, *NUMBERS, *STRINGS, *ARRAYS, *OBJECTS]


class Maker:
    """Makes random schemas from a `random.Random`."""

    def __init__(self, random):
        self.random = random

    def pair(self):
        """Return two versions of a schema: usually, the second is the first with some changes."""
        old = self.event_schema()
        if self.random.random() < 0.2:
            return old, self.event_schema()
        new = deepcopy(old)
        for _ in range(self.random.choice([1, 1, 1, 2, 3])):
            new = self.changed(new)
        return old, new

    def event_schema(self):
        schema = self.object_schema(NAMES[:2], depth=0)
        if self.random.random() < 0.12:
            schema[self.random.choice(["anyOf", "oneOf", "allOf"])] = [
                self.object_schema(NAMES[:2], depth=1) for _ in range(self.random.choice([1, 2, 2]))
            ]
        return schema

    def object_schema(self, names, depth):
        schema = {"type": "object"} if depth == 0 or self.random.random() < 0.7 else {}
        described = [name for name in names if self.random.random() < 0.75]
        if described:
            schema["properties"] = {name: self.value_schema(depth + 1) for name in described}
        required = [name for name in names if self.random.random() < 0.3]
        if required:
            schema["required"] = required
        chance = self.random.random()
        if chance < 0.25:
            schema["additionalProperties"] = False
        elif chance < 0.35:
            schema["additionalProperties"] = self.value_schema(depth + 1)
        elif chance < 0.4:
            schema["maxProperties"] = self.random.choice([1, 2])
        elif chance < 0.45:
            schema["minProperties"] = self.random.choice([1, 2])
        elif chance < 0.48:
            schema["patternProperties"] = {self.random.choice(["^a", "[ab]", "x|c"]): self.value_schema(depth + 1)}
        return schema

    def value_schema(self, depth):
        makers = [self.number, self.number, self.string, self.string, self.listed, self.typed]
        if depth == 1:
            makers += [self.array, self.nested]
        if depth < 3:
            makers += [self.combined, self.nullable]
        return self.random.choice(makers)(depth)

    def number(self, _depth):
        schema = {"type": self.random.choice(["integer", "number"])}
        for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if self.random.random() < 0.3:
                schema[keyword] = self.random.randint(0, 4)
        if self.random.random() < 0.15:
            schema["multipleOf"] = self.random.choice([1, 2, 3])
        return schema

    def string(self, _depth):
        schema = {"type": "string"}
        if self.random.random() < 0.4:
            schema["maxLength"] = self.random.randint(0, 4)
        if self.random.random() < 0.4:
            schema["minLength"] = self.random.randint(0, 3)
        if self.random.random() < 0.15:
            schema["pattern"] = self.random.choice(["^a", "b$", "^a+$"])
        return schema

    def listed(self, _depth):
        pool = ["a", "ab", "b", 0, 1, 2, None, True]
        if self.random.random() < 0.3:
            return {"const": self.random.choice(pool)}
        return {"enum": self.random.sample(pool, self.random.randint(1, 4))}

    def typed(self, _depth):
        kinds = ["null", "boolean", "integer", "number", "string", "array", "object"]
        count = self.random.choice([1, 1, 2, 3])
        return self.random.choice(
            [{}, {"type": self.random.sample(kinds, count)}, {"type": self.random.choice(kinds)}]
        )

    def array(self, depth):
        schema = {"type": "array"}
        if self.random.random() < 0.7:
            schema["items"] = self.value_schema(depth + 1)
        elif self.random.random() < 0.4:
            schema["items"] = [self.value_schema(depth + 1) for _ in range(self.random.choice([1, 2]))]
            if self.random.random() < 0.5:
                schema["additionalItems"] = self.random.choice([False, {"type": "integer"}])
        if self.random.random() < 0.3:
            schema["maxItems"] = self.random.randint(0, 3)
        if self.random.random() < 0.3:
            schema["minItems"] = self.random.randint(0, 2)
        if self.random.random() < 0.15:
            schema["uniqueItems"] = True
        if self.random.random() < 0.05:
            schema["contains"] = {"type": "integer"}
        return schema

    def nested(self, depth):
        return self.object_schema(("x", "y"), depth)

    def nullable(self, depth):
        return {"anyOf": [self.value_schema(depth + 1), {"type": "null"}]}

    def combined(self, depth):
        keyword = self.random.choice(["anyOf", "oneOf", "allOf", "not"])
        if keyword == "not":
            return {"not": self.value_schema(depth + 1)}
        return {keyword: [self.value_schema(depth + 1) for _ in range(2)]}

    def changed(self, schema):
        """Return a schema with one change somewhere."""
        places = list(_places(schema))
        path, found = self.random.choice(places)
        changed = deepcopy(found)
        kinds = ["replace", "keyword", "keyword", "keyword", "number", "number"]
        kind = self.random.choice(kinds)
        if kind == "replace" and path:
            changed = self.value_schema(len(path) // 2 + 1)
        elif kind == "number":
            numeric = [
                name
                for name, value in found.items()
                if isinstance(value, int) and not isinstance(value, bool) and name != "const"
            ]
            if numeric:
                name = self.random.choice(numeric)
                changed[name] = max(
                    1 if name == "multipleOf" else 0, min(4, found[name] + self.random.choice([-1, 1, 2]))
                )
        else:
            donor = self.event_schema() if not path else self.value_schema(len(path) // 2 + 1)
            if found and self.random.random() < 0.5:
                removable = [name for name in changed if path or name != "type"]
                if removable:
                    del changed[self.random.choice(removable)]
            elif donor:
                name = self.random.choice(list(donor))
                changed[name] = donor[name]
        return _with(schema, path, changed)


def _places(schema, path=()):
    if isinstance(schema, dict):
        yield path, schema
        for name, item in schema.get("properties", {}).items():
            yield from _places(item, (*path, "properties", name))
        for keyword in ("items", "additionalProperties", "not"):
            if isinstance(schema.get(keyword), dict):
                yield from _places(schema[keyword], (*path, keyword))
        for keyword in ("anyOf", "oneOf", "allOf"):
            for index, item in enumerate(schema.get(keyword, ())):
                yield from _places(item, (*path, keyword, index))


def _with(schema, path, value):
    if not path:
        return value
    copy = schema.copy()
    copy[path[0]] = _with(schema[path[0]], path[1:], value)
    return copy


def accepts(schema):
    """Return a function that tells whether a canonical schema accepts a value."""
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=False).is_valid


def counterexample(made, accepted):
    """Return an event that the canonical schema `made` accepts and `accepted` refuses, or None."""
    is_made, is_accepted = accepts({"allOf": [{"type": "object"}, made]}), accepts(accepted)
    choices = [_representatives(name, (made, accepted)) for name in NAMES]
    for values in product(*choices):
        event = {name: value for name, value in zip(NAMES, values, strict=True) if value is not ...}
        if is_made(event) and not is_accepted(event):
            return event
    return None


def _representatives(name, schemas):
    """Return a value for each combination of verdicts, and `...` for the absence of the property."""
    checks = [
        accepts(item)
        for text in {json.dumps(item) for schema in schemas for item in _applied(schema, name)}
        for item in [json.loads(text)]
    ]
    found = {}
    for value in VALUES:
        found.setdefault(tuple(check(value) for check in checks), value)
    return [..., *found.values()]


def _applied(schema, name):
    """Yield the subschemas that may apply to a property of an event."""
    if not isinstance(schema, dict):
        return
    if name in schema.get("properties", {}):
        yield schema["properties"][name]
    yield from schema.get("patternProperties", {}).values()
    if "additionalProperties" in schema:
        yield schema["additionalProperties"]
    for keyword in ("anyOf", "oneOf", "allOf"):
        for item in schema.get(keyword, ()):
            yield from _applied(item, name)
    if "not" in schema:
        yield from _applied(schema["not"], name)
