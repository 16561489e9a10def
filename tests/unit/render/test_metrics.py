"""The list of metrics: what programs tell is what is documented, drawn and watched."""

from __future__ import annotations

import json
import re
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from k8slan_cli.agent.metrics import Metrics
from k8slan_cli.controller.metrics import registry
from k8slan_cli.plan import metrics
from k8slan_cli.render import metrics as render
from tests.unit.render.command import call


def told(found: CollectorRegistry) -> dict[str, tuple[str, str]]:
    return {family.name: (family.type, family.documentation) for family in found.collect()}


def listed(*found: metrics.MetricInfo) -> dict[str, tuple[str, str]]:
    return {metric.name: (metric.kind.value, metric.text) for metric in found}


def test_an_agent_tells_what_is_listed() -> None:
    some: Any = SimpleNamespace(
        loops={},
        lans=SimpleNamespace(all=list, refused=()),
        attachments=type("Attachments", (list,), {"lans": lambda _: ()})(),
        observers=[],
    )
    assert told(Metrics(some).registry) == listed(*metrics.AGENT)


class Part:
    """All that a controller's metrics are read from."""

    def __init__(self) -> None:
        self.world = SimpleNamespace(lans={}, nads={}, vteps={})
        self.done = Counter({("a", "b"): 1})
        self.counts = Counter({("GET", 200): 1})
        self.leading = True
        self.verdicts = Counter({"allowed": 1})


def test_a_controller_tells_what_is_listed() -> None:
    part: Any = Part()
    assert told(registry(part, part, part, part, lambda: 1.0)) == listed(*metrics.CONTROLLER)


def test_every_expression_is_about_metrics_that_there_are() -> None:
    known = {metric.read_as for metric in (*metrics.AGENT, *metrics.CONTROLLER)}
    known |= {f"{metrics.CNI_SECONDS.name}_bucket"}
    panels = [panel for panel in json.loads(render.dashboard())["panels"] if panel["type"] != "row"]
    rules = yaml.safe_load(render.alerts())["groups"][0]["rules"]
    expressions = [panel["targets"][0]["expr"] for panel in panels] + [rule["expr"] for rule in rules]
    named = {name for text in expressions for name in re.findall(r"k8slan_[a-z_]+", text)}
    assert named <= known
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({rule["alert"] for rule in rules}) == len(rules)


@pytest.mark.parametrize("what", ["metrics", "dashboard", "alerts"])
def test_it_can_be_rendered(what: str) -> None:
    assert "k8slan_attachments" in call("render", what).stdout or what == "alerts"
