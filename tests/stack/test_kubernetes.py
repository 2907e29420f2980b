"""deploy/kubernetes, as far as it can be checked without a cluster."""

import ast
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from stack import DEPLOY

FOLDER = DEPLOY / "kubernetes"
HERE = Path(__file__).parent


@pytest.fixture
def z2jh():
    """The values for Zero to JupyterHub."""
    return load(FOLDER / "z2jh.yaml")


def load(path):
    return yaml.safe_load(path.read_text())


class TestZeroToJupyterHub:
    def test_chart_takes_the_values(self, z2jh):
        """It refuses names that it does not know."""
        errors = Draft202012Validator(load(HERE / "z2jh.schema.yaml")).iter_errors(z2jh)

        assert [error.message for error in errors] == []

    @pytest.mark.parametrize("who", ["hub", "singleuser"])
    def test_pods_may_reach_the_gateway(self, z2jh, who):
        """By its pods' label and its pods' port: behind a Service, these count."""
        ((rule,), gateway) = z2jh[who]["networkPolicy"]["egress"], load(FOLDER / "gateway.yaml")
        (peer,) = rule["to"]

        assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/instance": gateway["fullnameOverride"]}
        assert [port["port"] for port in rule["ports"]] == [4318]

    def test_no_private_address_is_opened_to_users(self, z2jh):
        """One rule for one pod, instead of all private networks."""
        assert "egressAllowRules" not in z2jh["singleuser"]["networkPolicy"]

    def test_extra_configuration_is_python(self, z2jh):
        """A typing error would keep the hub from starting."""
        texts = z2jh["hub"]["extraConfig"].values()

        assert [text for text in texts if not ast.parse(text).body] == []
        assert texts

    def test_users_do_not_have_the_token_of_the_hub(self, z2jh):
        """They can read what is in their environment."""
        secrets = [z2jh[who]["extraEnv"]["OTEL_EXPORTER_OTLP_HEADERS"] for who in ("hub", "singleuser")]
        names = [secret["valueFrom"]["secretKeyRef"]["name"] for secret in secrets]

        assert len(set(names)) == 2


class TestGateway:
    def test_configuration_is_what_the_tests_run(self):
        """The files of deploy/collector, in the order in which they are validated."""
        arguments = load(FOLDER / "gateway.yaml")["command"]["extraArgs"]

        assert [Path(argument).stem for argument in arguments] == ["gateway", "gateway-kubernetes"]

    def test_may_read_what_k8s_attributes_needs(self):
        """Pods and namespaces, and the nodes that they are on."""
        rules = load(FOLDER / "gateway.yaml")["clusterRole"]["rules"]
        readable = {name for rule in rules for name in rule["resources"]}

        assert readable >= {"pods", "namespaces"}
        assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list", "watch"}


class TestLoki:
    def test_chart_has_the_settings_of_the_file(self):
        """The same limits wherever Loki runs."""
        chart = load(FOLDER / "loki.yaml")["loki"]
        text = (DEPLOY / "loki/loki.yaml").read_text().replace("${LOKI_RETENTION:-2160h}", "2160h")
        own = yaml.safe_load(text)

        for section in ("limits_config", "ingester", "querier", "compactor", "server"):
            assert {name: chart[section].get(name) for name in own[section]} | {"http_listen_port": 3100} == own[
                section
            ] | {"http_listen_port": 3100}
