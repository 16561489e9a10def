"""``k8slan install`` and ``k8slan uninstall``: the manifests, applied to a cluster or removed, each step said."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8slan_cli.cli.dry_run import DryRun, DryRunOption
from k8slan_cli.cli.exits import InUseError, LateError
from k8slan_cli.cli.render import with_settings
from k8slan_cli.errors import K8slanError
from k8slan_cli.render.settings import Settings, check

if TYPE_CHECKING:
    from k8slan_cli.kube.apply import Cluster, Rollout, State
    from k8slan_cli.kube.kinds import Document, Kind, Ref
    from k8slan_cli.kube.kubevirt import KubeVirt

PART_OF = {"app.kubernetes.io/part-of": "k8slan"}

Kubeconfig = Annotated[
    str | None, typer.Option(metavar="FILE", help="The kubeconfig (default: $KUBECONFIG or ~/.kube/config).")
]
Context = Annotated[
    str | None, typer.Option(metavar="NAME", help="Context of the kubeconfig (default: the current one).")
]
Timeout = Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait, all in all.", min=1)]


def _say(text: str) -> None:
    typer.echo(text, err=True)


# ---------------------------------------------------------------- install


@with_settings
def install(
    settings: Callable[[], Settings],
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    timeout: Timeout = 300,
    dry_run: DryRunOption = DryRun.NONE,
    wait: Annotated[bool, typer.Option(help="Wait until every agent and the controller are ready.")] = True,
    checks: Annotated[bool, typer.Option(help="Look for multus, the version and the rights first.")] = True,
    kubevirt: Annotated[
        bool, typer.Option("--kubevirt", help="Register the network binding macvtap in KubeVirt, for VMs.")
    ] = False,
) -> None:
    """Install k8slan into a cluster, or bring an installation to this version and these settings.

    Exit status: 0 installed and ready, 1 refused or wrong settings, 3 something is missing (kubeconfig, cluster,
    rights, multus, KubeVirt), 4 not ready in time.

    Examples:
      k8slan install --image registry.example/k8slan:0.1.0

      # What it would change
      k8slan install --image registry.example/k8slan:0.1.0 --dry-run
    """
    from k8slan_cli.kube import apply
    from k8slan_cli.kube import kubevirt as virt

    wanted = settings()
    if wanted.image == Settings().image and wanted.pull_policy != "Never":
        _say(f"warning: no node can pull {wanted.image}: push an image to a registry, and name it by --image")
    cluster = apply.connect(kubeconfig, context)
    deadline = time.monotonic() + timeout
    documents = _documents(wanted)
    virtual = _kubevirt(cluster) if kubevirt else ()
    if checks:
        _check_cluster(cluster, wanted, documents, virtual)
    _apply(cluster, [*documents, *(virt.registered(found.ref) for found in virtual)], deadline, dry_run=dry_run)
    if not dry_run.changes:
        _say(f"nothing was changed{dry_run.words}")
    elif wait:
        _wait_ready(cluster, wanted, deadline)
        _say("k8slan is ready")


def _documents(settings: Settings) -> list[dict[str, Any]]:
    """Everything, in the order of applying."""
    from k8slan_cli.render import manifests

    return manifests.documents(manifests.render_all(settings))


def _kubevirt(cluster: Cluster) -> list[KubeVirt]:
    """Return the KubeVirt that is to have the binding. Raises MissingError if there is none."""
    from k8slan_cli.kube import client, kubevirt

    found = kubevirt.every(cluster)
    if not found:
        raise client.MissingError(
            "there is no KubeVirt in the cluster", hint="install it first, or leave --kubevirt out"
        )
    return found


def _check_cluster(
    cluster: Cluster, settings: Settings, documents: Iterable[Document], virtual: Iterable[KubeVirt]
) -> None:
    """Raise MissingError, with all that is missing, before anything is changed."""
    from k8slan_cli.kube import client, kinds

    found: list[str] = []
    version = cluster.call("GET", "/version")
    minor = int("".join(c for c in version["minor"] if c.isdigit()) or 0)
    if (int(version["major"]), minor) < (1, kinds.MIN_MINOR):
        found.append(f"Kubernetes 1.{kinds.MIN_MINOR} or newer; this is {version['gitVersion']}")
    for api, words in (
        ("k8s.cni.cncf.io/v1", "multus: the cluster does not know NetworkAttachmentDefinition (k8s.cni.cncf.io/v1)"),
        ("monitoring.coreos.com/v1", "the Prometheus operator, for --service-monitor"),
    ):
        wanted = api == "k8s.cni.cncf.io/v1" or any(d["apiVersion"] == api for d in documents)
        if wanted and not _serves(cluster, api):
            found.append(words)
    followed = dict.fromkeys((kinds.DEPLOYMENTS, kinds.DAEMON_SETS, kinds.PODS), ("list", "watch"))
    rights = {(kind, settings.namespace): verbs for kind, verbs in followed.items()}
    for target in map(kinds.ref, documents):
        rights[target.kind, target.namespace] = ("get", "create", "patch", *followed.get(target.kind, ()))
    for there in virtual:
        rights[there.ref.kind, there.ref.namespace] = ("get", "patch")
        if there.another:
            found.append(f"the network binding macvtap in {there.ref}: another has its name ({there.another})")
    found += _lacking(cluster, rights)
    if found:
        raise client.MissingError(
            "this is missing in the cluster:\n" + "\n".join(f"  - {item}" for item in found),
            hint="with that there, run this again; --no-checks tries without",
        )


def _lacking(cluster: Cluster, rights: Mapping[tuple[Kind, str], Sequence[str]]) -> list[str]:
    ordered = sorted(rights.items(), key=lambda item: (item[0][0].plural, item[0][1]))
    return [words for (kind, space), verbs in ordered if (words := cluster.lacking(verbs, kind, space))]


def _serves(cluster: Cluster, api_version: str) -> bool:
    from k8slan_cli.kube.client import ApiError

    try:
        cluster.call("GET", f"/apis/{api_version}")
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True


def _apply(cluster: Cluster, documents: Iterable[dict[str, Any]], deadline: float, *, dry_run: DryRun) -> None:
    from k8slan_cli.kube import kinds

    absent: set[str] = set()
    for document in documents:
        target = kinds.ref(document)
        if target.kind == kinds.NAMESPACES:
            found = cluster.get(target)
            if found and "deletionTimestamp" in found["metadata"] and dry_run.changes:
                _say(f"  {target} is still being deleted: waiting")
                if cluster.gone([target], deadline - time.monotonic()):
                    raise LateError(f"{target} is not gone in time")
                found = None
            if found is None:
                absent.add(target.name)
            elif not _ours(found):
                # Somebody else's: it gets what agents need there, but not the mark by which uninstall removes it.
                document["metadata"]["labels"].pop("app.kubernetes.io/part-of")
        if not dry_run.changes and target.namespace in absent:
            _say(f"  {target} would be created")  # the cluster cannot check it before its namespace is there
            continue
        if dry_run is DryRun.CLIENT:
            there = cluster.get(target) is not None
            _say(f"  {target} would be {'applied over what is there' if there else 'created'}")
            continue
        before, after = cluster.applied(document, dry_run=not dry_run.changes)
        outcome = "created" if before is None else "unchanged" if before == after else "changed"
        _say(f"  {target} {_would(outcome, dry_run)}")
        if not dry_run.changes and before is not None:
            for line in difference(before, after, str(target)):
                typer.echo(line)
        if target.kind == kinds.CRDS and dry_run.changes:
            _wait_established(cluster, target, deadline)


def difference(before: Document, after: Document, name: str) -> Iterator[str]:
    """What would change in an object, as a unified diff of its YAML; nothing if nothing is."""
    import difflib

    from k8slan_cli.cli.lan import text
    from k8slan_cli.cli.lan.output import yaml_text

    old, new = (yaml_text(_shown(each)).splitlines() for each in (before, after))
    colours = {"+": text.added, "-": text.removed}
    for line in difflib.unified_diff(old, new, name, f"{name}, with this version and settings", lineterm="", n=2):
        yield colours.get(line[:1], str)(line)


def _shown(document: Document) -> Document:
    """An object without what the cluster says of it, and without what is secret."""
    return {key: "…" if key in ("data", "stringData") else value for key, value in document.items() if key != "status"}


def _would(outcome: str, dry_run: DryRun) -> str:
    return f"would be {outcome}" if not dry_run.changes and outcome != "unchanged" else outcome


def _ours(found: Document) -> bool:
    labels = found["metadata"].get("labels") or {}
    return PART_OF.items() <= labels.items()


def _wait_established(cluster: Cluster, target: Ref, deadline: float) -> None:
    from k8slan_cli.kube import apply

    source = apply.Selection(target.kind, field_selector=f"metadata.name={target.name}")
    for state in cluster.follow({"crd": source}, deadline - time.monotonic()):
        for found in state["crd"].values():
            conditions = apply.conditions(found)
            if conditions.get("Established", {}).get("status") == "True":
                return
            names = conditions.get("NamesAccepted", {})
            if names.get("status") == "False":
                raise K8slanError(f"{target} clashes with another: {names.get('message')}")
    raise LateError(f"{target} is not served in time")


def _wait_ready(cluster: Cluster, settings: Settings, deadline: float) -> None:
    """Follow controller, agents and their pods until all are ready; print each step."""
    from k8slan_cli.kube import apply, kinds

    sources = {
        "deployments": apply.Selection(kinds.DEPLOYMENTS, settings.namespace, "metadata.name=k8slan-controller"),
        "agents": apply.Selection(kinds.DAEMON_SETS, settings.namespace, "metadata.name=k8slan-node-agent"),
        "pods": apply.Selection(kinds.PODS, settings.namespace),
    }
    state: State = {}
    said: list[str] = []
    for state in cluster.follow(sources, deadline - time.monotonic()):
        rollouts = _rollouts(state)
        words = [f"  ready: {', '.join(map(str, rollouts))}", *_waiting(state, quiet=True)]
        if words != said:
            _say("\n".join(words))
            said = words
        if len(rollouts) == len(sources) - 1 and all(rollout.done for rollout in rollouts):
            if not rollouts[-1].wanted:
                selector = ",".join(f"{key}={value}" for key, value in settings.node_selector)
                raise K8slanError(f"no node matches the node selector {selector}", hint="see: kubectl get nodes")
            return
    raise LateError(
        "\n".join(["not everything is ready in time", *_waiting(state)]),
        hint=f"see: kubectl -n {settings.namespace} get pods -o wide",
    )


def _rollouts(state: State) -> list[Rollout]:
    from k8slan_cli.kube import apply

    return [apply.rollout(item) for name in ("deployments", "agents") for item in state[name].values()]


def _waiting(state: State, *, quiet: bool = False) -> Iterator[str]:
    """What each pod that is not ready waits for; ``quiet``: without those that only take their time."""
    from k8slan_cli.kube import apply

    for pod in state.get("pods", {}).values():
        if not _ours(pod) or "deletionTimestamp" in pod["metadata"]:
            continue
        why = apply.waits_for(pod)
        if why and not (quiet and why == apply.STARTING):
            node = pod["spec"].get("nodeName", "")
            yield f"    {pod['metadata']['name']}{' on ' + node if node else ''}: {why}"


# ---------------------------------------------------------------- uninstall


def uninstall(
    namespace: Annotated[str, typer.Option(metavar="NAME", help="Namespace of k8slan itself.")] = "k8slan-system",
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    timeout: Timeout = 300,
    dry_run: DryRunOption = DryRun.NONE,
    force: Annotated[bool, typer.Option("--force", help="Delete all LANs too, also those in use.")] = False,
) -> None:
    """Remove k8slan from a cluster. As long as there are LANs it refuses, and names them.

    The CNI executables stay on the nodes: a pod that is being deleted may still need them.

    Exit status: 0 removed, 1 refused, 3 something is missing (kubeconfig, cluster, rights), 4 not gone in time, 5 there
    are LANs.

    Examples:
      k8slan uninstall
    """
    from k8slan_cli.kube import apply, kinds

    settings = check(replace(Settings(), namespace=namespace, webhook=True, service_monitor=True))
    cluster = apply.connect(kubeconfig, context)
    deadline = time.monotonic() + timeout
    targets = [kinds.ref(document) for document in reversed(_documents(settings))]
    _check_rights_to_remove(cluster, targets, force=force)
    lans = cluster.objects(kinds.LANS)
    if lans and not force:
        raise InUseError(
            "there are LANs:\n" + "\n".join(f"  - {_lan(lan)}" for lan in lans),
            hint="delete them first, or give --force; what is attached loses its LAN then",
        )
    if lans and dry_run.changes:
        _delete_lans(cluster, lans, deadline)
    _withdraw(cluster, deadline, dry_run=dry_run)
    for target in targets:
        if target.kind == kinds.CRDS and dry_run.changes:  # agents are gone by now
            _free_vteps(cluster)
        _remove(cluster, target, deadline, dry_run=dry_run)
    _say("k8slan is removed" if dry_run.changes else f"nothing was changed{dry_run.words}")


def _check_rights_to_remove(cluster: Cluster, targets: Iterable[Ref], *, force: bool) -> None:
    from k8slan_cli.kube import client, kinds

    verbs = ("get", "list", "watch", "delete")
    rights: dict[tuple[Kind, str], Sequence[str]] = {(target.kind, target.namespace): verbs for target in targets}
    rights[kinds.LANS, ""] = (*verbs, "patch") if force else ("list",)
    rights[kinds.VTEPS, ""] = ("list", "patch")
    if lacking := _lacking(cluster, rights):
        raise client.MissingError("this is missing in the cluster:\n" + "\n".join(f"  - {item}" for item in lacking))


def _lan(lan: Document) -> str:
    metadata = lan["metadata"]
    attached = (lan.get("status") or {}).get("attached", 0)
    return f"{metadata['namespace']}/{metadata['name']}{f', {attached} attached' if attached else ''}"


def _delete_lans(cluster: Cluster, lans: Iterable[Document], deadline: float) -> None:
    """Delete LANs while there are agents that clean up; take the finalizers off those that do not go by themselves."""
    from k8slan_cli.kube import kinds
    from k8slan_cli.kube.lans import FORCE

    targets = [kinds.Ref(kinds.LANS, lan["metadata"]["namespace"], lan["metadata"]["name"]) for lan in lans]
    for target in targets:
        # By this mark agents take a LAN from under the pods that use it, instead of waiting for them.
        _merge(cluster, target, {"annotations": {FORCE: "true"}})
        cluster.delete(target)
        _say(f"  {target} is being deleted")
    left = cluster.gone(targets, (deadline - time.monotonic()) / 2)
    for target in left:
        _say(f"  {target} does not go: taking its finalizers off; nodes keep its namespace until they restart")
        _merge(cluster, target, {"finalizers": None})
    if late := cluster.gone(left, deadline - time.monotonic()):
        raise LateError(f"not gone in time: {', '.join(map(str, late))}")


def _free_vteps(cluster: Cluster) -> None:
    """Take finalizers off the VTEPs that are left once no agent runs: they would hold their CRD for ever."""
    from k8slan_cli.kube import kinds

    for vtep in cluster.objects(kinds.VTEPS):
        if vtep["metadata"].get("finalizers"):
            target = kinds.Ref(kinds.VTEPS, vtep["metadata"]["namespace"], vtep["metadata"]["name"])
            _merge(cluster, target, {"finalizers": None})


def _merge(cluster: Cluster, target: Ref, metadata: dict[str, object]) -> None:
    from k8slan_cli.kube import client

    try:
        cluster.call("PATCH", target.path, body={"metadata": metadata}, content_type="application/merge-patch+json")
    except client.ApiError as error:
        if error.status != 404:  # it is gone already
            raise


def _withdraw(cluster: Cluster, deadline: float, *, dry_run: DryRun) -> None:
    """Take the network binding back that ``install --kubevirt`` has registered."""
    from k8slan_cli.kube import client, kubevirt

    try:
        found = kubevirt.every(cluster)
    except client.ApiError as error:
        if error.status != 403:
            raise
        _say(f"  the network binding {kubevirt.BINDING} of a KubeVirt stays, if there is one: {error.message}")
        return
    _apply(cluster, [kubevirt.withdrawn(one.ref) for one in found if one.ours], deadline, dry_run=dry_run)


def _remove(cluster: Cluster, target: Ref, deadline: float, *, dry_run: DryRun) -> None:
    from k8slan_cli.kube import kinds

    if target.kind == kinds.NAMESPACES:
        found = cluster.get(target)
        if found is not None and not _ours(found):
            _say(f"  {target} stays: it was there before k8slan")
            return
    there = (
        cluster.get(target) is not None
        if dry_run is DryRun.CLIENT
        else cluster.delete(target, dry_run=bool(dry_run.query))
    )
    if not there:
        return
    if not dry_run.changes:
        _say(f"  {target} would be deleted")
        return
    if cluster.gone([target], deadline - time.monotonic()):
        raise LateError(f"{target} is not gone in time", hint="the same command goes on where this one was")
    _say(f"  {target} deleted")
