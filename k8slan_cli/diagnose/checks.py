"""What a node has and lacks for LANs: tried out where trying says more than looking. Nothing of it stays.

Each function looks at one thing and says it as a ``Check``, in a sentence that can be acted on.
"""

from __future__ import annotations

import errno
import os
import platform
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from k8slan_cli.cni.request import QEMU
from k8slan_cli.diagnose import scratch
from k8slan_cli.diagnose.protocol import FAIL, OK, WARN, Check, Reach
from k8slan_cli.errors import K8slanError, KernelError
from k8slan_cli.lan.faults import LEAST_IPV6_MTU
from k8slan_cli.lan.model import IpAddress, overhead
from k8slan_cli.net import holders, netlink, sockets, taps, tc
from k8slan_cli.net.netlink import End
from k8slan_cli.net.node import Node
from k8slan_cli.net.sockets import Netlink
from k8slan_cli.plan.state import ALL_BUT_PAUSE

_TAPS = range(1 << 23, 1 << 24)  # below those that k8slan gives (lan/names.py), above what a kernel gives by itself
_MAC = "02:6b:38:00:00:01"
_MTU = 1446
_SCARCE_BYTES, _ENOUGH_BYTES = 1 << 20, 16 << 20
_USUAL_MTU = 1500
_MODULES = "on the node: modprobe -a {0}, now and at every start (/etc/modules-load.d)"


def kernel(node: Node, *, shaped: bool) -> Iterator[Check]:
    """Whether the kernel has what LANs are made of, each thing made once.

    ``shaped`` is whether a LAN here has frames delayed, lost, limited or cut to pieces, which not all kernels can do.
    """
    made: list[str] = []
    try:
        with scratch.namespace() as (fd, inside):
            for kind, make in (("bridge", _bridge), ("veth", _veth)):
                make(inside, fd)
                made.append(kind)
            yield Check(what="kernel", state=OK, words=f"Linux {platform.release()} makes bridges and veth links")
            yield from _forwarding(inside)
            yield from _shaping(inside, wanted=shaped)
            yield from _macvtap(node, inside, fd)
    except KernelError as error:
        missing = "veth" if made else "bridge"
        yield Check(what="kernel", state=FAIL, words=error.message, advice=_MODULES.format(missing))


def _bridge(inside: Netlink, _fd: int) -> None:
    inside.apply([netlink.bridge("bridge", _MTU, _MAC)], doing="make a bridge")
    found = sockets.link(inside, "bridge")
    if found and netlink.loud(found):
        inside.apply([netlink.silence(found)], doing="make a bridge quiet")


def _veth(inside: Netlink, _fd: int) -> None:
    bridge = sockets.link(inside, "bridge")
    pair = netlink.veth(End("port", _MAC, _MTU), End("stub", _MAC, _MTU))
    plug = netlink.set_link("port", master=bridge.index if bridge else 0, up=True)
    inside.apply([pair, plug, netlink.set_link("stub", up=True)], doing="make a veth link")


def _forwarding(inside: Netlink) -> Iterator[Check]:
    """Link-local groups: LLDP, LACP, 802.1X, STP."""
    what = "control frames"
    try:
        inside.apply([netlink.port_settings("port", ALL_BUT_PAUSE, "")], doing="let a bridge port pass control frames")
        found = sockets.link(inside, "port")
        mask = netlink.forwarding_mask(found) if found else 0
    except KernelError as error:
        yield Check(what=what, state=FAIL, words=error.message, advice="use Linux 4.16 or newer on the node")
        return
    if mask == ALL_BUT_PAUSE:
        yield Check(what=what, state=OK, words=f"bridges pass STP, LACP, 802.1X and LLDP (group_fwd_mask {mask:#x})")
    else:
        words = f"a bridge port passes only the link-local groups {mask:#x} of {ALL_BUT_PAUSE:#x}"
        yield Check(what=what, state=FAIL, words=words, advice="use Linux 4.16 or newer on the node")


def _shaping(inside: Netlink, *, wanted: bool) -> Iterator[Check]:
    """What ``spec.links`` and ``spec.fragment`` need."""
    what = "traffic control"
    try:
        modules = list(tc.lacking(inside, "port"))
    except KernelError as error:
        yield Check(what=what, state=WARN, words=error.message, advice="spec.links and spec.fragment need it")
        return
    if not modules:
        yield Check(what=what, state=OK, words="the kernel can delay, lose, limit and redirect frames, as LANs may ask")
        return
    words = f"the kernel lacks {', '.join(modules)}, for spec.links and spec.fragment"
    if wanted:
        yield Check(what=what, state=WARN, words=words, advice=_MODULES.format(" ".join(modules).replace(" and ", " ")))
    else:
        yield Check(what=what, state=OK, words=f"{words}: no LAN here has these")


def _macvtap(node: Node, inside: Netlink, fd: int) -> Iterator[Check]:
    """What VMs need."""
    what = "macvtap"
    lower = sockets.link(inside, "stub")
    index = secrets.choice(_TAPS)  # /dev knows all of them by their index, of whatever namespace they are
    message = netlink.macvtap("tap", index=index, lower=lower.index if lower else 0, mac=_MAC, mtu=_MTU, netns_fd=fd)
    try:
        inside.apply([message], doing="make a macvtap")
    except KernelError as error:
        advice = "pods do without it, VMs do not: " + _MODULES.format("macvtap")
        yield Check(what=what, state=WARN, words=error.message, advice=advice)
        return
    try:
        taps.give(node.host_root, fd, index, (QEMU, QEMU))
        taps.remove(node.host_root, index)
    except KernelError as error:
        yield Check(what=what, state=WARN, words=error.message, advice="pods do without it, VMs do not")
        return
    yield Check(what=what, state=OK, words="the kernel makes macvtap links, and VMs can be given their devices in /dev")


_CNI_FOLDERS = (
    "etc/cni/net.d",
    "run/multus/cni/net.d",
    "etc/kubernetes/cni/net.d",
    "var/lib/rancher/k3s/agent/etc/cni/net.d",
    "var/lib/rancher/rke2/agent/etc/cni/net.d",
    "var/snap/microk8s/current/args/cni-network",
)
"""Where container runtimes look for their network, in the distributions that k8slan knows."""


def multus(host_root: Path) -> Iterator[Check]:
    """Whether the node's container runtime calls multus: it takes the first configuration in its folder."""
    what = "multus"
    others: list[str] = []
    for folder in _CNI_FOLDERS:
        try:
            found = sorted(f for f in (host_root / folder).iterdir() if f.suffix in (".conf", ".conflist", ".json"))
            texts = {file.name: file.read_text(errors="replace") for file in found}
        except OSError:
            continue
        calling = [name for name, text in texts.items() if '"multus' in text]
        if calling and calling[0] == next(iter(texts)):
            yield Check(what=what, state=OK, words=f"/{folder}/{calling[0]} makes the container runtime call it")
            return
        others += [f"/{folder}/{name}" for name in texts]
    if others:
        words = f"what the container runtime takes seems to be {others[0]}, which does not call multus"
        advice = "without multus pods get no second interface: install it, and see that its file comes first"
        yield Check(what=what, state=WARN, words=words, advice=advice)


def netfilter() -> Iterator[Check]:
    """Bridged frames that pass through iptables: LANs switch it off for themselves."""
    if Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
        words = "it is loaded; LANs have it switched off in their namespaces"
        yield Check(what="bridge-netfilter", state=OK, words=words)


def ports(node: Node, address: IpAddress | None, reaches: Iterable[Reach]) -> Iterator[Check]:
    """Whether VXLAN can be had over each underlay at each UDP port that LANs use."""
    for reach in reaches:
        what = f"VXLAN at UDP port {reach.port}"
        try:
            with scratch.vxlan(node, address, reach) as trial:
                yield Check(what=what, state=OK, words=f"it opens, with MTU {trial.mtu} inside LANs")
        except KernelError as error:
            advice = error.hint
            if error.errno == errno.EADDRINUSE:
                advice = holders.advice(node, reach.port)
            elif error.errno == errno.EOPNOTSUPP:
                advice = _MODULES.format("vxlan")
            yield Check(what=what, state=FAIL, words=error.message, advice=advice)
        except K8slanError as error:
            yield Check(what=what, state=FAIL, words=str(error), advice=error.hint)


def underlay(device: str, mtu: int, *, up: bool) -> Iterator[Check]:
    """The device that carries VXLAN."""
    what = f"underlay {device}"
    if not up:
        yield Check(what=what, state=FAIL, words="it is down", advice=f"see to its cable; ip link set {device} up")
    elif mtu < LEAST_IPV6_MTU + overhead(4):
        words = f"it has MTU {mtu}, so LANs over it have no IPv6"
        advice = f"give it {LEAST_IPV6_MTU + overhead(4)} or more, {LEAST_IPV6_MTU + overhead(6)} if nodes speak IPv6"
        yield Check(what=what, state=WARN, words=words, advice=advice)
    elif mtu < _USUAL_MTU:
        words = f"it has MTU {mtu} only"
        yield Check(what=what, state=WARN, words=words, advice="frames of 1500 bytes do not fit into LANs over it")
    else:
        yield Check(what=what, state=OK, words=f"it is up, with MTU {mtu}")


def run_directory(folder: Path) -> Iterator[Check]:
    """Where the agent has its records: memory that a reboot clears, with room in it."""
    what = "run directory"
    try:
        room = shutil.disk_usage(folder).free
        inodes = os.statvfs(folder)
    except OSError as error:
        yield Check(what=what, state=FAIL, words=f"{folder} cannot be looked at: {error.strerror}")
        return
    if room < _SCARCE_BYTES or (inodes.f_files and inodes.f_favail < 16):
        advice = f"make room: df -h {folder}; df -i {folder}"
        yield Check(what=what, state=FAIL, words=f"{folder} is full: pods cannot attach any more", advice=advice)
    elif room < _ENOUGH_BYTES:
        yield Check(what=what, state=WARN, words=f"{folder} has {room >> 20} MiB left", advice=f"see df -h {folder}")
    elif (kind := _file_system(folder)) not in ("tmpfs", "ramfs"):
        words = f"{folder} is on {kind}: records outlive a reboot, and the namespaces that they are about do not"
        yield Check(what=what, state=WARN, words=words, advice="/run is a tmpfs on every usual system: mount one there")
    else:
        yield Check(what=what, state=OK, words=f"{folder} is on a {kind} with {room >> 20} MiB left")


def _file_system(path: Path) -> str:
    """The kind of file system that a path is on, from the last mount over it (proc(5), mountinfo)."""
    found, longest = "", -1
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        place = Path(fields.split()[4])
        if path.is_relative_to(place) and len(place.parts) >= longest:
            found, longest = rest.split()[0], len(place.parts)
    return found
