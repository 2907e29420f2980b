"""The pages read at first sight: nouns stand where "what" could, and worn phrases are gone."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "examples/**/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
MAX_PER_1000 = 4
WORN = re.compile(r"\bis no (?:URL|mapping|handler)\b|\bfor ever\b|\bto be had\b|; None:|\bset aside\b|\bstranger's")


def prose(path):
    """Return the text of a page without code blocks and inline code."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"`[^`]*`", "", text)


def test_what_is_rare():
    """Fewer than four of 1,000 words, as in the documentation of comparable projects."""
    words = re.findall(r"[A-Za-z']+", " ".join(map(prose, PAGES)))
    count = sum(word.lower() == "what" for word in words)

    assert 1000 * count / len(words) < MAX_PER_1000


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_page_has_no_worn_phrase(path):
    """Each has a plain equivalent: "is not a URL", "forever", "available", "or None if", "rejected", "untrusted"."""
    assert WORN.findall(prose(path)) == []
