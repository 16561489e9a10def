"""What captures listen at: named attachments, or all attachments of some LANs, as they come and go.

After each pass over a LAN its captures are woken: an attachment can be listened at once a pass has made its port, and
is over once one has taken it away. Captures run in threads; these look at the agent's state and change nothing of it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Collection, Iterator, Mapping

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.loop import LanLoop
from k8slan_cli.capture import pcapng
from k8slan_cli.diagnose import filters, protocol
from k8slan_cli.diagnose.sniff import CapturePort, Key
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.net import netlink, netns
from k8slan_cli.plan.state import Attachment


class News:
    """Takes word of changes from the agent's loop to the threads that wait for it."""

    def __init__(self, agent: Agent) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, Collection[LanRef]] = {}
        agent.observers.append(self._after_pass)

    def _after_pass(self, loop: LanLoop) -> None:
        with self._lock:
            for fd, lans in self._waiting.items():
                if loop.ref in lans:
                    os.eventfd_write(fd, 1)

    @contextlib.contextmanager
    def of(self, lans: Collection[LanRef]) -> Iterator[int]:
        """An eventfd(2) that gets readable after each pass over one of the ``lans``."""
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            with self._lock:
                self._waiting[fd] = lans
            yield fd
        finally:
            with self._lock:
                del self._waiting[fd]
            os.close(fd)


class Attended:
    """The ports of a capture that was asked for (``sniff.Watched``)."""

    def __init__(self, agent: Agent, wanted: protocol.Capture, places: Collection[Attachment]) -> None:
        self.lasting = bool(wanted.lans)
        self._whole = frozenset(map(LanRef.parse, wanted.lans))
        self.lans = self._whole | {attachment.lan for attachment in places}
        self._agent = agent
        self._wanted = wanted
        self._places = places

    def program(self) -> bytes:
        """The filter, compiled: in sight of ``lo``, over which it was asked for, as there may be no port yet.

        It would be the same at any other, and libpcap takes tens of milliseconds, which a port that is new has not.

        Raises:
            Invalid: it is none.

        """
        fd = netns.own()
        try:
            return filters.compile_for(fd, "lo", self._wanted.filter, self._wanted.snaplen)
        finally:
            os.close(fd)

    def ports(self) -> Mapping[Key, CapturePort]:
        """Those that there are now: by attachment, the pod's namespace and that of the LAN."""
        attachments = self._agent.attachments
        found = [attachment for lan in self._whole for attachment in attachments.of(lan)]
        found += [place for place in self._places if self._has(*place.key, place.netns_id)]
        ports: dict[Key, CapturePort] = {}
        for attachment in found:
            lan = self._agent.lans.get(attachment.lan)
            if lan and (namespace := self._agent.node.identity(lan.netns)):
                ports[(*attachment.key, attachment.netns_id, namespace)] = self._port(attachment, lan)
        return ports

    def why(self, key: Key) -> str:
        """Why one is none of them any more."""
        return "the LAN is gone from this node" if self._has(*key[:3]) else "it is detached"

    def _has(self, container: str, ifname: str, pod: str) -> bool:
        now = self._agent.attachments.get((container, ifname))
        return now is not None and now.netns_id == pod

    def _port(self, attachment: Attachment, lan: Lan) -> CapturePort:
        kind = "VM" if attachment.may_be_vm else "pod"
        spoke = f", spoke {attachment.spoke}" if attachment.spoke else ""
        described = pcapng.Interface(
            name=attachment.plug,
            description=f"{kind} on LAN {lan.ref}{spoke}, node {self._agent.me.name}",
            mac=netlink.mac_bytes(attachment.mac),
            filter=self._wanted.filter,
            snaplen=self._wanted.snaplen,
        )
        return CapturePort(path=self._agent.node.path(lan.netns), name=attachment.port, interface=described)
