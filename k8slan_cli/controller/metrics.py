"""What the controller counts, in Prometheus' terms: read when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from k8slan_cli.kube.status import CONDITIONS
from k8slan_cli.plan import metrics

if TYPE_CHECKING:
    from k8slan_cli.controller.loop import Loop
    from k8slan_cli.controller.webhook import Webhook
    from k8slan_cli.kube.client import Client
    from k8slan_cli.kube.lease import Election


def registry(
    client: Client, election: Election, loop: Loop, webhook: Webhook | None, expires: Callable[[], float | None]
) -> CollectorRegistry:
    """The metrics of a controller's parts; ``expires`` is when the webhook's certificate runs out, None for never."""
    found = CollectorRegistry()
    found.register(_State(client, election, loop, webhook, expires))
    return found


@dataclass(frozen=True, slots=True)
class _State(Collector):
    client: Client
    election: Election
    loop: Loop
    webhook: Webhook | None
    expires: Callable[[], float | None]

    def collect(self) -> Iterator[Metric]:
        world = self.loop.world
        yield _gauge(metrics.LEADER, int(self.election.leading))
        yield _gauge(metrics.LANS, len(world.lans))
        yield self._conditions()
        yield _gauge(metrics.NADS, len(world.nads))
        yield _gauge(metrics.VTEPS, len(world.vteps))
        yield _counter(metrics.API_REQUESTS, self.client.counts.items())
        yield _counter(metrics.ACTIONS, self.loop.done.items())
        if self.webhook:
            yield _counter(metrics.REVIEWS, (((verdict,), n) for verdict, n in self.webhook.verdicts.items()))
        if (expires := self.expires()) is not None:
            yield _gauge(metrics.CERTIFICATE, expires)

    def _conditions(self) -> Metric:
        """LANs by condition, from what is written of them: the same with every controller."""
        info = metrics.CONDITIONS
        found = GaugeMetricFamily(info.name, info.text, labels=info.labels)
        conditions = [c for lan in self.loop.world.lans.values() for c in lan.status.conditions]
        for kind in CONDITIONS:
            found.add_metric((kind,), sum(1 for c in conditions if c.type == kind and c.status))
        return found


def _gauge(info: metrics.MetricInfo, value: float) -> Metric:
    return GaugeMetricFamily(info.name, info.text, value)


def _counter(info: metrics.MetricInfo, counts: Iterable[tuple[tuple[object, ...], int]]) -> Metric:
    found = CounterMetricFamily(info.name, info.text, labels=info.labels)
    for labels, count in sorted((tuple(map(str, labels)), count) for labels, count in counts):
        found.add_metric(labels, count)
    return found
