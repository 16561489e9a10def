"""Keeps the webhook's certificate: the chain in its Secret, the API server's trust in it, and the path that it asks at.

The order matters: first the API server learns to trust what is new, then the Secret gives it to the controllers.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from k8slan_cli.controller import certs
from k8slan_cli.controller.certs import Chain, Policy
from k8slan_cli.kube.client import MERGE, ApiError, Client, apply
from k8slan_cli.kube.kinds import SECRETS, WEBHOOKS, Document
from k8slan_cli.kube.lans import CONTROLLER
from k8slan_cli.kube.watch import Backoff, Cache, Informer
from k8slan_cli.lan.model import GROUP

log = logging.getLogger(__name__)

SECRET = "k8slan-webhook"  # noqa: S105 - its name
CONFIGURATION = "k8slan"
WEBHOOK = f"lans.{GROUP}"
_LONGEST = timedelta(hours=12)
"""No timer is longer: a machine that slept would be late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What the API server trusts and where it asks: ``clientConfig`` of the configuration of this ``uid``.

    ``base`` is the beginning of a ``url``, "" where a Service is named instead.
    """

    uid: str
    bundle: bytes
    path: str
    base: str = ""


class Keeper:
    """The Secret of one installation, in ``namespace``, and its webhook configuration."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        names: tuple[str, ...],
        policy: Policy,
        changed: Callable[[Chain], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``names`` are the host names of the webhook; ``changed`` gets each chain that is seen in the Secret."""
        self._client = client
        self._namespace = namespace
        self._names = names
        self._policy = policy
        self._hand_on = changed
        self._now = now
        self._wake = asyncio.Event()
        self._secret: Cache[Chain | str] = Cache(lambda secret: certs.read(secret) or "empty", self._secret_changed)
        self._trust: Cache[Trust] = Cache(_read_trust, lambda _key, _old, _new: self._wake.set())
        self.secret = self._one(SECRETS.path(namespace), SECRET, self._secret)
        self.trust = self._one(WEBHOOKS.path(), CONFIGURATION, self._trust)

    def _one(self, path: str, name: str, cache: Cache[Any]) -> Informer[Any]:
        return Informer(self._client, path, cache, select={"fieldSelector": f"metadata.name={name}"})

    def _secret_changed(self, _key: object, _old: Chain | str | None, new: Chain | str | None) -> None:
        self._wake.set()
        if isinstance(new, Chain):
            self._hand_on(new)

    async def run(self) -> None:
        """Renew secret and trust until cancelled. Both informers must run."""
        await self.secret.synced.wait()
        await self.trust.synced.wait()
        backoff = Backoff()
        while True:
            self._wake.clear()
            try:
                due = await self.tend()
                backoff.reset()
                pause = min(due - self._now(), _LONGEST).total_seconds()
            except ApiError as error:
                log.log(logging.INFO if error.passing else logging.ERROR, "the webhook's certificate: %s", error)
                pause = backoff.next()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.0, pause))

    async def tend(self) -> datetime:
        """Do what there is to do now; returns when there is something to do next, if nothing changes before.

        Raises:
            ApiError: it could not be done.

        """
        now = self._now()
        key = (self._namespace, SECRET)
        found = self._secret.get(key)
        if found is None:
            log.error("there is no Secret %s/%s: apply the manifest of the webhook again", *key)
            return now + _LONGEST
        chain = found if isinstance(found, Chain) else None
        due = certs.due(chain, self._names, now)
        if chain is None or due <= now:
            chain = certs.renewed(chain, self._names, now, self._policy)
            await self._make_trusted(chain)
            version = self._secret.version(key)
            body = {"metadata": {"resourceVersion": version}, "data": certs.data(chain)}
            path = SECRETS.path(*key)
            query = {"fieldManager": CONTROLLER}
            self._secret.learn(await self._client.call("PATCH", path, query=query, body=body, content_type=MERGE))
            log.info("the webhook has a new certificate, valid until %s", certs.expires(chain).isoformat())
            return certs.due(chain, self._names, now)
        await self._make_trusted(chain)
        return due

    async def _make_trusted(self, chain: Chain) -> None:
        trust = self._trust.get(("", CONFIGURATION))
        path = certs.path(chain)
        if trust is None or (trust.bundle, trust.path) == (chain.authority, path):
            return
        where = {"url": f"{trust.base}{path}"} if trust.base else {"service": {"path": path}}
        bundle = base64.b64encode(chain.authority).decode()
        body = {
            "apiVersion": WEBHOOKS.api_version,
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": CONFIGURATION, "uid": trust.uid},
            "webhooks": [{"name": WEBHOOK, "clientConfig": {"caBundle": bundle, **where}}],
        }
        self._trust.learn(await apply(self._client, WEBHOOKS.path("", CONFIGURATION), body, CONTROLLER))
        log.info("the API server trusts the webhook's certificate")


def _read_trust(configuration: Document) -> Trust | None:
    """What is trusted; None if the configuration has no webhook of k8slan."""
    for webhook in configuration.get("webhooks") or ():
        if webhook.get("name") == WEBHOOK:
            config: Mapping[str, Any] = webhook.get("clientConfig") or {}
            bundle = base64.b64decode(config.get("caBundle") or "")
            url = urlsplit(config.get("url") or "")
            path = url.path or (config.get("service") or {}).get("path") or ""
            base = f"{url.scheme}://{url.netloc}" if url.netloc else ""
            return Trust(uid=configuration["metadata"]["uid"], bundle=bundle, path=path, base=base)
    return None
