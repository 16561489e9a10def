"""The controller's marks on VTEPs: its one field, of the object that it looked at, and the end of those left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from k8slan_cli.kube import marks
from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.kinds import VTEPS
from k8slan_cli.lan import vtep_codec
from k8slan_cli.lan.model import LanRef
from k8slan_cli.lan.vtep import Vtep, VtepPort
from tests.unit.kube.fake_api import FakeApi

FOUND = Vtep(
    lan=LanRef(namespace="lab", name="blue"),
    node="n1",
    mtu=1446,
    ports=(VtepPort(name="ap", interface="net1", kind="veth"),),
)
PATH = VTEPS.path(*marks.key(FOUND))


def play(script: Callable[[Any, Vtep], Awaitable[None]]) -> None:
    """Run a script on an API server that has a VTEP."""
    api = FakeApi()
    api.put(PATH, vtep_codec.encode(FOUND))
    there = vtep_codec.decode(api.objects[PATH])
    assert there is not None
    asyncio.run(script(api, there))  # type: ignore[arg-type]


def test_a_mark_leaves_alone_what_the_agent_says() -> None:
    async def script(api: Any, there: Vtep) -> None:
        lost = vtep_codec.decode(await marks.mark(api, there, lost=True))
        assert lost == replace(there, lost=True, version=lost.version if lost else 0)
        assert lost
        found = vtep_codec.decode(await marks.mark(api, lost, lost=False))
        assert found == replace(there, lost=False, version=found.version if found else 0)

    play(script)


@pytest.mark.parametrize("gone", [True, False])
def test_a_mark_is_for_the_object_that_was_looked_at(gone: bool) -> None:
    async def script(api: Any, there: Vtep) -> None:
        api._drop(PATH)
        if not gone:
            api.put(PATH, vtep_codec.encode(FOUND))
        with pytest.raises(ApiError):
            await marks.mark(api, there, lost=True)
        assert (PATH in api.objects) is not gone

    play(script)


def test_a_mark_is_not_taken_back_of_what_the_agent_has_written_since() -> None:
    async def script(api: Any, there: Vtep) -> None:
        lost = vtep_codec.decode(await marks.mark(api, there, lost=True))
        assert lost
        api.put(PATH, {**api.objects[PATH], "status": {**api.objects[PATH]["status"], "mtu": 1400}})
        with pytest.raises(ApiError) as caught:
            await marks.mark(api, lost, lost=False)
        assert caught.value.passing
        assert api.objects[PATH]["status"]["lost"]

    play(script)


def test_a_vtep_is_removed_with_its_ports() -> None:
    async def script(api: Any, there: Vtep) -> None:
        await marks.remove(api, there)
        assert PATH not in api.objects
        await marks.remove(api, there)  # nothing happens

    play(script)


def test_one_that_was_made_anew_is_not_removed() -> None:
    async def script(api: Any, there: Vtep) -> None:
        api._drop(PATH)
        api.put(PATH, vtep_codec.encode(FOUND))
        with pytest.raises(ApiError) as caught:
            await marks.remove(api, there)
        assert caught.value.passing
        assert api.objects[PATH]["metadata"]["finalizers"] == [vtep_codec.HELD]

    play(script)


def test_one_that_is_made_anew_while_it_is_removed_keeps_what_holds_it() -> None:
    async def script(api: Any, there: Vtep) -> None:
        def meddle(method: str, _path: str) -> None:
            if method == "GET":  # between its deletion and its finalizer's end, its agent has come back
                api._drop(PATH)
                api.put(PATH, vtep_codec.encode(FOUND))

        api.refuse = meddle
        await marks.remove(api, there)
        assert api.objects[PATH]["metadata"]["finalizers"] == [vtep_codec.HELD]

    play(script)


def test_a_document_that_no_agent_wrote_is_no_vtep() -> None:
    document = vtep_codec.encode(FOUND)
    assert vtep_codec.decode(document) == FOUND
    assert vtep_codec.decode(document | {"metadata": document["metadata"] | {"name": "mine"}}) is None
    assert vtep_codec.decode(document | {"spec": {"lan": "blue"}}) is None
