"""A close look at one attachment: for CHECK, and for the question whether its pod is still there."""

from __future__ import annotations

import os

from k8slan_cli.errors import KernelError
from k8slan_cli.net import netlink, netns, sockets, taps
from k8slan_cli.net.netlink import OURS
from k8slan_cli.net.node import Node
from k8slan_cli.net.sockets import Netlink
from k8slan_cli.plan.state import Attachment, AttachmentKind


def ports(node: Node, name: str) -> frozenset[str]:
    """The names of k8slan's links in a LAN's namespace."""
    handle = node.lan(name)
    if handle is None:
        return frozenset()
    return frozenset(link.name for link in sockets.links(handle.netlink) if link.group == OURS)


def is_orphan(node: Node, name: str, attachment: Attachment) -> bool:
    """Whether the pod of an attachment is gone.

    A veth dies with the namespace of its other end, so the kernel knows for a pod. The port of a macvtap does not;
    there, the file that the runtime keeps for the sandbox's namespace tells. If it is there but not readable as a
    namespace from here, the pod counts as alive.
    """
    handle = node.lan(name)
    if handle is None or sockets.link(handle.netlink, attachment.port) is None:
        return True
    if attachment.kind is AttachmentKind.VETH:
        return False
    try:
        fd = netns.open_under(node.host_root, attachment.netns)
    except KernelError:
        return False
    if fd is None:
        return not (node.host_root / attachment.netns.lstrip("/")).exists()
    try:
        return netns.identity(fd) != attachment.netns_id
    finally:
        os.close(fd)


def inside(node: Node, name: str, attachment: Attachment, pod: int) -> str:
    """The name that a pod's interface has now: KubeVirt's ``bridge`` renames it and gives its name to another."""
    handle = node.lan(name)
    port = sockets.link(handle.netlink, attachment.port) if handle else None
    if port and attachment.kind is AttachmentKind.VETH:
        with Netlink(pod) as asking:
            link = sockets.link(asking, port.link)
        if link and link.kind == "veth" and link.link == port.index:
            return link.name
    return attachment.ifname


def index_inside(node: Node, name: str, attachment: Attachment) -> int:
    """The link index that a veth has in its pod; 0 if it is gone."""
    handle = node.lan(name)
    port = sockets.link(handle.netlink, attachment.port) if handle else None
    return port.link if port else 0


def faults(node: Node, name: str, attachment: Attachment, pod: int) -> list[str]:
    """What of an attachment is not as ADD left it, on both sides; ``pod`` is a descriptor of its namespace."""
    found: list[str] = []
    handle = node.lan(name)
    if handle is None or sockets.link(handle.netlink, attachment.port) is None:
        found.append(f"its bridge port {attachment.port} is gone")
    owners = taps.owners(node.host_root, [attachment.tap] if attachment.tap else ())
    if attachment.tap and owners is not None and owners.get(attachment.tap) != attachment.tap_owner:
        found.append(f"/dev/tap{attachment.tap} is gone, or not of {attachment.tap_owner[0]}:{attachment.tap_owner[1]}")
    try:
        with Netlink(pod) as inside:
            found += _pod_faults(inside, attachment)
    except KernelError as error:
        found.append(str(error))
    return found


def _pod_faults(inside: Netlink, attachment: Attachment) -> list[str]:
    link = sockets.link(inside, attachment.ifname)
    if link is None:
        return [f"its interface {attachment.ifname} is gone"]
    found: list[str] = []
    if link.mac != attachment.mac:
        found.append(f"its MAC is {link.mac} instead of {attachment.mac}")
    if link.mtu > attachment.mtu:  # a plugin after this one may make it smaller, which no result tells
        found.append(f"its MTU is {link.mtu}, more than {attachment.mtu}")
    if not link.up:
        found.append("it is down")
    replies = inside.ask(netlink.get_addresses(), doing="list addresses")
    there = {f"{a.address}/{a.prefix}" for a in netlink.parse_addresses(replies) if a.index == link.index}
    found += [f"it lacks the address {address}" for address in attachment.addresses if address not in there]
    return found
