"""What agents of 0.1.0 wrote into LANs, and read from them: kept for as long as one of them runs. Pure decisions.

Such an agent has a finalizer of its node on each LAN in which it takes part, and an entry in ``status.nodes``, where it
also finds its peers. Agents of this version write VTEPs instead. So while there are both, the nodes that have VTEPs
with ports are entered in ``status.nodes`` by the controller; once there are no old ones, nothing of it remains. With
the last cluster that comes from 0.1.0 this module may go, and ``status.nodes`` with it.
"""

from __future__ import annotations

from collections.abc import Iterator

from k8slan_cli.controller.actions import Action, RemoveNodes, WriteNodes
from k8slan_cli.controller.view import View, node_of
from k8slan_cli.lan.model import NodeStatus
from k8slan_cli.lan.vtep import Vtep


def entries(view: View) -> Iterator[Action]:
    """Yield what is to be done about ``status.nodes``."""
    found = view.found
    told = {vtep.node for vtep in view.vteps}
    wanted = {vtep.node: _entry(vtep) for vtep in view.vteps if vtep.takes_part} if view.old_agents else {}
    names = [entry.name for entry in found.entries]
    unwanted = [n for n in names if view.is_gone(n) or (view.fresh and n in told and n not in wanted)]
    if unwanted:
        yield RemoveNodes(found.ref, found.uid, tuple(unwanted))
    if not wanted.items() <= {entry.name: entry for entry in found.entries}.items():
        yield WriteNodes(found.ref, found.uid, tuple(wanted.values()))


def _entry(vtep: Vtep) -> NodeStatus:
    return NodeStatus(
        name=vtep.node,
        state=vtep.state,
        device=vtep.device,
        vtep=vtep.address,
        mtu=vtep.mtu,
        message=vtep.message,
    )


def taken_over(view: View) -> tuple[str, ...]:
    """Return the finalizers of nodes that have a VTEP instead."""
    told = {vtep.node for vtep in view.vteps}
    return tuple(finalizer for finalizer in view.node_finalizers if node_of(finalizer) in told)
