"""``k8slan lan set``: fields of a LAN, changed while it is in use. Its spokes have commands of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.dry_run import DryRun, DryRunOption
from k8slan_cli.cli.exits import InUseError, UsageError
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lan.spokes import ATTEMPTS, Name, check_valid, write
from k8slan_cli.errors import Invalid, K8slanError

_NONE = "0 takes the field out"
_EMPTY = "'' takes the field out"


@in_cluster
def set_(
    here: Here,
    name: Name,
    mtu: Annotated[int | None, typer.Option(metavar="BYTES", help=f"MTU inside; {_NONE}.")] = None,
    port: Annotated[int | None, typer.Option(metavar="N", help=f"UDP port of VXLAN; {_NONE}.")] = None,
    multicast: Annotated[
        str | None, typer.Option(metavar="GRP", help=f"Multicast group of the underlay; {_EMPTY}.")
    ] = None,
    underlay: Annotated[str | None, typer.Option(metavar="DEV", help=f"Device that carries VXLAN; {_EMPTY}.")] = None,
    node_underlay: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NODE=DEV",
            help="The same for one node; repeatable. NODE= takes it out.",
            autocompletion=completion.nodes,
        ),
    ] = None,
    remote: Annotated[
        list[str] | None,
        typer.Option(metavar="IP", help=f"A VTEP outside the cluster; repeatable: these, and no others. {_EMPTY}."),
    ] = None,
    allow_namespace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMESPACE",
            help=f"One whose pods may attach as well; repeatable: these, and no others. {_EMPTY}.",
        ),
    ] = None,
    dynamic: Annotated[
        bool | None, typer.Option("--dynamic/--no-dynamic", help="Any number of pods, besides the spokes.")
    ] = None,
    offload: Annotated[
        bool | None,
        typer.Option("--offload/--no-offload", help="Leave checksums and large frames to who receives them."),
    ] = None,
    cable: Annotated[
        bool | None,
        typer.Option(
            "--cable/--no-cable", help="Its two spokes are a cable's ends: no carrier while the other is free."
        ),
    ] = None,
    dry_run: DryRunOption = DryRun.NONE,
) -> None:
    """Change fields of a LAN. What is attached stays so.

    ns, vni, bridge, vxlan and fragment are those of a LAN for as long as it is there.

    Examples:
      k8slan lan set blue --mtu 1400

      # Close it to pods of other namespaces
      k8slan lan set blue --allow-namespace ''
    """
    from k8slan_cli.inventory import lans
    from k8slan_cli.lan import codec

    given: dict[str, Any] = {
        "mtu": mtu,
        "vxlanPort": port,
        "vxlanGrp": multicast,
        "defaultVxlanDev": underlay,
        "remotes": remote,
        "allowedNamespaces": allow_namespace,
    }
    fields = {key: _emptied(value) for key, value in given.items() if value not in (None, [])}
    switches = {"dynamic": dynamic, "offload": offload, "cable": cable}
    fields |= {key: value for key, value in switches.items() if value is not None}
    devices = dict(map(_device, node_underlay or ()))
    if not fields and not devices:
        raise UsageError("say what to change", hint="see: k8slan lan set --help")
    here, name = here.lan(name)
    for _ in range(ATTEMPTS):
        found = lans.one(here.cluster, here.namespace, name)
        if found.deleting:
            raise InUseError(f"LAN {found.ref} is being deleted")
        before = found.document.get("spec") or {}
        patch = fields | _devices(before, devices)
        patch = {key: value for key, value in patch.items() if before.get(key) != value}
        if not patch:
            typer.echo(f"LAN {found.ref}: nothing to change")
            return
        after = {key: value for key, value in {**before, **patch}.items() if value is not None}
        try:
            check_valid(here, codec.decode({**found.document, "spec": after}, strict=False))
        except Invalid as error:
            raise Invalid(f"LAN {found.ref}", error.problems) from error
        if write(here, found, patch, dry_run=dry_run):
            changes = ", ".join(f"{key} {_shown(before.get(key))} → {_shown(value)}" for key, value in patch.items())
            typer.echo(f"LAN {found.ref}: {changes}{dry_run.words}")
            return
    raise K8slanError(f"others change LAN {here.namespace}/{name} all the time", hint="try again")


def _emptied(value: Any) -> Any:
    """What a field is to be: None for one that is to go."""
    if isinstance(value, list):
        value = [each for each in value if each]
    return value or None


def _device(text: str) -> tuple[str, str | None]:
    node, sign, device = text.partition("=")
    if not sign or not node:
        raise UsageError(f"--node-underlay: {text!r} is not NODE=DEVICE")
    return node, device or None


def _devices(before: Mapping[str, Any], devices: Mapping[str, str | None]) -> dict[str, Any]:
    """The devices of single nodes, changed."""
    if not devices:
        return {}
    merged = {**(before.get("vxlanDevMap") or {}), **devices}
    return {"vxlanDevMap": {node: device for node, device in merged.items() if device} or None}


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{key}={each}" for key, each in value.items())
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
