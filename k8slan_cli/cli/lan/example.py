"""``k8slan lan example``: manifests of pods, their controllers and VMs that are plugged into a LAN, ready to apply."""

from __future__ import annotations

import contextlib
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.exits import UsageError
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lan.output import yaml_text
from k8slan_cli.errors import AbsentError, K8slanError

if TYPE_CHECKING:
    from k8slan_cli.inventory.lans import Found
    from k8slan_cli.kube.apply import Cluster
    from k8slan_cli.lan.model import Lan

_IMAGE = "docker.io/library/busybox:stable"
_DISK = "quay.io/containerdisks/fedora:latest"
_TAKEN = ("lo", "eth0")  # interfaces that a pod has before it is on any LAN
_PORT = "lan"  # the name of the interface in a VM's manifest

Document = dict[str, Any]
_KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet"}


class Workload(enum.StrEnum):
    """What an example can be of."""

    POD = "pod"
    DEPLOYMENT = "deployment"
    STATEFULSET = "statefulset"
    VM = "vm"


@in_cluster
def example(
    here: Here,
    what: Annotated[
        Workload, typer.Argument(metavar="pod|deployment|statefulset|vm", help="What to plug in.", show_default=False)
    ],
    where: Annotated[
        str,
        typer.Argument(
            metavar="NAME/SPOKE",
            help="The LAN and its spoke, for a StatefulSet without -0, -1, …; only NAME for a dynamic LAN. "
            "NAMESPACE/ may stand before.",
            autocompletion=completion.places,
        ),
    ],
    interface: Annotated[str, typer.Option(metavar="NAME", help="Its interface in the pod (default: net1).")] = "",
    ip: Annotated[
        list[str] | None,
        typer.Option("--ip", metavar="ADDRESS/LENGTH", help="An address on the LAN for the pod; repeatable."),
    ] = None,
    image: Annotated[
        str, typer.Option(metavar="IMAGE", help=f"Its image; {_IMAGE}, or for a VM {_DISK}.", show_default=False)
    ] = "",
) -> None:
    """Print a manifest that is plugged into a LAN, to change and to apply with kubectl.

    Examples:
      k8slan lan example pod blue/router | kubectl apply -f -

      # With an address, on a dynamic LAN
      k8slan lan example deployment blue --ip 10.97.0.1/24
    """
    from k8slan_cli.inventory import lans

    found, spoke = _where(here, where)
    lan = lans.sound(found)
    socket = socket_of(lan, spoke, what)
    wanted = Wanted(interface=interface, ips=tuple(ip or ()), image=image)
    check(wanted, what, socket)
    if what is Workload.VM:
        document = vm(socket, wanted, _binding(here.cluster))
    else:
        makers = {Workload.POD: pod, Workload.DEPLOYMENT: deployment, Workload.STATEFULSET: stateful_set}
        document = makers[what](socket, wanted)
    typer.echo(yaml_text(document), nl=False)


def _where(here: Here, text: str) -> tuple[Found, str]:
    """The LAN and the spoke (or "") of ``LAN/SPOKE``; if there is no such LAN, of a ``LAN`` in all its forms.

    Raises:
        AbsentError: there is neither.

    """
    from k8slan_cli.inventory import lans

    def one(name: str) -> Found:
        there, name = here.lan(name)
        return lans.one(there.cluster, there.namespace, name)

    name, slash, spoke = text.rpartition("/")
    if not slash:
        return one(text), ""
    try:
        return one(name), spoke
    except AbsentError:
        with contextlib.suppress(K8slanError):  # what is wrong is that there is no LAN of the first form
            return one(text), ""
        raise


def _binding(cluster: Cluster) -> Document:
    """Return what a VM's interface says to be on a LAN, for the KubeVirt there is."""
    from k8slan_cli.kube import kubevirt
    from k8slan_cli.kube.client import ApiError

    try:
        return kubevirt.interface(kubevirt.every(cluster))
    except ApiError:  # this user may not see it, and may make VMs all the same
        return kubevirt.interface(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an example is to have: an interface of that name, addresses (``192.0.2.1/24``), an image; or none of it."""

    interface: str = ""
    ips: tuple[str, ...] = ()
    image: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where an example is plugged in: the NetworkAttachmentDefinition, and a name to call the example by."""

    namespace: str
    nad: str
    name: str
    replicas: int = 1
    """How many pods it takes, in an example."""


def socket_of(lan: Lan, spoke: str, what: Workload) -> Target:
    """The socket that a user means.

    Raises:
        AbsentError: the LAN has no such spoke.
        UsageError: this cannot be plugged in there.

    """
    from k8slan_cli.lan import names

    known = tuple(names.sets(lan.spokes)) if what is Workload.STATEFULSET else lan.spokes
    some = known[0] if known else "SPOKE"
    if not spoke:
        if not lan.dynamic:
            hint = f"name one: {lan.ref.name}/{some}"
            raise AbsentError(f"LAN {lan.ref} is not dynamic, so it takes a spoke", known=known, hint=hint)
        if what is Workload.VM:
            hint = f"add one: k8slan lan add-spoke {lan.ref} vm" if not lan.spokes else f"{lan.ref.name}/{some}"
            raise UsageError(f"a VM needs a spoke, and {lan.ref.name!r} names none", hint=hint)
        return Target(
            namespace=lan.ref.namespace, nad=names.lan_nad(lan.ref.name), name=_short(lan.ref.name), replicas=3
        )
    before = lan.forms.of(lan.ref.name)[0]
    if what is Workload.STATEFULSET:
        return _set_of(lan, spoke, before)
    if spoke not in lan.spokes:
        hint = f"add it: k8slan lan add-spoke {lan.ref} {spoke}"
        raise AbsentError(f"LAN {lan.ref} has no spoke {spoke!r}", name=spoke, known=lan.spokes, hint=hint)
    if what is Workload.VM and spoke not in lan.offered:
        raise UsageError(
            f"spoke {spoke} of LAN {lan.ref} is not for VMs", hint="spec.vmSpokes says which are: add it there"
        )
    if what is Workload.VM and spoke in lan.bare:
        able = [each for each in lan.offered if each not in lan.bare]
        raise UsageError(
            f"no VM can be on spoke {spoke} of LAN {lan.ref}, as nodes offer no more resources",
            hint=f"take {lan.ref.name}/{able[0]}" if able else "see --max-resources of k8slan install",
        )
    nad = names.mac_nad(spoke, before) if what is Workload.VM else names.veth_nad(spoke, before)
    return Target(namespace=lan.ref.namespace, nad=nad, name=_short(f"{lan.ref.name}-{spoke}"))


def _set_of(lan: Lan, name: str, before: str) -> Target:
    """The sockets of a StatefulSet's pods: the spokes ``<name>-0``, ``<name>-1``, … as far as they go without a gap.

    Raises:
        AbsentError: there is not even the first.

    """
    from itertools import count, takewhile

    from k8slan_cli.lan import names

    members = list(takewhile(lan.spokes.__contains__, (f"{name}-{number}" for number in count())))
    if not members:
        text = f"LAN {lan.ref} has no spoke '{name}-0', as the first pod of a StatefulSet needs"
        hint = f"add them: k8slan lan add-spoke {lan.ref} {name}-0 {name}-1 …"
        raise AbsentError(text, name=name, known=tuple(names.sets(lan.spokes)), hint=hint)
    nad = names.set_nad(name, before)
    return Target(namespace=lan.ref.namespace, nad=nad, name=_short(name), replicas=len(members))


def _short(name: str) -> str:
    """A name for a workload: pods of a Deployment have it with a tail, and all in 63 characters."""
    return name.replace(".", "-")[:40].rstrip("-")


def check(wanted: Wanted, what: Workload, socket: Target) -> None:
    """Say what cannot be had.

    Raises:
        UsageError: why not.

    """
    from ipaddress import ip_interface

    from k8slan_cli.lan import names

    if what is Workload.VM and wanted.interface:
        raise UsageError("a VM's guest names its interfaces itself: --interface is for pods")
    if what is Workload.VM and wanted.ips:
        raise UsageError("a VM's guest takes its addresses itself: --ip is for pods")
    if wanted.ips and socket.replicas > 1 and what is not Workload.POD:
        hint = "leave --ip out, or take a spoke for one pod: NAME/SPOKE"
        raise UsageError(f"a {_KINDS[what]} has several pods here, which cannot share an address", hint=hint)
    if wanted.interface and (fault := names.interface_fault(wanted.interface, 15)):
        raise UsageError(f"--interface {fault}")
    if wanted.interface in _TAKEN:
        raise UsageError(f"--interface: a pod has {wanted.interface} already", hint="take another, such as net1")
    for text in wanted.ips:
        try:
            ip_interface(text)
        except ValueError:
            raise UsageError(f"--ip: {text!r} is not an address with the length of its network: 192.0.2.1/24") from None
        if "/" not in text:
            raise UsageError(f"--ip: {text!r} lacks the length of its network: {text}/24")


# ---------------------------------------------------------------- manifests


def _annotations(socket: Target, wanted: Wanted) -> Document:
    """Return the annotation for multus."""
    from k8slan_cli.plan.pods import NETWORKS_ANNOTATION, request

    return {NETWORKS_ANNOTATION: request(socket.nad, wanted.interface, wanted.ips)}


def _pod_spec(image: str) -> Document:
    """Something that runs. As a container's first process ``sleep`` does not hear SIGTERM, so nothing waits for it."""
    container = {"name": "main", "image": image or _IMAGE, "command": ["sleep", "infinity"]}
    return {"terminationGracePeriodSeconds": 1, "containers": [container]}


def pod(socket: Target, wanted: Wanted) -> Document:
    """A pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": socket.name,
            "namespace": socket.namespace,
            "annotations": _annotations(socket, wanted),
        },
        "spec": _pod_spec(wanted.image),
    }


def deployment(socket: Target, wanted: Wanted) -> Document:
    """A Deployment. On a spoke it has one pod, and stops it before it starts another: a spoke takes one at a time."""
    strategy: Document = {"strategy": {"type": "Recreate"}} if socket.replicas == 1 else {}
    return _controlled("Deployment", socket, wanted, strategy)


def stateful_set(socket: Target, wanted: Wanted) -> Document:
    """A StatefulSet, all of whose pods may start at once."""
    return _controlled("StatefulSet", socket, wanted, {"serviceName": socket.name, "podManagementPolicy": "Parallel"})


def _controlled(kind: str, socket: Target, wanted: Wanted, more: Document) -> Document:
    """A controller of as many pods as the socket takes."""
    labels = {"app": socket.name}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": socket.name, "namespace": socket.namespace},
        "spec": {
            "replicas": socket.replicas,
            **more,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": _annotations(socket, wanted)},
                "spec": _pod_spec(wanted.image),
            },
        },
    }


def vm(socket: Target, wanted: Wanted, binding: Document) -> Document:
    """A KubeVirt VM, its interface bound by ``macvtap`` in the way that its KubeVirt has."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": socket.name, "namespace": socket.namespace},
        "spec": {
            "runStrategy": "Always",
            "template": {
                "spec": {
                    "domain": {
                        "devices": {
                            "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                            "interfaces": [
                                {"name": "default", "masquerade": {}},
                                {"name": _PORT, **binding},
                            ],
                        },
                        "memory": {"guest": "1Gi"},
                    },
                    "networks": [
                        {"name": "default", "pod": {}},
                        {"name": _PORT, "multus": {"networkName": socket.nad}},
                    ],
                    "volumes": [{"name": "root", "containerDisk": {"image": wanted.image or _DISK}}],
                },
            },
        },
    }
