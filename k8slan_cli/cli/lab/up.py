"""``k8slan lab up``: server-side apply of all that a lab is, removal of what it is no more, and waiting for it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.dry_run import DryRun, DryRunOption
from k8slan_cli.cli.exits import InUseError, LateError, UsageError
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lab import source
from k8slan_cli.errors import AbsentError

if TYPE_CHECKING:
    from k8slan_cli.kube.kinds import Document, Kind, Ref
    from k8slan_cli.lab.model import Lab
    from k8slan_cli.lan.names import Forms

T = TypeVar("T")
R = TypeVar("R")
_AT_ONCE = 8
"""Requests at a time: a lab of 100 nodes is 300 objects."""
_FORMS_SECONDS = 10
"""How long the controller may take to see a LAN, before short names are taken for granted."""
_FEW = 5


@in_cluster
def up(
    here: Here,
    topology: source.Topology = ".",
    uplink_node: source.UplinkNode = "",
    privileged: source.Privileged = False,
    dry_run: DryRunOption = DryRun.NONE,
    wait: Annotated[bool, typer.Option(" /--no-wait", help="Do not wait until all is ready.")] = True,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait.", min=0)] = 300,
) -> None:
    """Bring a lab up, or to what its topology file says now.

    What has not changed goes on as it is, and what the file has no longer is removed. The same lab may be up in several
    namespaces at once.

    Examples:
      k8slan lab up frr01.clab.yml -n lab

      # What would change
      k8slan lab up frr01.clab.yml -n lab --dry-run
    """
    from k8slan_cli.cli.lab import state
    from k8slan_cli.kube import kinds
    from k8slan_cli.lab import manifests
    from k8slan_cli.lan import names

    if dry_run is DryRun.CLIENT:
        hint = "to see what would be sent: k8slan lab render"
        raise UsageError("what would change is known to the API server: --dry-run=server asks it", hint=hint)
    only_look = not dry_run.changes
    lab = source.read(topology)
    name = names.lab(lab.name)
    where = manifests.Where(
        namespace=here.namespace, uplink_node=uplink_node, privileged=privileged, binding=_binding(here, lab)
    )
    documents = manifests.documents(lab, where)
    there = state.objects(here.cluster, here.namespace, name)
    _strangers(here, documents, there, name)
    changes = Counter[str]()
    _apply(here, _of(documents, kinds.LANS), there, changes, dry_run=only_look)
    if forms := _forms(here, name, 0 if only_look or not lab.segments else _FORMS_SECONDS):
        documents = manifests.documents(lab, replace(where, forms=forms))
    for kind in (kinds.CONFIG_MAPS, kinds.SERVICES, kinds.DEPLOYMENTS, kinds.VMS):
        _apply(here, _of(documents, kind), there, changes, dry_run=only_look)
    wanted = {kinds.ref(document) for document in documents}
    gone = [target for kind in state.KINDS for target in there if target.kind == kind and target not in wanted]
    for target in gone:
        here.cluster.delete(target, dry_run=only_look)
        typer.echo(f"{target} {'would be' if only_look else 'is'} removed")
    changes["removed"] = len(gone)
    words = ", ".join(f"{changes[word]} {word}" for word in ("created", "changed", "unchanged", "removed"))
    typer.echo(f"Lab {name} in namespace {here.namespace}: {words}{dry_run.words}")
    if wait and dry_run.changes:
        _wait(here, name, wanted, gone, timeout)


def _binding(here: Here, lab: Lab) -> dict[str, Any]:
    """Return what a VM's interface on a LAN says here; it is asked for only if the lab has VMs."""
    from k8slan_cli.kube import kubevirt
    from k8slan_cli.kube.client import ApiError
    from k8slan_cli.lab.model import VM

    if all(node.kind != VM for node in lab.nodes):
        return {}
    try:
        return kubevirt.interface(kubevirt.every(here.cluster))
    except ApiError:  # this user may not see it, and may make VMs all the same
        return kubevirt.interface(())


def _of(documents: Iterable[Document], kind: Kind) -> list[Document]:
    return [document for document in documents if document["kind"] == kind.name]


def _forms(here: Here, name: str, seconds: float) -> Forms | None:
    """Return which names NADs have here, as the controller says of the lab's LANs; None if it says nothing."""
    from k8slan_cli.cli.lab import state
    from k8slan_cli.inventory import lans
    from k8slan_cli.kube import kinds

    for seen in here.cluster.follow(state.selections(here.namespace, name, [kinds.LANS]), seconds):
        for document in seen[kinds.LANS.name].values():
            if (status := lans.read(document).status).generation:
                return status.forms
    return None


def _strangers(here: Here, documents: Sequence[Document], there: Iterable[Ref], name: str) -> None:
    """Refuse to take what is there already, and not of this lab.

    Raises:
        InUseError: naming all of it.

    """
    from k8slan_cli.kube import kinds
    from k8slan_cli.lan.names import LAB_LABEL

    new = [target for target in map(kinds.ref, documents) if target not in set(there)]
    found = [target for target, document in zip(new, _each(here.cluster.get, new), strict=True) if document]
    if found:
        listed = ", ".join(map(str, found[:_FEW])) + (f" and {len(found) - _FEW} more" if len(found) > _FEW else "")
        hint = f"they have no label {LAB_LABEL}={name}: give the lab another name, or take another namespace"
        raise InUseError(f"not of lab {name}, but there already: {listed}", hint=hint)


def _apply(
    here: Here, documents: Sequence[Document], there: dict[Ref, Document], changes: Counter[str], *, dry_run: bool
) -> None:
    from k8slan_cli.inventory.lans import as_error
    from k8slan_cli.kube import apply, client, kinds

    def one(document: Document) -> Document:
        query = {"fieldManager": apply.FIELD_MANAGER, "force": "true"} | ({"dryRun": "All"} if dry_run else {})
        target = kinds.ref(document)
        try:
            return here.cluster.call("PATCH", target.path, query=query, body=document, content_type=client.APPLY)
        except client.ApiError as error:
            if error.status == 404 and target.kind == kinds.VMS:
                raise client.MissingError("the lab has VMs, and KubeVirt is not installed in this cluster") from error
            if error.status == 404:
                hint = f"make it: kubectl create namespace {here.namespace}"
                raise AbsentError(f"there is no namespace {here.namespace!r}", hint=hint) from error
            raise as_error(error, str(target)) from error

    for document, after in zip(documents, _each(one, documents), strict=True):
        target = kinds.ref(document)
        before = there.get(target)
        if before is None:
            changes["created"] += 1
        elif _same(document, before, after):
            changes["unchanged"] += 1
        else:
            changes["changed"] += 1
            typer.echo(f"{target} {'would be' if dry_run else 'is'} changed")


def _same(wanted: Document, before: Document, after: Document) -> bool:
    """Whether an apply has changed nothing. A generation counts changes where a kind has a status as well."""
    for part in ("labels", "annotations"):
        if not (wanted["metadata"].get(part) or {}).items() <= (before["metadata"].get(part) or {}).items():
            return False
    if "status" in after and "generation" in after["metadata"]:
        return bool(before["metadata"]["generation"] == after["metadata"]["generation"])
    own = ("apiVersion", "kind", "metadata", "status")  # items of a list have no kind
    return {k: v for k, v in before.items() if k not in own} == {k: v for k, v in after.items() if k not in own}


def _each(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do something for each of many, some at once; the first error ends it."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(work, items))


def _wait(here: Here, name: str, wanted: Iterable[Ref], gone: Sequence[Ref], seconds: float) -> None:
    """Follow the lab until all of it is ready, and what it has no longer is gone.

    Raises:
        LateError: something is not, with the reasons that pods have.

    """
    import time

    from k8slan_cli.cli.lab import state
    from k8slan_cli.cli.lan import text

    targets = sorted(wanted, key=str)
    left: list[state.Waiting] = []
    until = time.monotonic() + seconds
    followed = {target.kind for target in targets}.intersection(state.FOLLOWED)
    sources = state.selections(here.namespace, name, followed)
    for seen in here.cluster.follow(sources, seconds, together=True):
        left = list(state.waiting(targets, seen))
        if not left:
            break
        if sys.stderr.isatty():
            text.progress(f"waiting for {len(left)} of {len(targets)}: {left[0]}")
    if sys.stderr.isatty():
        text.progress("")
    if left:
        raise _late(here, name, left, seconds)
    if still := here.cluster.gone(
        [target for target in gone if target.kind in state.FOLLOWED], until - time.monotonic()
    ):
        raise LateError(f"still there after {seconds:g} s: {', '.join(map(str, still[:_FEW]))}")
    typer.echo(f"Lab {name} is ready")


def _late(here: Here, name: str, left: Sequence[Any], seconds: float) -> LateError:
    from k8slan_cli.cli.lab import state
    from k8slan_cli.kube import client

    try:
        reasons = state.reasons(here.cluster, here.namespace, name)
    except client.ApiError:
        reasons = {}
    lines = [*(f"{node}: {why}" for node, why in sorted(reasons.items())), *map(str, left)]
    more = f"; and {len(lines) - _FEW} more" if len(lines) > _FEW else ""
    return LateError(
        f"not ready within {seconds:g} s: {'; '.join(lines[:_FEW])}{more}", hint=f"see: k8slan lab inspect {name}"
    )
