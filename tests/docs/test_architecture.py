"""The rooms of docs/understand/architecture.md: imports point down only."""

import ast
from pathlib import Path

import pytest

import jupyter_otel_telemetry

PACKAGE = "jupyter_otel_telemetry"
ROOT = Path(jupyter_otel_telemetry.__file__).parent
FLOORS = ("ground", "otlp", "schemas", "events", "privacy", "spool", "export", "workshop", "door", "top")
FRONT = dict.fromkeys(("eventlog", "hooks", "traits", "dispatch"), "door")
FRONT |= dict.fromkeys(("cli", "integrations", "testing"), "top")


def floor(module):
    room = module.partition(".")[0]
    return FLOORS.index(room if room in FLOORS else FRONT.get(room, "door" if not room else "ground"))


def name_of(file):
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def imported(file):
    """Yield the modules of this package that a module imports: also in functions, and for types only."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == PACKAGE:
            for name in node.names:
                path = f"{node.module}.{name.name}".partition(".")[2]
                is_module = ROOT.joinpath(*path.split(".")).with_suffix(".py").exists()
                yield path if is_module else path.rpartition(".")[0]


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_down(file):
    """A room may be understood, and tested, without those above it."""
    assert {other for other in imported(file) if floor(other) > floor(name_of(file))} == set()


def test_imports_make_no_loop():
    """So that each module may be understood after those that it imports."""
    imports = {name_of(file): set(imported(file)) for file in ROOT.rglob("*.py")}
    while leaves := {module for module, others in imports.items() if not others & imports.keys()}:
        imports = {module: others for module, others in imports.items() if module not in leaves}

    assert imports == {}


def test_every_module_is_on_the_page():
    """Who looks for a place finds it."""
    page = Path(__file__).parents[2].joinpath("docs", "understand", "architecture.md").read_text(encoding="utf-8")
    rooms = [file for file in ROOT.rglob("*.py") if not file.name.startswith("_") and file.parts[-2] != "cli"]

    assert [file.stem for file in rooms if f"`{file.stem}`" not in page and file.parts[-2] != "integrations"] == []
