"""Generated pairs of what is wanted and what is there, for the laws of the planner.

What is there comes about as it does in life: something was wanted once, and then people, pods and the kernel have
changed it, each in a way that leaves the namespace consistent (a port is in a bridge that exists, or in none).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

from hypothesis import strategies as st

from k8slan_cli.lan import names
from k8slan_cli.lan.model import Lan, LanRef, NodeStatus, Uplink
from k8slan_cli.plan import desired, uplinks
from k8slan_cli.plan.state import (
    Attachment,
    AttachmentKind,
    Bridge,
    Joint,
    LanState,
    Owner,
    Port,
    Stub,
    Underlay,
    UplinkPort,
    absent,
)
from k8slan_cli.plan.uplinks import Nic

REF = LanRef(namespace="lab", name="blue")
SPOKES = ("a", "b", "c", "d")
ADDRESSES = tuple(map(ip_address, ("10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2", "fe80::1", "fe80::2")))
UPLINKS = (Uplink(node="n0", device="e1"), Uplink(node="n0", device="e1", vlan=7), Uplink(node="n0", device="e2"))
NICS = (Nic(index=5, mtu=1500), Nic(index=6, mtu=9000), Nic(index=5, mtu=9000, master="bond0"), None)
GROUPS = (ip_address("239.0.0.1"), ip_address("ff02::14"))


@st.composite
def lans(draw: st.DrawFn) -> Lan:
    """LANs that differ in what matters to a node."""
    peers = draw(st.lists(st.sampled_from(ADDRESSES), max_size=3, unique=True))
    group = draw(st.sampled_from([None, None, *GROUPS]))
    return Lan(
        ref=REF,
        netns="blue",
        bridge=draw(st.sampled_from(["br0", "br1"])),
        vxlan=draw(st.sampled_from(["vx0", "vx1"])),
        vni=draw(st.integers(7, 8)),
        group=group,
        port=draw(st.sampled_from([4789, 8472])),
        mtu=draw(st.sampled_from([None, 1300])),
        fragment=draw(st.integers(0, 2)) == 0 and group != GROUPS[1],
        spokes=SPOKES,
        dynamic=True,
        offload=draw(st.booleans()),
        down=draw(st.frozensets(st.sampled_from([*SPOKES, "c1a:net1"]), max_size=2)),
        nodes=tuple(NodeStatus(name=f"n{i}", vtep=peer) for i, peer in enumerate(peers)),
    )


@st.composite
def underlays(draw: st.DrawFn) -> Underlay:
    """Underlay devices with an address of each family."""
    addresses = draw(st.permutations([ip_address("10.0.0.1"), ip_address("fd00::1"), ip_address("fe80::1")]))
    return Underlay(
        name="eth0",
        index=draw(st.integers(2, 3)),
        mtu=draw(st.sampled_from([1500, 9000])),
        up=True,
        addresses=tuple(addresses),
    )


@st.composite
def attachments(draw: st.DrawFn) -> list[Attachment]:
    """Pods and VMs, each at a port of its own; a few on ports without a spoke."""
    spokes = draw(st.lists(st.sampled_from(SPOKES), max_size=4, unique=True))
    found = []
    for spoke in spokes:
        container = draw(st.sampled_from(["c1", "c2"])) + spoke
        dynamic = draw(st.integers(0, 3)) == 0
        kind = AttachmentKind.VETH if dynamic else draw(st.sampled_from(AttachmentKind))
        found.append(
            Attachment(
                container=container,
                ifname="net1",
                lan=REF,
                kind=kind,
                port=names.dynamic_port(container, "net1") if dynamic else names.port(spoke),
                mac=names.mac(spoke),
                mtu=draw(st.sampled_from([1300, 1400])),
                spoke=None if dynamic else spoke,
                tap=names.tap_index(str(REF), spoke) if kind is AttachmentKind.MACVTAP else 0,
                offload=draw(st.sampled_from([None, True, False])),
                tap_owner=draw(st.sampled_from([(107, 107), (0, 0)])),
            )
        )
    return found


@st.composite
def damaged(draw: st.DrawFn, state: LanState) -> LanState:
    """``state`` after what may have happened to it."""
    state = replace(state, attachments={})
    if not state.exists or draw(st.integers(0, 4)) == 0:
        return state
    state = replace(state, mounted=draw(st.booleans()), quiet=draw(st.booleans()))
    bridge = draw(st.sampled_from([*[state.bridge] * 5, None, Bridge(name="other", mtu=1500, up=False)]))
    if bridge and draw(st.integers(0, 2)) == 0:
        bridge = replace(bridge, mtu=draw(st.sampled_from([bridge.mtu, 1500])), up=draw(st.booleans()))
        bridge = replace(bridge, quiet=draw(st.booleans()))
    ports = {name: _port(draw, port, bridge) for name, port in state.ports.items() if draw(st.integers(0, 4))}
    ports = {name: replace(port, offload=draw(st.booleans())) for name, port in ports.items()}
    stubs = {name: _stub(draw, stub) for name, stub in state.stubs.items() if names.port_of_stub(name) in ports}
    for stray in draw(st.lists(st.sampled_from(["yp", "zp", "0123456789abd"]), max_size=2, unique=True)):
        ports[stray] = _port(draw, Port(name=stray, bridge=None, mtu=1500, owner="nobody"), bridge)
        if stray.endswith("p") and draw(st.booleans()):
            stubs[names.stub(stray)] = _stub(draw, Stub(name=names.stub(stray), mtu=1500))
    if draw(st.integers(0, 4)) == 0:
        stubs["as" if "ap" not in ports else "xs"] = Stub(name="as" if "ap" not in ports else "xs", mtu=1500)
    vxlan = state.vxlan if draw(st.integers(0, 4)) else None
    if vxlan:
        vxlan = replace(vxlan, link=_port(draw, vxlan.link, bridge))
        if draw(st.integers(0, 3)) == 0:
            vxlan = replace(vxlan, tunnel=replace(vxlan.tunnel, vni=draw(st.integers(7, 9))))
        if vxlan.tunnel.group is None:
            vxlan = replace(vxlan, peers=draw(st.frozensets(st.sampled_from(ADDRESSES), max_size=3)))
    joint = state.joint if draw(st.integers(0, 4)) else None
    if joint:
        joined = vxlan == state.vxlan and draw(st.booleans())
        joint = Joint(port=_port(draw, joint.port, bridge), joined=joined)
    nics = {name: _uplink(draw, uplink, bridge) for name, uplink in state.uplinks.items() if draw(st.integers(0, 4))}
    state = replace(state, uplinks=nics)
    return replace(state, bridge=bridge, vxlan=vxlan, joint=joint, ports=ports, stubs=stubs)


def _uplink(draw: st.DrawFn, uplink: UplinkPort, bridge: Bridge | None) -> UplinkPort:
    if bridge is None:
        uplink = uplinks.closed(uplink)
    return replace(uplink, port=_port(draw, uplink.port, bridge), lower=draw(st.sampled_from([uplink.lower] * 3 + [9])))


def _port(draw: st.DrawFn, port: Port, bridge: Bridge | None) -> Port:
    at = bridge.name if bridge else None
    if port.bridge == at and draw(st.booleans()):
        return port
    return replace(
        port,
        bridge=draw(st.sampled_from([at, at, None])),
        mtu=draw(st.sampled_from([port.mtu, port.mtu, 1500])),
        up=draw(st.booleans()),
        forwards=draw(st.sampled_from([port.forwards, port.forwards, 0])),
        owner=draw(st.sampled_from([port.owner, port.owner, port.owner, "", "somebody else"])),
    )


def _stub(draw: st.DrawFn, stub: Stub) -> Stub:
    return replace(stub, mtu=draw(st.sampled_from([stub.mtu, 1500])), up=draw(st.booleans()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What is wanted, what is there, and whether there is an underlay to want it with."""

    wanted: LanState
    observed: LanState
    planned: bool = True


def _plan(draw: st.DrawFn, lan: Lan, underlay: Underlay, members: list[Attachment]) -> LanState:
    nics = draw(st.dictionaries(st.sampled_from(UPLINKS), st.sampled_from(NICS), max_size=3))
    opened = draw(st.sampled_from(["", *map(uplinks.port_name, UPLINKS)]))
    return desired.plan(lan, underlay, members, desired.elsewhere(lan, "n0", ()), nics=nics, opened=opened)


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """What is wanted now, and what has become of what was wanted before."""
    lan, underlay, members = draw(lans()), draw(underlays()), draw(attachments())
    if draw(st.integers(0, 3)):
        before = _plan(draw, lan, underlay, members)
    else:
        other = draw(lans())
        before = _plan(draw, other, draw(underlays()), draw(attachments()))
    observed = draw(damaged(before))
    wanted = _plan(draw, lan, underlay, members)
    observed = replace(observed, taps=draw(_taps(wanted)))
    match draw(st.integers(0, 9)):
        case 0:
            return Pair(wanted=absent("blue"), observed=replace(observed, taps={}))
        case 1:
            return Pair(wanted=desired.without_underlay(observed, members), observed=observed, planned=False)
        case _:
            return Pair(wanted=wanted, observed=observed)


@st.composite
def _taps(draw: st.DrawFn, wanted: LanState) -> dict[int, Owner]:
    """Those that are looked for: some are there, and not all are whose they should be."""
    found = {tap: draw(st.sampled_from([owner, owner, (0, 0), None])) for tap, owner in (wanted.taps or {}).items()}
    return {tap: owner for tap, owner in found.items() if owner is not None}
