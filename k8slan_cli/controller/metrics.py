"""What the controller counts, in Prometheus' terms: read when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from k8slan_cli.kube.status import CONDITIONS

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
        yield GaugeMetricFamily("k8slan_leader", "Whether this controller leads.", int(self.election.leading))
        yield GaugeMetricFamily("k8slan_lans", "LANs in the cluster.", len(world.lans))
        yield self._conditions()
        yield GaugeMetricFamily(
            "k8slan_nads", "NetworkAttachmentDefinitions of LANs, as the leader sees.", len(world.nads)
        )
        yield GaugeMetricFamily("k8slan_pods", "Pods that use LANs, as the leader sees.", len(world.pods))
        requests = CounterMetricFamily(
            "k8slan_api_requests", "Requests to the API server; code 0: no answer.", labels=("method", "code")
        )
        for (method, code), count in sorted(self.client.counts.items()):
            requests.add_metric((method, str(code)), count)
        yield requests
        actions = CounterMetricFamily("k8slan_actions", "Actions on objects.", labels=("action", "result"))
        for labels, count in sorted(self.loop.done.items()):
            actions.add_metric(labels, count)
        yield actions
        if self.webhook:
            reviews = CounterMetricFamily("k8slan_webhook_reviews", "Reviews answered.", labels=("verdict",))
            for verdict, count in sorted(self.webhook.verdicts.items()):
                reviews.add_metric((verdict,), count)
            yield reviews
        if (expires := self.expires()) is not None:
            yield GaugeMetricFamily(
                "k8slan_webhook_certificate_expires_seconds", "When the webhook's certificate runs out.", expires
            )

    def _conditions(self) -> Metric:
        """LANs by condition, from what is written of them: the same with every controller."""
        found = GaugeMetricFamily("k8slan_lan_conditions", "LANs of which a condition is true.", labels=("condition",))
        conditions = [c for lan in self.loop.world.lans.values() for c in lan.status.conditions]
        for kind in CONDITIONS:
            found.add_metric((kind,), sum(1 for c in conditions if c.type == kind and c.status))
        return found
