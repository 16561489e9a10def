"""From what is there to what should be there: the operations in between, in an order that works.

The run-twice law: with the operations applied, the next diff is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from k8slan_cli.lan import names
from k8slan_cli.plan import operations as op
from k8slan_cli.plan.operations import Operation
from k8slan_cli.plan.state import UNSHAPED, Attachment, AttachmentKind, LanState, Port, UplinkPort


def diff(desired: LanState, observed: LanState, *, underlay: str = "") -> tuple[Operation, ...]:
    """Operations that turn ``observed`` into ``desired``; ``underlay`` is the device's name, for the words only."""
    if not desired.exists:
        return tuple(_remove(observed))
    return tuple(_realise(desired, observed, underlay))


def _remove(observed: LanState) -> Iterator[Operation]:
    if not observed.exists:
        if observed.mounted:  # the file of a namespace whose making was cut short
            yield op.DeleteNamespace(observed.netns)
        return
    # The links go first and by name: a namespace is emptied by the kernel some time later, and until then its VNI
    # would still be taken and the pods' ends of its veths would still be there.
    links = [*observed.ports, *observed.uplinks, *_lone_stubs(observed), *_ifbs(observed, observed.shapes)]
    if observed.joint:
        links.append(observed.joint.port.name)
    if observed.vxlan:
        links.append(observed.vxlan.link.name)
    if observed.bridge:
        links.append(observed.bridge.name)
    if links:
        yield op.DeleteLinks(tuple(links))
    yield op.DeleteNamespace(observed.netns)


def _realise(desired: LanState, observed: LanState, underlay: str) -> Iterator[Operation]:
    if not observed.exists:
        yield op.CreateNamespace(desired.netns)
        yield op.QuietNamespace(desired.netns)
    else:
        if not observed.mounted:
            yield op.MountNamespace(desired.netns)
        if not observed.quiet:
            yield op.QuietNamespace(desired.netns)

    if doomed := _doomed(desired, observed):
        yield op.DeleteLinks(doomed)

    if desired.bridge is not None and desired.bridge != observed.bridge:
        create = observed.bridge is None or observed.bridge.name in doomed
        yield op.CreateBridge(desired.bridge) if create else op.SetBridge(desired.bridge)
    yield from _tunnel(desired, observed, doomed, underlay)
    yield from _joint(desired, observed, doomed)
    yield from _uplinks(desired, observed, doomed)
    for name, port in desired.ports.items():
        stub = desired.stubs.get(names.stub(name))
        if name in observed.ports and name not in doomed:
            found = observed.ports[name]
            if replace(found, offload=port.offload) != port:
                yield op.SetPort(port)
            if found.offload != port.offload:
                yield op.SetOffload(name, port.offload)
            if stub and observed.stubs[stub.name] != stub:
                yield op.SetStub(stub)
            if (attachment := desired.attachments.get(name)) and _is_others(attachment, observed):
                yield op.GiveTap(attachment)
            shape, before = desired.shapes.get(name, UNSHAPED), observed.shapes.get(name, UNSHAPED)
            if shape != before:
                yield op.ShapePort(name, shape, before)
        else:
            attachment = desired.attachments[name]
            yield op.CreateVeth(port, attachment, stub)
            if name in desired.shapes:
                yield op.ShapePort(name, desired.shapes[name])
            if stub:
                yield op.CreateMacvtap(attachment, stub)
                if observed.taps is not None:
                    yield op.GiveTap(attachment)
            yield op.ConfigurePod(attachment)


def _is_others(attachment: Attachment, observed: LanState) -> bool:
    """Whether the device file of an attachment's macvtap is missing, or belongs to somebody else."""
    if attachment.kind is not AttachmentKind.MACVTAP or observed.taps is None:
        return False
    return observed.taps.get(attachment.tap) != attachment.tap_owner


def _doomed(desired: LanState, observed: LanState) -> tuple[str, ...]:
    """Links that must go: ports without their attachment, and what can only be changed by making it anew."""
    doomed = [name for name, port in observed.ports.items() if not _same_plug(name, port, desired, observed)]
    doomed += _lone_stubs(observed)
    doomed += _ifbs(observed, (port for port in observed.shapes if port not in observed.ports or port in doomed))
    doomed += [name for name, found in observed.uplinks.items() if not _same_nic(found, desired.uplinks.get(name))]
    found, wanted = observed.vxlan, desired.vxlan
    if found and wanted and (found.tunnel != wanted.tunnel or found.link.name != wanted.link.name):
        doomed.append(found.link.name)
    if observed.joint and not desired.joint:
        doomed.append(observed.joint.port.name)
    if observed.bridge and desired.bridge and observed.bridge.name != desired.bridge.name:
        doomed.append(observed.bridge.name)
    return tuple(doomed)


def _lone_stubs(observed: LanState) -> list[str]:
    """Stubs whose port somebody has moved out of the namespace; any other goes when its port goes."""
    paired = {names.stub(name) for name in observed.ports}
    return [name for name in observed.stubs if name not in paired]


def _ifbs(observed: LanState, ports: Iterable[str]) -> list[str]:
    """Devices that frames from pods are led through, which do not go when their ports go."""
    return [names.ifb(port) for port in ports if observed.shapes[port].from_pod is not None]


def _same_plug(name: str, port: Port, desired: LanState, observed: LanState) -> bool:
    """Whether an observed port has the owner and the kind of device behind it that it should have."""
    wanted, stub = desired.ports.get(name), names.stub(name)
    return wanted is not None and wanted.owner == port.owner and (stub in desired.stubs) == (stub in observed.stubs)


def _same_nic(found: UplinkPort, wanted: UplinkPort | None) -> bool:
    return wanted is not None and (wanted.lower, wanted.vlan) == (found.lower, found.vlan)


def _uplinks(desired: LanState, observed: LanState, doomed: tuple[str, ...]) -> Iterator[Operation]:
    """Ports of NICs; those that are to be out of the bridge are taken out before another goes in."""
    opened = [each for each in desired.uplinks.values() if each.port.bridge]
    there = {name: found for name, found in observed.uplinks.items() if name not in doomed}
    for name, wanted in desired.uplinks.items():
        if name not in there:
            yield op.CreateUplink(wanted)
        elif there[name] != wanted and wanted not in opened:
            yield op.CloseUplink(wanted)
    for wanted in opened:
        if there.get(wanted.port.name) != wanted:
            yield op.OpenUplink(wanted)


def _tunnel(desired: LanState, observed: LanState, doomed: tuple[str, ...], underlay: str) -> Iterator[Operation]:
    wanted = desired.vxlan
    if wanted is None:
        return
    found = observed.vxlan if observed.vxlan and observed.vxlan.link.name not in doomed else None
    if found is None:
        yield op.CreateVxlan(wanted.link, wanted.tunnel, underlay)
    elif found.link != wanted.link:
        yield op.SetPort(wanted.link)
    present = found.peers if found else frozenset()
    name = wanted.link.name
    for peer in sorted(wanted.peers - present, key=str):
        yield op.AddPeer(name, peer)
    for peer in sorted(present - wanted.peers, key=str):
        yield op.RemovePeer(name, peer)


def _joint(desired: LanState, observed: LanState, doomed: tuple[str, ...]) -> Iterator[Operation]:
    wanted, vxlan, found = desired.joint, desired.vxlan, observed.joint
    if wanted is None or vxlan is None:
        return
    if found is None:
        yield op.CreateJoint(wanted.port)
    elif found.port != wanted.port:
        yield op.SetPort(wanted.port)
    # A redirect ends with what it leads to.
    same = observed.vxlan is not None and observed.vxlan.link.name not in doomed
    if not (found and found.joined and same):
        yield op.JoinVxlan(vxlan.link.name, wanted.port.name)
