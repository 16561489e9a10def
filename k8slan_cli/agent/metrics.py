"""What the agent counts, in Prometheus' terms."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.loop import LanLoop


class Metrics:
    """The agent's registry, and where numbers come in."""

    def __init__(self, agent: Agent) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "k8slan_cni_requests", "CNI requests answered; code 0 is success.", ("verb", "code"), registry=self.registry
        )
        self._seconds = Histogram(
            "k8slan_cni_request_seconds",
            "Time from the connection of a CNI client to its answer.",
            ("verb",),
            buckets=(0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 1, 4, 16, 60),
            registry=self.registry,
        )
        self._operations = Counter(
            "k8slan_operations", "Operations on the node.", ("operation", "result"), registry=self.registry
        )
        self.registry.register(_State(agent))
        agent.observers.append(self._after_pass)

    def answered(self, verb: str, code: int, seconds: float) -> None:
        """Count a CNI request."""
        known = verb if verb in ("ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION") else "invalid"
        self._requests.labels(known, str(code)).inc()
        self._seconds.labels(known).observe(seconds)

    def _after_pass(self, loop: LanLoop) -> None:
        if loop.outcome:
            failed = {id(operation) for operation, _ in loop.outcome.failures}
            for operation in loop.outcome.operations:
                result = "failed" if id(operation) in failed else "done"
                self._operations.labels(type(operation).__name__, result).inc()


class _State(Collector):
    """Read when asked: what there is now."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self) -> Iterator[Metric]:
        agent = self._agent
        loops = list(agent.loops.values())
        degraded = sum(1 for loop in loops if loop.lan and loop.outcome and loop.outcome.trouble)
        yield GaugeMetricFamily("k8slan_lans", "LANs known.", len(agent.lans.all()))
        yield GaugeMetricFamily("k8slan_lans_refused", "LANs that clash with another.", len(agent.lans.refused))
        yield GaugeMetricFamily("k8slan_lans_degraded", "LANs in trouble on this node.", degraded)
        yield GaugeMetricFamily(
            "k8slan_lans_local", "LANs with attachments on this node.", len(agent.attachments.lans())
        )
        yield GaugeMetricFamily("k8slan_attachments", "Attachments on this node.", len(agent.attachments))
