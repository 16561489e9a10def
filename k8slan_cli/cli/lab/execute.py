"""``k8slan lab exec``: a command in a node, by the node's name in the lab's file."""

from __future__ import annotations

import codecs
import os
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from k8slan_cli.cli import files
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.exits import UsageError
from k8slan_cli.cli.here import Here
from k8slan_cli.errors import AbsentError

if TYPE_CHECKING:
    from k8slan_cli.kube.apply import Cluster

_VM = "kubevirt.io/domain"
"""The annotation by which KubeVirt says which VM a pod runs."""


@in_cluster
def execute(
    here: Here,
    node: Annotated[str, typer.Argument(metavar="[LAB/]NODE", help="The node; of which lab, if several have it.")],
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- COMMAND…", help="What to run.", show_default=False)
    ] = None,
    stdin: Annotated[bool, typer.Option("--stdin", "-i", help="Send the standard input, when it is complete.")] = False,
    terminal: Annotated[
        bool, typer.Option("--tty", "-t", help="With a terminal and what is typed: kubectl exec -it does it.")
    ] = False,
) -> None:
    """Run a command in a node of a lab.

    It ends with the command's own exit status.

    Examples:
      k8slan lab exec r1 -n lab -- ip address

      # A shell
      k8slan lab exec r1 -n lab -t -- sh
    """
    if not command:
        raise UsageError("there is no command to run", hint=f"k8slan lab exec {node} -- COMMAND")
    pod = pod_of(here.cluster, here.namespace, node)
    if _VM in (pod["metadata"].get("annotations") or {}):
        name = pod["metadata"]["annotations"][_VM]
        raise UsageError(f"{node} is a VM, where a command needs a login", hint=f"virtctl console {name}")
    if terminal:
        _by_kubectl(here, pod["metadata"]["name"], command)
    from k8slan_cli.kube import execute as run
    from k8slan_cli.lab.manifests import CONTAINER

    given = sys.stdin.buffer.read() if stdin else None
    with files.writing(files.STDOUT) as output:
        status = run.run(
            here.cluster,
            here.namespace,
            pod["metadata"]["name"],
            CONTAINER,
            command,
            stdin=given,
            stdout=_shown(sys.stdout) if sys.stdout.isatty() else output.write,
            stderr=_shown(sys.stderr),
        )
    raise typer.Exit(status)


def _shown(stream: TextIO) -> Callable[[bytes], object]:
    """Return what prints bytes of a node for a person: none of them can command the terminal."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def show(data: bytes) -> None:
        stream.write(decoder.decode(data))
        stream.flush()

    return show


def pod_of(cluster: Cluster, namespace: str, text: str) -> dict[str, Any]:
    """Return the pod of a node: ``NODE``, or ``LAB/NODE``.

    Raises:
        AbsentError: no lab of the namespace has such a node, or it has no pod that runs.
        UsageError: several have it.

    """
    from k8slan_cli.kube import kinds
    from k8slan_cli.lab.manifests import node_label
    from k8slan_cli.lan import names
    from k8slan_cli.lan.names import LAB_LABEL, LAB_NODE_LABEL

    lab, slash, node = text.rpartition("/")
    selector = f"{LAB_LABEL}={names.lab(lab)}" if slash else LAB_LABEL
    query = {"labelSelector": f"{selector},{LAB_NODE_LABEL}"}
    pods = cluster.call("GET", kinds.PODS.path(namespace), query=query)["items"]
    labels = [pod["metadata"]["labels"] for pod in pods]
    mine = [
        pod
        for pod, each in zip(pods, labels, strict=True)
        if each[LAB_NODE_LABEL] == node_label(node) and "deletionTimestamp" not in pod["metadata"]
    ]
    if not mine:
        where = f"lab {lab}" if slash else f"a lab of namespace {namespace}"
        known = {each[LAB_NODE_LABEL] for each in labels}
        raise AbsentError(f"there is no pod of a node {node!r} in {where}", name=node, known=known)
    owners = sorted({pod["metadata"]["labels"][LAB_LABEL] for pod in mine})
    if len(owners) > 1:
        raise UsageError(f"several labs have a node {node}", hint=f"such as {owners[0]}/{node}")
    running = [pod for pod in mine if (pod.get("status") or {}).get("phase") == "Running"]
    found: dict[str, Any] = (running or mine)[0]
    return found


def _by_kubectl(here: Here, pod: str, command: list[str]) -> None:
    """Become kubectl: a terminal takes more than one connection.

    Raises:
        UsageError: it is not there.

    """
    from k8slan_cli.lab.manifests import CONTAINER

    kubectl = shutil.which("kubectl")
    words = ["kubectl", *here.kubectl, "exec", "-it", pod, "-c", CONTAINER, "--", *command]
    if kubectl is None:
        raise UsageError("a terminal is kubectl's matter, and there is no kubectl here", hint=" ".join(words))
    sys.stdout.flush()
    os.execv(kubectl, words)  # noqa: S606 - the user's own kubectl, by its own words
