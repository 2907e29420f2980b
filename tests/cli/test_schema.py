import json
import subprocess

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


def compat(*arguments):
    return CliRunner().invoke(app, ["schema", "compat", *map(str, arguments)])


def write(path, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(schema(**changes)), encoding="utf-8")
    return path


NARROWER = {"action": {"enum": ["start"]}}


class TestCompat:
    def test_prints_whom_a_change_hurts_and_an_event(self, tmp_path):
        """The place, the rule, and the proof."""
        old, new = write(tmp_path / "1.json"), write(tmp_path / "2.json", version=2, properties=NARROWER)
        lines = compat(old, new).stdout.splitlines()

        assert lines[0] == f"{new}: breaking, version 1 to 2, due bump: major"
        assert lines[1].startswith("  hurts those who write events: enum at /action: ")
        event = json.loads(lines[2].removeprefix("    event: "))
        assert event["action"] != "start"

    def test_json_has_the_same(self, tmp_path):
        """With the whole event."""
        old, new = write(tmp_path / "1.json"), write(tmp_path / "2.json", version=2, properties=NARROWER)
        [found] = json.loads(compat("--json", old, new).stdout)

        assert (found["verdict"], found["old_version"], found["new_version"]) == ("breaking", "1", "2")
        assert {change["hurt"] for change in found["changes"]} == {"writers"}

    @pytest.mark.parametrize(
        "changes, status",
        [
            ({"description": "x"}, 0),
            ({"required": ["action"]}, 1),
            ({"properties": {"action": {"$ref": "#"}}}, 3),
            ({"properties": 3}, 2),
        ],
    )
    def test_status_tells_the_verdict(self, changes, status, tmp_path):
        """0 safe, 1 breaking, 3 undecided, 2 unreadable."""
        old, new = write(tmp_path / "1.json"), write(tmp_path / "2.json", version=2, **changes)

        assert compat(old, new).exit_code == status

    def test_folders_are_compared_by_id(self, tmp_path):
        """A new schema is safe, a removed one is breaking, and a version is compared with the one before it."""
        for folder, versions in (("old", [1, 9]), ("new", [9, 10])):
            for version in versions:
                write(tmp_path / folder / f"{version}.json", version=version, title=f"Version {version}")
        write(tmp_path / "old" / "gone.json", id="https://example.org/gone")
        write(tmp_path / "new" / "added.json", id="https://example.org/added")
        result = json.loads(compat("--json", tmp_path / "old", tmp_path / "new").stdout)

        versions = {(one["old_version"], one["new_version"], one["verdict"]) for one in result}
        assert versions == {("9", "9", "safe"), ("9", "10", "safe"), (None, "1", "safe"), ("1", None, "breaking")}

    def test_content_that_changes_under_one_version_is_breaking(self, tmp_path):
        """A version names one content; titles and descriptions are free."""
        old = write(tmp_path / "old" / "a.json")
        changed = {"properties": schema()["properties"] | {"new": {"type": "string"}}}
        retitled, other = write(tmp_path / "1" / "a.json", title="x"), write(tmp_path / "2" / "a.json", **changed)

        assert compat(old, retitled).exit_code == 0
        assert "version at the event: the content of version 1 has changed" in compat(old, other).stdout

    def test_compares_with_a_commit(self, tmp_path, monkeypatch):
        """Of the repository that the path is in, wherever the command runs."""
        for name in ("GIT_DIR", "GIT_WORK_TREE"):
            monkeypatch.delenv(name, raising=False)
        path = write(tmp_path / "repo" / "schemas" / "a.json")
        for command in ("init -q", "add .", "-c user.name=a -c user.email=a@b commit -qm x"):
            subprocess.run(["git", "-C", tmp_path / "repo", *command.split()], check=True)
        write(path, version=2, properties=NARROWER)

        for target in (path, path.parent, tmp_path / "repo"):
            assert ": breaking, version 1 to 2" in compat("--against", "HEAD", target).stdout

    @pytest.mark.parametrize(
        "arguments",
        [["one.json"], ["absent.json", "absent.json"], ["--against", "nope", "."], ["--against", "-x", "."]],
    )
    def test_mistake_is_one_line(self, arguments, tmp_path, monkeypatch):
        """Without a traceback."""
        monkeypatch.chdir(tmp_path)
        result = compat(*arguments)

        assert result.exit_code == 2
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1

    def test_long_values_are_cut(self, tmp_path):
        """An event is for people."""
        old = write(tmp_path / "1.json")
        new = write(tmp_path / "2.json", version=2, properties={"action": {"type": "string", "maxLength": 1000}})

        assert max(map(len, compat(old, new).stdout.splitlines())) < 300


class TestList:
    def test_shows_installed_schemas(self):
        """With package, version and title."""
        lines = CliRunner().invoke(app, ["schema", "list", "*hub*"], env={"COLUMNS": "200"}).stdout.splitlines()

        [row] = lines[1:]
        assert row.split()[:3] == ["jupyterhub", "https://schema.jupyter.org/jupyterhub/events/server-action", "1"]

    def test_json_names_the_file(self):
        """For other tools."""
        rows = json.loads(CliRunner().invoke(app, ["schema", "list", "--json"]).stdout)

        assert {"jupyterhub", "jupyter_server"} <= {row["package"] for row in rows}
        assert all(row["file"].endswith(".yaml") for row in rows if row["package"] == "jupyterhub")
