"""What the controller counts, in Prometheus' terms: read when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from k8slan_cli.kube.status import CONDITIONS

if TYPE_CHECKING:
    from k8slan_cli.controller.run import Controller


def registry(controller: Controller, expires: Callable[[], float | None]) -> CollectorRegistry:
    """The metrics of a controller; ``expires`` is when the webhook's certificate runs out, in seconds since 1970."""
    found = CollectorRegistry()
    found.register(_State(controller, expires))
    return found


class _State(Collector):
    def __init__(self, controller: Controller, expires: Callable[[], float | None]) -> None:
        self._controller = controller
        self._expires = expires

    def collect(self) -> Iterator[Metric]:
        controller = self._controller
        world = controller.world
        yield GaugeMetricFamily("k8slan_leader", "Whether this controller leads.", int(controller.election.leading))
        yield GaugeMetricFamily("k8slan_lans", "LANs in the cluster.", len(world.lans))
        yield self._conditions()
        yield GaugeMetricFamily(
            "k8slan_nads", "NetworkAttachmentDefinitions of LANs, as the leader sees.", len(world.nads)
        )
        yield GaugeMetricFamily("k8slan_pods", "Pods that use LANs, as the leader sees.", len(world.pods))
        requests = CounterMetricFamily(
            "k8slan_api_requests", "Requests to the API server; code 0: no answer.", labels=("method", "code")
        )
        for (method, code), count in sorted(controller.client.counts.items()):
            requests.add_metric((method, str(code)), count)
        yield requests
        actions = CounterMetricFamily("k8slan_actions", "Actions on objects.", labels=("action", "result"))
        for labels, count in sorted(controller.loop.done.items()):
            actions.add_metric(labels, count)
        yield actions
        if controller.webhook:
            reviews = CounterMetricFamily("k8slan_webhook_reviews", "Reviews answered.", labels=("verdict",))
            for verdict, count in sorted(controller.webhook.verdicts.items()):
                reviews.add_metric((verdict,), count)
            yield reviews
        if (expires := self._expires()) is not None:
            yield GaugeMetricFamily(
                "k8slan_webhook_certificate_expires_seconds", "When the webhook's certificate runs out.", expires
            )

    def _conditions(self) -> Metric:
        """LANs by condition, from what is written of them: the same with every controller."""
        found = GaugeMetricFamily("k8slan_lan_conditions", "LANs of which a condition is true.", labels=("condition",))
        conditions = [c for lan in self._controller.world.lans.values() for c in lan.status.conditions]
        for kind in CONDITIONS:
            found.add_metric((kind,), sum(1 for c in conditions if c.type == kind and c.status))
        return found
