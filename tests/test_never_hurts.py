"""Recording an event never hurts the application: nothing raises, hangs or multiplies without end."""

import asyncio
import itertools
import logging
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from builders import ID, schema
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from jupyter_otel_telemetry import EventLog, OTLPHandler, metrics
from jupyter_otel_telemetry.failure_log import FailureLog
from jupyter_otel_telemetry.testing import EventSink

PRIVATE = {"withheld_properties": ["action"]}
OTHER = {"withheld_properties": ["count"]}


def log_with(*handlers, **traits):
    log = EventLog(handlers=list(handlers), **{"allowed_schemas": ["*"], **traits})
    log.register_schema(schema())
    return log


class Handler(logging.Handler):
    """Does with each record what `act` does."""

    def __init__(self, act):
        super().__init__()
        self.emit = act


class Panic(BaseException):
    """Stands for what Rust code raises; only its name counts."""


Panic.__name__ = "PanicException"


class TestFailuresOfOthers:
    @pytest.mark.parametrize("error", [OSError, asyncio.CancelledError, RecursionError, Panic])
    @pytest.mark.parametrize("method", ["emit", "handle", "filter", "format"])
    def test_of_a_handler_reach_nobody(self, event_sink, caplog, error, method):
        """Whatever raises in it, and whatever it raises."""
        handler = logging.StreamHandler()
        setattr(handler, method, lambda _: (_ for _ in ()).throw(error))
        log = log_with(handler, event_sink)

        assert log.record_event(ID, 1, {"count": 1}) == {"count": 1}
        assert event_sink.events == [{"count": 1}]
        assert len(caplog.records) == 1

    def test_of_a_level_that_is_none_reach_nobody(self, event_sink, caplog):
        """A level set around `setLevel`."""
        handler = EventSink()
        handler.level = "INFO"

        assert log_with(handler, event_sink).record_event(ID, 1, {}) == {}
        assert (len(event_sink.records), len(caplog.records)) == (1, 1)

    @pytest.mark.parametrize("error", [asyncio.CancelledError, Panic])
    def test_of_a_listener_or_modifier_reach_nobody(self, server_log, caplog, error):
        """Also those that are no Exception; asynchronous or not."""

        def fail(*_):
            raise error

        async def fail_later(*_):
            raise error

        server_log.add_listener(fail)
        server_log.add_listener(fail_later)
        assert server_log.record_event(ID, 1, {}) == {}
        server_log.add_modifier(lambda *_: fail())
        assert server_log.record_event(ID, 1, {}) is None
        assert len(caplog.records) == 3

    @pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
    def test_end_of_the_program_passes(self, server_log, end):
        """Ctrl-C, or what a signal handler raises, may come while anything runs."""

        async def listener(*_):
            raise end

        server_log.add_listener(listener)
        with pytest.raises(end):
            server_log.record_event(ID, 1, {})
        with pytest.raises(end):
            log_with(Handler(lambda _: (_ for _ in ()).throw(end))).record_event(ID, 1, {})

    def test_cancelled_task_of_a_listener_is_no_failure(self, server_log, caplog):
        """A loop that ends cancels its tasks."""

        async def listener(*_):
            await asyncio.Event().wait()

        async def main():
            server_log.record_event(ID, 1, {})
            await asyncio.sleep(0)

        server_log.add_listener(listener)
        asyncio.run(main())

        assert caplog.records == []

    def test_failing_task_of_a_listener_is_logged_once(self, server_log, caplog):
        """That it could be started is no recovery."""

        async def listener(*_):
            raise OSError

        async def main():
            for _ in range(3):
                server_log.record_event(ID, 1, {})
                await asyncio.sleep(0)

        server_log.add_listener(listener)
        asyncio.run(main())

        assert len(caplog.records) == 1

    def test_of_the_programs_own_log_reach_nobody(self):
        """A handler on our logger, or a filter, may raise: for troubles, and for invalid events."""
        log = log_with(Handler(lambda _: 1 / 0), on_invalid="log")
        log.log = logging.Logger("hostile")  # noqa: LOG001 - in no registry, since it stays hostile
        log.log.addFilter(lambda _: 1 / 0)

        assert log.record_event(ID, 1, {"count": "x"}) is None
        assert log.record_event(ID, 1, {}) == {}
        log.handlers.append(3)
        assert log.record_event(ID, 1, {}) == {}


class TestNesting:
    """Handlers, listeners and modifiers that record events for the events that they are given."""

    def test_of_handlers_is_bounded(self, event_sink, caplog):
        """Two that record without end would make 2 ** 100 events."""
        log = log_with(*(Handler(lambda _: log.record_event(ID, 1, {})) for _ in range(2)), event_sink)

        assert log.record_event(ID, 1, {}) == {}
        assert len(event_sink.records) == 2**5 - 1
        assert ["nested" in message for message in caplog.messages] == [True]

    def test_of_listeners_is_bounded_across_event_logs(self, event_sink, caplog):
        """Each of two logs records what the other one does."""
        one, other = log_with(event_sink), log_with(event_sink)
        one.add_listener(lambda *_: other.record_event(ID, 1, {}))
        other.add_listener(lambda *_: one.record_event(ID, 1, {}))
        one.record_event(ID, 1, {})

        assert len(event_sink.records) == 5
        assert len(caplog.records) == 1

    def test_of_modifiers_is_bounded(self, server_log, event_sink):
        """They run for what they record themselves."""

        def modifier(_id, _version, event):
            server_log.record_event(ID, 1, {})
            return event

        server_log.add_modifier(modifier)

        assert server_log.record_event(ID, 1, {}) == {}
        assert len(event_sink.records) == 5

    def test_leaves_no_trace(self, server_log):
        """An event that raises does not count as one that is being recorded."""
        for _ in range(10):
            with pytest.raises(ValueError, match="not registered"):
                server_log.record_event(ID, 2, {})

        assert server_log.record_event(ID, 1, {}) == {}


class TestSecondEntry:
    """A signal handler or finalizer that records may run between any two steps of the thread that it interrupts."""

    def record_at_every_step(self, log, action):
        """Call `action`, and record an event at each call and return of a function in it, as a signal handler may."""
        recorded, is_inside = [], False

        def interrupt(_frame, event, _arg):
            nonlocal is_inside
            if not is_inside and event in ("call", "return", "c_call", "c_return"):
                is_inside = True
                recorded.append(log.record_event(ID, 1, {}))
                is_inside = False

        def run():
            sys.setprofile(interrupt)
            try:
                action()
            finally:
                sys.setprofile(None)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(120)
        assert not thread.is_alive(), "deadlock"
        return recorded

    def test_into_the_log_of_troubles(self, event_sink):
        """With a handler that fails, and one that fails now and then."""
        numbers = itertools.count()
        log = log_with(Handler(lambda _: 1 / 0), Handler(lambda _: 1 / (next(numbers) % 2)), event_sink)

        assert None not in self.record_at_every_step(log, lambda: log.record_event(ID, 1, {}))

    def test_into_listeners_and_changes_of_them(self, server_log):
        """Also while they are added and removed."""

        def listener(*_):
            pass

        def change():
            server_log.add_listener(listener)
            server_log.record_event(ID, 1, {})
            server_log.remove_listener(listener)

        assert None not in self.record_at_every_step(server_log, change)

    def test_into_invalid_events_and_changed_handlers(self, server_log):
        """And into what a change in place brings about."""
        server_log.on_invalid = "log"

        def change():
            server_log.record_event(ID, 1, {"count": "x"})
            server_log.handlers.append(EventSink())
            server_log.allowed_schemas.append(ID)
            server_log.record_event(ID, 1, {})

        assert None not in self.record_at_every_step(server_log, change)

    def test_into_the_queue_and_the_spool(self, otlp_receiver, tmp_path):
        """Of `OTLPHandler`, in memory and on disk."""
        handlers = [OTLPHandler(endpoint=otlp_receiver.endpoint, spool=spool) for spool in (None, tmp_path / "spool")]
        log = log_with(*handlers)
        recorded = self.record_at_every_step(log, lambda: log.record_event(ID, 1, {}))

        assert None not in recorded
        assert all(handler.force_flush(60) for handler in handlers)
        assert len({entry.attributes["log.record.uid"] for entry in otlp_receiver.logs}) == len(recorded) + 1

    def test_into_counters(self, monkeypatch):
        """Those of the SDK hold a lock; nothing is counted twice or not at all."""
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader], shutdown_on_exit=False)
        monkeypatch.setattr(metrics, "_meter", lambda: provider.get_meter("test"))
        counter = metrics._Counter("events", "1", "")
        is_inside, count = False, 1

        def interrupt(_frame, event, _arg):
            nonlocal is_inside, count
            if not is_inside and event in ("call", "return") and count < 100:
                is_inside, count = True, count + 1
                counter.add(1)
                is_inside = False

        def run():
            sys.setprofile(interrupt)
            counter.add(1)
            sys.setprofile(None)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(60)
        assert not thread.is_alive(), "deadlock"
        (metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
        assert metric.data.data_points[0].value == count

    @pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal")
    def test_by_a_real_signal_within_a_handler(self, server_log, event_sink):
        """Both events are recorded."""
        before = signal.signal(signal.SIGUSR1, lambda *_: server_log.record_event(ID, 1, {"count": 2}))
        try:
            server_log.handlers.append(
                Handler(lambda r: r.event["count"] == 1 and signal.raise_signal(signal.SIGUSR1))
            )
            server_log.record_event(ID, 1, {"count": 1})
        finally:
            signal.signal(signal.SIGUSR1, before)

        assert event_sink.events == [{"count": 1}, {"count": 2}]

    def test_by_a_handler_of_the_log_of_troubles(self, event_sink):
        """Which records every error of the program, ours among them, as an event."""
        log = log_with(Handler(lambda _: 1 / 0), event_sink)
        log.log = logging.Logger("program")  # noqa: LOG001 - likewise
        log.log.addHandler(Handler(lambda _: log.record_event(ID, 1, {"count": 2})))
        log.record_event(ID, 1, {"count": 1})

        assert event_sink.events == [{"count": 2}, {"count": 1}]


class TestChangesFromOtherThreads:
    @pytest.fixture(autouse=True)
    def _busy(self):
        """Let threads take turns as often as Python can."""
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        yield
        sys.setswitchinterval(before)

    def test_policy_is_that_of_one_moment(self, event_sink):
        """Though two entries change while one is copied, and then a third one is added."""
        changes = []

        class Meanwhile(str):
            __slots__ = ()

            def __deepcopy__(self, _memo):
                if changes:
                    changes.pop()()
                return self

        def entries(name):
            return {schema_id: {"withheld_properties": [Meanwhile(name)]} for schema_id in (ID, f"{ID}/2")}

        log = log_with(event_sink, allowed_schemas=entries("action"))
        allowed = log.allowed_schemas
        log.register_schema(schema(id=f"{ID}/2"))
        changes += [lambda: allowed.update({f"{ID}/3": {}}), lambda: allowed.update(entries("count"))]
        allowed[f"{ID}/4"] = {}
        events = [log.record_event(schema_id, 1, {"action": "a", "count": 1}) for schema_id in (ID, f"{ID}/2")]

        assert changes == []
        assert events == [{"action": "a", "count": None}] * 2

    def test_policy_may_change_all_the_time(self, event_sink):
        """Whatever another thread does, each event is recorded by one policy or the other, or not at all."""
        entries = {ID: dict(PRIVATE), **{f"https://example.org/{number}": {} for number in range(50)}}
        log = log_with(event_sink, allowed_schemas=entries)
        allowed = log.allowed_schemas
        stop = threading.Event()

        def change():
            while not stop.is_set():
                allowed[ID] = dict(OTHER)
                allowed["https://example.org/added"] = {}
                allowed[ID] = dict(PRIVATE)
                del allowed["https://example.org/added"]

        with ThreadPoolExecutor() as pool:
            changing = pool.submit(change)
            seen = [log.record_event(ID, 1, {"action": "a", "count": 1}) for _ in range(200)]
            stop.set()
            changing.result()

        assert all(event in (None, {"action": None, "count": 1}, {"action": "a", "count": None}) for event in seen)

    def test_handlers_may_come_and_go(self, event_sink):
        """Those that stay get every event."""
        log = log_with(event_sink)
        stop = threading.Event()

        def change():
            while not stop.is_set():
                log.handlers.append(passing := EventSink())
                log.handlers.remove(passing)

        with ThreadPoolExecutor() as pool:
            changing = pool.submit(change)
            for _ in range(1000):
                log.record_event(ID, 1, {})
            stop.set()
            changing.result()

        assert len(event_sink.records) == 1000


class TestTroubleLog:
    @pytest.fixture
    def clock(self):
        """A clock in seconds, set by hand."""
        return [0.0]

    @pytest.fixture
    def trouble(self, clock):
        return FailureLog(lambda: logging.getLogger("trouble"), lambda: clock[0])

    def test_reminds_every_hour_with_count_and_age(self, trouble, clock, caplog):
        """An outage of a day is 24 lines, not one and not a million."""
        for minute in range(24 * 60 + 1):
            clock[0] = minute * 60.0
            trouble.failed("delivery", ": no route to host", traceback=False)

        assert len(caplog.messages) == 1 + 24
        assert caplog.messages[0] == (
            "delivery failed: no route to host; further failures are counted, and reported once an hour"
        )
        assert caplog.messages[2] == "delivery failed: no route to host; it has failed 121 times in 2 hours"

    def test_recovery_tells_how_often_and_how_long(self, trouble, clock, caplog):
        """Once."""
        trouble.failed("delivery", "", traceback=False)
        clock[0] = 90.0
        trouble.worked("delivery")
        trouble.worked("delivery")

        assert caplog.messages[1:] == ["delivery works again; it failed once in 90 seconds"]

    def test_recovery_tells_the_result(self, trouble, caplog):
        """How much was lost meanwhile, for instance."""
        trouble.failed("delivery", "", traceback=False)
        trouble.worked("delivery", "; lost so far: 7")

        assert caplog.messages[1:] == ["delivery works again; it failed once in 0 seconds; lost so far: 7"]

    def test_failure_of_another_kind_is_logged_at_once(self, trouble, clock, caplog):
        """Behind an outage there may be a wrong token."""
        for status in ("503", "401", "503", "401"):
            clock[0] += 1
            trouble.failed("delivery", f": {status}", kind=status, traceback=False)

        assert caplog.messages == [
            "delivery failed: 503; further failures are counted, and reported once an hour",
            "delivery failed: 401; it has failed 2 times in 1 second",
        ]

    def test_new_object_with_the_id_of_one_that_is_gone_is_logged(self, trouble, caplog):
        """CPython gives a new object the place of the one that was just dropped."""
        ids = set()
        for _ in range(20):
            listener = Listener()
            ids.add(id(listener))
            trouble.failed(listener, "", traceback=False)
            del listener

        assert len(ids) < 20
        assert len(caplog.records) == 20

    def test_keeps_nothing_alive_and_is_bounded(self, trouble, caplog):
        """A program that makes a new failing listener for each request."""
        for _ in range(1000):
            trouble.failed(BrokenHandler(0), "", traceback=False)
        kept = [BrokenHandler(number) for number in range(1000)]
        for handler in kept:
            trouble.failed(handler, "", traceback=False)

        assert len(trouble.failing) <= 256
        assert len(caplog.records) == 2000

    def test_counts_in_all_threads(self, trouble, caplog):
        """The first failure is one thread's."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: trouble.failed("delivery", "", traceback=False), range(1000)))
        trouble.worked("delivery")

        assert len(caplog.messages) == 2
        assert "it failed 1,000 times" in caplog.text


class Listener:
    """An object that is cheap to make."""


class BrokenHandler(logging.Handler):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def emit(self, _record):
        raise OSError

    def __repr__(self):
        return f"<broken {self.number}>"
