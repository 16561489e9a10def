"""Traffic control at bridge ports: what keeps frames back on their way to a pod, and on their way from it.

A kernel keeps back only what leaves a device. So what comes in at a port is led, before the bridge sees it, through a
device of its own (an ifb) whose way out leads back to where the frame was. See tc(8), tc-netem(8), tc-tbf(8),
tc-mirred(8).

::

    bridge ──► port ═[queue]══► pod          what goes to the pod
    bridge ◄── port ◄─[clsact: redirect]──── what comes from it
                  ▲      │
                  └═[queue]═ ifb
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from socket import htons
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, nlmsg
from pyroute2.netlink.rtnl import (
    RTM_DELQDISC,
    RTM_GETQDISC,
    RTM_GETTFILTER,
    RTM_NEWQDISC,
    RTM_NEWTFILTER,
    TC_H_CLSACT,
    TC_H_ROOT,
)
from pyroute2.netlink.rtnl.tcmsg import tcmsg
from pyroute2.netlink.rtnl.tcmsg.act_mirred import MIRRED_EACTIONS
from pyroute2.netlink.rtnl.tcmsg.common import tc_actions

from k8slan_cli.errors import KernelError
from k8slan_cli.lan import names
from k8slan_cli.lan.links import WHOLE
from k8slan_cli.net import netlink, sockets
from k8slan_cli.net.netlink import OURS, RawLink
from k8slan_cli.net.sockets import Netlink
from k8slan_cli.plan import shaping
from k8slan_cli.plan.state import UNSHAPED, Queue, Shaping

_CREATE = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
_ROOT, _CHILD = 1 << 16, 2 << 16
"""Handles 1: and 2:, of a device's queue and of the one in it."""
_PLACES = ((TC_H_ROOT, _ROOT), (_ROOT + 1, _CHILD))
"""Where the one and the other hang."""
_CLSACT = TC_H_CLSACT & 0xFFFF0000
_INGRESS = _CLSACT | 0xFFF2  # TC_H_MIN_INGRESS
_ETH_P_ALL = 0x0003
_ETHERNET = 1  # TC_LINKLAYER_ETHERNET
_TICK = 64  # nanoseconds (PSCHED_SHIFT)
_CERTAIN = (1 << 32) - 1
_NONE = frozenset({"", "noqueue", "noop"})
_MODULES = {"tbf": "sch_tbf", "netem": "sch_netem", "clsact": "sch_ingress", "u32": "cls_u32 and act_mirred"}
_IFB = "ifb"
_GONE = frozenset({errno.ENOENT, errno.EINVAL, errno.ENODEV})
"""What a kernel says to who takes away what is not there."""
_ABSENT = frozenset({errno.ENOENT, errno.EOPNOTSUPP})


def _message(number: int, mode: int, index: int, attributes: Iterable[list[Any]] = (), /, **fields: int) -> nlmsg:
    message = tcmsg()
    message["header"].update(type=number, flags=mode)
    message.update(fields, index=index, attrs=list(attributes))
    return message


# ---------------------------------------------------------------- queues


def _netem(queue: Queue) -> dict[str, Any]:
    # Said of nothing, too: a queue that is changed keeps what is not said.
    attributes: list[list[Any]] = [
        ["TCA_NETEM_CORR", {"delay_corr": queue.memory}],
        ["TCA_NETEM_REORDER", {"prob_reorder": _chance(queue.reorder)}],
        ["TCA_NETEM_CORRUPT", {"prob_corrupt": _chance(queue.corrupt)}],
    ]
    return {
        "delay": _ticks(queue.delay),
        "jitter": _ticks(queue.jitter),
        "limit": queue.limit,
        "loss": _chance(queue.loss),
        "duplicate": _chance(queue.duplicate),
        "gap": 1 if queue.reorder else 0,
        "attrs": attributes,
    }


def _tbf(queue: Queue) -> dict[str, Any]:
    parameters = {
        "rate": queue.rate // 8,
        "rate___reserved": _ETHERNET,
        "limit": queue.room,
        "buffer": shaping.ticks(queue.rate, queue.burst),
    }
    return {"attrs": [["TCA_TBF_PARMS", parameters]]}


_MAKERS: dict[str, Callable[[Queue], dict[str, Any]]] = {"tbf": _tbf, "netem": _netem}


def _kinds(queue: Queue) -> tuple[str, ...]:
    """What a queue is made of, from the outside in."""
    return (*(["tbf"] if queue.rate else []), *(["netem"] if queue.limit else []))


def _ticks(microseconds: int) -> int:
    return round(microseconds * 1000 / _TICK)


def _microseconds(ticks: int) -> int:
    return round(ticks * _TICK / 1000)


def _chance(millionths: int) -> int:
    return round(millionths * _CERTAIN / WHOLE)


def _millionths(chance: int) -> int:
    return round(chance * WHOLE / _CERTAIN)


def _queues(lan: Netlink) -> dict[int, list[nlmsg]]:
    """What keeps frames back in a namespace, by the index of the device. A kernel tells of one device as of all."""
    found: dict[int, list[nlmsg]] = {}
    for told in lan.ask(_message(RTM_GETQDISC, NLM_F_REQUEST | NLM_F_DUMP, 0), doing="read how frames are kept back"):
        found.setdefault(told["index"], []).append(told)
    return found


def _queue(found: Iterable[nlmsg]) -> Queue:
    """What keeps frames back on their way out of a device, of all that it has."""
    at = {told["parent"]: told for told in found if told.get_attr("TCA_KIND") not in _NONE}
    told: dict[str, Any] = {}
    for parent, handle in _PLACES:
        if (here := at.get(parent)) is None:
            break
        kind = here.get_attr("TCA_KIND")
        if here["handle"] != handle or kind not in _READERS:
            return Queue(foreign=kind)
        told |= _READERS[kind](here)
    return Queue(**told)


def _read_tbf(found: nlmsg) -> dict[str, int]:
    told = found.get_attr("TCA_OPTIONS").get_attr("TCA_TBF_PARMS")
    rate = told["rate"] * 8
    return {"rate": rate, "burst": shaping.burst(rate, told["buffer"]), "room": told["limit"]}


def _read_netem(found: nlmsg) -> dict[str, int]:
    told = found.get_attr("TCA_OPTIONS")
    correlation = told.get_attr("TCA_NETEM_CORR") or {}
    reorder = told.get_attr("TCA_NETEM_REORDER") or {}
    corrupt = told.get_attr("TCA_NETEM_CORRUPT") or {}
    return {
        "delay": _microseconds(told["delay"]),
        "jitter": _microseconds(told["jitter"]),
        "limit": told["limit"],
        "loss": _millionths(told["loss"]),
        "duplicate": _millionths(told["duplicate"]),
        "memory": correlation.get("delay_corr", 0),
        "reorder": _millionths(reorder.get("prob_reorder", 0)),
        "corrupt": _millionths(corrupt.get("prob_corrupt", 0)),
    }


_READERS: dict[str, Callable[[nlmsg], dict[str, int]]] = {"tbf": _read_tbf, "netem": _read_netem}


def _set_queue(lan: Netlink, index: int, before: Queue, wanted: Queue) -> None:
    """Make of a device's queue another one. One of the same kinds keeps the frames that wait in it."""
    if before == wanted:
        return
    make = _kinds(wanted)
    same = make == _kinds(before) and not before.foreign
    if before != Queue() and not same:
        message = _message(RTM_DELQDISC, NLM_F_REQUEST | NLM_F_ACK, index, parent=TC_H_ROOT)
        lan.apply([message], doing="take away what keeps frames back", ignore=_GONE)
    mode = NLM_F_REQUEST | NLM_F_ACK | (0 if same else NLM_F_CREATE | NLM_F_EXCL)
    for kind, (parent, handle) in zip(make, _PLACES, strict=False):
        attributes: list[list[Any]] = [["TCA_KIND", kind], ["TCA_OPTIONS", _MAKERS[kind](wanted)]]
        _apply(lan, _message(RTM_NEWQDISC, mode, index, attributes, parent=parent, handle=handle), kind)


def _apply(lan: Netlink, message: nlmsg, kind: str) -> None:
    try:
        lan.apply([message], doing=f"set up {kind}")
    except KernelError as error:
        if error.errno in _ABSENT:
            raise _lacks(error, _MODULES[kind]) from error
        raise


def _lacks(error: KernelError, module: str) -> KernelError:
    """What to say of a node whose kernel lacks a module."""
    hint = f"this node's kernel lacks {module}: load it (modprobe), or install the kernel's package of modules"
    return KernelError(error.errno, error.message, hint=hint)


# ---------------------------------------------------------------- what comes from a pod


def _create_ifb(lan: Netlink, name: str) -> None:
    try:
        lan.apply([netlink.ifb(name)], doing=f"create {name}")
    except KernelError as error:
        if error.errno in _ABSENT:
            raise _lacks(error, _IFB) from error
        raise


def _lead(lan: Netlink, port: int, ifb: int) -> None:
    """Lead all that comes in at a port through a device, and nothing else anywhere."""
    _stop_leading(lan, port)
    _hook(lan, port)
    redirect = {"eaction": MIRRED_EACTIONS["egress", "redirect"], "ifindex": ifb, "action": tc_actions["stolen"]}
    action = {
        "attrs": [
            ["TCA_ACT_KIND", "mirred"],
            ["TCA_ACT_OPTIONS", {"attrs": [["TCA_MIRRED_PARMS", redirect]]}],
        ]
    }
    # Not matchall, which takes every frame by itself: not all kernels have it. A key, even of no bits, would have to
    # lie within the frame, and so leave short ones out.
    options = [["TCA_U32_SEL", {"keys": []}], ["TCA_U32_ACT", {"attrs": [["TCA_ACT_PRIO_1", action]]}]]
    attributes: list[list[Any]] = [["TCA_KIND", "u32"], ["TCA_OPTIONS", {"attrs": options}]]
    info = 1 << 16 | htons(_ETH_P_ALL)
    _apply(lan, _message(RTM_NEWTFILTER, _CREATE, port, attributes, parent=_INGRESS, info=info), "u32")


def _hook(lan: Netlink, port: int) -> None:
    """Give a port the place where filters of what comes in hang."""
    message = _message(RTM_NEWQDISC, _CREATE, port, [["TCA_KIND", "clsact"]], parent=TC_H_CLSACT, handle=_CLSACT)
    _apply(lan, message, "clsact")


def _stop_leading(lan: Netlink, port: int) -> None:
    message = _message(RTM_DELQDISC, NLM_F_REQUEST | NLM_F_ACK, port, parent=TC_H_CLSACT)
    lan.apply([message], doing="stop leading frames elsewhere", ignore=_GONE)


def _is_led(lan: Netlink, port: int, ifb: int) -> bool:
    """Whether all that comes in at a port is led through a device."""
    question = _message(RTM_GETTFILTER, NLM_F_REQUEST | NLM_F_DUMP, port, parent=_INGRESS)
    targets = []
    try:
        for found in lan.ask(question, doing="read what is led elsewhere"):
            options = found.get_attr("TCA_OPTIONS")
            actions = options.get_attr("TCA_U32_ACT") if options and found.get_attr("TCA_KIND") == "u32" else None
            if actions:
                parameters = actions.get_attr("TCA_ACT_PRIO_1").get_attr("TCA_ACT_OPTIONS").get_attr("TCA_MIRRED_PARMS")
                targets.append(parameters["ifindex"] if parameters else 0)
    except KernelError as error:
        if error.errno not in _GONE:
            raise
    return targets == [ifb]


# ---------------------------------------------------------------- what a kernel lacks

_TRIALS = {"tbf": Queue(rate=1_000_000, burst=10_000, room=10_000), "netem": Queue(delay=1000, limit=10)}


def lacking(lan: Netlink, port: str) -> Iterator[str]:
    """Yield the modules that the kernel lacks of those that shaping takes, each tried at a port; nothing stays there.

    Raises:
        KernelError: the kernel refused for another reason.

    """
    index = sockets.existing_link(lan, port).index
    for kind, queue in _TRIALS.items():
        if _does(lambda queue=queue: _set_queue(lan, index, Queue(), queue)):  # type: ignore[misc]
            _set_queue(lan, index, queue, Queue())
        else:
            yield _MODULES[kind]
    if _does(lambda: _create_ifb(lan, names.ifb(port))):
        lan.apply([netlink.delete_link(names.ifb(port))], doing=f"delete {names.ifb(port)}")
    else:
        yield _IFB
    if not _does(lambda: _hook(lan, index)):
        yield _MODULES["clsact"]
    elif not _does(lambda: _lead(lan, index, index)):
        yield _MODULES["u32"]
    _stop_leading(lan, index)


def _does(act: Callable[[], None]) -> bool:
    """Whether the kernel has what something takes."""
    try:
        act()
    except KernelError as error:
        if error.errno in _ABSENT:
            return False
        raise
    return True


# ---------------------------------------------------------------- ports


def observe(lan: Netlink, links: Iterable[RawLink]) -> dict[str, Shaping]:
    """What is done to frames at ports of a LAN's namespace, of those ``links``; where nothing is, is left out."""
    ours = {link.name: link for link in links if link.group == OURS}
    ports = [link.name for link in ours.values() if link.kind == "veth" and link.qdisc not in _NONE]
    ports = [name for name in ports if not names.port_of_stub(name)]
    ports += [port for link in ours.values() if link.kind == "ifb" and (port := names.port_of_ifb(link.name))]
    if not ports:
        return {}
    queues = _queues(lan)

    def shape(port: RawLink | None, ifb: RawLink | None) -> Shaping:
        to_pod = _queue(queues.get(port.index, ())) if port else Queue()
        if ifb is None or ifb.kind != "ifb":
            return Shaping(to_pod=to_pod)
        led = port is not None and ifb.up and _is_led(lan, port.index, ifb.index)
        return Shaping(to_pod=to_pod, from_pod=_queue(queues.get(ifb.index, ())), led=led)

    found = {name: shape(ours.get(name), ours.get(names.ifb(name))) for name in ports}
    return {name: shaping for name, shaping in found.items() if shaping != UNSHAPED}


def shape(lan: Netlink, name: str, before: Shaping, wanted: Shaping) -> None:
    """Make of what is done to frames at a port, ``before``, what is wanted.

    Raises:
        KernelError: the kernel refused, or it lacks a module, which the hint then names.

    """
    port = sockets.existing_link(lan, name)
    _set_queue(lan, port.index, before.to_pod, wanted.to_pod)
    if wanted.from_pod is None:
        _stop_leading(lan, port.index)
        if before.from_pod is not None:
            lan.apply([netlink.delete_link(names.ifb(name))], doing=f"delete {names.ifb(name)}", ignore=_GONE)
        return
    if before.from_pod is None:
        _create_ifb(lan, names.ifb(name))
    ifb = sockets.existing_link(lan, names.ifb(name)).index
    _set_queue(lan, ifb, before.from_pod or Queue(), wanted.from_pod)
    if not before.led:
        lan.apply([netlink.set_link(ifb, up=True)], doing=f"set {names.ifb(name)} up")
        _lead(lan, port.index, ifb)
