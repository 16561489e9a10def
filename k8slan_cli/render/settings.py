"""What an installation may choose, with the defaults of a plain Kubernetes. Values only.

Each field is an option of ``k8slan render`` and ``k8slan install`` as well; its help is written beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_network
from pathlib import PurePosixPath

from k8slan_cli import __version__
from k8slan_cli.errors import Invalid, Problem
from k8slan_cli.lan import names, vnis
from k8slan_cli.lan.names import Forms
from k8slan_cli.lan.resources import MAX_PODS, MAX_RESOURCES

Pairs = tuple[tuple[str, str], ...]

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
LOG_LEVELS = ("debug", "info", "warning", "error")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
RESOURCES = ("cpu", "memory", "ephemeral-storage")
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|[KMGTPE]i?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """A toleration of a pod; without a key it tolerates every taint, without a value any of the key's."""

    key: str = ""
    value: str = ""
    effect: str = ""

    def __str__(self) -> str:
        return f"{self.key}{'=' + self.value if self.value else ''}:{self.effect}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The least and the greatest number that a setting may be."""

    least: int
    most: int

    def fault(self, number: int) -> str:
        """What is wrong with a number; empty if nothing is."""
        return "" if self.least <= number <= self.most else f"{number} is not in {self.least}..{self.most}"


_PORTS = Bounds(least=1024, most=65535)


def _setting(
    help_text: str, *, bounds: Bounds | None = None, choices: tuple[str, ...] = ()
) -> dict[str, str | Bounds | tuple[str, ...]]:
    """Return a field's metadata: its help, and what it may be, as numbers or texts."""
    return {"help": help_text} | ({"bounds": bounds} if bounds else {}) | ({"choices": choices} if choices else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One installation of k8slan."""

    image: str = field(
        default=f"localhost/k8slan:{__version__}", metadata=_setting("Image of controller and node agent.")
    )
    pull_policy: str = field(
        default="IfNotPresent",
        metadata=_setting(f"When nodes pull it: {', '.join(PULL_POLICIES)}.", choices=PULL_POLICIES),
    )
    pull_secrets: tuple[str, ...] = field(default=(), metadata=_setting("Secret to pull the image with; repeatable."))
    namespace: str = field(default="k8slan-system", metadata=_setting("Namespace of k8slan itself."))
    kubelet_dir: str = field(
        default="/var/lib/kubelet", metadata=_setting("The kubelet's folder on the nodes: device-plugins is below.")
    )
    cni_bin_dir: str = field(
        default="/opt/cni/bin", metadata=_setting("Folder on the nodes where the container runtime finds CNI plugins.")
    )
    replicas: int = field(
        default=1, metadata=_setting("Controllers; one leads, the others stand by.", bounds=Bounds(least=1, most=16))
    )
    log_level: str = field(
        default="info", metadata=_setting(f"Of controller and agents: {', '.join(LOG_LEVELS)}.", choices=LOG_LEVELS)
    )
    node_selector: Pairs = field(
        default=(("kubernetes.io/os", "linux"),), metadata=_setting("Nodes that get an agent, by their labels.")
    )
    agent_tolerations: tuple[Toleration, ...] = field(
        default=(Toleration(),),
        metadata=_setting("Taint the agent tolerates, [key[=value]][:effect]; ':' is every."),
    )
    controller_tolerations: tuple[Toleration, ...] = field(
        default=(Toleration(key="node-role.kubernetes.io/control-plane", effect="NoSchedule"),),
        metadata=_setting("Taint the controller tolerates."),
    )
    agent_requests: Pairs = field(
        default=(("cpu", "100m"), ("memory", "64Mi")), metadata=_setting("Resources reserved for each agent.")
    )
    agent_limits: Pairs = field(default=(("memory", "512Mi"),), metadata=_setting("The most each agent may use."))
    controller_requests: Pairs = field(
        default=(("cpu", "10m"), ("memory", "64Mi")), metadata=_setting("Resources reserved for each controller.")
    )
    controller_limits: Pairs = field(
        default=(("memory", "1Gi"),), metadata=_setting("The most each controller may use.")
    )
    names: str = field(
        default=Forms.SHORT.value,
        metadata=_setting(
            f"Names of NADs and resources, without or with the LAN's: {', '.join(Forms)} (costs twice).",
            choices=tuple(Forms),
        ),
    )
    max_resources: int = field(
        default=MAX_RESOURCES,
        metadata=_setting(
            "Resources that nodes offer at the most; further spokes have none.", bounds=Bounds(least=0, most=12000)
        ),
    )
    max_pods: int = field(
        default=MAX_PODS,
        metadata=_setting("Pods that a node takes, the kubelet's maxPods.", bounds=Bounds(least=1, most=1000)),
    )
    vni_range: str = field(
        default=vnis.shown(vnis.DEFAULT_VNIS),
        metadata=_setting("VNIs, FIRST-LAST, of which a LAN gets one that names none."),
    )
    agent_metrics_port: int = field(
        default=9402, metadata=_setting("TCP port of each agent's metrics and health, on its node.", bounds=_PORTS)
    )
    agent_diagnostics_port: int = field(
        default=9403,
        metadata=_setting("TCP port of each agent's diagnostics, on its node's loopback address.", bounds=_PORTS),
    )
    controller_metrics_port: int = field(
        default=9404, metadata=_setting("TCP port of the controller's metrics and health, in its pod.", bounds=_PORTS)
    )
    webhook_port: int = field(
        default=9443, metadata=_setting("TCP port of the controller's webhook, in its pod.", bounds=_PORTS)
    )
    webhook: bool = field(default=True, metadata=_setting("Refuse bad and clashing LANs when they are written."))
    network_policy: bool = field(
        default=True,
        metadata=_setting("Limit who reaches the controller; network plugins that know no policies do not."),
    )
    api_servers: tuple[str, ...] = field(
        default=(),
        metadata=_setting(
            "Network that the API server calls the webhook from, ADDRESS/LENGTH; repeatable (default: any)."
        ),
    )
    metrics_namespaces: tuple[str, ...] = field(
        default=(),
        metadata=_setting("Namespace whose pods may read the controller's metrics; repeatable (default: all)."),
    )
    service_monitor: bool = field(
        default=False, metadata=_setting("Add ServiceMonitors, and serve the agents' metrics on the node's address.")
    )


DISTRIBUTIONS: dict[str, dict[str, str]] = {
    "kubernetes": {},
    "k0s": {},
    "k3s": {"cni_bin_dir": "/var/lib/rancher/k3s/data/cni"},
    "microk8s": {"cni_bin_dir": "/var/snap/microk8s/current/opt/cni/bin"},
    "openshift": {"cni_bin_dir": "/var/lib/cni/bin"},
    "rke2": {},
}
"""What differs from the defaults where.

k3s has this folder for CNI plugins since its releases of October 2024; older ones change it with each release and need
``--cni-bin-dir``. The folder for device plugins is built into the kubelet, /var/lib/kubelet/device-plugins, so that it
is the same even where ``--root-dir`` differs, as in k0s; MicroK8s has a link there. ``--kubelet-dir`` is for a kubelet
that runs in a container of its own.
"""


def preset(distribution: str) -> Settings:
    """The settings for a distribution of Kubernetes.

    Raises:
        Invalid: it is none of ``DISTRIBUTIONS``.

    """
    if distribution not in DISTRIBUTIONS:
        text = f"{distribution!r} is none of {', '.join(DISTRIBUTIONS)}"
        raise Invalid("settings", (Problem(field="--distribution", message=text),))
    return replace(Settings(), **DISTRIBUTIONS[distribution])  # type: ignore[arg-type]  # all of them are text


def check(settings: Settings) -> Settings:
    """The same settings.

    Raises:
        Invalid: with every setting that cannot work, by the name of its option.

    """
    if problems := tuple(_problems(settings)):
        raise Invalid("settings", problems)
    return settings


def _problems(settings: Settings) -> Iterator[Problem]:
    def complain(name: str, fault: str) -> Iterator[Problem]:
        if fault:
            yield Problem(field=option(name), message=fault)

    yield from complain("namespace", names.label_fault(settings.namespace))
    bad_image = not settings.image or any(c.isspace() or not c.isprintable() for c in settings.image)
    yield from complain("image", f"{settings.image!r} is not an image" if bad_image else "")
    for secret in settings.pull_secrets:
        yield from complain("pull_secrets", names.subdomain_fault(secret))
    for namespace in settings.metrics_namespaces:
        yield from complain("metrics_namespaces", names.label_fault(namespace))
    for network in settings.api_servers:
        yield from complain("api_servers", _network_fault(network))
    for name in ("kubelet_dir", "cni_bin_dir"):
        yield from complain(name, _folder_fault(getattr(settings, name)))
    for name, known in CHOICES.items():
        found = getattr(settings, name)
        yield from complain(name, "" if found in known else f"{found!r} is none of {', '.join(known)}")
    for name, bounds in BOUNDS.items():
        yield from complain(name, bounds.fault(getattr(settings, name)))
    try:
        vnis.parse(settings.vni_range)
    except ValueError as error:
        yield from complain("vni_range", str(error))
    for one, other in DIFFERENT:
        first, second = getattr(settings, one), getattr(settings, other)
        yield from complain(other, f"{second} is that of {option(one)}" if first == second else "")
    for name in ("agent_requests", "agent_limits", "controller_requests", "controller_limits"):
        for key, amount in getattr(settings, name):
            fits = key in RESOURCES and bool(QUANTITY.fullmatch(amount))
            yield from complain(name, "" if fits else f"{key}={amount} is not like cpu=10m or memory=64Mi")
    for name in ("agent_tolerations", "controller_tolerations"):
        for toleration in getattr(settings, name):
            fits = toleration.effect in ("", *EFFECTS)
            yield from complain(name, "" if fits else f"{toleration.effect!r} is none of {', '.join(EFFECTS)}")


def _folder_fault(path: str) -> str:
    pure = PurePosixPath(path)
    plain = path.isprintable() and ".." not in pure.parts and ":" not in path
    return "" if pure.is_absolute() and plain and len(pure.parts) > 1 else f"{path!r} is not an absolute folder"


def _network_fault(text: str) -> str:
    try:
        return "" if str(ip_network(text)) == text else f"{text!r} is to be written {ip_network(text)}"
    except ValueError:
        return f"{text!r} is not a network: 192.0.2.0/24, or 192.0.2.1/32 for one address"


def option(name: str) -> str:
    """The option of a field."""
    return "--" + name.replace("_", "-").removesuffix("s" if name in REPEATED else "")


REPEATED = ("pull_secrets", "agent_tolerations", "controller_tolerations", "api_servers", "metrics_namespaces")
"""Fields whose option may be given several times, once for each of them."""

METAVARS = {
    "port": "PORT",
    "tolerations": "TAINT",
    "requests": "NAME=AMOUNT,…",
    "limits": "NAME=AMOUNT,…",
    "dir": "FOLDER",
    "namespace": "NAME",
    "namespaces": "NAME",
    "secrets": "NAME",
    "servers": "NETWORK",
    "range": "FIRST-LAST",
    "resources": "N",
    "pods": "N",
    "replicas": "N",
    "policy": "WHEN",
    "level": "LEVEL",
    "selector": "KEY=VALUE,…",
    "names": "|".join(Forms),
}
"""What help calls the value of a field, by the last word of the field's name."""

DIFFERENT = (("agent_metrics_port", "agent_diagnostics_port"), ("controller_metrics_port", "webhook_port"))
"""Ports of one program, which may not be the same."""

HELP: dict[str, str] = {f.name: f.metadata["help"] for f in fields(Settings)}
CHOICES: dict[str, tuple[str, ...]] = {
    f.name: f.metadata["choices"] for f in fields(Settings) if "choices" in f.metadata
}
BOUNDS: dict[str, Bounds] = {f.name: f.metadata["bounds"] for f in fields(Settings) if "bounds" in f.metadata}


def pairs(text: str) -> Pairs:
    """Read ``key=value,key=value``; empty text is no pair at all.

    Raises:
        ValueError: a part has no ``=``.

    """
    found = [part.partition("=") for part in text.split(",") if part]
    if any(not key or not equals for key, equals, _ in found):
        raise ValueError(f"{text!r} is not key=value,key=value")
    return tuple((key, value) for key, _, value in found)


def toleration(text: str) -> Toleration:
    """Read ``[key[=value]][:effect]``, as ``kubectl taint`` writes taints; ``:`` tolerates every taint."""
    taint, _, effect = text.rpartition(":") if ":" in text else (text, "", "")
    key, _, value = taint.partition("=")
    return Toleration(key=key, value=value, effect=effect)
