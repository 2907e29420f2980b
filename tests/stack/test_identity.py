"""deploy/collector/gateway-kubernetes.yaml: who sent something is what the cluster says, not what the sender says."""

import pytest
import yaml
from cluster import pod, serving_pods
from stack import TOKEN, Collector, post_logs

HUB, ADA, STRANGER = "127.0.0.2", "127.0.0.3", "127.0.0.4"
PODS = [pod(HUB, "hub"), pod(ADA, "singleuser-server", username="ada", servername="lab")]
CLAIM = {"service.name": "jupyterhub", "user.name": "root", "jupyter.server.name": "x", "k8s.pod.name": "hub"}


@pytest.fixture
def sent(started, loki, tmp_path):
    """A function that sends from an address, and returns the resource attributes that Loki gets."""
    with serving_pods(*PODS) as api:
        cluster = {"clusters": [{"name": "c", "cluster": {"server": api}}], "current-context": "c"}
        cluster |= {"contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}
        cluster |= {"users": [{"name": "u", "user": {}}], "apiVersion": "v1", "kind": "Config"}
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(cluster))
        # In a cluster a service account says where its API is.
        (tmp_path / "outside.yaml").write_text("processors: {k8s_attributes: {auth_type: kubeConfig}}")
        env = {"LOKI_URL": loki.endpoint, "KUBECONFIG": str(tmp_path / "kubeconfig")}
        names = f"gateway plain gateway-kubernetes {tmp_path / 'outside'}"
        gateway = started(Collector, names, tmp_path / "gateway", env)

        def sent(address, resource):
            loki.clear()
            assert post_logs(gateway.endpoint, token=TOKEN, resource=resource, source=address) == 200
            return dict(loki.wait_for(1, 180)[0].resource)

        gateway.wait_until(lambda: sent(HUB, {})["service.name"] == "jupyterhub", "it knows the pods")
        yield sent


class TestIdentity:
    def test_hub_is_the_hub(self, sent):
        """By the label that the chart gives to its pod."""
        assert sent(HUB, {"service.name": "whatever"})["service.name"] == "jupyterhub"

    def test_server_is_its_user_s(self, sent):
        """By the annotations that KubeSpawner gives to the pod."""
        resource = sent(ADA, {"deployment.environment.name": "test"})

        assert resource == {
            "service.name": "jupyterhub-singleuser",
            "user.name": "ada",
            "jupyter.server.name": "lab",
            "jupyterhub.component": "singleuser-server",
            "k8s.namespace.name": "jupyter",
            "k8s.node.name": "node",
            "deployment.environment.name": "test",
        }

    def test_claim_counts_for_nothing(self, sent):
        """A user's server says that it is the hub, and somebody else's."""
        resource = sent(ADA, CLAIM)

        assert (resource["service.name"], resource["user.name"]) == ("jupyterhub-singleuser", "ada")
        assert resource["jupyter.server.name"] == "lab"
        assert "k8s.pod.name" not in resource

    def test_stranger_is_unknown(self, sent):
        """With the token, but from no pod that is a hub or a user's server."""
        assert sent(STRANGER, CLAIM) == {"service.name": "unknown"}
