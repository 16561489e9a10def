"""Carries operations out. One function for each, found by the operation's type."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import singledispatch

from k8slan_cli.errors import KernelError, PodGone, UnderlayMissing
from k8slan_cli.lan import names
from k8slan_cli.net import fdb, holders, joint, netlink, netns, offload, sockets, taps, tc
from k8slan_cli.net.netlink import End
from k8slan_cli.net.node import Handle, Node
from k8slan_cli.net.sockets import Netlink
from k8slan_cli.plan import operations as op
from k8slan_cli.plan.operations import Operation
from k8slan_cli.plan.state import Attachment, Port, UplinkPort

_GONE = frozenset({errno.ENODEV})
_CARRIER_SECONDS, _LOOK_SECONDS = 1.0, 0.001


class Context:
    """What operations work on: the node, the LAN's namespace by name, and pods' namespaces.

    ``pods`` holds descriptors that came with a CNI request. For an attachment without one (a repair), the namespace is
    looked for where the runtime said it was, and used only if it is still the same one.
    """

    def __init__(self, node: Node, name: str, pods: Mapping[tuple[str, str], int]) -> None:
        self.node = node
        self.name = name
        self._pods = pods

    def handle(self) -> Handle:
        """The LAN's namespace."""
        handle = self.node.lan(self.name)
        if handle is None:
            raise KernelError(errno.ENOENT, f"the namespace {self.name} is gone")
        return handle

    def with_pod(self, attachment: Attachment, act: Callable[[int], None]) -> None:
        """Call ``act`` with a descriptor of the pod's namespace."""
        fd = self._pods.get(attachment.key)
        if fd is not None:
            act(fd)
            return
        fd = netns.open_under(self.node.host_root, attachment.netns) if attachment.netns else None
        try:
            if fd is None or netns.identity(fd) != attachment.netns_id:
                raise PodGone(errno.ESTALE, f"reach the namespace of {attachment.who}: it is gone")
            act(fd)
        finally:
            if fd is not None:
                os.close(fd)


@singledispatch
def execute(operation: Operation, context: Context) -> None:
    """Carry out one operation.

    Raises:
        KernelError: the kernel refused.

    """
    raise NotImplementedError(operation)


@execute.register
def _(operation: op.CreateNamespace, context: Context) -> None:
    netns.create(context.node.path(operation.netns))


@execute.register
def _(operation: op.MountNamespace, context: Context) -> None:
    netns.mount(context.handle().fd, context.node.path(operation.netns))


@execute.register
def _(_operation: op.QuietNamespace, context: Context) -> None:
    netns.make_quiet(context.handle().fd)


@execute.register
def _(operation: op.DeleteNamespace, context: Context) -> None:
    context.node.forget(operation.netns)
    netns.delete(context.node.path(operation.netns))


@execute.register
def _(operation: op.CreateBridge, context: Context) -> None:
    bridge = operation.bridge
    mac = names.mac(context.name, bridge.name)
    lan = context.handle().netlink
    context.handle().indexes.clear()
    lan.apply([netlink.bridge(bridge.name, bridge.mtu, mac)], doing=operation.describe())
    _set_bridge(lan, operation)


@execute.register
def _(operation: op.SetBridge, context: Context) -> None:
    _set_bridge(context.handle().netlink, operation)


def _set_bridge(lan: Netlink, operation: op.SetBridge | op.CreateBridge) -> None:
    bridge = operation.bridge
    raw = sockets.existing_link(lan, bridge.name)
    changes = [netlink.set_link(raw.index, mtu=bridge.mtu, up=True)]
    if netlink.loud(raw):
        changes.append(netlink.silence(raw))
    lan.apply(changes, doing=operation.describe())


@execute.register
def _(operation: op.CreateVxlan, context: Context) -> None:
    handle, tunnel, link = context.handle(), operation.tunnel, operation.link
    message = netlink.vxlan(
        link.name,
        vni=tunnel.vni,
        port=tunnel.port,
        device=tunnel.device,
        local=tunnel.local,
        group=tunnel.group,
        ttl=tunnel.ttl,
        mtu=link.mtu,
        mac=names.mac(context.name, link.name, str(tunnel.local)),
        netns_fd=handle.fd,
    )
    try:
        context.node.netlink.apply([message], doing=operation.describe())
    except KernelError as error:
        if error.errno == errno.ENODEV:
            raise UnderlayMissing(error.errno, f"the underlay device {operation.underlay} is gone") from error
        if error.errno == errno.EEXIST:
            hint = "another program or LAN uses this VNI and port: choose another vni or vxlanPort"
            raise KernelError(error.errno, error.message, hint=hint) from error
        raise
    handle.indexes.pop(link.name, None)  # of one before it, which somebody else has deleted
    _set_port(context, link, operation.describe())


@execute.register
def _(operation: op.CreateJoint, context: Context) -> None:
    port = operation.port
    ends = [End(name, names.mac(context.name, name), port.mtu) for name in (names.JOINT_END, port.name)]
    context.handle().netlink.apply([netlink.veth(*ends, up=True)], doing=operation.describe())
    _set_port(context, port, operation.describe())


@execute.register
def _(operation: op.JoinVxlan, context: Context) -> None:
    joint.join(context.handle().netlink, operation.vxlan, operation.port, doing=operation.describe())


@execute.register
def _(operation: op.SetPort, context: Context) -> None:
    _set_port(context, operation.port, operation.describe())


def _set_port(context: Context, port: Port, doing: str) -> None:
    lan = context.handle().netlink
    master = sockets.existing_link(lan, port.bridge).index if port.bridge else 0
    change = netlink.set_link(port.name, mtu=port.mtu, master=master)
    settings = netlink.port_settings(port.name, port.forwards, port.owner, up=port.up)
    if port.bridge is None:
        settings = netlink.set_link(port.name, up=port.up, ifalias=port.owner.encode())
    try:
        lan.apply([change, settings], doing=doing)
    except KernelError as error:
        if error.errno != errno.EADDRINUSE:  # the kernel opens a VXLAN device's UDP port when it goes up
            raise
        udp = netlink.vxlan_options(sockets.existing_link(lan, port.name))[1]
        raise KernelError(error.errno, error.message, hint=holders.advice(context.node, udp)) from error


@execute.register
def _(operation: op.CreateVeth, context: Context) -> None:
    handle, port, attachment, stub = context.handle(), operation.port, operation.attachment, operation.stub
    lan, doing = handle.netlink, operation.describe()
    master = handle.index(port.bridge or "")
    end = End(port.name, names.mac(context.name, port.name), port.mtu)

    def create(fd: int) -> None:
        # The pod's end is the one that can be brought up while it is made, without a socket in the pod.
        inside = End(attachment.ifname, attachment.mac, attachment.mtu, fd)
        if attachment.index and _recreate(attachment, fd, replace(end, netns_fd=handle.fd), doing):
            return
        try:
            lan.apply([netlink.veth(inside, replace(end, netns_fd=handle.fd), up=not attachment.silent)], doing=doing)
        except KernelError as error:
            # Before Linux 6.15 a name that is taken here counts as taken there.
            if error.errno != errno.EEXIST or sockets.link(lan, inside.name) is None:
                raise
            lan.apply([netlink.veth(end, inside)], doing=doing)
            if not attachment.silent:
                with Netlink(fd) as pod:
                    pod.apply([netlink.set_link(inside.name, up=True)], doing=doing)

    settings = [
        netlink.set_link(port.name, master=master),
        netlink.port_settings(port.name, port.forwards, port.owner, up=port.up),
    ]
    try:
        if stub:  # it has the MAC of the macvtap that is to sit on it in passthru mode
            settings.append(netlink.set_link(stub.name, up=True))
            lan.apply([netlink.veth(end, End(stub.name, attachment.mac, attachment.mtu))], doing=doing)
        else:
            context.with_pod(attachment, create)
        lan.apply(settings, doing=doing)
        if not port.offload:
            offload.switch(handle.fd, port.name, on=False, doing=doing)
    except KernelError as error:
        handle.indexes.clear()
        if error.errno == errno.EEXIST:
            peer = stub.name if stub else attachment.ifname
            words = f"the pod has an interface {peer} already, or the LAN a port {port.name}"
            raise KernelError(error.errno, words) from error
        raise


def _recreate(attachment: Attachment, fd: int, end: End, doing: str) -> bool:
    """Make a veth with the link index that it had in the pod; false if another link of the pod has that by now."""
    inside = End(attachment.ifname, attachment.mac, attachment.mtu)
    with Netlink(fd) as pod:  # the kernel looks for an index where the socket is
        try:
            pod.apply([netlink.veth(inside, end, up=not attachment.silent, index=attachment.index)], doing=doing)
        except KernelError:
            taken = sockets.link(pod, attachment.index)
            if taken is None or taken.name == attachment.ifname:
                raise
            return False
    return True


@execute.register
def _(operation: op.SetOffload, context: Context) -> None:
    offload.switch(context.handle().fd, operation.port, on=operation.on, doing=operation.describe())


@execute.register
def _(operation: op.CreateUplink, context: Context) -> None:
    handle, wanted, doing = context.handle(), operation.uplink, operation.describe()
    port = wanted.port
    if wanted.vlan:
        message = netlink.vlan(port.name, lower=wanted.lower, number=wanted.vlan, mtu=port.mtu, netns_fd=handle.fd)
    else:
        message = netlink.macvlan(port.name, lower=wanted.lower, mtu=port.mtu, netns_fd=handle.fd)
    try:
        context.node.netlink.apply([message], doing=doing)
    except KernelError as error:
        raise KernelError(error.errno, error.message, hint=_uplink_advice(error.errno, wanted) or error.hint) from error
    # Out of the bridge it is not promiscuous, and has to hear the frame that finds loops nonetheless.
    change = netlink.set_link(port.name, up=True, silent=True, ifalias=port.owner.encode())
    handle.netlink.apply([change], doing=doing)


def _uplink_advice(code: int, wanted: UplinkPort) -> str:
    if code == errno.EOPNOTSUPP:
        return f"the node's kernel lacks it: modprobe {'8021q' if wanted.vlan else 'macvlan'}"
    if code in (errno.EEXIST, errno.EBUSY, errno.EINVAL):
        return "the node has another device over this NIC: see ip -d link, and delete it or take another NIC"
    return ""


@execute.register
def _(operation: op.OpenUplink, context: Context) -> None:
    _set_port(context, operation.uplink.port, operation.describe())


@execute.register
def _(operation: op.CloseUplink, context: Context) -> None:
    port = operation.uplink.port
    change = netlink.set_link(port.name, up=True, master=0, mtu=port.mtu, ifalias=port.owner.encode())
    context.handle().netlink.apply([change], doing=operation.describe())


@execute.register
def _(operation: op.SetStub, context: Context) -> None:
    stub = operation.stub
    change = netlink.set_link(stub.name, mtu=stub.mtu, up=True)
    context.handle().netlink.apply([change], doing=operation.describe())


@execute.register
def _(operation: op.CreateMacvtap, context: Context) -> None:
    attachment = operation.attachment
    lan = context.handle().netlink
    lower = sockets.existing_link(lan, operation.stub.name).index

    def create(fd: int) -> None:
        message = netlink.macvtap(
            attachment.ifname,
            index=attachment.tap,
            lower=lower,
            mac=attachment.mac,
            mtu=attachment.mtu,
            netns_fd=fd,
        )
        try:
            lan.apply([message], doing=operation.describe())
        except KernelError as error:
            if error.errno == errno.EEXIST:
                raise KernelError(error.errno, f"the pod has an interface {attachment.ifname} already") from error
            raise

    context.with_pod(attachment, create)


@execute.register
def _(operation: op.GiveTap, context: Context) -> None:
    attachment = operation.attachment
    root = context.node.host_root
    context.with_pod(attachment, lambda fd: taps.give(root, fd, attachment.tap, attachment.tap_owner))


@execute.register
def _(operation: op.ConfigurePod, context: Context) -> None:
    attachment = operation.attachment
    six = any(":" in address for address in attachment.addresses)

    def configure(fd: int) -> None:
        # Off before it goes up; on because runtimes switch it off in pods that have no IPv6 of their own.
        if attachment.silent or six:
            netns.switch_ipv6(fd, attachment.ifname, on=six)
        with Netlink(fd) as pod:
            raw = sockets.existing_link(pod, attachment.ifname)
            changes = [netlink.set_link(raw.index, up=True, silent=attachment.silent)]
            changes += [netlink.add_address(raw.index, address) for address in attachment.addresses]
            there = frozenset({errno.EEXIST})  # an address that it has already, by an earlier try
            pod.apply(changes, doing=operation.describe(), ignore=there)
            routes = [
                netlink.add_route(
                    raw.index,
                    route.destination,
                    route.gateway,
                    mtu=route.mtu,
                    advmss=route.advmss,
                    priority=route.priority,
                    table=route.table,
                    scope=route.scope,
                )
                for route in attachment.routes
            ]
            # A route that the pod has already, by another network, stays as it is: usually the default route.
            if routes:
                pod.apply(routes, doing=operation.describe(), ignore=there)

    if attachment.silent or attachment.addresses or attachment.routes:  # any other was made up
        context.with_pod(attachment, configure)
    _await_carrier(context.handle().netlink, attachment.port)


def _await_carrier(lan: Netlink, port: str) -> None:
    """Wait until the kernel lets frames out at a port that has a carrier; until then it drops them without a word.

    It follows a carrier in a worker of its own (net/core/link_watch.c), milliseconds later where much else goes on, and
    a pod's first frames are answered sooner than that. To be asked for the link makes Linux 6.8 and newer do it at
    once; an older one is asked until it has.
    """
    until = time.monotonic() + _CARRIER_SECONDS
    while (link := sockets.link(lan, port)) and link.carrier and link.operstate != "UP":
        if time.monotonic() > until:
            return
        time.sleep(_LOOK_SECONDS)


@execute.register
def _(operation: op.ShapePort, context: Context) -> None:
    tc.shape(context.handle().netlink, operation.port, operation.before, operation.shape)


@execute.register
def _(operation: op.DeleteLinks, context: Context) -> None:
    handle = context.node.lan(context.name)
    if handle is None:
        return
    for name in operation.names:
        handle.indexes.pop(name, None)
    if uplinks := [netlink.without_groups(name) for name in operation.names if names.is_uplink(name)]:
        handle.netlink.apply(uplinks, doing=operation.describe(), ignore=_GONE)
    if len(operation.names) == 1:
        messages = [netlink.delete_link(operation.names[0])]
    else:
        messages = netlink.delete_links(operation.names)
    handle.netlink.apply(messages, doing=operation.describe(), ignore=_GONE)


@execute.register
def _(operation: op.AddPeer, context: Context) -> None:
    lan = context.handle().netlink
    message = netlink.add_peer(sockets.existing_link(lan, operation.vxlan).index, operation.peer)
    lan.apply([message], doing=operation.describe(), ignore=frozenset({errno.EEXIST}))


@execute.register
def _(operation: op.RemovePeer, context: Context) -> None:
    lan = context.handle().netlink
    message = netlink.remove_peer(sockets.existing_link(lan, operation.vxlan).index, operation.peer)
    lan.apply([message], doing=operation.describe(), ignore=frozenset({errno.ENOENT}))


@execute.register
def _(operation: op.ForgetMac, context: Context) -> None:
    fdb.forget(context.handle(), operation)


@execute.register
def _(operation: op.ForgetPeer, context: Context) -> None:
    fdb.forget_peer(context.handle(), operation)
