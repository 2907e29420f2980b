"""A JupyterHub to try: one password for all, users' servers as processes beside the hub and not apart from it."""

import os
from pathlib import Path

from jupyter_otel_telemetry import OTLPHandler

c = get_config()  # noqa: F821 - JupyterHub's

# Where events go is in OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_HEADERS; on the way they are on disk.
c.EventLogger.handlers = [
    OTLPHandler(allowed_schemas=["https://schema.jupyter.org/jupyterhub/*"], spool=Path.cwd() / "events")
]
# What the hub logs as an error, failed starts too, for which there is no event. It may name users.
c.JupyterHub.extra_log_handlers = [OTLPHandler(level="ERROR")]

# Users' servers send theirs the same way; see jupyter_server_config.json.
c.Spawner.environment = {name: value for name, value in os.environ.items() if name.startswith("OTEL_EXPORTER_OTLP_")}

c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = os.environ["JUPYTERHUB_PASSWORD"]
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = str(Path.cwd() / "homes" / "{username}")
