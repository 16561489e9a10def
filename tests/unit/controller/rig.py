"""The leader's loop on an API server in memory: what a case of decide/*.yaml is played with."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from k8slan_cli.controller.decide import Decision, decide
from k8slan_cli.controller.loop import Loop
from k8slan_cli.kube.events import Events
from k8slan_cli.kube.kinds import LANS, NADS, NODES, PODS, Kind
from k8slan_cli.kube.nodes import moment
from k8slan_cli.kube.watch import Informer
from k8slan_cli.lan.model import LanRef
from k8slan_cli.plan.attached import NETWORKS_ANNOTATION, STATUS_ANNOTATION
from tests.unit.kube.fake_api import FakeApi

KINDS: dict[str, Kind] = {"lans": LANS, "nads": NADS, "pods": PODS, "nodes": NODES}
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def path(kind: str, name: str) -> str:
    """The path of ``namespace/name``; the namespace is "d" where none is written."""
    namespace, _, short = name.rpartition("/")
    return KINDS[kind].path("" if kind == "nodes" else namespace or "d", short)


def document(kind: str, short: Mapping[str, Any]) -> dict[str, Any]:
    """The object of a case's short form: see cases/README.md."""
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
        case "pods":
            got = [each if isinstance(each, Mapping) else {"name": each} for each in short.get("has", ())]
            has = [{"interface": f"net{i}", **each} for i, each in enumerate(got, 1)]
            annotations = {NETWORKS_ANNOTATION: ",".join(short.get("wants", ())), STATUS_ANNOTATION: json.dumps(has)}
            return {"metadata": {"annotations": annotations}, "spec": {"nodeName": short.get("node", "n1")}}
        case "nodes":
            since = short.get("down")
            ready = {"type": "Ready", "status": "Unknown" if since else "True", "lastTransitionTime": since}
            return {"status": {"conditions": [ready]}}
        case _:
            return dict(short)


class Rig:
    """The loop, the objects, a wall clock that stands still unless it is set."""

    def __init__(self) -> None:
        self.api: Any = FakeApi()
        self.now = START
        self.is_fresh = True
        self.loop = Loop(self.api, Events(self.api, "k8slan-controller", "me"), lambda: self.is_fresh, lambda: self.now)
        self.world = self.loop.world
        caches = {"lans": self.world.lans, "nads": self.world.nads, "pods": self.world.pods, "nodes": self.world.nodes}
        self._informers = [Informer(self.api, KINDS[kind].path(), cache) for kind, cache in caches.items()]  # type: ignore[attr-defined]
        self._tasks: list[asyncio.Task[None]] = []

    def change(self, objects: Mapping[str, Mapping[str, Any]]) -> None:
        """Put objects in, in their short forms; None takes one out, ``patch`` changes only some of its fields."""
        for kind, named in objects.items():
            for name, short in named.items():
                at = path(kind, name)
                if short is None or short == "deleted":
                    self.api.remove(at)
                elif "patch" in short:
                    self.api.put(at, _patched(self.api.objects[at], short["patch"]))
                else:
                    self.api.put(at, document(kind, short))

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
        found = {found.ref: self.decision(found.ref) for found in self.world.lans.values()}
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
