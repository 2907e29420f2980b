"""Makes dashboards/*.json, with Grafana's own types. Run it again after a change.

Wants `pip install "grafana-foundation-sdk==1769699998!10.1.0"`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from grafana_foundation_sdk.builders import bargauge, common, dashboard, logs, loki, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import GraphDrawStyle, LegendPlacement, StackingMode, VizOrientation
from grafana_foundation_sdk.models.dashboard import DataSourceRef

FOLDER: Final = Path(__file__).resolve().parent / "dashboards"
LOKI, PROMETHEUS = DataSourceRef("loki", "loki"), DataSourceRef("prometheus", "prometheus")

HUB: Final = (
    '{service_name="jupyterhub"} | jupyter_schema_id="https://schema.jupyter.org/jupyterhub/events/server-action"'
)
HUB_LOG: Final = '{service_name="jupyterhub"} | jupyter_schema_id="" | severity_number >= 17'
SERVERS: Final = '{service_name=~"jupyterhub-singleuser|jupyter-.+"}'
CONTENTS: Final = f'{SERVERS} | jupyter_schema_id="https://events.jupyter.org/jupyter_server/contents_service/v1"'
KERNELS: Final = f'{SERVERS} | jupyter_schema_id="https://events.jupyter.org/jupyter_server/kernel_actions/v1"'
EVENTS: Final = '{service_name=~".+"} | jupyter_schema_id!=""'

START, STOP = ' | jupyter_event_action="start"', ' | jupyter_event_action="stop"'
SERVER: Final = "jupyter_event_username, jupyter_event_servername"
SECONDS: Final = " | label_format at=`{{ __timestamp__ | unixEpoch }}` | unwrap at"
STARTED: Final = f"sum by ({SERVER}) (count_over_time({HUB}{START} [7d]))"
STOPPED: Final = f"sum by ({SERVER}) (count_over_time({HUB}{STOP} [7d]))"
LAST_START: Final = f"max_over_time({HUB}{START}{SECONDS} [$__range]) by ({SERVER})"
LAST_STOP: Final = f"max_over_time({HUB}{STOP}{SECONDS} [$__range]) by ({SERVER})"

_Panel: TypeAlias = "stat.Panel | timeseries.Panel | bargauge.Panel | logs.Panel"
_LAST: Final = common.ReduceDataOptions().calcs(["lastNotNull"])
_STACKED: Final = common.StackingConfig().mode(StackingMode.NORMAL)


@dataclass(frozen=True)
class Show:
    """One panel: what it asks, and how a person is told."""

    title: str
    description: str
    query: str
    kind: str = "number"  # number, time, bars, lines
    unit: str = "short"
    legend: str = ""
    source: DataSourceRef = LOKI

    def panel(self) -> _Panel:
        """Build it."""
        panel = {"number": _number, "time": _time, "bars": _bars, "lines": _lines}[self.kind](self.query)
        described = panel.title(self.title).description(self.description).datasource(self.source).unit(self.unit)
        return described.with_target(self._target())

    def _target(self) -> loki.Dataquery | prometheus.Dataquery:
        if self.source is PROMETHEUS:
            ask = prometheus.Dataquery().ref_id("A").expr(self.query).legend_format(self.legend)
            return ask.range() if self.kind == "time" else ask.instant()
        query_type = "instant" if self.kind in {"number", "bars"} else "range"
        return loki.Dataquery().ref_id("A").expr(self.query).legend_format(self.legend).query_type(query_type)


def _number(_: str) -> _Panel:
    return stat.Panel().span(6).height(5).no_value("0").reduce_options(_LAST)


def _time(query: str) -> _Panel:
    legend = common.VizLegendOptions().show_legend(show_legend=True).placement(LegendPlacement.BOTTOM)
    panel = timeseries.Panel().span(12).height(9).legend(legend)
    if "count_over_time" not in query:
        return panel
    return panel.draw_style(GraphDrawStyle.BARS).fill_opacity(80).stacking(_STACKED)


def _bars(_: str) -> _Panel:
    return bargauge.Panel().span(12).height(9).orientation(VizOrientation.HORIZONTAL).reduce_options(_LAST)


def _lines(_: str) -> _Panel:
    return logs.Panel().span(24).height(9).show_time(show_time=True).enable_log_details(enable_log_details=True)


def _increase(metric: str) -> str:
    """Return how much a counter has grown; to `increase` alone one that has just begun has not."""
    return f"({metric} unless {metric} offset $__range) or increase({metric}[$__range])"


HUB_ACTIVITY: Final = [
    Show(
        "Servers running",
        "Servers that were started in the last seven days and have not been stopped since. One that died without the "
        "hub noticing still counts.",
        f"count(({STARTED} > {STOPPED}) or ({STARTED} unless {STOPPED}))",
    ),
    Show(
        "Active users",
        "How many users started a server in the time shown. Pseudonyms count as well as names.",
        f"count(sum by (jupyter_event_username) (count_over_time({HUB}{START} [$__range])))",
    ),
    Show("Starts", "Server starts in the time shown.", f"sum(count_over_time({HUB}{START} [$__range]))"),
    Show(
        "Errors of the hub",
        "What the hub logged as an error in the time shown, failed starts among it. For a failed start there is no "
        "event.",
        f"sum(count_over_time({HUB_LOG} [$__range]))",
    ),
    Show(
        "Servers started and stopped",
        "One bar for each piece of time.",
        f"sum by (jupyter_event_action) (count_over_time({HUB} [$__auto]))",
        kind="time",
        legend="{{jupyter_event_action}}",
    ),
    Show(
        "Most active users",
        "The ten users who started servers most often in the time shown.",
        f"topk(10, sum by (jupyter_event_username) (count_over_time({HUB}{START} [$__range])))",
        kind="bars",
        legend="{{jupyter_event_username}}",
    ),
    Show(
        "Length of the last session",
        "From the last start to the last stop of each server in the time shown; servers that run are left out.",
        f"({LAST_STOP} - {LAST_START}) >= 0",
        kind="bars",
        unit="s",
        legend="{{jupyter_event_username}} {{jupyter_event_servername}}",
    ),
    Show("Latest events", "Starts and stops as they came.", HUB, kind="lines"),
]

SERVER_EVENTS: Final = [
    Show(
        "Files saved",
        "How often a file was saved in the time shown.",
        f'sum(count_over_time({CONTENTS} | jupyter_event_action="save" [$__range]))',
    ),
    Show(
        "Kernels started",
        "How often a kernel was started in the time shown; failures count as well.",
        f"sum(count_over_time({KERNELS}{START} [$__range]))",
    ),
    Show(
        "Kernel errors",
        "Kernels that could not be started, interrupted, restarted or shut down in the time shown.",
        f'sum(count_over_time({KERNELS} | jupyter_event_status="error" [$__range]))',
    ),
    Show(
        "Sent by front ends",
        "Events that came through a server's events API: its user could have made them up.",
        f'sum(count_over_time({SERVERS} | jupyter_origin="events_api" [$__range]))',
    ),
    Show(
        "Contents",
        "What was done with files and folders. JupyterLab reads the folder that it shows again and again.",
        f"sum by (jupyter_event_action) (count_over_time({CONTENTS} [$__auto]))",
        kind="time",
        legend="{{jupyter_event_action}}",
    ),
    Show(
        "Kernels",
        "What was done with kernels.",
        f"sum by (jupyter_event_action) (count_over_time({KERNELS} [$__auto]))",
        kind="time",
        legend="{{jupyter_event_action}}",
    ),
    Show(
        "Kernel starts by kernel",
        "Which kernels are used, in the time shown.",
        f"sum by (jupyter_event_kernel_name) (count_over_time({KERNELS}{START} [$__range]))",
        kind="bars",
        legend="{{jupyter_event_kernel_name}}",
    ),
    Show(
        "Latest kernel errors",
        "With the server's message.",
        f'{KERNELS} | jupyter_event_status="error"',
        kind="lines",
    ),
]

PIPELINE_HEALTH: Final = [
    Show(
        "Queue in use",
        "How much of the fullest queue is in use. It grows while the next stage is away; at 100% senders must wait.",
        "max(otelcol_exporter_queue_size / otelcol_exporter_queue_capacity)",
        unit="percentunit",
        source=PROMETHEUS,
    ),
    Show(
        "Refused for good",
        "Records in requests that the next stage refused for good in the time shown, so that they are lost. The "
        "collector's log says why.",
        f"sum({_increase('otelcol_exporter_send_failed_log_records')})",
        source=PROMETHEUS,
    ),
    Show(
        "Not accepted",
        "Records that a collector did not take in the time shown, for want of memory or room; the sender keeps them.",
        f"sum({_increase('otelcol_receiver_refused_log_records')})",
        source=PROMETHEUS,
    ),
    Show(
        "Collectors up",
        "How many collectors answer.",
        'sum(up{job="otelcol"})',
        source=PROMETHEUS,
    ),
    Show(
        "Events by schema and version",
        "One bar for each piece of time.",
        f"sum by (jupyter_schema_id, jupyter_schema_version) (count_over_time({EVENTS} [$__auto]))",
        kind="time",
        legend="{{jupyter_schema_id}} {{jupyter_schema_version}}",
    ),
    Show(
        "Delay between event and arrival",
        "From the event to the gateway, for 95 of 100 events of each service. Spools and agents' queues add to it.",
        f"quantile_over_time(0.95, {EVENTS} | unwrap delivery_delay_ms [$__auto]) by (service_name)",
        kind="time",
        unit="ms",
        legend="{{service_name}}",
    ),
    Show(
        "Queues",
        "What waits in each collector, in bytes.",
        "sum by (instance, exporter) (otelcol_exporter_queue_size)",
        kind="time",
        unit="bytes",
        legend="{{instance}} {{exporter}}",
        source=PROMETHEUS,
    ),
    Show(
        "Records sent",
        "By each collector, a second.",
        "sum by (instance, exporter) (rate(otelcol_exporter_sent_log_records[$__rate_interval]))",
        kind="time",
        unit="cps",
        legend="{{instance}} {{exporter}}",
        source=PROMETHEUS,
    ),
]

DASHBOARDS: Final = {
    "hub-activity": ("Hub activity", HUB_ACTIVITY),
    "server-events": ("Server events", SERVER_EVENTS),
    "pipeline-health": ("Pipeline health", PIPELINE_HEALTH),
}


def build(name: str) -> str:
    """Return a dashboard as JSON."""
    title, shows = DASHBOARDS[name]
    built = (
        dashboard.Dashboard(title)
        .uid(f"jupyter-{name}")
        .tags(["jupyter"])
        .time("now-24h", "now")
        .refresh("1m")
        .timezone("browser")
    )
    for show in shows:
        built = built.with_panel(show.panel())
    return json.dumps(_without_none(json.loads(JSONEncoder().encode(built.build()))), indent=2, sort_keys=True) + "\n"


def _without_none(value: Any) -> Any:
    """Leave out what the types have and nobody has set."""
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    for each in DASHBOARDS:
        (FOLDER / f"{each}.json").write_text(build(each), encoding="utf-8")
