"""deploy/prometheus and the panels that ask it: what collectors say of themselves, and what is made of it."""

from types import SimpleNamespace

import pytest
from builders import free_port
from programs import wait_until
from stack import CAPACITY, QUEUED, REFUSED, SENT, TOKEN, Collector, Prometheus, load_dashboards, post_logs

NOT_ACCEPTED = "otelcol_receiver_refused_log_records"

dashboards = load_dashboards()

PANELS = {
    show.title: show.query
    for _, shows in dashboards.DASHBOARDS.values()
    for show in shows
    if show.source is dashboards.PROMETHEUS
}


@pytest.fixture(scope="module")
def watched(start_in_module, choosy_loki, tmp_path_factory):
    """Three gateways: the Loki of one has refused one record of four, one has a full queue, one is down."""
    folder = tmp_path_factory.mktemp("watched")
    fine = start_in_module(Collector, "gateway plain", folder / "fine", {"LOKI_URL": choosy_loki.url})
    away = {"LOKI_URL": f"http://127.0.0.1:{free_port()}", "QUEUE_BYTES": "2000"}
    full = start_in_module(Collector, "gateway plain", folder / "full", away)
    targets = [f"localhost:{port}" for port in (fine.ports["METRICS_PORT"], full.ports["METRICS_PORT"], free_port())]
    prometheus = start_in_module(Prometheus, folder / "prometheus", *targets)
    for value in ("a", "b", "refuse-me", "c"):
        assert post_logs(fine.endpoint, token=TOKEN, attributes={"value": value}) == 200
    full.wait_until(
        lambda: post_logs(full.endpoint, token=TOKEN, timeout_s=2) != 200 and full.metric(NOT_ACCEPTED) > 0,
        "the queue is full",
    )
    fine.wait_until(lambda: fine.metric(SENT) + fine.metric(REFUSED) == 4, "all are sent or refused")
    fine.wait_until(lambda: prometheus.query(f"sum({SENT}) == 3"), "Prometheus has seen it")
    wait_until(lambda: all(prometheus.alerts().values()), "each alert has looked")
    return SimpleNamespace(prometheus=prometheus, fine=fine, full=full, targets=targets)


def asked(watched, title):
    query = PANELS[title].replace("$__range", "5m").replace("$__rate_interval", "5m")
    return [(labels.get("instance"), value) for labels, value in watched.prometheus.query(query)]


class TestPanels:
    @pytest.mark.parametrize("title, value", [("Refused for good", 1), ("Collectors up", 2)])
    def test_says_what_has_happened(self, watched, title, value):
        """One record refused by Loki, two collectors of three."""
        assert asked(watched, title) == [(None, value)]

    def test_not_accepted_is_what_had_no_room(self, watched):
        """As the collector itself says."""
        value = watched.full.metric(NOT_ACCEPTED)

        assert wait_until(lambda: asked(watched, "Not accepted") == [(None, value)], f"it is {value}")

    def test_queue_in_use_is_that_of_the_fullest(self, watched):
        """As the collector itself says."""
        ((_, value),) = asked(watched, "Queue in use")

        assert value == watched.full.metric(QUEUED) / watched.full.metric(CAPACITY) > 0.9

    def test_queues_are_shown_in_bytes(self, watched):
        """The one that is full has nearly all of its 2,000, the other one none."""
        fine, full, _ = watched.targets

        assert dict(asked(watched, "Queues")) == {fine: 0, full: watched.full.metric(QUEUED)}

    def test_records_sent_are_those_of_who_sends(self, watched):
        """A collector that has not sent any has no line."""
        shown = wait_until(lambda: asked(watched, "Records sent"), "there is a rate")

        assert [instance for instance, _ in shown] == [watched.targets[0]]


class TestAlerts:
    @pytest.mark.parametrize(
        "alert, which",
        [("EventsRefused", 0), ("QueueFilling", 1), ("EventsNotAccepted", 1), ("CollectorDown", 2)],
    )
    def test_is_about_the_collector_that_has_the_trouble(self, watched, alert, which):
        """And about no other."""
        assert watched.prometheus.alerts()[alert] == {watched.targets[which]}

    def test_all_are_tried_here(self, watched):
        """So that no alert is shipped that has never been one."""
        assert len(watched.prometheus.alerts()) == 4
