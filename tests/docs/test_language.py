"""Pages and docstrings read at first sight: nouns stand where "what" could, and worn phrases are gone."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "examples/**/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
MODULES = sorted((ROOT / "jupyter_otel_telemetry").rglob("*.py"))
MAX_PER_1000 = 4
WORN = re.compile(r"\bis no (?:URL|mapping|handler)\b|\bfor ever\b|\bto be had\b|; None:|\bset aside\b|\bstranger's")


def prose(path):
    """Return the text of a page without code blocks and inline code."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"`[^`]*`", "", text)


def docstrings(path):
    """Return the docstrings of a module."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return "\n".join(filter(None, (ast.get_docstring(node) for node in nodes if isinstance(node, documented))))


@pytest.mark.parametrize("texts", [map(prose, PAGES), map(docstrings, MODULES)], ids=["pages", "docstrings"])
def test_what_is_rare(texts):
    """Fewer than four of 1,000 words; in comparable projects it is less than one."""
    words = re.findall(r"[A-Za-z']+", " ".join(texts).lower())

    assert 1000 * words.count("what") / len(words) < MAX_PER_1000


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_have_no_worn_phrase(path):
    """Nor comments and messages."""
    assert WORN.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_page_has_no_worn_phrase(path):
    """Each has a plain equivalent: "is not a URL", "forever", "available", "or None if", "rejected", "untrusted"."""
    assert WORN.findall(prose(path)) == []
