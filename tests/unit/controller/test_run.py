"""Controllers as wholes, two at a time, on an API server in memory."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.request
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.utils import floatToGoString

from k8slan_cli.controller import certs
from k8slan_cli.controller.run import Controller, ControllerOptions
from k8slan_cli.errors import K8slanError
from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.kinds import LANS, LEASES, NADS, NODES, PODS, SECRETS, VTEPS, WEBHOOKS, Kind
from k8slan_cli.serve import health
from tests.unit.controller.rig import document, path
from tests.unit.kube.fake_api import FakeApi
from tests.unit.kube.fake_time import run as run_fast

A = LANS.path("d", "a")
LEASE = LEASES.path("s", "k8slan-controller")


class Replica:
    """A controller, and its end."""

    def __init__(self, api: Any, name: str, **options: Any) -> None:
        self.controller = Controller(api, ControllerOptions(namespace="s", identity=name, **options))
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self.controller.run(self.stop))

    async def end(self) -> None:
        """As SIGTERM would."""
        self.stop.set()
        await self.task


@contextlib.asynccontextmanager
async def replicas(api: FakeApi, *names: str, **options: Any) -> AsyncIterator[list[Replica]]:
    found = [Replica(api, name, **options) for name in names]
    try:
        await asyncio.sleep(1)
        yield found
    finally:
        for replica in found:
            await replica.end()


def put_lan(api: FakeApi, name: str = "a", vni: int = 5) -> None:
    api.put(path("lans", name), document("lans", {"spec": {"vni": vni, "spokes": [f"e{vni}"]}}))


def nads(api: FakeApi) -> list[str]:
    return sorted(key.rpartition("/")[2] for key in api.objects if f"/{NADS.plural}/" in key)


def test_one_tends_and_both_see() -> None:
    async def run() -> None:
        api = FakeApi()
        put_lan(api)
        async with replicas(api, "one", "two") as (one, two):
            assert nads(api) == ["k8slan-mac-e5", "k8slan-veth-e5"]
            leading = [replica.controller.election.leading for replica in (one, two)]
            assert sorted(leading) == [False, True]
            assert len(one.controller.world.lans) == len(two.controller.world.lans) == 1
            assert one.controller.missing() == two.controller.missing() == ""
            follower = two if leading[0] else one
            assert len(follower.controller.world.nads) == 0, "who does not lead does not watch what it does not need"

    run_fast(run())


def test_a_restart_writes_nothing_but_the_lease() -> None:
    async def run() -> None:
        api = FakeApi()
        for i in range(1, 20):
            put_lan(api, f"l{i}", i)
        put_lan(api, "clash", 3)
        api.put(NODES.path("", "n1"), {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
        api.put(path("vteps", "l3@n1"), document("vteps", {"ports": ["p:e3"]}, "l3@n1"))
        async with replicas(api, "one"):
            pass
        before = len(api.writes())
        async with replicas(api, "one"):
            await asyncio.sleep(100)
        leases = "/leases"
        assert {at for _, at in api.writes()[before:] if leases not in at} == set()

    run_fast(run())


def test_another_takes_over_with_what_it_knows_then() -> None:
    async def run() -> None:
        api = FakeApi()
        put_lan(api)
        async with replicas(api, "one") as (one,):
            two = Replica(api, "two")
            await asyncio.sleep(1)
            await one.end()
            put_lan(api, "b", 6)
            await asyncio.sleep(2)
            assert two.controller.election.leading
            assert "k8slan-veth-e6" in nads(api)
            await two.end()
            assert api.objects[LEASE]["spec"]["holderIdentity"] == ""

    run_fast(run())


def test_who_leads_again_begins_with_a_fresh_look() -> None:
    async def run() -> None:
        api = FakeApi()
        put_lan(api)
        async with replicas(api, "one") as (one,):
            lease = api.objects[LEASE]
            api.put(LEASE, {**lease, "spec": {**lease["spec"], "holderIdentity": "thief"}})
            await asyncio.sleep(1)
            assert not one.controller.election.leading
            api.remove(path("nads", "k8slan-veth-e5"))
            put_lan(api, "b", 6)
            await asyncio.sleep(1)
            assert nads(api) == ["k8slan-mac-e5"]
            await asyncio.sleep(20)
            assert one.controller.election.leading
            assert nads(api) == ["k8slan-mac-e5", "k8slan-mac-e6", "k8slan-veth-e5", "k8slan-veth-e6"]

    run_fast(run())


def test_without_multus_a_lan_says_so() -> None:
    async def run() -> None:
        api = FakeApi()
        put_lan(api)
        missing = ApiError("the server could not find the requested resource", status=404)
        api.refuse = lambda _method, at: missing if NADS.plural in at else None
        async with replicas(api, "one"):
            ready = api.objects[A]["status"]["conditions"][0]
            assert ready["reason"] == "Refused"
            assert "is multus installed?" in ready["message"]
            api.refuse = lambda _method, _path: None
            await asyncio.sleep(40)
            assert api.objects[A]["status"]["conditions"][0]["status"] == "True"
            assert len(nads(api)) == 2

    run_fast(run())


@pytest.mark.parametrize("unheard", [VTEPS.path(), NODES.path(), PODS.path("s")])
def test_nothing_is_let_go_while_something_is_not_heard_of(unheard: str) -> None:
    async def run() -> None:
        api = FakeApi()
        put_lan(api)
        async with replicas(api, "one"):
            api.refuse = lambda _method, at: ApiError("no answer") if at == unheard else None
            api.break_watches()
            await asyncio.sleep(5)
            api.remove(A)
            await asyncio.sleep(60)
            assert A in api.objects
            api.refuse = lambda _method, _path: None
            await asyncio.sleep(31)
            assert A not in api.objects

    run_fast(run())


def test_a_lan_is_not_let_go_while_lans_are_not_heard_of() -> None:
    """What is known of it may be old: its tenant may have taken back that it is to go by force, say."""

    async def run() -> None:
        api = FakeApi()
        put_lan(api)
        api.put(NODES.path("", "n1"), {})
        vtep = path("vteps", "a@n1")
        api.put(vtep, document("vteps", {"ports": ["p:e5"]}, "a@n1"))
        async with replicas(api, "one"):
            api.remove(A)
            await asyncio.sleep(5)
            api.refuse = lambda _method, at: ApiError("no answer") if at == LANS.path() else None
            api.break_watches()
            await asyncio.sleep(5)
            api.put(vtep, {**api.objects[vtep], "metadata": {**api.objects[vtep]["metadata"], "finalizers": []}})
            api.remove(vtep)
            await asyncio.sleep(60)
            assert A in api.objects
            api.refuse = lambda _method, _path: None
            await asyncio.sleep(31)
            assert A not in api.objects

    run_fast(run())


def test_an_agent_of_the_first_version_is_one_without_a_version() -> None:
    async def run() -> None:
        api = FakeApi()
        put_lan(api)
        api.put(NODES.path("", "n1"), {})
        api.put(path("vteps", "a@n1"), document("vteps", {"ports": ["p:e5"], "address": "10.0.0.1"}, "a@n1"))
        name = {"app.kubernetes.io/name": "k8slan-node-agent"}
        api.put(PODS.path("s", "new"), {"metadata": {"labels": {**name, "app.kubernetes.io/version": "1"}}})
        api.put(PODS.path("s", "old"), {"metadata": {"labels": name}})
        async with replicas(api, "one"):
            assert [node["name"] for node in api.objects[A]["status"]["nodes"]] == ["n1"]
            api.remove(PODS.path("s", "old"))
            await asyncio.sleep(1)
            assert api.objects[A]["status"]["nodes"] == []

    run_fast(run())


def test_it_is_not_ready_before_it_has_seen_lans() -> None:
    async def run() -> None:
        api = FakeApi()
        api.refuse = lambda _method, at: ApiError("no rights", status=403) if at == LANS.path() else None
        async with replicas(api, "one") as (one,):
            assert one.controller.missing() == "LANs have not been seen yet: no rights"
            api.refuse = lambda _method, _path: None
            await asyncio.sleep(31)
            assert one.controller.missing() == ""

    run_fast(run())


def test_the_webhook_serves_with_the_certificate_that_the_leader_made() -> None:
    async def run() -> None:
        api = FakeApi()
        api.put(SECRETS.path("s", "k8slan-webhook"), {"data": {}})
        api.put(WEBHOOKS.path("", "k8slan"), {"webhooks": [{"name": "lans.lan.k8slan.io", "clientConfig": {}}]})
        async with replicas(api, "one", "two", webhook="127.0.0.1:0") as (one, two):
            async with asyncio.timeout(20):
                while one.controller.missing() or two.controller.missing():
                    api.heard.clear()
                    await api.heard.wait()
            assert one.controller.chain == two.controller.chain
            assert one.controller.webhook is not None
            assert one.controller.webhook.serving

    asyncio.run(run())


def test_a_controller_that_cannot_serve_ends_with_the_reason() -> None:
    async def run() -> None:
        api = FakeApi()
        api.put(SECRETS.path("s", "k8slan-webhook"), {"data": {}})
        async with replicas(api, "one", webhook="127.0.0.1:0") as (one,):
            assert one.controller.webhook is not None
            port = one.controller.webhook.port
            two = Replica(api, "two", webhook=f"127.0.0.1:{port}")
            with pytest.raises(K8slanError, match="cannot listen"):
                await two.task

    asyncio.run(run())


def test_metrics_say_what_there_is() -> None:
    chain = certs.renewed(None, ("localhost",), datetime.now(UTC), certs.Policy())

    async def run() -> None:
        api = FakeApi()
        put_lan(api)
        put_lan(api, "b", 5)
        async with replicas(api, "one") as (one,):
            one.controller.chain = chain
            text = generate_latest(one.controller.registry()).decode()
        for line in (
            "k8slan_leader 1.0",
            "k8slan_lans 2.0",
            "k8slan_nads 2.0",
            'k8slan_lan_conditions{condition="Ready"} 1.0',
            'k8slan_lan_conditions{condition="Conflict"} 1.0',
            'k8slan_actions_total{action="CreateNad",result="done"} 2.0',
            f"k8slan_webhook_certificate_expires_seconds {floatToGoString(certs.expires(chain).timestamp())}",
        ):
            assert line in text.splitlines()

    run_fast(run())


def test_health_and_metrics_are_served() -> None:
    async def run() -> None:
        api = FakeApi()
        async with replicas(api, "one") as (one,):
            server = health.serve("127.0.0.1:0", one.controller.registry(), one.controller.missing)

            def fetch(at: str) -> str:
                with urllib.request.urlopen(f"http://{server.address}{at}", timeout=10) as answer:
                    found: str = answer.read().decode()
                return found

            try:
                assert await asyncio.to_thread(fetch, "/readyz") == "ok\n"
                assert "k8slan_leader 1.0" in await asyncio.to_thread(fetch, "/metrics")
            finally:
                await server.close()

    asyncio.run(run())


@pytest.mark.parametrize("kind", [LANS, LEASES, NADS, NODES, VTEPS])
def test_a_controller_whose_informer_dies_ends_with_the_reason(kind: Kind) -> None:
    async def run() -> None:
        api = FakeApi()
        put_lan(api)
        controller = Replica(api, "one")
        await asyncio.sleep(1)
        at = kind.path("s") if kind is LEASES else kind.path()
        api.send({"type": "MODIFIED", "object": "what no API server sends"}, at)
        with pytest.raises(TypeError):
            await controller.task

    run_fast(run())
