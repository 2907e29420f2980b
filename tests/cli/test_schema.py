import json

import pytest
from builders import schema
from click.testing import CliRunner

from jupyter_otel_telemetry.cli.app import app


def check(*arguments, **options):
    return CliRunner().invoke(app, ["schema", "check", *map(str, arguments)], **options)


@pytest.fixture
def faulty(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("$id: https://example.org/a\nversion: 1\nrequierd: [a]\n", encoding="utf-8")
    return path


class TestCheck:
    def test_prints_a_line_for_each_finding(self, faulty):
        """With place, level, rule and remedy; the summary is not in the way of a pipe."""
        result = check(faulty)

        line = f"{faulty}:3:1: error misspelt-keyword: did you mean required? JSON Schema ignores 'requierd'"
        assert f"{line} (at /requierd)" in result.stdout.splitlines()
        assert result.stderr.strip() == "1 error, 3 warnings"

    def test_json_has_the_same(self, faulty):
        """As a list."""
        first = json.loads(check(faulty, "--format", "json").stdout)[-1]

        assert first | {"message": ""} == {
            "file": str(faulty),
            "line": 3,
            "column": 1,
            "rule": "misspelt-keyword",
            "level": "error",
            "pointer": "/requierd",
            "message": "",
        }

    def test_github_has_annotations(self, tmp_path):
        """Whose properties are encoded."""
        path = tmp_path / "a,b:100%.yaml"
        path.write_text("[]")

        [line] = check(path, "--format", "github").stdout.splitlines()
        assert line.startswith(f"::error file={tmp_path}/a%2Cb%3A100%25.yaml,line=1,col=1,title=unreadable::")

    @pytest.mark.parametrize(
        "arguments, status",
        [
            ([], 1),
            (["--ignore", "misspelt-keyword"], 0),
            (["--ignore", "misspelt-keyword", "--strict"], 1),
            (["--ignore", "misspelt"], 2),
            (["absent.yaml"], 2),
            (["--format", "xml"], 2),
        ],
    )
    def test_status_tells_the_outcome(self, arguments, status, faulty):
        """0 without errors, 1 with errors, 2 if nothing could be checked."""
        assert check(faulty, *arguments).exit_code == status

    def test_text_of_a_schema_does_not_reach_the_terminal(self, tmp_path):
        """Escapes in names, keys and values are shown, not obeyed."""
        path = tmp_path / "\x1b[2J.json"
        evil = "\x1b]0;owned\x07\u202e"
        path.write_text(
            json.dumps(schema(id=f"https://example.org/{evil}", **{f"requierd{evil}": {evil: {"pii": 3}}}))
        )

        for form in ("text", "json", "github"):
            output = check(path, "--format", form).stdout
            assert output
            assert not {"\x1b", "\x07", "\u202e"} & set(output)

    def test_reads_standard_input(self):
        """As a part of a pipe."""
        assert check("-", input=json.dumps(schema())).stdout.startswith("-:1:")

    def test_schema_without_findings_is_said_so(self, faulty):
        """On stderr."""
        faulty.write_text("$id: https://example.org/a\nversion: 1\n")
        ignored = [word for rule in ("no-title", "no-description", "event-name") for word in ("--ignore", rule)]

        result = check(faulty, *ignored)
        assert (result.stdout, result.stderr.strip(), result.exit_code) == ("", "no findings", 0)
