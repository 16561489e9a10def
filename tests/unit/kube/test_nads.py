"""NADs as they are there against NADs as they should be, and the three ways to write one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from k8slan_cli.kube import nads
from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.kinds import NADS
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.plan import objects
from tests.unit.kube.fake_api import FakeApi

LAN = Lan(
    ref=LanRef(namespace="n", name="a"),
    netns="a",
    bridge="br0",
    vxlan="vxlan0",
    vni=1,
    spokes=("e1",),
    dynamic=True,
    uid="uid-a",
)
ALL = objects.nads(LAN)


@pytest.mark.parametrize("nad", ALL, ids=lambda nad: nad.name)
def test_what_is_written_reads_as_wanted(nad: objects.Nad) -> None:
    assert nads.read(objects.document(nad)) == nads.wanted(nad)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("k8slan-veth-e1", ("k8slan-veth-e1", "")),
        ("k8slan-mac-a.b-e1", ("k8slan-veth-a.b-e1", "")),
        ("k8slan-set-e", ("k8slan-veth-e-0", "")),
        ("k8slan-lan-a.b", ("", "a.b")),
        ("k8slan-other", ("", "")),
        ("veth-e1", ("", "")),
    ],
)
def test_whose_a_name_is(name: str, found: tuple[str, str]) -> None:
    assert nads.claim(name) == found


def _document(**metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "k8slan-veth-e1", "namespace": "n", **metadata}, "spec": {"config": "{}"}}


@pytest.mark.parametrize(
    "owner",
    [
        {"apiVersion": "apps/v1", "kind": "LAN", "name": "a", "uid": "u", "controller": True},
        {"apiVersion": "lan.k8slan.io/v1beta1", "kind": "Other", "name": "a", "uid": "u", "controller": True},
        {"apiVersion": "lan.k8slan.io/v1beta1", "kind": "LAN", "name": "a", "uid": "u"},
    ],
)
def test_only_a_lan_that_controls_it_is_an_owner(owner: dict[str, Any]) -> None:
    found = nads.read(_document(ownerReferences=[owner]))
    assert found is not None
    assert found.owner == found.owner_uid == ""


def test_other_nads_are_not_kept() -> None:
    assert nads.read({"metadata": {"name": "sriov", "namespace": "n"}, "spec": {"config": "{}"}}) is None


@pytest.mark.parametrize("spec", [None, {}, {"config": None}, {"config": 5}])
def test_a_nad_without_a_config_is_read(spec: object) -> None:
    found = nads.read({**_document(), "spec": spec})
    assert found is not None
    assert found.config == ""


def test_repair_makes_everything_right_and_only_of_what_was_seen() -> None:
    async def run() -> None:
        api: Any = FakeApi()
        veth = next(nad for nad in ALL if nad.name == "k8slan-veth-e1")
        path = NADS.path("n", veth.name)
        wrong = objects.document(veth)
        wrong["metadata"]["annotations"] = {objects.RESOURCE_ANNOTATION: "x", "mine": "stays"}
        wrong["metadata"]["labels"] = {"other": "stays"}
        wrong["spec"]["config"] = "{}"
        version = api.put(path, wrong)["metadata"]["resourceVersion"]
        with pytest.raises(ApiError) as caught:
            await nads.repair(api, veth, "0815")
        assert caught.value.status == 409
        right = await nads.repair(api, veth, version)
        assert nads.read(right) == nads.wanted(veth)
        assert right["metadata"]["annotations"] == {"mine": "stays"}
        assert right["metadata"]["labels"]["other"] == "stays"

    asyncio.run(run())


def test_delete_takes_only_what_was_seen() -> None:
    async def run() -> None:
        api: Any = FakeApi()
        nad = ALL[0]
        version = (await nads.create(api, nad))["metadata"]["resourceVersion"]
        with pytest.raises(ApiError):
            await nads.create(api, nad)
        with pytest.raises(ApiError):
            await nads.delete(api, ("n", nad.name), "0815")
        await nads.delete(api, ("n", nad.name), version)
        await nads.delete(api, ("n", nad.name), version)
        assert api.objects == {}

    asyncio.run(run())


def test_a_cluster_without_multus_is_named() -> None:
    async def run() -> None:
        api: Any = FakeApi()
        api.refuse = lambda _method, _path: ApiError("the server could not find the requested resource", status=404)
        with pytest.raises(ApiError, match="is multus installed"):
            await nads.create(api, ALL[0])

    asyncio.run(run())
