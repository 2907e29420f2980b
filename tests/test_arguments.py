"""Arguments of handlers that can never work are found when the handlers are configured, not at each event."""

import inspect
import io
import logging
import logging.handlers
import queue
from datetime import time
from pathlib import Path

import pytest
from traitlets import TraitError

from jupyter_otel_telemetry import EventLog
from jupyter_otel_telemetry.arguments import _KINDS

FREE = frozenset(
    "level delay utc secure context method flushOnClose respect_handler_level listener style validate".split()
    + "appname dllname logtype".split()  # of Windows
)
"""Arguments of which any value works, or the constructor itself refuses some."""
FILE = {"filename": "events.jsonl", "delay": True}
SECRET = "s3cr3t-t0ken"


def build(name, **arguments):
    (handler,) = EventLog(handlers=[{"class": f"logging.{name}", **arguments}]).handlers
    return handler


class TestMistakes:
    @pytest.mark.parametrize(
        "name, arguments, message",
        [
            ("FileHandler", {"filename": 3}, "'filename', of type int, must be a path"),
            ("FileHandler", {**FILE, "encoding": "utf9"}, "'encoding', text, must be an encoding that Python has"),
            ("FileHandler", {**FILE, "mode": "r"}, "'mode', text, must be the mode of a text file that is written"),
            ("StreamHandler", {"stream": 1}, "'stream', of type int, must be a stream"),
            ("handlers.RotatingFileHandler", {**FILE, "maxBytes": "10"}, "'maxBytes', text, must be a number, witho"),
            ("handlers.RotatingFileHandler", {**FILE, "backupCount": 1.5}, "'backupCount', of type float, must be a"),
            ("handlers.TimedRotatingFileHandler", {**FILE, "interval": True}, "'interval', of type bool, must be a"),
            ("handlers.TimedRotatingFileHandler", {**FILE, "atTime": "03:00"}, "'atTime', text, must be a datetime."),
            ("handlers.SocketHandler", {"host": "h", "port": "abc"}, "'port', text, must be a port"),
            ("handlers.DatagramHandler", {"host": "h", "port": 70_000}, "'port', of type int, must be a port"),
            ("handlers.SysLogHandler", {"address": ["h", 514]}, "'address', of type list, must be a path, or a tupl"),
            ("handlers.SysLogHandler", {"facility": "local9"}, "'facility', text, must be a facility"),
            ("handlers.MemoryHandler", {"capacity": 10}, "'target' is missing, and so all events would stay in memo"),
            ("handlers.MemoryHandler", {"capacity": "10"}, "'capacity', text, must be a number"),
            ("handlers.MemoryHandler", {"capacity": 1, "flushLevel": "ERROR"}, "'flushLevel', text, must be the num"),
            ("handlers.QueueHandler", {"queue": "x"}, "'queue', text, must be a queue.Queue"),
            ("handlers.QueueHandler", {"queue": None}, "'queue', of type NoneType, must be a queue.Queue"),
            ("NullHandler", {"formatter": {"class": "logging.Formatter", "datefmt": 1}}, "'datefmt', of type int, m"),
        ],
    )
    def test_names_argument_type_and_remedy(self, name, arguments, message):
        """After the handler's place and class."""
        with pytest.raises(TraitError, match=rf"^EventLog.handlers\[0\]: cannot build logging.{name}: .*{message}"):
            build(name, **arguments)

    def test_value_is_not_shown(self):
        """It may be a secret in the wrong place."""
        with pytest.raises(TraitError) as error:
            build("handlers.HTTPHandler", host="h", url="/", credentials=SECRET)

        assert "'credentials', text, must be a pair" in str(error.value)
        assert SECRET not in str(error.value)

    def test_of_a_subclass_are_found_too(self):
        """If it takes the arguments of its base class."""
        with pytest.raises(TraitError, match="'maxBytes', text, must be"):
            EventLog(handlers=[{"class": f"{__name__}.Rotating", **FILE, "maxBytes": "10"}])


class Rotating(logging.handlers.RotatingFileHandler):
    """Takes the arguments of its base class."""


class Own(logging.handlers.SocketHandler):
    """Takes a port by name."""

    def __init__(self, port):
        super().__init__("h", {"syslog": 514}[port])


class TestValuesThatWork:
    @pytest.mark.parametrize(
        "name, arguments",
        [
            ("FileHandler", {**FILE, "mode": "w", "encoding": "locale", "errors": None}),
            ("FileHandler", {"filename": Path("events.jsonl"), "delay": True}),
            ("StreamHandler", {"stream": "ext://sys.stderr"}),
            ("StreamHandler", {"stream": io.StringIO()}),
            ("handlers.RotatingFileHandler", {**FILE, "maxBytes": 1e6, "backupCount": 3}),
            ("handlers.TimedRotatingFileHandler", {**FILE, "when": "midnight", "atTime": time(3)}),
            ("handlers.SocketHandler", {"host": "/run/socket", "port": None}),
            ("handlers.MemoryHandler", {"capacity": 10, "target": logging.NullHandler()}),
            ("handlers.QueueHandler", {"queue": queue.SimpleQueue()}),
            ("handlers.SMTPHandler", {"mailhost": ["h", 25], "fromaddr": "a", "toaddrs": ["b"], "subject": "s"}),
        ],
    )
    def test_are_taken(self, name, arguments):
        """Also objects, which code can give, and the defaults."""
        assert isinstance(build(name, **arguments), logging.Handler)

    def test_of_a_subclass_with_arguments_of_its_own(self):
        """They may mean something else than those of its base class."""
        (handler,) = EventLog(handlers=[{"class": f"{__name__}.Own", "port": "syslog"}]).handlers

        assert handler.port == 514


def test_each_argument_of_the_standard_library_is_known():
    """A new one of a later Python is noticed here."""
    classes = [*vars(logging).values(), *vars(logging.handlers).values()]
    bases = logging.Handler, logging.Formatter
    classes = [cls for cls in classes if isinstance(cls, type) and issubclass(cls, bases)]
    names = {name for cls in classes for name in inspect.signature(cls).parameters} - {"args", "kwargs"}

    assert names - FREE <= set(_KINDS)
