"""The list of metrics (plan/metrics.py) as a reference, as a dashboard for Grafana and as rules for Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import yaml

from k8slan_cli.plan import metrics
from k8slan_cli.plan.metrics import Alert, MetricInfo

_PROGRAMS = (
    ("Agents", "node-agent", metrics.AGENT),
    ("Controller", "controller", metrics.CONTROLLER),
)
_DASHBOARD_VERSION = 39  # the schema of Grafana 10 and 11, which newer ones read
_WIDTH, _HEIGHT = 12, 8  # of 24 columns
_SOURCE = {"type": "prometheus", "uid": "${source}"}


def reference() -> str:
    """All metrics and alerts as Markdown."""
    lines = [
        "# Metrics",
        "",
        "What agents and controllers count, in Prometheus' terms, at `/metrics` of their HTTP ports (9402 at each",
        "node's loopback address, 9404 in the controller's pods). `k8slan install --service-monitor` has the",
        "Prometheus operator read them. Made by `k8slan render metrics`; from the same list are the",
        "[dashboard](dashboard.json) for Grafana (`k8slan render dashboard`) and the [rules](alerts.yaml)",
        "(`k8slan render alerts`).",
    ]
    for title, program, found in _PROGRAMS:
        lines += ["", f"## {title}", "", f"`k8slan {program}` tells:", "", "| metric | kind | labels | what |"]
        lines += ["|---|---|---|---|", *map(_row, found)]
    lines += ["", "## Alerts", "", "| alert | for | when | what to do |", "|---|---|---|---|"]
    lines += [
        f"| `{alert.name}` | {alert.after} | `{alert.when.replace('|', chr(92) + '|')}` | {alert.then} |"
        for alert in _alerts()
    ]
    return "\n".join(lines) + "\n"


def _row(metric: MetricInfo) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.read_as}` | {metric.kind} | {labels} | {metric.text} |"


def _alerts() -> Iterable[Alert]:
    return (alert for _, _, found in _PROGRAMS for metric in found for alert in metric.alerts)


def alerts() -> str:
    """The rules, as a file that ``promtool check rules`` takes; a PrometheusRule has them as its ``spec``."""
    rules = [
        {
            "alert": alert.name,
            "expr": alert.when,
            "for": alert.after,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "description": f"What to do: {alert.then}."},
        }
        for alert in _alerts()
    ]
    head = "# Made by `k8slan render alerts` from the list of metrics.\n"
    return head + yaml.safe_dump({"groups": [{"name": "k8slan", "rules": rules}]}, sort_keys=False, width=110)


def dashboard() -> str:
    """A dashboard for Grafana, as JSON to import; which Prometheus it reads is chosen there."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, _, found in _PROGRAMS:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "gridPos": {"x": 0, "y": top, "w": 24, "h": 1},
                "collapsed": False,
                "panels": [],
            }
        )
        top += 1
        shown = [metric for metric in found if metric.graph]
        for number, metric in enumerate(shown):
            place = {"x": number % 2 * _WIDTH, "y": top + number // 2 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
            panels.append(_panel(metric, len(panels) + 1, place))
        top += (len(shown) + 1) // 2 * _HEIGHT
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    whole = {
        "uid": "k8slan",
        "title": "k8slan",
        "tags": ["k8slan"],
        "schemaVersion": _DASHBOARD_VERSION,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels,
    }
    return json.dumps(whole, indent=1) + "\n"


def _panel(metric: MetricInfo, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": metric.text.rstrip("."),
        "description": metric.read_as,
        "gridPos": place,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": metric.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [{"refId": "A", "datasource": _SOURCE, "expr": metric.graph, "legendFormat": metric.legend}],
    }
