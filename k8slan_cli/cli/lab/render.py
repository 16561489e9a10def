"""``k8slan lab render``: a lab's manifests as text, without a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from k8slan_cli.cli.exits import UsageError
from k8slan_cli.cli.lab import source
from k8slan_cli.lan import names
from k8slan_cli.lan.names import Forms


def render(
    topology: source.Topology = ".",
    namespace: Annotated[
        str,
        typer.Option("--namespace", "-n", metavar="NAME", help="Namespace of all objects; otherwise they name none."),
    ] = "",
    uplink_node: source.UplinkNode = "",
    privileged: source.Privileged = False,
    forms: Annotated[
        Forms, typer.Option("--names", help="Forms of the names of NADs, as the installation has them.")
    ] = Forms.SHORT,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,  # noqa: ARG001
) -> None:
    """Print the Kubernetes manifests of a lab.

    Examples:
      k8slan lab render lab.clab.yml

      # To apply them by other means
      k8slan lab render lab.clab.yml -n lab | kubectl apply --server-side -f -
    """
    from k8slan_cli.cli.lan.output import yaml_text
    from k8slan_cli.lab import manifests

    if namespace and (fault := names.label_fault(namespace)):
        raise UsageError(f"the namespace {fault}")
    where = manifests.Where(namespace=namespace, forms=forms, uplink_node=uplink_node, privileged=privileged)
    documents = manifests.documents(source.read(topology), where)
    typer.echo("---\n".join(map(yaml_text, documents)), nl=False)
