"""``k8slan lab inspect``: which labs are up, or a lab's nodes and links."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lab import source
from k8slan_cli.cli.lan import output as out

if TYPE_CHECKING:
    from k8slan_cli.kube.kinds import Document, Ref

_READY = "Ready"


@in_cluster
def inspect(
    here: Here,
    lab: source.LabOrTopology = "",
    output: out.Option = "table",
) -> None:
    """Show a lab's nodes and links, or list the labs that are up.

    Examples:
      k8slan lab inspect frr01 -n lab

      # All labs of a namespace
      k8slan lab inspect -n lab
    """
    from k8slan_cli.cli.lan import text

    wanted = out.Output.read(output)
    if lab:
        found = _lab(here, source.lab(lab))
        if wanted.for_programs:
            named = [f"lab/{found['name']}"]
            typer.echo(wanted.text(found, named), nl=False)
            return
        typer.echo("\n".join([*_nodes(found, wanted).lines(), "", *_links(found, wanted).lines()]))
        return
    labs = _labs(here)
    if wanted.for_programs:
        typer.echo(wanted.text({"labs": labs}, [f"lab/{each['name']}" for each in labs]), nl=False)
    elif labs:
        columns = [text.Column(head) for head in ("LAB", "NODES", "LINKS")]
        rows = [[each["name"], str(each["nodes"]), str(each["links"])] for each in labs]
        typer.echo("\n".join(text.Table(columns, rows, wanted.limit()).lines()))
    else:
        typer.echo(f"There is no lab in namespace {here.namespace}. Bring one up: k8slan lab up TOPOLOGY", err=True)


def _labs(here: Here) -> list[dict[str, Any]]:
    from k8slan_cli.cli.lab import state
    from k8slan_cli.kube import kinds
    from k8slan_cli.lan.names import LAB_LABEL

    counts: dict[str, Counter[str]] = {}
    for target, found in state.objects(here.cluster, here.namespace, each=state.FOLLOWED).items():
        what = "links" if target.kind == kinds.LANS else "nodes"
        counts.setdefault(found["metadata"]["labels"][LAB_LABEL], Counter())[what] += 1
    return [{"name": name, "nodes": each["nodes"], "links": each["links"]} for name, each in sorted(counts.items())]


def _lab(here: Here, name: str) -> dict[str, Any]:
    """The lab as a document, which is also what programs get."""
    from k8slan_cli.cli.lab import state
    from k8slan_cli.kube import kinds
    from k8slan_cli.lan import names

    found = state.of(here, name)
    short = names.lab(name)
    seen = {
        kind.name: {f"{t.namespace}/{t.name}": d for t, d in found.items() if t.kind == kind} for kind in state.FOLLOWED
    }
    why = {each.what: each.why for each in state.waiting(found, seen)}
    pods = {
        pod["metadata"]["labels"].get(names.LAB_NODE_LABEL, ""): pod
        for pod in state.pods(here.cluster, here.namespace, short)
    }
    ends, wanted = _ends(found)
    nodes = [
        _node(target, document, pods, why.get(target, ""))
        for target, document in found.items()
        if target.kind in (kinds.DEPLOYMENTS, kinds.VMS)
    ]
    links = [
        {
            "lan": target.name,
            "ends": ends.get(target.name, []),
            "state": why.get(target) or _READY,
            "wanted": wanted.get(target.name, {}),
        }
        for target in found
        if target.kind == kinds.LANS
    ]
    return {
        "name": short,
        "namespace": here.namespace,
        "nodes": sorted(nodes, key=lambda node: str(node["name"])),
        "links": sorted(links, key=lambda link: str(link["lan"])),
    }


def _node(target: Ref, document: Document, pods: Mapping[str, Document], why: str) -> dict[str, Any]:
    from k8slan_cli.kube import apply
    from k8slan_cli.lab.manifests import KIND_ANNOTATION
    from k8slan_cli.lab.model import VM
    from k8slan_cli.lan.names import LAB_NODE_LABEL

    metadata = document["metadata"]
    name = metadata["labels"][LAB_NODE_LABEL]
    pod = pods.get(name)
    status = (pod.get("status") or {}) if pod else {}
    return {
        "name": name,
        "kind": (metadata.get("annotations") or {}).get(
            KIND_ANNOTATION, VM if target.kind.name != "Deployment" else ""
        ),
        "state": (pod and why and apply.waits_for(pod)) or why or _READY,
        "pod": pod["metadata"]["name"] if pod else "",
        "host": ((pod.get("spec") or {}).get("nodeName") or "") if pod else "",
        "address": status.get("podIP") or "",
    }


def _ends(found: Mapping[Ref, Document]) -> tuple[dict[str, list[str]], dict[str, dict[str, str]]]:
    """What is plugged into each LAN, as the lab's file says it: ``r1:eth1``; and what is wanted of such links."""
    from k8slan_cli.inventory import lans, linking
    from k8slan_cli.kube import kinds
    from k8slan_cli.plan.pods import sockets

    plugs = {nad: end for target, document in found.items() for nad, end in _plugs(target, document)}
    ends: dict[str, list[str]] = {}
    wanted: dict[str, dict[str, str]] = {}
    for target, document in found.items():
        lan = lans.read(document).lan if target.kind == kinds.LANS else None
        if lan is None:
            continue
        here = {plugs[ref.name]: socket.spoke for ref, socket in sockets(lan, lan.forms) if ref.name in plugs}
        ends[target.name] = list(here)
        words = {end: linking.told(lan, spoke) for end, spoke in here.items() if spoke}
        wanted[target.name] = {end: each for end, each in words.items() if each}
    return ends, wanted


def _plugs(target: Ref, document: Document) -> list[tuple[str, str]]:
    """The NADs that a node's pod or VM asks for, each with the node and its interface."""
    from k8slan_cli.kube import kinds
    from k8slan_cli.lan.names import LAB_NODE_LABEL
    from k8slan_cli.plan.pods import decode_pod

    if target.kind not in (kinds.DEPLOYMENTS, kinds.VMS):
        return []
    node, template = document["metadata"]["labels"][LAB_NODE_LABEL], document["spec"]["template"]
    if target.kind == kinds.VMS:
        networks = template["spec"].get("networks") or ()
        return [(each["multus"]["networkName"], f"{node}:{each['name']}") for each in networks if "multus" in each]
    pod = decode_pod({"metadata": {**template["metadata"], "name": target.name, "namespace": target.namespace}})
    return [(network.nad.name, f"{node}:{network.interface}") for network in pod.networks]


def _nodes(found: Mapping[str, Any], wanted: out.Output) -> Any:
    from k8slan_cli.cli.lan import text

    columns = [
        text.Column("NODE"),
        text.Column("KIND", 2),
        text.Column("STATE", prose=True),
        text.Column("POD", 4, middle=True),
        text.Column("ON", 1),
        text.Column("ADDRESS", 3),
    ]
    keys = ("name", "kind", "state", "pod", "host", "address")
    return text.Table(columns, [[node[key] for key in keys] for node in found["nodes"]], wanted.limit())


def _links(found: Mapping[str, Any], wanted: out.Output) -> Any:
    from k8slan_cli.cli.lan import text

    columns = [
        text.Column("ENDS", prose=True),
        text.Column("STATE", prose=True),
        text.Column("LINKS", prose=True),
        text.Column("LAN", 1, middle=True),
    ]
    rows = [
        [
            " ".join(link["ends"]),
            link["state"],
            "; ".join(f"{end} {words}" for end, words in link["wanted"].items()),
            link["lan"],
        ]
        for link in found["links"]
    ]
    return text.Table(columns, rows, wanted.limit())
