"""Every code block of the documentation works: it is run, or at least parsed, in the order of its page.

The blocks of a page run in one folder, the Python ones in one process. A block becomes a file instead if its first
line is `# file: NAME`, or `<!-- file: NAME -->` is above it, since JSON has no comments; from a NAME that ends in
`_config.py`, Jupyter's configuration is loaded. `<!-- not run: REASON -->` above a block exempts it. Ports 4310 to
4319 are replaced by free ones, and folders below `/etc`, `/run` and `/var` are below the folder of the page.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from builders import free_port

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)```(python|bash|yaml|json)\n(?:\s*# file: (\S+)\n)?(.*?)^\1```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"<!-- file: (\S+) -->\s*\Z")
NOT_RUN = re.compile(r"(?:<!-- not run: \S.* -->|^% not run: \S.*)\s*\Z", re.MULTILINE)
PARSERS = {"json": json.loads, "python": ast.parse, "yaml": lambda text: [*yaml.safe_load_all(text)]}
RUN = """
import json, pathlib, subprocess, sys
from traitlets.config import PyFileConfigLoader

names = {"__name__": "__main__"}
for place, language, file, code in json.loads(pathlib.Path("steps.json").read_text(encoding="utf-8")):
    print("---", place, flush=True)
    if file:
        pathlib.Path(file).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(file).write_text(code, encoding="utf-8")
        if file.endswith("_config.py"):
            PyFileConfigLoader(file, path=".").load_config()
    elif language == "python":
        exec(compile(code, place, "exec"), names)
    elif language == "bash":
        subprocess.run(["bash", "-e", "-o", "pipefail", "-c", code], check=True, stdin=subprocess.DEVNULL)
"""


class Block(NamedTuple):
    place: str
    language: str
    file: str | None
    code: str


def blocks(page):
    """Return the blocks of a page, except those that it marks as not run."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        before = text[: match.start()]
        indent, language, file, code = match.groups()
        if not NOT_RUN.search(before):
            place = f"{os.path.relpath(page, ROOT)}:{before.count(chr(10)) + 1}"
            named = FILE.search(before)
            code = re.sub(f"^{indent}", "", code, flags=re.MULTILINE)
            found.append(Block(place, language, named[1] if named else file, code))
    return found


def problem_of(block):
    """Return the reason why a block does not parse, after its place, or None."""
    try:
        PARSERS.get(block.language, str)(block.code)
    except (ValueError, SyntaxError, yaml.YAMLError) as error:
        return f"{block.place}: {error}"
    return None


def relocated(text, folder, ports):
    """Return code with ports and folders that a test may use."""
    text = re.sub(r"\b431\d\b", lambda match: str(ports[match[0]]), text)
    text = re.sub(r"(otel-telemetry listen)\b", rf"\1 --port {ports['4318']}", text)
    return re.sub(r"(?<![\w.:/])/(?=(etc|run|var)/)", f"{folder}/", text)


def environment(endpoint, home):
    """Return an environment without settings of the caller, in which `OTLPHandler` sends to `endpoint`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "JUPYTER"))}
    commands = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    return kept | {"HOME": str(home), "PATH": commands, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}


@pytest.fixture
def run(tmp_path):
    """Return a function that runs the blocks of a page in a fresh process, and ends all that they leave running."""
    ports = defaultdict(free_port)
    for name in ("etc/jupyterhub", "run/secrets", "var/lib", "var/log/jupyter"):
        (tmp_path / name).mkdir(parents=True)
    tmp_path.joinpath("pytest.ini").write_text("[pytest]\n")  # a reader's folder is not below this project

    def run(page):
        steps = [block._replace(code=relocated(block.code, tmp_path, ports)) for block in blocks(page)]
        tmp_path.joinpath("steps.json").write_text(json.dumps(steps), encoding="utf-8")
        with tmp_path.joinpath("steps.txt").open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", RUN],
                cwd=tmp_path,
                env=environment(f"http://127.0.0.1:{ports['4318']}", tmp_path),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            status = process.wait(timeout=600)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return status, tmp_path.joinpath("steps.txt").read_text(encoding="utf-8", errors="replace")

    return run


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
class TestPage:
    def test_blocks_run(self, page, run):
        """In the order in which a reader would run them."""
        status, output = run(page)

        assert status == 0, output

    def test_blocks_parse(self, page):
        """Configuration files and schemas, too, which no other block may read."""
        assert [problem for block in blocks(page) if (problem := problem_of(block))] == []


class TestRunner:
    @pytest.mark.parametrize("block", ["```python\n1 / 0\n```", "```bash\nfalse\ntrue\n```", "```python\nf(\n```"])
    def test_fails_with_a_block(self, block, run, tmp_path):
        """Python that raises or does not parse; a command that fails before the last line."""
        page = tmp_path / "page.md"
        page.write_text(f"{block}\n")

        assert run(page)[0] != 0

    @pytest.mark.parametrize("block", ["```python\nf(\n```", "```json\n{\n```", "```yaml\na: [\n```"])
    def test_names_a_block_that_does_not_parse(self, block, tmp_path):
        """By its line."""
        page = tmp_path / "page.md"
        page.write_text(f"text\n\n{block}\n")

        assert "page.md:3: " in problem_of(*blocks(page))

    @pytest.mark.parametrize("mark", ["<!-- not run: it fails -->", "% not run: it fails"])
    def test_omits_a_block_with_a_reason(self, mark, tmp_path):
        """Only the one below the mark."""
        page = tmp_path / "page.md"
        page.write_text(f"{mark}\n\n```python\n1 / 0\n```\n\n```python\npass\n```\n")

        assert [block.code for block in blocks(page)] == ["pass\n"]
