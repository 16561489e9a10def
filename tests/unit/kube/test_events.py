"""Events: one object for the same thing, a count for each time it is told again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.events import Event, Events
from k8slan_cli.lan.model import LanRef
from tests.unit.kube.fake_api import FakeApi

EVENT = Event(
    ref=LanRef(namespace="n", name="a"), uid="u", reason="Conflict", note="spec.vni: 5 is in use", warning=True
)


def test_the_same_event_again_is_counted() -> None:
    async def run() -> None:
        api: Any = FakeApi()
        events = Events(api, "k8slan-controller", "pod-1")
        for _ in range(3):
            await events.tell(EVENT)
        await events.tell(replace(EVENT, note="spec.vni: 6 is in use", warning=False))
        found = list(api.objects.values())
        assert [event.get("series", {}).get("count") for event in found] == [3, None]
        first = found[0]
        assert first["regarding"]["uid"] == "u"
        assert (first["type"], first["reason"], first["note"]) == ("Warning", "Conflict", EVENT.note)
        assert first["reportingController"] == "k8slan.io/k8slan-controller"
        assert found[1]["type"] == "Normal"

    asyncio.run(run())


def test_an_event_may_be_about_a_pod() -> None:
    async def run() -> None:
        api: Any = FakeApi()
        await Events(api, "k8slan-controller", "").tell(replace(EVENT, kind="Pod"))
        (event,) = api.objects.values()
        assert event["regarding"] == {"apiVersion": "v1", "kind": "Pod", "name": "a", "namespace": "n", "uid": "u"}

    asyncio.run(run())


def test_an_event_that_has_expired_is_told_anew() -> None:
    async def run() -> None:
        api: Any = FakeApi()
        events = Events(api, "k8slan-controller", "")
        await events.tell(EVENT)
        api.objects.clear()
        await events.tell(EVENT)
        assert len(api.objects) == 1

    asyncio.run(run())


def test_an_event_that_cannot_be_written_is_no_error() -> None:
    async def run() -> None:
        api: Any = FakeApi()
        api.refuse = lambda _method, _path: ApiError("forbidden", status=403)
        await Events(api, "k8slan-controller", "").tell(EVENT)
        assert api.counts["POST", 403] == 1

    asyncio.run(run())


def test_what_is_remembered_has_a_bound_and_notes_have_one() -> None:
    async def run() -> None:
        api: Any = FakeApi()
        events = Events(api, "k8slan-controller", "")
        for i in range(300):
            await events.tell(replace(EVENT, note=f"{i}" + "x" * 2000))
        assert len(events._told) == 256
        assert all(len(event["note"]) <= 1024 for event in api.objects.values())

    asyncio.run(run())
