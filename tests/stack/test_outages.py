"""What is not lost, and what is said, when the next stage is away."""

import signal
import sys

from programs import Program, wait_until
from stack import QUEUED, REFUSED, SENT, TOKEN, Collector, post_logs

COUNT = 300


def numbers(first):
    return [{"n": number} for number in range(first, first + COUNT)]


def arrived(loki, count):
    """Return the numbers of the events that are in Loki, each as often as it is there, once all have come."""
    wait_until(lambda: len({log.attributes["log.record.uid"] for log in loki.logs}) >= count, f"{count} events")
    return sorted(log.attributes["jupyter.event.n"] for log in loki.logs)


class TestLokiDownAndBack:
    def test_no_event_is_missing(self, agent, gateway, loki, record):
        """What was recorded meanwhile is in the gateway's queue, and arrives once."""
        assert record(agent.endpoint, *numbers(0))
        loki.wait_for(COUNT, 180)
        loki.stop()
        assert record(agent.endpoint, *numbers(COUNT))
        gateway.wait_until(lambda: gateway.metric(QUEUED) > 0, "the gateway queues")
        loki.start()

        assert arrived(loki, 2 * COUNT) == list(range(2 * COUNT))

    def test_queue_shows_how_much_waits(self, gateway, loki, record, certificate):
        """In bytes, by which an operator sees an outage before anything is lost; nothing has failed yet."""
        loki.stop()
        record(gateway.endpoint, *numbers(0), certificate_file=certificate.cert, headers=bearer())
        gateway.wait_until(lambda: gateway.metric(QUEUED) > COUNT * 100, "the queue has bytes")
        assert gateway.metric(REFUSED) == 0
        loki.start()
        gateway.wait_until(lambda: gateway.metric(SENT) == COUNT, "all is sent")
        gateway.wait_until(lambda: gateway.metric(QUEUED) == 0, "the queue is empty")


class TestGatewayDownAndBack:
    def test_no_event_is_missing(self, agent, gateway, loki, record, started):
        """What was recorded meanwhile is in the agent's queue; the application is told of nothing."""
        gateway.stop()
        assert record(agent.endpoint, *numbers(0))
        gateway.again(started)

        assert arrived(loki, COUNT) == list(range(COUNT))


class TestEverythingKilled:
    def test_no_event_is_missing(self, agent, gateway, loki, record, started):
        """With SIGKILL, while their queues hold events: they are on disk, and arrive at least once."""
        loki.stop()
        assert record(agent.endpoint, *numbers(0))
        gateway.wait_until(lambda: gateway.metric(QUEUED) > 0, "the gateway queues")
        gateway.stop(signal.SIGKILL)
        assert record(agent.endpoint, *numbers(COUNT))
        agent.stop(signal.SIGKILL)
        loki.start()
        agent.again(started)
        gateway.again(started)

        assert sorted(set(arrived(loki, 2 * COUNT))) == list(range(2 * COUNT))


APPLICATION = """
import os, signal, sys

from jupyter_otel_telemetry import EventLog, OTLPHandler

handler = OTLPHandler(spool="events", certificate_file=os.environ["CERTIFICATE"])
log = EventLog(handlers=[handler], allowed_schemas=["*"])
log.register_schema({"$id": "https://example.org/anything", "version": 1, "type": "object"})
for number in range(*map(int, sys.argv[1:])):
    log.record_event("https://example.org/anything", 1, {"n": number})
if os.environ.get("DIE"):
    os.kill(os.getpid(), signal.SIGKILL)
handler.force_flush(120)
"""


class TestApplicationKilledWhileTheGatewayIsDown:
    def test_no_event_is_missing(self, gateway, loki, started, tmp_path, certificate):
        """What it has recorded is in its spool; the next one sends it, too."""
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": gateway.endpoint, "CERTIFICATE": certificate.cert}
        env |= {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{TOKEN}"}
        gateway.stop()
        first = run_application(0, COUNT, tmp_path, env | {"DIE": "1"})
        gateway.again(started)
        second = run_application(COUNT, 2 * COUNT, tmp_path, env)

        assert (first, second) == (-signal.SIGKILL, 0)
        assert sorted(set(arrived(loki, 2 * COUNT))) == list(range(2 * COUNT))


def run_application(first, last, folder, env):
    application = Program([sys.executable, "-c", APPLICATION, str(first), str(last)], folder / "application", env)
    try:
        return application.process.wait(60)
    finally:
        print(application.output)  # noqa: T201 - where the test fails
        application.kill()


class TestRefusal:
    def test_is_counted_and_holds_up_nothing(self, choosy_loki, started, tmp_path):
        """One request is refused: it is counted and logged, and the next one arrives."""
        env = {"LOKI_URL": choosy_loki.url}
        gateway = started(Collector, "gateway plain", tmp_path / "gateway", env)
        for value in ("refuse-me", "fine"):
            assert post_logs(gateway.endpoint, token=TOKEN, attributes={"value": value}) == 200
        gateway.wait_until(lambda: gateway.metric(SENT) == 1, "the other has been sent")
        gateway.wait_until(lambda: gateway.metric(REFUSED) == 1, "the refusal is counted")

        assert "Dropping data" in gateway.output


def bearer():
    return {"authorization": f"Bearer {TOKEN}"}
