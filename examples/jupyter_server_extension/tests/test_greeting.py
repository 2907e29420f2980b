"""What is recorded of a greeting, in a server that runs within the test."""

import json

import pytest
from tornado.httpclient import HTTPClientError


@pytest.fixture
def jp_server_config(event_sink):
    """Let the server's extension record to `event_sink`, which is a fixture of jupyter-otel-telemetry."""
    return {
        "ServerApp": {"jpserver_extensions": {"example_greeter": True}},
        "EventLog": {"handlers": [event_sink], "allowed_schemas": ["https://example.org/events/*"]},
    }


async def test_greeting_is_recorded(jp_fetch, event_sink):
    """One event a request, with the language and a plausible duration."""
    answer = await jp_fetch("example-greeter", params={"language": "fr"})
    (event,) = event_sink.events

    assert json.loads(answer.body) == {"greeting": "bonjour"}
    assert event["language"] == "fr"
    assert 0 <= event["duration_ms"] < 10_000


class TestMistakeInTheConfiguration:
    """Events are worth less than what the extension is for."""

    @pytest.fixture
    def jp_server_config(self):
        """Name an option that does not exist."""
        return {
            "ServerApp": {"jpserver_extensions": {"example_greeter": True}},
            "EventLog": {"allowed_schemas": {"https://example.org/events/greeting": {"nonsense": []}}},
        }

    async def test_costs_events_only(self, jp_fetch):
        """The extension greets all the same."""
        answer = await jp_fetch("example-greeter")

        assert json.loads(answer.body) == {"greeting": "hello"}


async def test_unknown_language_is_not_recorded(jp_fetch, event_sink):
    """Nobody was greeted."""
    with pytest.raises(HTTPClientError, match="400"):
        await jp_fetch("example-greeter", params={"language": "xx"})

    assert event_sink.events == []
