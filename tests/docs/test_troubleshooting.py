"""The page on troubleshooting lists messages that the package really has."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
FOREIGN = (
    *("cannot pickle", "`os._exit`", r"`\u00e9`"),
    *("events of rotated", "old events arrive", "401, 403, 404", "a store lacks"),
)
ROWS = [row.strip("| ").partition(" | ")[0] for row in PAGE.splitlines() if row.startswith("| ")]
MESSAGES = [row for row in ROWS if row not in ("message", "---") and not row.startswith(FOREIGN)]


def texts():
    """Return every text in the package, those of f-strings in parts."""
    for path in (ROOT / "jupyter_otel_telemetry").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


ALL = "\n".join(texts())


@pytest.mark.parametrize("message", MESSAGES)
def test_message_is_in_the_package(message):
    """Word by word, but for parts that stand for something else."""
    parts = re.split(r"\*[^*]*\*|\[|\]|…| / |\\|['\"=]|: ", message)
    wanted = [part.strip(" .") for part in parts if len(part.strip(" .")) > 5]
    assert wanted
    assert [part for part in wanted if part not in ALL] == []
