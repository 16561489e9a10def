"""What the agent counts, in Prometheus' terms."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.loop import LanLoop
from k8slan_cli.plan import metrics


class Metrics:
    """The agent's registry, and where numbers come in."""

    def __init__(self, agent: Agent) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(*_told(metrics.CNI_REQUESTS), registry=self.registry)
        self._seconds = Histogram(
            *_told(metrics.CNI_SECONDS),
            buckets=(0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 1, 4, 16, 60),
            registry=self.registry,
        )
        self._operations = Counter(*_told(metrics.OPERATIONS), registry=self.registry)
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
        yield _gauge(metrics.AGENT_LANS, len(agent.lans.all()))
        yield _gauge(metrics.LANS_REFUSED, len(agent.lans.refused))
        yield _gauge(metrics.LANS_DEGRADED, degraded)
        yield _gauge(metrics.LANS_LOCAL, len(agent.attachments.lans()))
        yield _gauge(metrics.ATTACHMENTS, len(agent.attachments))


def _told(metric: metrics.MetricInfo) -> tuple[str, str, tuple[str, ...]]:
    return metric.name, metric.text, metric.labels


def _gauge(metric: metrics.MetricInfo, value: float) -> Metric:
    return GaugeMetricFamily(metric.name, metric.text, value)
