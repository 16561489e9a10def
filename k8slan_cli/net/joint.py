"""What leads frames from a bridge port to a VXLAN device that is none itself, and back: tc(8), tc-mirred(8).

::

    bridge ──► port ─[egress: redirect]──► out at the VXLAN device
    bridge ◄── in at the port ◄──[ingress: redirect]─ VXLAN device

A redirect takes what it is given whatever its size: only IP sees that an outer packet does not fit, and fragments it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from socket import htons
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, nlmsg
from pyroute2.netlink.rtnl import (
    RTM_DELTFILTER,
    RTM_GETTFILTER,
    RTM_NEWQDISC,
    RTM_NEWTFILTER,
    TC_H_CLSACT,
)
from pyroute2.netlink.rtnl.tcmsg import tcmsg
from pyroute2.netlink.rtnl.tcmsg.act_mirred import MIRRED_EACTIONS
from pyroute2.netlink.rtnl.tcmsg.common import tc_actions

from k8slan_cli.errors import KernelError
from k8slan_cli.lan import names
from k8slan_cli.net import netlink, sockets
from k8slan_cli.net.netlink import RawLink
from k8slan_cli.net.sockets import Netlink

_CHANGE = NLM_F_REQUEST | NLM_F_ACK
_CREATE = _CHANGE | NLM_F_CREATE | NLM_F_EXCL
_HOOK = TC_H_CLSACT & 0xFFFF0000
_INGRESS, _EGRESS = _HOOK | 0xFFF2, _HOOK | 0xFFF3  # TC_H_MIN_INGRESS, TC_H_MIN_EGRESS
_IN, _OUT = (MIRRED_EACTIONS[direction, "redirect"] for direction in ("ingress", "egress"))
_EVERY_FRAME = 1 << 16 | htons(0x0003)  # our filter's priority, and ETH_P_ALL
_LACKING = frozenset({errno.ENOENT, errno.EOPNOTSUPP})
_NONE = frozenset({errno.ENOENT, errno.EINVAL})
"""There is no such filter, or not even its hook."""


def join(lan: Netlink, vxlan: str, port: str, *, doing: str) -> None:
    """Set both redirects between a bridge port and a VXLAN device, in place of those that are there.

    Raises:
        KernelError: the kernel refused, or lacks a module, which the hint then names.

    """
    at, to = (sockets.existing_link(lan, name).index for name in (port, vxlan))
    lan.apply([netlink.set_link(names.JOINT_END, up=True)], doing=doing)  # for the port's carrier
    ways = list(_ways(at, to))
    old = [_filter(RTM_DELTFILTER, _CHANGE, index, parent) for index, parent, _ in ways]
    hooks = [_message(RTM_NEWQDISC, _CREATE, index, [["TCA_KIND", "clsact"]], _HOOK, TC_H_CLSACT) for index in (at, to)]
    try:
        lan.apply(hooks, doing=doing, ignore=frozenset({errno.EEXIST}))
        lan.apply(old, doing=doing, ignore=_NONE)
        lan.apply([_redirect(*way) for way in ways], doing=doing)
    except KernelError as error:
        if error.errno not in _LACKING:
            raise
        hint = "spec.fragment needs sch_ingress, cls_u32 and act_mirred of this node's kernel: load them (modprobe)"
        raise KernelError(error.errno, error.message, hint=hint) from error


def is_joined(lan: Netlink, links: Iterable[RawLink]) -> bool:
    """Whether the redirects are there between the joint and the VXLAN device among a LAN's ``links``."""
    known = {link.name: link for link in links}
    port, end = known.get(names.JOINT), known.get(names.JOINT_END)
    vxlan = next((link for link in known.values() if link.kind == "vxlan" and link.group == netlink.OURS), None)
    if port is None or vxlan is None or end is None or not end.up:
        return False
    return all(to in _targets(lan, index, parent) for index, parent, to in _ways(port.index, vxlan.index))


def _ways(port: int, vxlan: int) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Where each redirect hangs, and where it leads: a link and whether out or in at it."""
    yield port, _EGRESS, (_OUT, vxlan)
    yield vxlan, _INGRESS, (_IN, port)


def _message(number: int, mode: int, index: int, attributes: list[list[Any]], handle: int, parent: int) -> nlmsg:
    message = tcmsg()
    message["header"].update(type=number, flags=mode)
    message.update(index=index, handle=handle, parent=parent, attrs=attributes)
    return message


def _filter(number: int, mode: int, index: int, parent: int, *attributes: list[Any]) -> nlmsg:
    message = _message(number, mode, index, list(attributes), 0, parent)
    message["info"] = _EVERY_FRAME
    return message


def _redirect(index: int, parent: int, to: tuple[int, int]) -> nlmsg:
    """Lead every frame elsewhere: u32 without a key, as not all kernels have matchall."""
    direction, target = to
    parameters = {"eaction": direction, "ifindex": target, "action": tc_actions["stolen"]}
    options = {"attrs": [["TCA_MIRRED_PARMS", parameters]]}
    action = {"attrs": [["TCA_ACT_KIND", "mirred"], ["TCA_ACT_OPTIONS", options]]}
    match = [["TCA_U32_SEL", {"keys": []}], ["TCA_U32_ACT", {"attrs": [["TCA_ACT_PRIO_1", action]]}]]
    return _filter(RTM_NEWTFILTER, _CREATE, index, parent, ["TCA_KIND", "u32"], ["TCA_OPTIONS", {"attrs": match}])


def _targets(lan: Netlink, index: int, parent: int) -> Iterator[tuple[int, int]]:
    """Where a link's redirects lead at a hook."""
    question = _message(RTM_GETTFILTER, NLM_F_REQUEST | NLM_F_DUMP, index, [], 0, parent)
    try:
        found = lan.ask(question, doing="read redirects")
    except KernelError as error:
        if error.errno in _NONE:
            return
        raise
    for told in found:
        options = told.get_attr("TCA_OPTIONS") if told.get_attr("TCA_KIND") == "u32" else None
        if options and (actions := options.get_attr("TCA_U32_ACT")):
            action = actions.get_attr("TCA_ACT_PRIO_1").get_attr("TCA_ACT_OPTIONS")
            if parameters := action and action.get_attr("TCA_MIRRED_PARMS"):
                yield parameters["eaction"], parameters["ifindex"]
