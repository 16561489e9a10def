"""The leader's loop on an API server in memory: what a case of decide/*.yaml is played with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from k8slan_cli.controller.decide import Decision, decide
from k8slan_cli.controller.loop import Loop
from k8slan_cli.kube.events import Events
from k8slan_cli.kube.kinds import LANS, NADS, NODES, PODS, VTEPS, Kind
from k8slan_cli.kube.nodes import moment
from k8slan_cli.kube.watch import Informer
from k8slan_cli.lan import names, vtep_codec
from k8slan_cli.lan.model import LanRef
from k8slan_cli.lan.resources import DEFAULT_NAMING, Naming
from k8slan_cli.lan.vnis import DEFAULT_VNIS
from k8slan_cli.lan.vtep import PodRef, VmRef, Vtep, VtepPort, VtepUplink
from tests.unit.kube.fake_api import FakeApi

KINDS: dict[str, Kind] = {"lans": LANS, "nads": NADS, "vteps": VTEPS, "nodes": NODES, "old_agents": PODS}
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def path(kind: str, name: str) -> str:
    """The path of ``namespace/name``; the namespace is "d" where none is written."""
    namespace, _, short = name.rpartition("/")
    if kind == "vteps":
        short = names.vtep(*_lan_and_node(short))
    return KINDS[kind].path("" if kind == "nodes" else namespace or "d", short)


def _lan_and_node(name: str) -> tuple[str, str]:
    lan, _, node = name.partition("@")
    return lan, node


def document(kind: str, short: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """The object of a case's short form: see cases/README.md. A VTEP is made from its name too."""
    match kind:
        case "lans":
            given = ("finalizers", "creationTimestamp", "deletionTimestamp", "annotations")
            metadata = {key: short[key] for key in given if key in short}
            return {
                "apiVersion": "lan.k8slan.io/v1beta1",
                "kind": "LAN",
                "metadata": metadata,
                "spec": short.get("spec", {"vni": 5, "spokes": ["e1"]}),
                **({"status": short["status"]} if "status" in short else {}),
            }
        case "vteps":
            namespace, _, plain = name.rpartition("/")
            return _vtep(LanRef(namespace=namespace or "d", name=_lan_and_node(plain)[0]), plain, short)
        case "nodes":
            since = short.get("down")
            ready = {"type": "Ready", "status": "Unknown" if since else "True", "lastTransitionTime": since}
            addresses = [{"type": "InternalIP", "address": each} for each in short.get("addresses", ())]
            return {"status": {"conditions": [ready], "addresses": addresses}}
        case _:
            return dict(short)


def _vtep(lan: LanRef, name: str, short: Mapping[str, Any]) -> dict[str, Any]:
    ports = [each if isinstance(each, Mapping) else {"pod": each} for each in short.get("ports", ())]
    found = vtep_codec.encode(
        Vtep(
            lan=lan,
            node=_lan_and_node(name)[1],
            address=ip_address(short["address"]) if "address" in short else None,
            vni=short.get("vni", 0),
            mtu=short.get("mtu", 1446),
            state=short.get("state", "Ready"),
            message=short.get("message", ""),
            ports=tuple(_port(lan, each) for each in ports),
            uplinks=tuple(VtepUplink(**each) for each in short.get("uplinks", ())),
        )
    )
    if short.get("lost"):
        found["status"]["lost"] = True
    return found


def _port(lan: LanRef, short: Mapping[str, Any]) -> VtepPort:
    """Return a port; a pod's words are ``namespace/name:spoke``, without a spoke on a dynamic LAN."""
    whose, _, spoke = short["pod"].partition(":")
    namespace, _, pod = whose.rpartition("/")
    return VtepPort(
        name=f"{spoke or pod}p",
        interface=short.get("interface", "net1"),
        kind="veth",
        spoke=spoke,
        pod=PodRef(namespace=namespace or lan.namespace, name=pod, uid=f"uid-{pod}"),
        vm=VmRef(name=short["vm"]) if "vm" in short else None,
        mac=short.get("mac", ""),
        mtu=short.get("mtu", 1446),
        claim=short.get("claim", 0),
    )


class Rig:
    """The loop, the objects, a wall clock that stands still unless it is set."""

    def __init__(
        self,
        naming: Naming = DEFAULT_NAMING,
        api: FakeApi | None = None,
        vnis: range = DEFAULT_VNIS,
        *,
        telling: bool = False,
    ) -> None:
        self.api: Any = api or FakeApi()
        self.now = START
        self.is_fresh = True
        events = Events(self.api, "k8slan-controller", "me")
        self.loop = Loop(self.api, events, lambda: self.is_fresh, lambda: self.now, naming, vnis, telling=telling)
        self.world = self.loop.world
        self._informers = [Informer(self.api, KINDS[kind].path(), getattr(self.world, kind)) for kind in KINDS]
        self._tasks: list[asyncio.Task[None]] = []

    def change(self, objects: Mapping[str, Mapping[str, Any]]) -> None:
        """Put objects in, in their short forms; None takes one out, ``patch`` changes only some of its fields."""
        for kind, named in objects.items():
            for name, short in named.items():
                at = path(kind, name)
                if short is None and kind == "vteps":
                    self.api.put(at, _patched(self.api.objects[at], {"metadata": {"finalizers": None}}))
                    self.api.remove(at)  # as its agent does it
                elif short is None or short == "deleted":
                    self.api.remove(at)
                elif "patch" in short:
                    self.api.put(at, _patched(self.api.objects[at], short["patch"]))
                else:
                    self.api.put(at, document(kind, short, name))

    async def settle(self) -> None:
        """Wait until the loop has nothing more to do."""
        await self.api.delivered()
        await self.loop.resting.wait()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch, without looking at anything yet."""
        self._tasks = [asyncio.create_task(informer.run()) for informer in self._informers]
        try:
            for informer in self._informers:
                await informer.live.wait()
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    @contextlib.asynccontextmanager
    async def looping(self) -> AsyncIterator[None]:
        """Let the loop run."""
        task = asyncio.create_task(self.loop.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled() and (error := task.exception()):
                raise error

    def decision(self, ref: LanRef) -> Decision:
        """What is to be done about a LAN now."""
        view = self.world.view(ref, self.now, fresh=self.is_fresh)
        return decide(view) if view else Decision()

    def all_decisions(self) -> dict[str, list[str]]:
        """What is to be done about each LAN now, in words; only those about which something is."""
        refs = {found.ref for found in self.world.lans.values()} | {found.lan for found in self.world.vteps.values()}
        found = {ref: self.decision(ref) for ref in sorted(refs)}
        return {str(ref): [action.describe() for action in d.actions] for ref, d in found.items() if d.actions}

    def seconds_later(self, seconds: float) -> None:
        """Move the wall clock, and look at everything again, as timers would."""
        self.now += timedelta(seconds=seconds)
        self.world.mark_all()


def _patched(found: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    new = dict(found)
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        elif isinstance(value, Mapping):
            new[key] = _patched(new.get(key) or {}, value)
        else:
            new[key] = value
    return new


def ref_of(text: str) -> LanRef:
    """``namespace/name``, in "d" where no namespace is written."""
    namespace, _, name = text.rpartition("/")
    return LanRef(namespace=namespace or "d", name=name)


__all__ = ["START", "Rig", "moment", "ref_of"]
