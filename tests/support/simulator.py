"""What operations do to a LAN's part of a node, on values alone: the kernel of the planner's tests.

It is as strict as the real one. Whatever that would refuse (a second link of a name, a port in a bridge that is not
there, a peer twice) fails here too, so an order of operations that does not work is found without root.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import singledispatch

from k8slan_cli.lan import names
from k8slan_cli.plan import operations as op
from k8slan_cli.plan import uplinks
from k8slan_cli.plan.operations import Operation
from k8slan_cli.plan.state import (
    UNSHAPED,
    Joint,
    LanState,
    Owner,
    Port,
    Queue,
    Shaping,
    UplinkPort,
    Vxlan,
    absent,
)


def apply_all(operations: Iterable[Operation], state: LanState) -> LanState:
    """The state after all ``operations``, each of which must be possible when its turn comes."""
    for operation in operations:
        state = apply(operation, state)
    return state


def links(state: LanState) -> frozenset[str]:
    """The names of all links of k8slan in the namespace."""
    single = [state.bridge.name] if state.bridge else []
    single += [state.vxlan.link.name] if state.vxlan else []
    single += [state.joint.port.name] if state.joint else []
    ifbs = [names.ifb(port) for port, shape in state.shapes.items() if shape.from_pod is not None]
    return frozenset([*single, *state.ports, *state.stubs, *ifbs, *state.uplinks])


@singledispatch
def apply(operation: Operation, state: LanState) -> LanState:
    """The state after ``operation``.

    Raises:
        AssertionError: the kernel would refuse it.

    """
    raise NotImplementedError(operation)


@apply.register
def _(operation: op.CreateNamespace, state: LanState) -> LanState:
    assert not state.exists, f"{operation.netns} is there already"
    return LanState(netns=operation.netns, quiet=False)


@apply.register
def _(operation: op.MountNamespace, state: LanState) -> LanState:
    assert state.exists, f"{operation.netns} is not there"
    assert not state.mounted, f"{operation.netns} is mounted already"
    return replace(state, mounted=True)


@apply.register
def _(operation: op.QuietNamespace, state: LanState) -> LanState:
    assert state.exists, f"{operation.netns} is not there"
    return replace(state, quiet=True)


@apply.register
def _(operation: op.DeleteNamespace, state: LanState) -> LanState:
    assert state.exists, f"{operation.netns} is not there"
    assert not links(state), "a namespace goes away late: its links must have been deleted by name"
    return absent(operation.netns)


@apply.register
def _(operation: op.CreateBridge, state: LanState) -> LanState:
    _free(operation.bridge.name, state)
    assert state.bridge is None, "a LAN has one bridge"
    return replace(state, bridge=operation.bridge)


@apply.register
def _(operation: op.SetBridge, state: LanState) -> LanState:
    assert state.bridge is not None, "there is no bridge"
    assert state.bridge.name == operation.bridge.name, f"there is no {operation.bridge.name}"
    return replace(state, bridge=operation.bridge)


@apply.register
def _(operation: op.CreateVxlan, state: LanState) -> LanState:
    _free(operation.link.name, state)
    _pluggable(operation.link, state)
    assert state.vxlan is None, "a LAN has one VXLAN device"
    return replace(state, vxlan=Vxlan(link=operation.link, tunnel=operation.tunnel))


@apply.register
def _(operation: op.CreateJoint, state: LanState) -> LanState:
    _free(operation.port.name, state)
    _pluggable(operation.port, state)
    return replace(state, joint=Joint(port=operation.port, joined=False))


@apply.register
def _(operation: op.JoinVxlan, state: LanState) -> LanState:
    assert state.joint is not None, "there is nothing to join"
    assert state.joint.port.name == operation.port, f"there is no {operation.port}"
    _vxlan(operation.vxlan, state)
    return replace(state, joint=replace(state.joint, joined=True))


@apply.register
def _(operation: op.CreateVeth, state: LanState) -> LanState:
    port, stub = operation.port, operation.stub
    _free(port.name, state)
    _pluggable(port, state)
    assert port.name == operation.attachment.port
    stubs = dict(state.stubs)
    if stub:
        _free(stub.name, state)
        stubs[stub.name] = stub
    return replace(state, ports={**state.ports, port.name: port}, stubs=stubs)


@apply.register
def _(operation: op.CreateMacvtap, state: LanState) -> LanState:
    assert state.stubs.get(operation.stub.name) == operation.stub, f"{operation.stub.name} is not as it should be"
    return _owned(operation.attachment.tap, (0, 0), state)


@apply.register
def _(operation: op.GiveTap, state: LanState) -> LanState:
    assert state.taps is not None, "the node's /dev is another's"
    assert names.stub(operation.attachment.port) in state.stubs, f"{operation.attachment.who} has no macvtap"
    return _owned(operation.attachment.tap, operation.attachment.tap_owner, state)


def _owned(tap: int, owner: Owner, state: LanState) -> LanState:
    return state if state.taps is None else replace(state, taps={**state.taps, tap: owner})


@apply.register
def _(operation: op.ConfigurePod, state: LanState) -> LanState:
    assert operation.attachment.port in state.ports, f"{operation.attachment.who} has no interface"
    return state


@apply.register
def _(operation: op.SetPort, state: LanState) -> LanState:
    port = operation.port
    _pluggable(port, state)
    if state.vxlan and state.vxlan.link.name == port.name:
        return replace(state, vxlan=replace(state.vxlan, link=port))
    if state.joint and state.joint.port.name == port.name:
        return replace(state, joint=replace(state.joint, port=port))
    assert port.name in state.ports, f"there is no {port.name}"
    return replace(state, ports={**state.ports, port.name: port})


@apply.register
def _(operation: op.SetOffload, state: LanState) -> LanState:
    assert operation.port in state.ports, f"there is no {operation.port}"
    port = replace(state.ports[operation.port], offload=operation.on)
    return replace(state, ports={**state.ports, port.name: port})


@apply.register
def _(operation: op.CreateUplink, state: LanState) -> LanState:
    port = operation.uplink.port
    _free(port.name, state)
    return replace(state, uplinks={**state.uplinks, port.name: uplinks.closed(operation.uplink)})


@apply.register
def _(operation: op.OpenUplink, state: LanState) -> LanState:
    name = operation.uplink.port.name
    _pluggable(operation.uplink.port, state)
    others = [other.port.name for other in state.uplinks.values() if other.port.bridge and other.port.name != name]
    assert not others, f"{others} is active too"
    return _with_uplink(operation.uplink, state)


@apply.register
def _(operation: op.CloseUplink, state: LanState) -> LanState:
    assert operation.uplink.port.bridge is None
    return _with_uplink(operation.uplink, state)


def _with_uplink(uplink: UplinkPort, state: LanState) -> LanState:
    found = state.uplinks.get(uplink.port.name)
    assert found, f"there is no {uplink.port.name}"
    assert (found.lower, found.vlan) == (uplink.lower, uplink.vlan), "its NIC cannot be changed"
    return replace(state, uplinks={**state.uplinks, uplink.port.name: uplink})


@apply.register
def _(operation: op.SetStub, state: LanState) -> LanState:
    assert operation.stub.name in state.stubs, f"there is no {operation.stub.name}"
    return replace(state, stubs={**state.stubs, operation.stub.name: operation.stub})


@apply.register
def _(operation: op.DeleteLinks, state: LanState) -> LanState:
    doomed = set(operation.names)
    assert doomed, "nothing to delete"
    assert doomed <= links(state), f"there is no {doomed - links(state)}"
    gone = doomed | {end for name in doomed for end in _pair(name, state)}
    bridge, vxlan, joint = state.bridge, state.vxlan, state.joint
    ports = {name: port for name, port in state.ports.items() if name not in gone}
    if vxlan and vxlan.link.name in gone:
        vxlan = None
        joint = replace(joint, joined=False) if joint else None
    if joint and joint.port.name in gone:
        joint = None
    if bridge and bridge.name in gone:
        bridge = None
        ports = {name: replace(port, bridge=None) for name, port in ports.items()}
        vxlan = replace(vxlan, link=replace(vxlan.link, bridge=None)) if vxlan else None
        joint = replace(joint, port=replace(joint.port, bridge=None)) if joint else None
    stubs = {name: stub for name, stub in state.stubs.items() if name not in gone}
    shapes = {port: shape for port, each in state.shapes.items() if (shape := _without(port, each, gone)) != UNSHAPED}
    left = {name: uplink for name, uplink in state.uplinks.items() if name not in gone}
    if bridge is None:
        left = {name: uplinks.closed(uplink) for name, uplink in left.items()}
    state = replace(state, shapes=shapes, uplinks=left)
    return replace(state, bridge=bridge, vxlan=vxlan, joint=joint, ports=ports, stubs=stubs)


def _without(port: str, shape: Shaping, gone: set[str]) -> Shaping:
    """What is left at a port of what is done to frames there: the device for what comes in stays without its port."""
    if names.ifb(port) in gone:
        shape = replace(shape, from_pod=None, led=False)
    return replace(shape, to_pod=Queue(), led=False) if port in gone else shape


@apply.register
def _(operation: op.ShapePort, state: LanState) -> LanState:
    assert operation.port in state.ports, f"there is no {operation.port}"
    assert operation.before == state.shapes.get(operation.port, UNSHAPED), "it is not as it was"
    shapes = {**state.shapes, operation.port: operation.shape}
    return replace(state, shapes={port: shape for port, shape in shapes.items() if shape != UNSHAPED})


@apply.register
def _(operation: op.AddPeer, state: LanState) -> LanState:
    vxlan = _vxlan(operation.vxlan, state)
    assert operation.peer not in vxlan.peers, f"{operation.peer} is a peer already"
    assert vxlan.tunnel.group is None, "a multicast LAN has no peers"
    return replace(state, vxlan=replace(vxlan, peers=vxlan.peers | {operation.peer}))


@apply.register
def _(operation: op.RemovePeer, state: LanState) -> LanState:
    vxlan = _vxlan(operation.vxlan, state)
    assert operation.peer in vxlan.peers, f"{operation.peer} is no peer"
    return replace(state, vxlan=replace(vxlan, peers=vxlan.peers - {operation.peer}))


def _free(name: str, state: LanState) -> None:
    assert state.exists, f"{state.netns} is not there"
    assert name not in links(state), f"{name} is there already"


def _pluggable(port: Port, state: LanState) -> None:
    if port.bridge is None:
        return
    assert state.bridge is not None, f"{port.name} has no bridge to go to"
    assert state.bridge.name == port.bridge, f"there is no bridge {port.bridge}"


def _vxlan(name: str, state: LanState) -> Vxlan:
    assert state.vxlan is not None, "there is no VXLAN device"
    assert state.vxlan.link.name == name, f"there is no {name}"
    return state.vxlan


def _pair(name: str, state: LanState) -> list[str]:
    """The other end of a veth, which goes when this one goes, as far as it is in the namespace too."""
    ends = [names.stub(port) for port in state.ports if port == name]
    ends += [port for port in state.ports if names.stub(port) == name]
    return [end for end in ends if end in state.stubs or end in state.ports]
