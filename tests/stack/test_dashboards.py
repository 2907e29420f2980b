"""deploy/grafana and Loki's alerts: a day at a hub, and what is said of it."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import requests
import yaml
from programs import Hub, wait_until
from queries import ask, entry, parse
from stack import DEPLOY, TOKEN, Collector, load_dashboards

from jupyter_otel_telemetry.otlp.receiver import OTLPReceiver

dashboards = load_dashboards()

RULES = yaml.safe_load((DEPLOY / "loki/rules/fake/rules.yaml").read_text())["groups"][0]["rules"]
ALERTS = {rule["alert"]: rule["expr"] for rule in RULES}
PANELS = [show for _, shows in dashboards.DASHBOARDS.values() for show in shows]
QUERIES = {show.title: show.query for show in PANELS if show.source is dashboards.LOKI}
SERVER_ACTION = "https://schema.jupyter.org/jupyterhub/events/server-action"
CONTENTS = "https://events.jupyter.org/jupyter_server/contents_service/v1"
KERNELS = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"

ADA, BOB = {"jupyter_event_username": "ada"}, {"jupyter_event_username": "bob"}
START, STOP = {"jupyter_event_action": "start"}, {"jupyter_event_action": "stop"}
GET, SAVE = {"jupyter_event_action": "get"}, {"jupyter_event_action": "save"}


def version_1(schema):
    return {"jupyter_schema_id": schema, "jupyter_schema_version": "1"}


def kernel(name):
    return {"jupyter_event_kernel_name": name}


ANSWERS = {
    "Servers running": [({}, 1)],
    "Active users": [({}, 2)],
    "Starts": [({}, 3)],
    "Servers started and stopped": [(START, 3), (STOP, 2)],
    "Most active users": [(ADA, 2), (BOB, 1)],
    "Files saved": [({}, 2)],
    "Kernels started": [({}, 3)],
    "Kernel errors": [({}, 1)],
    "Sent by front ends": [({}, 1)],
    "Contents": [(GET, 3), (SAVE, 2)],
    "Kernels": [(START, 3)],
    "Kernel starts by kernel": [(kernel("python3"), 2), (kernel("fortran"), 1)],
    "Events by schema and version": [
        (version_1(CONTENTS), 5),
        (version_1(KERNELS), 3),
        (version_1(SERVER_ACTION), 5),
    ],
}
LINES = {"Latest events": 5, "Latest kernel errors": 1}
OTHERS = {"Errors of the hub", "Length of the last session", "Delay between event and arrival"}

NOT_FOR_CAROL = """
def refuse(spawner):
    if spawner.user.name == "carol":
        raise RuntimeError("no room")

c.Spawner.pre_spawn_hook = refuse
"""


@pytest.fixture(scope="module")
def day(start_in_module, tmp_path_factory, certificate):
    """What had come through agent and gateway after a day at a hub with the configuration of deploy/compose.

    Ada has started and stopped her server, twice, saved two files, used two kernels and asked for one that there is
    not. Bob has started his. Carol could not.
    """
    folder = tmp_path_factory.mktemp("day")
    servers = folder / "servers"
    servers.mkdir()
    (servers / "jupyter_server_config.json").write_text((DEPLOY / "compose/jupyter_server_config.json").read_text())
    with OTLPReceiver() as loki:
        tls = {"TLS_CERT_FILE": certificate.cert, "TLS_KEY_FILE": certificate.key}
        gateway = start_in_module(Collector, "gateway", folder / "gateway", {"LOKI_URL": loki.endpoint} | tls)
        where = {"GATEWAY_URL": gateway.endpoint, "GATEWAY_CA_FILE": certificate.cert}
        agent = start_in_module(Collector, "agent", folder / "agent", where)
        env = {
            "JUPYTERHUB_PASSWORD": "a-password-of-the-tests",
            "OTEL_EXPORTER_OTLP_ENDPOINT": agent.endpoint,
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{TOKEN}",
        }
        config = (DEPLOY / "compose/jupyterhub_config.py").read_text() + NOT_FOR_CAROL
        config += f"c.Spawner.environment['JUPYTER_CONFIG_DIR'] = {str(servers)!r}\n"
        hub = start_in_module(Hub, 5, config, folder / "hub", env)
        spend_day(hub)
        wait_until(lambda: "no room" in str(loki.logs), "the hub's error has come")
        for schema, number in {SERVER_ACTION: 5, CONTENTS: 5, KERNELS: 3}.items():
            wait_until(lambda: count(loki, schema) >= number, f"{number} events of {schema} have come")  # noqa: B023
        yield SimpleNamespace(entries=[entry(log) for log in loki.logs], end_s=time.time())


def count(loki, schema):
    return sum(log.attributes.get("jupyter.schema.id") == schema for log in loki.logs)


def spend_day(hub):
    hub.start_server("ada")
    for name in ("a.txt", "b.txt"):
        hub.call_server("PUT", f"contents/{name}", json={"type": "file", "format": "text", "content": name})
    for name in ("python3", "python3"):
        hub.call_server("POST", "kernels", json={"name": name})
    with pytest.raises(requests.HTTPError):
        hub.call_server("POST", "kernels", json={"name": "fortran"})
    claim = {"action": "get", "path": "made/up"}
    hub.call_server("POST", "events", json={"schema_id": CONTENTS, "version": "1", "data": claim})
    hub.stop_server("ada")
    hub.start_server("bob")
    hub.start_server("ada")
    hub.stop_server("ada")
    hub.api("POST", "users/carol")
    with pytest.raises(requests.HTTPError):
        hub.api("POST", "users/carol/server")


def in_order(series):
    return sorted(series, key=str)


class TestWay:
    def test_event_of_a_real_hub_is_found_again(self, day):
        """By schema, version, name, user and service, as LogQL asks for them."""
        selector = (
            '{service_name="jupyterhub"} | jupyter_schema_id="' + SERVER_ACTION + '" | jupyter_schema_version="1"'
        )
        found = ask(
            f'{selector} | event_name="{SERVER_ACTION}" | jupyter_event_username="bob"', day.entries, day.end_s
        )

        assert [e.line for e in found] == ['server-action action=start username=bob servername=""']
        assert found[0].labels["severity_text"] == "INFO"

    def test_event_of_a_user_s_server_says_whose_it_is(self, day):
        """Since the configuration of deploy/compose wants names."""
        (failed,) = ask(QUERIES["Latest kernel errors"], day.entries, day.end_s)

        assert failed.labels["user_name"] == "ada"
        assert failed.indexed == {"service_name": "jupyterhub-singleuser"}


class TestPanels:
    @pytest.mark.parametrize("title", ANSWERS)
    def test_says_what_has_happened(self, day, title):
        """As many as there were."""
        answer = ask(QUERIES[title], day.entries, day.end_s)

        assert in_order(answer) == in_order(ANSWERS[title])

    @pytest.mark.parametrize("title", LINES)
    def test_lists_lines(self, day, title):
        """As many as there were."""
        assert len(ask(QUERIES[title], day.entries, day.end_s)) == LINES[title]

    def test_failed_start_is_among_the_errors_of_the_hub(self, day):
        """Though there is no event for it."""
        ((labels, value),) = ask(QUERIES["Errors of the hub"], day.entries, day.end_s)
        lines = [e.line for e in ask(dashboards.HUB_LOG, day.entries, day.end_s)]

        assert (labels, value) == ({}, len(lines))
        assert any("error starting carol's server: no room" in line for line in lines)

    def test_length_of_a_session_is_from_its_start_to_its_stop(self, day):
        """Of the last one of each server; Bob's has not ended."""
        hub = [e for e in day.entries if e.labels.get("jupyter_schema_id") == SERVER_ACTION]
        start_s, stop_s = (int(e.time_s) for e in hub[-2:])

        assert ask(QUERIES["Length of the last session"], day.entries, day.end_s) == [(ADA, stop_s - start_s)]

    def test_delay_is_known_for_each_service(self, day):
        """In milliseconds, from what the gateway has added."""
        answer = ask(QUERIES["Delay between event and arrival"], day.entries, day.end_s)

        assert {labels["service_name"] for labels, _ in answer} == {"jupyterhub", "jupyterhub-singleuser"}
        assert all(0 <= value < 60_000 for _, value in answer)

    def test_all_are_tried_here(self):
        """So that no panel is shipped that was never asked."""
        assert ANSWERS.keys() | LINES.keys() | OTHERS == QUERIES.keys()

    def test_paths_are_withheld(self, day):
        """What deploy/compose says of contents: that they were saved, not what."""
        assert "a.txt" not in str(day.entries)


class TestAlerts:
    def test_nothing_from_the_hub_for_an_hour(self, day):
        """Silence is what is alerted, not its opposite."""
        assert ask(ALERTS["NoHubEvents"], day.entries, day.end_s) == []
        assert ask(ALERTS["NoHubEvents"], day.entries, day.end_s + 3700) == [({}, 1)]

    def test_errors_of_the_hub(self, day):
        """Carol's failed start is one."""
        assert ask(ALERTS["HubErrors"], day.entries, day.end_s) != []
        assert ask(ALERTS["HubErrors"], day.entries, day.end_s + 700) == []

    def test_six_failed_kernels(self, day):
        """One is a typing error; more are an incident."""
        (failed,) = ask(QUERIES["Latest kernel errors"], day.entries, day.end_s)

        assert ask(ALERTS["KernelErrors"], [failed] * 5, day.end_s) == []
        assert ask(ALERTS["KernelErrors"], [failed] * 6, day.end_s) == [({}, 6)]

    def test_events_that_come_late(self, day):
        """More than ten minutes after they happened."""
        hub = [e for e in day.entries if e.labels.get("jupyter_schema_id") == SERVER_ACTION]
        late = [replace(e, labels=e.labels | {"delivery_delay_ms": "600001"}) for e in hub]

        assert ask(ALERTS["DeliveryDelayed"], day.entries, day.end_s) == []
        assert ask(ALERTS["DeliveryDelayed"], late, day.end_s) == [({"service_name": "jupyterhub"}, 600001)]

    def test_all_are_tried_here(self):
        """So that no alert is shipped that was never asked."""
        assert ALERTS.keys() == {"NoHubEvents", "HubErrors", "KernelErrors", "DeliveryDelayed"}

    def test_query_that_is_none_is_noticed(self):
        """By Grafana's parser, so that the tests above can tell."""
        with pytest.raises(ValueError, match="no LogQL"):
            parse(['sum(count_over_time({a="b"} | [1h]))'])


class TestDashboards:
    @pytest.mark.parametrize("name", dashboards.DASHBOARDS)
    def test_file_is_what_the_program_makes(self, name):
        """Who changes one changes both."""
        assert (dashboards.FOLDER / f"{name}.json").read_text() == dashboards.build(name)

    @pytest.mark.parametrize("name", dashboards.DASHBOARDS)
    def test_panel_explains_itself(self, name):
        """It has a title, a description and a unit, and a data source that is provisioned."""
        path = DEPLOY / "grafana/provisioning/datasources/datasources.yaml"
        sources = {(source["type"], source["uid"]) for source in yaml.safe_load(path.read_text())["datasources"]}
        panels = json.loads((dashboards.FOLDER / f"{name}.json").read_text())["panels"]

        assert all(panel["title"] and panel["description"] for panel in panels)
        assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in panels)
        assert {(panel["datasource"]["type"], panel["datasource"]["uid"]) for panel in panels} <= sources
