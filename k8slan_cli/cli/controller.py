"""``k8slan controller``: what a Deployment runs, in as many replicas as wanted."""

from __future__ import annotations

from typing import Annotated

import typer

from k8slan_cli.cli import logs
from k8slan_cli.errors import K8slanError
from k8slan_cli.lan import vnis
from k8slan_cli.lan.names import Forms
from k8slan_cli.lan.resources import MAX_RESOURCES, Naming


def controller(
    http: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to serve /healthz, /readyz and /metrics; empty for none.")
    ] = "127.0.0.1:9404",
    webhook: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to serve the admission webhook; empty for none.")
    ] = "",
    webhook_host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="A host name of the webhook, beside that of its Service; repeatable."),
    ] = None,
    namespace: Annotated[
        str,
        typer.Option(
            metavar="NAME", envvar="POD_NAMESPACE", help="Namespace of the Lease and of the webhook's Secret."
        ),
    ] = "k8slan-system",
    name: Annotated[
        str,
        typer.Option(
            metavar="NAME", envvar="POD_NAME", help="This replica's name. Without it: the machine's host name."
        ),
    ] = "",
    names: Annotated[Forms, typer.Option(help="Forms of the names of NADs and resources.")] = Forms.SHORT,
    max_resources: Annotated[
        int, typer.Option(metavar="N", min=0, help="How many resources of spokes a node offers at the most.")
    ] = MAX_RESOURCES,
    vni_range: Annotated[str, typer.Option(metavar="FIRST-LAST", help="VNIs for LANs that name none.")] = vnis.shown(
        vnis.DEFAULT_VNIS
    ),
    kubeconfig: Annotated[
        str | None, typer.Option(metavar="FILE", help="Kubeconfig to use; in a pod its service account is the default.")
    ] = None,
    context: Annotated[str | None, typer.Option(metavar="NAME", help="Context of the kubeconfig.")] = None,
    log_level: logs.LevelOption = "info",
) -> None:
    """Reconcile NADs, status and finalizers; serve the admission webhook.

    Examples:
      # Beside a cluster, for trying something out
      k8slan controller --kubeconfig ~/.kube/config --log-level debug
    """
    from k8slan_cli.cli import service
    from k8slan_cli.controller import run

    try:
        allotting = vnis.parse(vni_range)
    except ValueError as error:
        raise K8slanError(f"--vni-range: {error}") from None
    logs.begin(log_level)
    options = run.ControllerOptions(
        namespace=namespace,
        identity=name,
        kubeconfig=kubeconfig,
        context=context,
        http=http or None,
        webhook=webhook or None,
        names=tuple(webhook_host or ()),
        naming=Naming(forms=names, most=max_resources),
        vnis=allotting,
    )
    service.run(run.run(options))
