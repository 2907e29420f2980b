"""A small traitlets application whose operator decides by configuration what becomes of its events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from traitlets import Unicode
from traitlets.config import Application, JSONFileConfigLoader, PyFileConfigLoader

from jupyter_otel_telemetry import EventLog


class ExampleApp(Application):
    """Records that somebody's home directory is nearly full."""

    name = "example-app"
    classes = [EventLog]  # noqa: RUF012 - makes --EventLog.… known on the command line
    aliases = {"config": "ExampleApp.config_file"}  # noqa: RUF012 - likewise, as traitlets wants it
    config_file = Unicode(help="Configuration to load: a .py or .json file.").tag(config=True)

    def initialize(self, argv: list[str] | None = None) -> None:
        """Read the command line, then the file, which the command line overrides."""
        self.parse_command_line(argv)
        if self.config_file:
            self.load(Path(self.config_file))
        self.events = EventLog(parent=self)
        self.events.register_schemas(Path(__file__).parent / "schemas")

    def load(self, path: Path) -> None:
        """Load this one file; `load_config_file` would also load its namesake with the other suffix."""
        loader: Any = JSONFileConfigLoader if path.suffix == ".json" else PyFileConfigLoader
        config = loader(path.name, str(path.parent)).load_config()
        config.merge(self.cli_config)
        self.update_config(config)

    def start(self) -> None:
        """Do the work that is worth an event."""
        event = {"username": "grace", "used_bytes": 9_900_000_000, "limit_bytes": 10_000_000_000}
        print("recorded:", self.events.record_event("https://example.org/examples/storage-full", 2, event))


if __name__ == "__main__":
    ExampleApp.launch_instance()
