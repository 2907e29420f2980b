"""Kafka between gateway and Loki, with a broker of its own."""

import pytest
from builders import ID
from programs import wait_until
from stack import REFUSED, TOKEN, Collector, Kafka

HEADERS = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def broker(start_in_module, tmp_path_factory):
    """The address of a broker that makes topics as they are asked for."""
    return start_in_module(Kafka, tmp_path_factory.mktemp("kafka") / "broker").broker


@pytest.fixture
def env(broker, loki, request):
    """What gateway and ingest are told; each test has a topic of its own."""
    return {"KAFKA_BROKERS": broker, "KAFKA_TOPIC": request.node.name, "LOKI_URL": loki.endpoint}


@pytest.fixture
def kafka_gateway(started, env, tmp_path):
    return started(Collector, "gateway plain gateway-kafka", tmp_path / "gateway", env)


class TestKafka:
    def test_events_reach_loki_as_without_it(self, kafka_gateway, started, env, loki, record, tmp_path):
        """The gateway has added what it adds, and nothing has changed since."""
        assert record(kafka_gateway.endpoint, {"user": "ada"}, headers=HEADERS)
        started(Collector, "ingest-kafka", tmp_path / "ingest", env)
        (log,) = loki.wait_for(1, 180)

        assert (log.event_name, log.attributes["event_name"]) == (ID, ID)
        assert log.attributes["jupyter.event.user"] == "ada"

    def test_no_event_is_missing_when_ingest_is_killed(self, kafka_gateway, started, env, loki, record, tmp_path):
        """What has not reached Loki counts as unread: whoever comes next sends it."""
        ingest = started(Collector, "ingest-kafka", tmp_path / "ingest", env)
        assert record(kafka_gateway.endpoint, {"n": 0}, headers=HEADERS)
        loki.wait_for(1, 180)
        loki.stop()
        assert record(kafka_gateway.endpoint, *({"n": number} for number in range(1, 300)), headers=HEADERS)
        # By the second time, what counts as read has been committed: that is done each second.
        ingest.wait_until(lambda: ingest.output.count("Exporting failed") > 1, "Loki's absence is noticed twice")
        ingest.kill()
        loki.start()
        ingest.again(started)
        wait_until(lambda: len({log.attributes["jupyter.event.n"] for log in loki.logs}) == 300, "all are there", 90)

    def test_larger_than_a_message_may_be_is_refused(self, kafka_gateway, started, env, loki, record, tmp_path):
        """It is counted and logged, and what comes after it arrives."""
        record(kafka_gateway.endpoint, {"text": "x" * 1_000_000}, {"text": "fine"}, headers=HEADERS)
        started(Collector, "ingest-kafka", tmp_path / "ingest", env)
        (log,) = loki.wait_for(1, 180)

        assert log.attributes["jupyter.event.text"] == "fine"
        assert kafka_gateway.metric(REFUSED) == 1
