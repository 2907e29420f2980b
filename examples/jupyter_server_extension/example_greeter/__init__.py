"""A Jupyter Server extension that answers `GET /example-greeter`, and records an event of each request."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web
from traitlets import TraitError

from jupyter_otel_telemetry import EventLog

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

GREETINGS = {"en": "hello", "fr": "bonjour", "de": "hallo"}


class GreetingHandler(APIHandler):
    """Greets in the language that the argument `language` names."""

    def initialize(self, event_log: EventLog) -> None:
        """Take the event log, which all requests share."""
        self.event_log = event_log

    @web.authenticated
    async def get(self) -> None:
        """Greet, and record that."""
        began_s = time.perf_counter()
        language = self.get_argument("language", "en")
        if language not in GREETINGS:
            raise web.HTTPError(400, "no greeting is known in that language")
        await self.finish({"greeting": GREETINGS[language]})
        duration_ms = (time.perf_counter() - began_s) * 1000
        self.event_log.record_event(
            "https://example.org/events/greeting", 1, {"language": language, "duration_ms": duration_ms}
        )


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "example_greeter"}]


def _load_jupyter_server_extension(serverapp: ServerApp) -> None:
    route = url_path_join(serverapp.base_url, "example-greeter")
    serverapp.web_app.add_handlers(".*$", [(route, GreetingHandler, {"event_log": make_event_log(serverapp)})])


def make_event_log(serverapp: ServerApp) -> EventLog:
    """Make the event log. If its configuration is wrong, log that and record nothing: the extension still greets."""
    try:
        # The operator configures it beside the server: c.EventLog.handlers, c.EventLog.allowed_schemas.
        return with_schemas(EventLog(parent=serverapp, on_invalid="log"))
    except (TraitError, ValueError) as error:
        serverapp.log.warning("example_greeter records no events, as EventLog is configured wrongly: %s", error)
        return with_schemas(EventLog(on_invalid="log"))


def with_schemas(event_log: EventLog) -> EventLog:
    """Register the schemas of this package."""
    event_log.register_schemas(Path(__file__).parent / "schemas")
    return event_log
