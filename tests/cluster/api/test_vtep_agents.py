"""Agents' writes and watches of VTEPs on a real API server, which is stopped, compacted and crowded."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest
import yaml

from k8slan_cli.kube.client import ApiError, Client
from k8slan_cli.kube.kinds import VTEPS
from k8slan_cli.kube.kubeconfig import access
from k8slan_cli.kube.transport import Asynchronous
from k8slan_cli.kube.vteps import VtepWatch, VtepWriter
from k8slan_cli.lan import names, vtep_codec
from k8slan_cli.lan.model import LanRef
from k8slan_cli.lan.vtep import PodRef, VmRef, Vtep, VtepPort, holdings, with_claims
from k8slan_cli.render import manifests
from k8slan_cli.render.settings import Settings
from tests.cluster.bare import Api, api, namespace

__all__ = ["api", "namespace"]

_numbers = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def crd(api: Api) -> None:
    """The CRD of VTEPs."""
    document = yaml.safe_load(manifests.render(manifests.Part.VTEP_CRD, Settings()))
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{document['metadata']['name']}"
    if api.get(path) is None:
        api.install(document)


@asynccontextmanager
async def connected(api: Api) -> AsyncIterator[Client]:
    client = Client(Asynchronous(access(str(api.kubeconfig))), "agents")
    try:
        yield client
    finally:
        await client.close()


def port(spoke: str, uid: str = "uid") -> VtepPort:
    return VtepPort(
        name=f"{spoke}p",
        interface="eth1",
        kind="veth",
        spoke=spoke,
        pod=PodRef(namespace="lab", name=f"pod-{spoke}", uid=uid),
        vm=VmRef(name="fw", uid="vmi"),
        mac="02:00:00:00:00:01",
        addresses=("192.0.2.1/24", "2001:db8::1/64"),
        mtu=1446,
        since="2026-01-01T00:00:00Z",
    )


def vtep(lan: LanRef, node: str, *ports: VtepPort) -> Vtep:
    address = ip_address("10.0.0.1")
    return Vtep(lan=lan, node=node, address=address, device="eth0", port=4789, mtu=1446, ports=ports)


@pytest.fixture
def lan(namespace: str) -> LanRef:
    return LanRef(namespace=namespace, name="blue")


def path(lan: LanRef, node: str) -> str:
    return VTEPS.path(lan.namespace, names.vtep(lan.name, node))


def test_what_an_agent_writes_reads_back_and_its_claims_are_versions(api: Api, lan: LanRef) -> None:
    async def run() -> None:
        async with connected(api) as client:
            one, two = VtepWriter(client, "n1"), VtepWriter(client, "n2")
            first = await one.write(vtep(lan, "n1", port("a")), None)
            assert replace(first, uid="", version=0) == vtep(lan, "n1", port("a"))
            other = await two.write(vtep(lan, "n2", port("a", "other"), port("b")), None)
            wanted = with_claims(vtep(lan, "n1", port("a"), port("b", "later")), first)
            second = await one.write(wanted, first)
            assert second.version > other.version > first.version == second.ports[0].claim
            holders = {spoke: held.holders[0].node for spoke, held in holdings([second, other]).items()}
            assert holders == {"a": "n1", "b": "n2"}
            again = await one.write(wanted, first)
            assert again.version == second.version, "what says nothing new is no write"

    asyncio.run(run())


def test_a_vtep_with_ports_is_held_and_is_not_made_anew_by_accident(api: Api, lan: LanRef) -> None:
    async def run() -> None:
        async with connected(api) as client:
            writer = VtepWriter(client, "n1")
            first = await writer.write(vtep(lan, "n1", port("a")), None)
            await writer.delete(first)
            found = await writer.read(lan)
            assert found is not None
            assert found.deleting
            await writer.write(vtep(lan, "n1", port("a"), port("b")), first)
            await writer.write(vtep(lan, "n1"), first)
            assert await writer.read(lan) is None
            await writer.delete(first)
            with pytest.raises(ApiError) as caught:
                await writer.write(vtep(lan, "n1"), first)
            assert caught.value.status == 409
            second = await writer.write(vtep(lan, "n1"), None)
            with pytest.raises(ApiError) as caught:
                await writer.delete(first)
            assert caught.value.status == 409, "it is another"
            assert lan in {found.lan for found in await writer.own()}
            await writer.delete(second)

    asyncio.run(run())


def test_what_the_controller_says_of_a_lost_node_stays(api: Api, lan: LanRef) -> None:
    async def run() -> None:
        async with connected(api) as client:
            writer = VtepWriter(client, "n1")
            first = await writer.write(vtep(lan, "n1", port("a")), None)
            document = {"apiVersion": vtep_codec.API_VERSION, "kind": "VTEP", "metadata": {"uid": first.uid}}
            lost = document | {"status": {"lost": True}}
            lost["metadata"] |= {"name": names.vtep("blue", "n1"), "namespace": lan.namespace}
            await asyncio.to_thread(api.apply, path(lan, "n1"), lost)
            found = await writer.write(vtep(lan, "n1", port("a"), port("b")), first)
            assert found.lost

    asyncio.run(run())


class Seen:
    """A watch, and the wait for what it sees."""

    def __init__(self, client: Client, lan: LanRef) -> None:
        self.watch = VtepWatch(client)
        self.lan = lan
        self._news = asyncio.Event()
        self.watch.on_change = lambda _lan, _changes: self._news.set()
        self.watch.follow([lan])

    async def until(self, *nodes: str) -> None:
        """Wait until these nodes are known, and no others."""
        async with asyncio.timeout(60):
            while {found.node for found in self.watch.of(self.lan)} != set(nodes) or not self.watch.known(self.lan):
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def seeing(client: Client, lan: LanRef) -> AsyncIterator[Seen]:
    seen = Seen(client, lan)
    try:
        yield seen
    finally:
        await seen.watch.close()


def test_agents_hear_of_their_namespace_and_of_no_other(api: Api, lan: LanRef) -> None:
    far = f"far{next(_numbers)}"
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": far}})

    async def run() -> None:
        async with connected(api) as client, seeing(client, lan) as seen:
            await seen.until()
            lines: list[str] = []
            informer = seen.watch._watched[lan.namespace].informer
            take_in = informer._take_in
            informer._take_in = lambda kind, found: lines.append(kind) or take_in(kind, found)  # type: ignore[method-assign,func-returns-value]
            for number in range(10):
                await VtepWriter(client, f"n{number}").write(
                    vtep(LanRef(namespace=far, name="blue"), f"n{number}"), None
                )
            await VtepWriter(client, "n1").write(vtep(lan, "n1", port("a")), None)
            await seen.until("n1")
            assert [line for line in lines if line != "BOOKMARK"] == ["ADDED"]

    asyncio.run(run())


def test_watches_go_on_after_the_api_server_was_away(api: Api, lan: LanRef) -> None:
    async def run() -> None:
        async with connected(api) as client, seeing(client, lan) as seen:
            one, two = VtepWriter(client, "n1"), VtepWriter(client, "n2")
            first = await one.write(vtep(lan, "n1"), None)
            await seen.until("n1")
            await asyncio.to_thread(api.stop)
            await asyncio.to_thread(api.start)
            await one.delete(first)
            await two.write(vtep(lan, "n2", port("a")), None)
            assert seen.watch.known(lan)
            await seen.until("n2")

    asyncio.run(run())


def test_a_history_that_was_compacted_is_read_anew(api: Api, lan: LanRef) -> None:
    async def run() -> None:
        async with connected(api) as client, seeing(client, lan) as seen:
            one = VtepWriter(client, "n1")
            first = await one.write(vtep(lan, "n1"), None)
            await seen.until("n1")
            await asyncio.to_thread(api.stop)
            seen.watch._watched[lan.namespace].informer._version = "1"
            await asyncio.to_thread(api.start)
            await one.delete(first)
            await VtepWriter(client, "n3").write(vtep(lan, "n3"), None)
            await seen.until("n3")

    asyncio.run(run())


def test_the_first_look_finds_a_lans_vteps_at_once(api: Api, lan: LanRef) -> None:
    async def run() -> None:
        async with connected(api) as client:
            for node in ("n1", "n2", "x" * 100):
                await VtepWriter(client, node).write(vtep(lan, node, port("a")), None)
            await VtepWriter(client, "n1").write(vtep(replace(lan, name="red"), "n1"), None)
            async with seeing(client, lan) as seen:
                await seen.watch.look(lan)
                assert {found.node for found in seen.watch.of(lan)} == {"n1", "n2", "x" * 100}
                assert seen.watch.known(lan)

    asyncio.run(run())
