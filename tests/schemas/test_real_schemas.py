"""The schemas that JupyterHub and Jupyter Server ship register, and validate what those programs emit."""

import importlib.util
from pathlib import Path

import pytest
from builders import absent
from jsonschema import ValidationError

HUB = "https://schema.jupyter.org/jupyterhub/events/server-action"
SERVER = "https://events.jupyter.org/jupyter_server/"

EVENTS = [
    (HUB, {"action": "start", "username": "ada", "servername": ""}),
    (SERVER + "contents_service/v1", {"action": "save", "path": "a.ipynb"}),
    (
        SERVER + "kernel_actions/v1",
        {"action": "start", "msg": "Kernel started", "kernel_id": "1"},
    ),
    (SERVER + "kernel_actions/v1", {"action": "start", "msg": "No such kernel", "status": "error"}),
    (SERVER + "gateway_client/v1", {"status": "success", "msg": "ok", "status_code": 200}),
]


@pytest.fixture
def log(event_log):
    """An EventLog with every schema of the two packages."""
    for package, folder in (("jupyterhub", "event-schemas"), ("jupyter_server", "event_schemas")):
        spec = importlib.util.find_spec(package)
        if spec is None:
            absent(package)
        assert event_log.register_schemas(Path(spec.origin).parent / folder)
    return event_log


class TestRealSchemas:
    @pytest.mark.parametrize("schema_id, event", EVENTS)
    def test_real_event_is_recorded(self, log, event_sink, schema_id, event):
        """As those programs emit it."""
        assert log.record_event(schema_id, 1, event) == event
        assert event_sink.events == [event]

    @pytest.mark.parametrize(
        "schema_id, event",
        [
            (HUB, {"action": "restart", "username": "ada", "servername": ""}),
            (SERVER + "contents_service/v1", {"action": "save"}),
            (SERVER + "kernel_actions/v1", {"action": "interrupt", "msg": "m"}),
        ],
    )
    def test_wrong_event_is_refused(self, log, schema_id, event):
        """By the shipped schema's own rules, `if` and `then` included."""
        with pytest.raises(ValidationError):
            log.record_event(schema_id, 1, event)
