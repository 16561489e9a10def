"""The webhook's Secret and the API server's trust in it, kept by the leader on an API server in memory."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from k8slan_cli.controller import certs
from k8slan_cli.controller.certs import Chain, Policy
from k8slan_cli.controller.keeper import Keeper
from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.kinds import SECRETS, WEBHOOKS
from tests.unit.kube.fake_api import FakeApi
from tests.unit.kube.fake_time import run as run_fast

SECRET = SECRETS.path("s", "k8slan-webhook")
CONFIGURATION = WEBHOOKS.path("", "k8slan")
NAMES = ("k8slan-webhook.s.svc",)
START = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = Policy(authority=timedelta(days=30), serving=timedelta(days=3))
WEBHOOK = {"name": "lans.lan.k8slan.io", "clientConfig": {"service": {"name": "k8slan-webhook"}}}


class Rig:
    """A keeper at work; its wall clock is the loop's."""

    def __init__(self) -> None:
        self.api: Any = FakeApi()
        self.api.put(SECRET, {"data": {}})
        self.api.put(CONFIGURATION, {"webhooks": [WEBHOOK]})
        self.seen: list[Chain] = []
        self.began = asyncio.get_running_loop().time()
        self.keeper = Keeper(self.api, "s", NAMES, POLICY, self.seen.append, self.now)

    def now(self) -> datetime:
        """The wall clock."""
        return START + timedelta(seconds=asyncio.get_running_loop().time() - self.began)

    def trusted(self) -> bytes:
        """What the API server trusts."""
        config = self.api.objects[CONFIGURATION]["webhooks"][0]["clientConfig"]
        return base64.b64decode(config.get("caBundle", ""))

    def chain(self) -> Chain | None:
        """What the Secret has."""
        return certs.read(self.api.objects[SECRET])


def play(script: Callable[[Rig], Awaitable[None]]) -> None:
    async def main() -> None:
        rig = Rig()
        keeper = rig.keeper
        tasks = [asyncio.create_task(part) for part in (keeper.secret.run(), keeper.trust.run(), keeper.run())]
        try:
            await asyncio.sleep(1)
            await script(rig)
            assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    run_fast(main())


def test_an_empty_secret_is_filled_and_trusted() -> None:
    async def script(rig: Rig) -> None:
        chain = rig.chain()
        assert chain is not None
        assert rig.trusted() == chain.authority
        assert rig.seen == [chain]
        service = rig.api.objects[CONFIGURATION]["webhooks"][0]["clientConfig"]["service"]
        assert service == {"name": "k8slan-webhook", "path": certs.path(chain)}, "the rest of it stays"

    play(script)


def test_trust_comes_before_the_certificate() -> None:
    async def script(rig: Rig) -> None:
        assert [path for _, path in rig.api.writes()] == [CONFIGURATION, SECRET]

    play(script)


def test_certificates_are_renewed_in_time_without_a_restart_and_never_untrusted() -> None:
    async def script(rig: Rig) -> None:
        for _ in range(90 * 24):
            await asyncio.sleep(3600)
            chain = rig.chain()
            assert chain is not None
            assert certs.expires(chain) > rig.now() + timedelta(hours=12)
            assert rig.trusted() == chain.authority
        authorities = {chain.authority for chain in rig.seen}
        assert len(rig.seen) > 40
        assert len(authorities) >= 4
        requests = len(rig.api.writes())
        assert requests <= len(rig.seen) + len(authorities) + 2

    play(script)


def test_a_bundle_that_somebody_took_away_comes_back() -> None:
    async def script(rig: Rig) -> None:
        rig.api.put(CONFIGURATION, {"webhooks": [WEBHOOK]})
        await asyncio.sleep(1)
        chain = rig.chain()
        assert chain is not None
        assert rig.trusted() == chain.authority
        assert len(rig.seen) == 1

    play(script)


def test_a_path_that_somebody_took_away_comes_back_in_a_url_too() -> None:
    async def script(rig: Rig) -> None:
        chain = rig.chain()
        assert chain is not None
        config = {"caBundle": base64.b64encode(chain.authority).decode(), "url": "https://localhost:9443/validate"}
        rig.api.put(CONFIGURATION, {"webhooks": [WEBHOOK | {"clientConfig": config}]})
        await asyncio.sleep(1)
        config = rig.api.objects[CONFIGURATION]["webhooks"][0]["clientConfig"]
        assert config["url"] == f"https://localhost:9443{certs.path(chain)}"
        assert "service" not in config

    play(script)


def test_a_secret_that_somebody_broke_is_filled_again() -> None:
    async def script(rig: Rig) -> None:
        rig.api.put(SECRET, {"data": {"tls.key": "eA=="}})
        await asyncio.sleep(1)
        assert len(rig.seen) == 2
        assert rig.chain() == rig.seen[-1]

    play(script)


def test_a_secret_that_is_missing_is_waited_for() -> None:
    async def script(rig: Rig) -> None:
        rig.api.remove(SECRET)
        await asyncio.sleep(100)
        assert SECRET not in rig.api.objects
        rig.api.put(SECRET, {})
        await asyncio.sleep(1)
        assert rig.chain() is not None

    play(script)


def test_without_a_webhook_in_the_cluster_only_the_secret_is_kept() -> None:
    async def script(rig: Rig) -> None:
        rig.api.remove(CONFIGURATION)
        rig.api.put(SECRET, {"data": {}})
        await asyncio.sleep(1)
        assert rig.chain() is not None
        assert CONFIGURATION not in rig.api.objects

    play(script)


def test_errors_are_tried_again() -> None:
    async def script(rig: Rig) -> None:
        rig.api.refuse = lambda method, _path: ApiError("no rights", status=403) if method == "PATCH" else None
        rig.api.put(SECRET, {"data": {}})
        await asyncio.sleep(100)
        assert rig.chain() is None
        assert 4 < len(rig.api.writes()) < 20
        rig.api.refuse = lambda _method, _path: None
        await asyncio.sleep(31)
        assert rig.chain() is not None

    play(script)
