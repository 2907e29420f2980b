"""deploy/compose, loaded as `docker compose` loads it. Docker itself is not among the parts of these tests."""

import json
import os
import re
import subprocess

import pytest
from stack import DEPLOY, part

FOLDER = DEPLOY / "compose"
VALUES = re.findall(r"^(\w+)=$", (FOLDER / ".env.example").read_text(), re.MULTILINE)


def load(**env):
    command = [part("compose", "compose"), FOLDER / "compose.yaml"]
    return subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def project():
    """The project, with all values set."""
    result = load(**dict.fromkeys(VALUES, "a-value-of-the-tests"))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


class TestCompose:
    @pytest.mark.parametrize("missing", VALUES)
    def test_does_not_start_without_a_value(self, missing):
        """There is no secret that everybody knows."""
        result = load(**{name: "a-value-of-the-tests" for name in VALUES if name != missing})

        assert result.returncode != 0
        assert f"required variable {missing} is missing" in result.stderr

    def test_wants_three_values(self):
        """No more and no less is asked of an operator."""
        assert len(VALUES) == 3

    def test_is_reached_from_its_own_machine_only(self, project):
        """Every published port is one of 127.0.0.1."""
        ports = [port for service in project["services"].values() for port in service.get("ports", [])]

        assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
        assert {port["published"] for port in ports} == {"8000", "3000"}

    def test_hub_cannot_reach_loki(self, project):
        """Users' servers run beside the hub, and Loki asks nobody who they are."""
        services = project["services"]

        assert not services["jupyterhub"]["networks"].keys() & services["loki"]["networks"].keys()

    def test_every_file_that_it_mounts_is_there(self, project):
        """A folder would be made instead, by Docker, and be empty."""
        volumes = [volume for service in project["services"].values() for volume in service.get("volumes", [])]
        sources = [volume["source"] for volume in volumes if volume["type"] == "bind"]

        assert sources
        assert [source for source in sources if not os.path.exists(source)] == []  # noqa: PTH110

    def test_every_image_is_pinned(self, project):
        """No version changes by itself."""
        images = [service["image"] for service in project["services"].values() if "image" in service]

        assert [image for image in images if not re.search(r":v?\d+\.\d+", image)] == []

    def test_runs_the_collector_that_the_tests_run(self, project):
        """The version that is tested is the one that is shipped."""
        manifest = (DEPLOY.parent / "tests/stack/collector/manifest.yaml").read_text()
        (version,) = re.findall(r"  version: (\S+)", manifest)

        assert project["services"]["gateway"]["image"].endswith(f":{version}")
        assert version in (DEPLOY / "kubernetes/gateway.yaml").read_text()
