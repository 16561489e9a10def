"""Whom to ask for a capture: the agents of nodes that have some pods, or some LANs now and later."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from k8slan_cli.diagnose import protocol
from k8slan_cli.diagnose.client import AgentError, Call
from k8slan_cli.inventory import lans, occupancy
from k8slan_cli.kube import apply, kinds
from k8slan_cli.kube.client import ApiError, MissingError
from k8slan_cli.lan import vtep_codec
from k8slan_cli.lan.model import LanRef

if TYPE_CHECKING:
    from k8slan_cli.diagnose.agents import Agents
    from k8slan_cli.diagnose.protocol import Capture, Plugged
    from k8slan_cli.errors import K8slanError
    from k8slan_cli.kube.apply import Cluster


def begin_at_pods(agents: Agents, places: Iterable[Plugged], wanted: Capture) -> dict[str, Call]:
    """Begin at attachments, with a call for each of their nodes.

    Raises:
        K8slanError: an agent does not answer, or refuses it.

    """
    by_node: dict[str, list[Plugged]] = {}
    for item in places:
        by_node.setdefault(item.node, []).append(item)

    def begin(node: str) -> Call:
        here = replace(wanted, places=tuple(item.place for item in by_node[node]))
        return agents.call(node, protocol.CAPTURE, here.encode())

    return agents.each(by_node, begin)


class Spreading:
    """The agents of nodes that have some LANs, as VTEPs say it (``recording.Following``)."""

    def __init__(
        self, cluster: Cluster, agents: Agents, lans: tuple[str, ...], wanted: Capture, say: Callable[[str], None]
    ) -> None:
        """``say`` is told, in sentences, what is not captured."""
        self.lans = lans
        self._cluster = cluster
        self._agents = agents
        self._say = say
        self._changes: queue.SimpleQueue[apply.Change | None] = queue.SimpleQueue()
        self._body = replace(wanted, lans=lans).encode()

    def begin(self, nodes: Iterable[str], *, alone: bool) -> dict[str, Call | None]:
        """Begin at these nodes; None at those that do not answer, which is said.

        Raises:
            K8slanError: an agent refuses it, or none answers and ``alone`` nothing else is captured.

        """
        unreachable: dict[str, K8slanError] = {}
        calls = self._agents.each(sorted(nodes), self.open, unreachable=unreachable)
        for node, error in unreachable.items():
            if isinstance(error, AgentError) or (alone and not calls):
                raise error
            self._say(f"warning: node {node} is not captured for now: {error.message}")
        return calls | dict.fromkeys(unreachable)

    def nodes(self) -> Iterator[frozenset[str]]:
        """Which nodes that are: now, and again after each change."""
        sources: dict[str, apply.Selection] = {}
        for lan in self.lans:
            ref = LanRef.parse(lan)
            sources[f"LAN {lan}"] = apply.Selection(kinds.LANS, ref.namespace, f"metadata.name={ref.name}")
            sources[lan] = apply.Selection(kinds.VTEPS, ref.namespace, label_selector=vtep_codec.selector(ref))
        state: apply.State = {}
        with self._cluster.watched(sources, lambda name, found: self._changes.put((name, found))):
            while change := self._changes.get():
                name, found = change
                if isinstance(found, ApiError):
                    raise found
                state[name] = found
                if state.keys() == sources.keys():
                    yield self._taking_part(state)

    def _taking_part(self, state: apply.State) -> frozenset[str]:
        pairs = [(found, state[lan].values()) for lan in self.lans for found in state[f"LAN {lan}"].values()]
        return frozenset().union(
            *(occupancy.taking_part(lans.read(found), occupancy.decoded(vteps)) for found, vteps in pairs)
        )

    def close(self) -> None:
        """Follow the LANs no more, in whatever thread that is done."""
        self._changes.put(None)

    def open(self, node: str) -> Call:
        """Begin at a node.

        Raises:
            MissingError: this user may not, or there is no agent that answers, or one too old.
            AgentError: it refuses.

        """
        if node not in self._agents.pods:  # it may be a new one
            self._agents.forget()
        try:
            return self._agents.call(node, protocol.CAPTURE, self._body)
        except AgentError as error:
            if error.status == 400 and error.message.endswith("places: are none"):
                words = f"the agent of node {node} is too old to capture a whole LAN"
                raise MissingError(words, hint="update k8slan, or name the pods") from error
            raise

    def ready(self, node: str) -> Iterator[None]:
        """Each time that it may be worth while to begin there again."""
        return self._agents.ready(node)
