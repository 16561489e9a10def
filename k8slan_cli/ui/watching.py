"""Keeps a document of a cluster's LANs up to date, in threads: objects as they change, counters every second.

Events only wake: after each, the document is built anew from all that is known, and those who wait for it are told.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from k8slan_cli.diagnose.agents import Agents
from k8slan_cli.diagnose.lan import Event, event
from k8slan_cli.diagnose.protocol import Plugged
from k8slan_cli.diagnose.traffic import Flow, Streams
from k8slan_cli.errors import K8slanError
from k8slan_cli.inventory import lans, occupancy
from k8slan_cli.inventory.occupancy import SeenVteps, Users
from k8slan_cli.kube import kinds
from k8slan_cli.kube.apply import Cluster, Selection
from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.kinds import Document
from k8slan_cli.lan.model import KIND, LanRef
from k8slan_cli.picture import layout
from k8slan_cli.picture.layout.plan import Plan
from k8slan_cli.picture.topology import Topology
from k8slan_cli.plan.pods import decode_pod
from k8slan_cli.ui import document as docs
from k8slan_cli.ui.document import View

log = logging.getLogger(__name__)

_LANS, _VTEPS, _PODS, _EVENTS = "LANs", "VTEPs", "pods", "events"
_LOOK_SECONDS = 1
_PAUSE_SECONDS = 0.1
"""Changes that come within this are shown together."""
_AGAIN_SECONDS = 10.0
"""How often agents that did not answer are tried again, and why pods wait is asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which LANs: those of ``spaces`` ("" for all of them), or only ``refs`` among these."""

    spaces: tuple[str, ...]
    refs: frozenset[LanRef] = frozenset()

    @property
    def words(self) -> str:
        """Return it for people."""
        if self.refs:
            return ", ".join(f"LAN {ref}" for ref in sorted(self.refs))
        return "all namespaces" if self.spaces == ("",) else f"namespace {', '.join(self.spaces)}"


class Board:
    """The document as it is now, for many that wait for another; its number is 0 as long as there is none."""

    def __init__(self) -> None:
        self._document: docs.Document = {}
        self._number = 0
        self._news = threading.Condition()

    def put(self, found: docs.Document) -> None:
        """Show another document."""
        with self._news:
            if found != self._document:
                self._document, self._number = found, self._number + 1
                self._news.notify_all()

    def wait(self, number: int, seconds: float) -> tuple[int, docs.Document]:
        """Return the document and its number once that is another than ``number``, or the same after ``seconds``."""
        with self._news:
            self._news.wait_for(lambda: self._number != number, seconds)
            return self._number, self._document


@dataclass(kw_only=True)
class _State:
    """What was heard last: objects by source, why a source is not heard, and what agents say."""

    objects: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    flows: tuple[Flow, ...] = ()


class Watching:
    """Follows a cluster into a board; a context, at whose end it stops."""

    def __init__(self, cluster: Cluster, agents: Agents, scope: Scope) -> None:
        self.board = Board()
        self._cluster = cluster
        self._agents = agents
        self._scope = scope
        only = str(next(iter(scope.refs))) if len(scope.refs) == 1 else ""
        self._streams = Streams(agents, only, _LOOK_SECONDS)
        self._state = _State()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._stack = contextlib.ExitStack()
        self._threads: list[threading.Thread] = []
        self._nodes: frozenset[str] = frozenset()
        self._vms: dict[tuple[str, str], str] = {}
        self._sources = {
            f"{what}/{space}": source for space in scope.spaces for what, source in _sources(space).items()
        }

    def __enter__(self) -> Watching:
        self._stack.enter_context(self._streams)
        self._stack.enter_context(self._cluster.watched(self._sources, self._changed, self._unheard))
        for act in (self._build, self._measure):
            thread = threading.Thread(target=act, name=f"ui {act.__name__}", daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._wake.set()
        self._stack.close()
        for thread in self._threads:
            thread.join(_AGAIN_SECONDS)

    # ------------------------------------------------------------ what is heard

    def _changed(self, source: str, found: dict[str, Document] | ApiError) -> None:
        with self._lock:
            if isinstance(found, ApiError):
                self._state.missing[source] = found.message
                self._state.objects.pop(source, None)
            else:
                self._state.objects[source] = list(found.values())
        self._wake.set()

    def _unheard(self, source: str, why: str) -> None:
        with self._lock:
            if why:
                self._state.missing[source] = f"not up to date: {why}"
            else:
                self._state.missing.pop(source, None)
        self._wake.set()

    def _measure(self) -> None:
        """Take in counters until the end."""
        known: frozenset[str] = frozenset()
        due = 0.0
        while not self._stop.is_set():
            with self._lock:
                nodes = self._nodes
            try:
                if nodes and (nodes != known or time.monotonic() >= due):
                    known, due = nodes, time.monotonic() + _AGAIN_SECONDS
                    if self._streams.troubles:
                        self._agents.forget()
                    self._streams.open(nodes)
                flows = self._streams.flows()
            except K8slanError as error:
                self._take_flows((), {"counters": " ".join(str(error).split())})
                self._agents.forget()
                self._stop.wait(_AGAIN_SECONDS)
                continue
            troubles = {
                f"counters of node {node}": why for node, why in self._streams.troubles.items() if node in nodes
            }
            self._take_flows(tuple(flows), troubles)

    def _take_flows(self, flows: tuple[Flow, ...], troubles: Mapping[str, str]) -> None:
        with self._lock:
            others = {what: why for what, why in self._state.missing.items() if not what.startswith("counters")}
            self._state.missing = others | dict(troubles)
            self._state.flows = flows
        self._wake.set()

    # ------------------------------------------------------------ what is shown

    def _build(self) -> None:
        """Make a document of all that is known, after each change, until the end."""
        before: Mapping[str, Any] | None = None
        view = View(cluster=_name(self._cluster), scope=self._scope.words, fixed=self._lacking())
        waits = False
        while not self._stop.is_set():
            rung = self._wake.wait(_AGAIN_SECONDS)
            self._wake.clear()
            with self._lock:
                objects, flows = dict(self._state.objects), self._state.flows
                missing = dict(self._state.missing)
            if not all(name in objects or name in missing for name in self._sources):
                continue  # there is more to come before it can be told what there is
            try:
                if objects != before or (waits and not rung):
                    view, waits = self._joined(view, objects)
                    before = objects
                shown = replace(view, flows=self._with_vms(flows), missing=_sentences(view, missing))
                self.board.put(docs.document(shown))
            except K8slanError as error:
                self._fail(error.message)
            except Exception as error:  # a fault of one document is not the end of all
                log.exception("the page cannot be brought up to date")
                self._fail(f"internal error: {error}; please report it")
            self._stop.wait(_PAUSE_SECONDS)

    def _fail(self, why: str) -> None:
        """Show what there was, and why it is old; try again after a while."""
        _, shown = self.board.wait(-1, 0)
        self.board.put({**docs.document(View()), **shown, "missing": {"this page": f"not up to date: {why}"}})
        self._stop.wait(_AGAIN_SECONDS)
        self._wake.set()

    def _lacking(self) -> str:
        """Return why no link can be changed; of several namespaces, who tries it is told."""
        space, *others = self._scope.spaces
        try:
            lacking = self._cluster.lacking(("patch",), kinds.LANS, space) if space and not others else ""
        except ApiError:
            return ""
        return f"links cannot be changed without {lacking}" if lacking else ""

    def _joined(self, view: View, objects: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[View, bool]:
        """Return a view of objects, and whether a pod waits without a reason."""

        def every(what: str) -> Iterator[Mapping[str, Any]]:
            return (each for space in self._scope.spaces for each in objects.get(f"{what}/{space}") or ())

        items = [lans.read(each) for each in every(_LANS)]
        items = sorted((each for each in items if self._wanted(each.ref)), key=lambda each: each.ref)
        seen = all(f"{_VTEPS}/{space}" in objects for space in self._scope.spaces)
        vteps = occupancy.decoded(every(_VTEPS)) if seen else None
        pods = lans.Pods(pods=tuple(map(decode_pod, every(_PODS))))
        users = Users(by_lan=occupancy.of(items, SeenVteps(vteps=vteps), pods))
        users = occupancy.explained(self._cluster, occupancy.running(self._cluster, users))
        found, wanted = docs.joined(items, users)
        self._vms = {
            (str(each.port.pod), each.port.interface): each.port.vm.name for each in users.attached if each.port.vm
        }
        with self._lock:
            self._nodes = frozenset(item.node for item in users.attached)
        events = sorted(_events(every(_EVENTS), {item.ref for item in items}), key=lambda e: e[1].last, reverse=True)
        invalid = {f"LAN {item.ref}": "; ".join(map(str, item.problems)) for item in items if not item.lan}
        return (
            replace(
                view,
                topology=found,
                wanted=wanted,
                plan=_plan(docs.still(found)),
                events=tuple(events),
                missing=dict.fromkeys(users.blind, "") | invalid,
            ),
            any(not item.reason for item in users.waiting),
        )

    def _with_vms(self, flows: Iterable[Flow]) -> tuple[Flow, ...]:
        """Return flows with the names of VMs, which agents do not tell."""

        def named(item: Plugged) -> Plugged:
            return replace(item, vm=self._vms.get((item.pod, item.ifname), item.vm))

        return tuple(replace(flow, item=named(flow.item)) for flow in flows)

    def _wanted(self, ref: LanRef) -> bool:
        return not self._scope.refs or ref in self._scope.refs


def _sources(space: str) -> dict[str, Selection]:
    """Return what is followed of a namespace, "" of all."""
    return {
        _LANS: Selection(kinds.LANS, space),
        _VTEPS: Selection(kinds.VTEPS, space),
        _PODS: Selection(kinds.PODS, space, lans.LIVE),
        _EVENTS: Selection(kinds.CORE_EVENTS, space, f"involvedObject.kind={KIND}"),
    }


@functools.lru_cache(maxsize=1)
def _plan(still: Topology) -> Plan:
    """Return where things are drawn: that is worked out anew when somebody comes or goes, and at no other change."""
    return layout.arrange(still)


def _events(found: Iterator[Mapping[str, Any]], refs: Collection[LanRef]) -> Iterator[tuple[str, Event]]:
    for each in found:
        about = lans.plain(each.get("involvedObject") or {})
        ref = LanRef(namespace=about.get("namespace") or "", name=about.get("name") or "")
        if about.get("kind") == KIND and ref in refs:
            yield str(ref), event(lans.plain(each))


def _sentences(view: View, missing: Mapping[str, str]) -> dict[str, str]:
    """Return what is missing, each once: sources of several namespaces may say the same."""
    found = dict(view.missing)
    for what, why in missing.items():
        found.setdefault(what.partition("/")[0], why)
    return found


def _name(cluster: Cluster) -> str:
    access = cluster.access
    return f"context {access.context}" if access.context else access.url
