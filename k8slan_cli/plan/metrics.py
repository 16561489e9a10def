"""Every metric of the agent and the controller, what it is good for on a dashboard, and when it should wake somebody.

One list: the programs take names, descriptions and labels from here; ``k8slan render metrics``, ``dashboard`` and
``alerts`` print it as a reference, for Grafana and for Prometheus.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class MetricKind(enum.StrEnum):
    """Prometheus' kinds; a counter's name ends with ``_total`` where it is read."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """When a metric wants attention: ``when`` is PromQL that holds ``after`` so long, ``then`` what to do."""

    name: str
    when: str
    after: str
    summary: str
    then: str
    severity: str = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricInfo:
    """A metric; ``graph`` is PromQL for a dashboard with the ``legend`` of a line, "" if it is on none.

    ``unit`` is Grafana's name of it.
    """

    name: str
    kind: MetricKind
    text: str
    labels: tuple[str, ...] = ()
    graph: str = ""
    legend: str = ""
    unit: str = "short"
    alerts: tuple[Alert, ...] = ()

    @property
    def read_as(self) -> str:
        """The name in PromQL."""
        return self.name + "_total" * (self.kind is MetricKind.COUNTER)


_COUNTER, _GAUGE, _HISTOGRAM = MetricKind

CNI_REQUESTS = MetricInfo(
    name="k8slan_cni_requests",
    kind=_COUNTER,
    text="CNI requests answered; code 0 is success.",
    labels=("verb", "code"),
    graph='sum by (verb, code) (rate(k8slan_cni_requests_total{verb=~"ADD|DEL"}[5m]))',
    legend="{{verb}} {{code}}",
    unit="reqps",
    alerts=(
        Alert(
            name="K8slanAttachFails",
            when='sum by (instance) (increase(k8slan_cni_requests_total{verb="ADD",code!="0"}[10m])) > 0',
            after="10m",
            summary="Pods fail to attach on {{ $labels.instance }}.",
            then="k8slan doctor names the pods that wait, and why",
        ),
    ),
)
CNI_SECONDS = MetricInfo(
    name="k8slan_cni_request_seconds",
    kind=_HISTOGRAM,
    text="Time from the connection of a CNI client to its answer.",
    labels=("verb",),
    graph="histogram_quantile(0.99, sum by (le, verb) (rate(k8slan_cni_request_seconds_bucket[5m])))",
    legend="{{verb}}, 99 %",
    unit="s",
    alerts=(
        Alert(
            name="K8slanAttachSlow",
            when='histogram_quantile(0.9, sum by (le) (rate(k8slan_cni_request_seconds_bucket{verb="ADD"}[10m]))) > 4',
            after="15m",
            summary="One in ten attachments takes more than 4 s.",
            then="look for nodes whose agent or kernel is overloaded; k8slan doctor",
        ),
    ),
)
OPERATIONS = MetricInfo(
    name="k8slan_operations",
    kind=_COUNTER,
    text="Operations on the node.",
    labels=("operation", "result"),
    graph="sum by (operation, result) (rate(k8slan_operations_total[5m]))",
    legend="{{operation}} {{result}}",
    unit="ops",
    alerts=(
        Alert(
            name="K8slanOperationsFail",
            when='sum by (instance, operation) (increase(k8slan_operations_total{result="failed"}[10m])) > 0',
            after="15m",
            summary="{{ $labels.operation }} fails again and again on {{ $labels.instance }}.",
            then="see the log of the node's agent, and k8slan doctor",
        ),
    ),
)
AGENT_LANS = MetricInfo(name="k8slan_lans", kind=_GAUGE, text="LANs known.")
LANS_REFUSED = MetricInfo(name="k8slan_lans_refused", kind=_GAUGE, text="LANs that clash with another.")
LANS_DEGRADED = MetricInfo(
    name="k8slan_lans_degraded",
    kind=_GAUGE,
    text="LANs in trouble on this node.",
    graph="k8slan_lans_degraded",
    legend="{{instance}}",
    alerts=(
        Alert(
            name="K8slanNodeDegraded",
            when="k8slan_lans_degraded > 0",
            after="5m",
            summary="{{ $value }} LANs are in trouble on {{ $labels.instance }}.",
            then="k8slan lan inspect NAME says what is wrong with a LAN",
        ),
    ),
)
LANS_LOCAL = MetricInfo(
    name="k8slan_lans_local",
    kind=_GAUGE,
    text="LANs with attachments on this node.",
    graph="k8slan_lans_local",
    legend="{{instance}}",
)
ATTACHMENTS = MetricInfo(
    name="k8slan_attachments",
    kind=_GAUGE,
    text="Attachments on this node.",
    graph="k8slan_attachments",
    legend="{{instance}}",
)

AGENT = (CNI_REQUESTS, CNI_SECONDS, OPERATIONS, AGENT_LANS, LANS_REFUSED, LANS_DEGRADED, LANS_LOCAL, ATTACHMENTS)
"""What each node's agent tells."""

LEADER = MetricInfo(
    name="k8slan_leader",
    kind=_GAUGE,
    text="Whether this controller leads.",
    graph="k8slan_leader",
    legend="{{pod}}",
    alerts=(
        Alert(
            name="K8slanNoLeader",
            when="(sum(k8slan_leader) or vector(0)) < 1",
            after="5m",
            summary="No controller of k8slan leads: NADs and LAN status are not being updated.",
            then="kubectl -n k8slan-system get pods; k8slan doctor",
            severity="critical",
        ),
    ),
)
LANS = MetricInfo(name="k8slan_lans", kind=_GAUGE, text="LANs in the cluster.")
CONDITIONS = MetricInfo(
    name="k8slan_lan_conditions",
    kind=_GAUGE,
    text="LANs of which a condition is true.",
    labels=("condition",),
    graph="max by (condition) (k8slan_lan_conditions)",
    legend="{{condition}}",
    alerts=(
        Alert(
            name="K8slanLanDegraded",
            when='max by (condition) (k8slan_lan_conditions{condition=~"Degraded|Conflict"}) > 0',
            after="10m",
            summary="{{ $value }} LANs are {{ $labels.condition }}.",
            then="k8slan status names them",
        ),
    ),
)
NADS = MetricInfo(name="k8slan_nads", kind=_GAUGE, text="NetworkAttachmentDefinitions of LANs, as the leader sees.")
VTEPS = MetricInfo(
    name="k8slan_vteps",
    kind=_GAUGE,
    text="VTEPs of all LANs and nodes, as the leader sees.",
    graph="max(k8slan_vteps)",
    legend="VTEPs",
)
API_REQUESTS = MetricInfo(
    name="k8slan_api_requests",
    kind=_COUNTER,
    text="Requests to the API server; code 0: no answer.",
    labels=("method", "code"),
    graph="sum by (method, code) (rate(k8slan_api_requests_total[5m]))",
    legend="{{method}} {{code}}",
    unit="reqps",
    alerts=(
        Alert(
            name="K8slanApiErrors",
            when='sum(rate(k8slan_api_requests_total{code=~"0|403|5.."}[10m])) > 0.1',
            after="15m",
            summary="Requests of the controller to the API server fail.",
            then="see the controller's log; after an upgrade, k8slan install renews its rights",
        ),
    ),
)
ACTIONS = MetricInfo(
    name="k8slan_actions",
    kind=_COUNTER,
    text="Actions on objects.",
    labels=("action", "result"),
    graph="sum by (action, result) (rate(k8slan_actions_total[5m]))",
    legend="{{action}} {{result}}",
    unit="ops",
)
REVIEWS = MetricInfo(
    name="k8slan_webhook_reviews",
    kind=_COUNTER,
    text="Reviews answered.",
    labels=("verdict",),
    graph="sum by (verdict) (rate(k8slan_webhook_reviews_total[5m]))",
    legend="{{verdict}}",
    unit="reqps",
)
CERTIFICATE = MetricInfo(
    name="k8slan_webhook_certificate_expires_seconds",
    kind=_GAUGE,
    text="When the webhook's certificate runs out.",
    graph="min(k8slan_webhook_certificate_expires_seconds) - time()",
    legend="time left",
    unit="s",
    alerts=(
        Alert(
            name="K8slanWebhookCertificate",
            when="min(k8slan_webhook_certificate_expires_seconds) - time() < 3 * 86400",
            after="1h",
            summary="The certificate of k8slan's webhook runs out within three days, and is not renewed.",
            then="see the log of the controller that leads",
        ),
    ),
)

CONTROLLER = (LEADER, LANS, CONDITIONS, NADS, VTEPS, API_REQUESTS, ACTIONS, REVIEWS, CERTIFICATE)
"""What a controller tells; the last two with the webhook."""
