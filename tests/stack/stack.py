"""The programs of deploy/ as parts of tests."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from build_stack import place
from builders import absent, free_port
from programs import Program, answers, http

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
TOKEN = "a-token-of-the-tests"
SENT, REFUSED = "otelcol_exporter_sent_log_records", "otelcol_exporter_send_failed_log_records"
QUEUED, CAPACITY = "otelcol_exporter_queue_size", "otelcol_exporter_queue_capacity"


def part(name, program):
    """Return a program of a part that build_stack.py has made."""
    path = place(name) / program
    if not path.exists():
        absent(f"{name} of tests/stack/build_stack.py")
    return path


def load_dashboards():
    """Return deploy/grafana/dashboards.py as a module."""
    sys.path.append(str(DEPLOY / "grafana"))
    if os.environ.get("CI") == "true":
        return importlib.import_module("dashboards")
    return pytest.importorskip("dashboards", reason="grafana-foundation-sdk is absent")


def configurations(names):
    return [f"--config={DEPLOY / 'collector' / f'{name}.yaml'}" for name in names.split()]


class Collector(Program):
    """A Collector with files of deploy/collector, one after the other: "gateway plain".

    All that it keeps is in `folder`, so that another with the same folder and `ports` goes on where one has ended.
    """

    def __init__(self, names, folder, env=(), *, ports=None):
        folder.mkdir(exist_ok=True)
        (folder / "token").write_text(TOKEN)
        self.ports = ports or {name: free_port() for name in ("OTLP_PORT", "HEALTH_PORT", "METRICS_PORT")}
        self._names, self._folder, self._env = names, folder, dict(env)
        settings = {"STORAGE_DIRECTORY": folder / "storage", "TOKEN_FILE": folder / "token", **self.ports}
        settings = {name: str(value) for name, value in settings.items()} | self._env
        super().__init__([part("collector", "otelcol"), *configurations(names)], folder, settings)

    def again(self, start):
        """Start another in its place."""
        return start(Collector, self._names, self._folder, self._env, ports=self.ports)

    @property
    def endpoint(self):
        return f"{'https' if 'TLS_CERT_FILE' in self._env else 'http'}://localhost:{self.ports['OTLP_PORT']}"

    @property
    def trusted(self):
        """A file with the certificate that it shows."""
        return self._env["TLS_CERT_FILE"]

    def wait_until_ready(self):
        url = f"http://localhost:{self.ports['HEALTH_PORT']}"
        self.wait_until(lambda: answers(url), "the collector is healthy")

    def metric(self, name):
        """Return the sum of a metric's values, 0 where there is none yet."""
        return sum(metrics(f"http://localhost:{self.ports['METRICS_PORT']}/metrics", name))


def metrics(url, name):
    text = http.get(url, timeout=10).text
    return [float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)]


class Kafka(Program):
    """A Kafka broker of its own, with one partition a topic."""

    def __init__(self, folder):
        java = ["java", "-Xmx256m", "-cp", f"{part('kafka', 'jars')}/*"]
        folder.mkdir()
        self.broker, controller = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": controller,
            "listeners": f"PLAINTEXT://{self.broker},CONTROLLER://{controller}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": folder / "data",
            "offsets.topic.replication.factor": 1,
        }
        (folder / "properties").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        options = ["--cluster-id", "4L6g3nShT-eMCtK--X86sw", "--config", folder / "properties", "--standalone"]
        storage = [*java, "kafka.tools.StorageTool", "format", *map(str, options)]
        try:
            subprocess.run(storage, check=True, capture_output=True, timeout=120)
        except FileNotFoundError:
            absent("java")
        super().__init__([*java, "kafka.Kafka", folder / "properties"], folder, {})

    def wait_until_ready(self):
        self.wait_until(lambda: "Kafka Server started" in self.output, "the broker has started", 120)


class Prometheus(Program):
    """A Prometheus with the configuration of deploy/prometheus, but for its targets, and in a hurry."""

    def __init__(self, folder, *targets):
        folder.mkdir()
        text = (DEPLOY / "prometheus" / "prometheus.yaml").read_text()
        for own, replaced in {'"gateway:8888"': ", ".join(targets), "interval: 30s": "interval: 1s"}.items():
            assert own in text
            text = text.replace(own, replaced)
        (folder / "prometheus.yaml").write_text(text)
        (folder / "rules.yaml").write_text((DEPLOY / "prometheus" / "rules.yaml").read_text())
        self.url = f"http://127.0.0.1:{free_port()}"
        options = [f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"]
        options += [f"--web.listen-address={urlsplit(self.url).netloc}"]
        super().__init__([part("prometheus", "prometheus"), *options], folder, {})

    def wait_until_ready(self):
        self.wait_until(lambda: answers(f"{self.url}/-/ready"), "Prometheus is ready")

    def query(self, expression):
        """Return labels and value of each series."""
        answer = http.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=30)
        assert answer.ok, answer.text
        return [(item["metric"], float(item["value"][1])) for item in answer.json()["data"]["result"]]

    def alerts(self):
        """Return the instances that each alert fires for, or will when all stays as it is."""
        groups = http.get(f"{self.url}/api/v1/rules", timeout=30).json()["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return {rule["name"]: {alert["labels"]["instance"] for alert in rule["alerts"]} for rule in rules}


def post_logs(url, *, token=None, verify=True, attributes=(), resource=(), timeout_s=30, source=None):
    """Send a request with one log, and return the answer's status; None: there was no answer.

    `source` is the address that it comes from.
    """

    def pairs(mapping):
        return [{"key": name, "value": {"stringValue": value}} for name, value in dict(mapping).items()]

    log = {"timeUnixNano": str(time.time_ns()), "body": {"stringValue": "hello"}, "attributes": pairs(attributes)}
    scopes = [{"logRecords": [log]}]
    body = {"resourceLogs": [{"resource": {"attributes": pairs(resource)}, "scopeLogs": scopes}]}
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with requests.Session() as session:
        session.trust_env = False
        if source is not None:
            session.mount("http://", _From(source))
        try:
            return session.post(
                f"{url}/v1/logs", json=body, headers=headers, verify=verify, timeout=timeout_s
            ).status_code
        except requests.RequestException:
            return None


class _From(requests.adapters.HTTPAdapter):
    """Connects from a certain address."""

    def __init__(self, source):
        self._source = source
        super().__init__()

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, source_address=(self._source, 0), **options)
