"""The page on troubleshooting lists the messages of the package, and no others."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "howto" / "troubleshooting.md").read_text(encoding="utf-8")
MODULES = sorted((ROOT / "jupyter_otel_telemetry").rglob("*.py"))
TELLING = {"warning": 0, "error": 0, "failed": 1, "log_safely": 2, "_log": 0, "_refuse": 2}
"""Functions that log or raise, and the place of the message among their arguments."""
ELSEWHERE = {"_RefusedError", "AttributeError", "ConnectionAbortedError"}
"""Errors for others: answers of the receiver for development, and Python's own."""


def template(node):
    """Return a text of the source with `…` in the place of each value, or None if it is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[srd]", "…", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) or "…" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (template(node.left) or "…") + (template(node.right) or "…")
    return None


def words(text):
    return re.findall(r"[^\W\d_]{2,}", text)


def name_of(function):
    return getattr(function, "id", None) or getattr(function, "attr", "")


def told(node):
    """Return the arguments of an error or of a logging call of which one may be a message."""
    made = getattr(node, "exc", None) or (node.value if isinstance(node, ast.Return) else None)
    if isinstance(made, ast.Call):
        name = name_of(made.func)
        is_error = isinstance(node, ast.Raise) or name.endswith("Error")
        return made.args if is_error and name not in ELSEWHERE else []
    if isinstance(node, ast.Call) and (place := TELLING.get(name_of(node.func))) is not None:
        return node.args[place : place + 1]
    return []


def messages(module):
    """Return the messages that a module raises or logs, except those with fewer than three words of their own."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    named = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and (text := template(node.value)):
            for target in getattr(node, "targets", None) or [node.target]:
                named.setdefault(name_of(target), set()).add(text)
    found = set()
    for node in ast.walk(tree):
        for argument in told(node):
            found |= {template(argument)} if template(argument) else named.get(name_of(argument), set())
    return sorted(text.strip(" ,:;") for text in found if len(words(text)) >= 3)


def texts():
    """Return every text of the package."""
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if text := template(node):
                yield text


ENTRIES = [
    entry
    for row in PAGE.splitlines()
    if row.startswith("| ")
    for entry in re.findall(r"`([^`]+)`", row.strip("| ").partition(" | ")[0])
]
"""The messages on the page: code in the first column of its tables."""
PATTERNS = {
    entry: re.compile(".*".join(re.escape(part.strip()) for part in entry.split("…")), re.DOTALL) for entry in ENTRIES
}
MESSAGES = sorted({text for module in MODULES for text in messages(module)})
TEXTS = set(texts())


@pytest.mark.parametrize("message", MESSAGES)
def test_message_is_on_the_page(message):
    """As a whole, or with at least four words of its own."""
    covering = [entry for entry, pattern in PATTERNS.items() if pattern.search(message)]

    assert [entry for entry in covering if len(words(entry)) >= 4 or len(words(message)) == len(words(entry))]


@pytest.mark.parametrize("entry", ENTRIES)
def test_entry_is_in_the_package(entry):
    """Word by word, except for the parts that stand for something else."""
    assert any(PATTERNS[entry].search(text) for text in TEXTS)
