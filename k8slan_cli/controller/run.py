"""The controller's life: every replica watches LANs and answers the webhook, one of them leads and does the rest."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import secrets
import signal
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from k8slan_cli.controller import certs
from k8slan_cli.controller.certs import Chain, Policy
from k8slan_cli.controller.keeper import SECRET, Keeper
from k8slan_cli.controller.loop import Loop
from k8slan_cli.controller.webhook import Webhook
from k8slan_cli.errors import K8slanError
from k8slan_cli.kube.client import Client
from k8slan_cli.kube.events import Events
from k8slan_cli.kube.kinds import LANS, NADS, NODES, PODS, VTEPS
from k8slan_cli.kube.kubeconfig import access
from k8slan_cli.kube.lans import CONTROLLER
from k8slan_cli.kube.lease import Election
from k8slan_cli.kube.transport import Asynchronous
from k8slan_cli.kube.watch import Informer
from k8slan_cli.lan.resources import DEFAULT_NAMING, Naming
from k8slan_cli.lan.vnis import DEFAULT_VNIS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log = logging.getLogger(__name__)

OLD_AGENTS = {
    "labelSelector": "app.kubernetes.io/name=k8slan-node-agent,!app.kubernetes.io/version",
    "fieldSelector": "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed",
}
"""Selects the pods of agents of 0.1.0, which have no label that tells their version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerOptions:
    """How a controller is to run.

    ``namespace``  where its Lease and the webhook's Secret are
    ``identity``   who this is among its replicas, for people
    ``http`` and ``webhook`` are HOST:PORT, None for none
    ``names``      host names of the webhook beside its Service's
    ``naming``     which names NADs and resources have, and how many resources there are
    ``vnis``       from which LANs get one that name none
    """

    namespace: str
    identity: str = ""
    kubeconfig: str | None = None
    context: str | None = None
    http: str | None = None
    webhook: str | None = None
    names: tuple[str, ...] = ()
    naming: Naming = DEFAULT_NAMING
    vnis: range = DEFAULT_VNIS
    policy: Policy = field(default_factory=Policy)


class Controller:
    """One replica."""

    def __init__(self, client: Client, options: ControllerOptions) -> None:
        self.client = client
        identity = options.identity or os.uname().nodename
        events = Events(client, CONTROLLER, identity)
        self.loop = Loop(client, events, self._fresh, naming=options.naming, vnis=options.vnis, telling=True)
        self.world = self.loop.world
        self.election = Election(client, options.namespace, CONTROLLER, f"{identity}_{secrets.token_hex(4)}")
        self.webhook = Webhook(options.webhook, self.world.clashes) if options.webhook else None
        self.chain: Chain | None = None
        self._lans = Informer(client, LANS.path(), self.world.lans, on_live=self.world.mark_all)
        self._namespace = options.namespace
        self._watched: tuple[Informer[Any], ...] = ()
        """What only the leader watches. It must be known as it is now, and LANs too, before anything is let go of."""
        service = (f"{SECRET}.{options.namespace}.svc", *options.names)
        self._keeper = Keeper(client, options.namespace, service, options.policy, self._use)
        self._new_chain = asyncio.Event()

    def _fresh(self) -> bool:
        return bool(self._watched) and all(informer.live.is_set() for informer in (self._lans, *self._watched))

    def _use(self, chain: Chain) -> None:
        self.chain = chain
        self._new_chain.set()

    def missing(self) -> str:
        """What is missing to be ready, "" if nothing is."""
        if not self._lans.synced.is_set():
            return f"LANs have not been seen yet: {self._lans.trouble or 'still reading'}"
        if self.webhook and not self.webhook.serving:
            return "the webhook has no certificate yet"
        return ""

    def registry(self) -> CollectorRegistry:
        """Return what it counts, in Prometheus' terms: read when asked."""
        from k8slan_cli.controller.metrics import registry

        return registry(self.client, self.election, self.loop, self.webhook, self._expires)

    def _expires(self) -> float | None:
        """Return when the webhook's certificate runs out, in seconds since 1970."""
        return certs.expires(self.chain).timestamp() if self.chain else None

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set. What fails for a reason of this program's own ends it.

        Raises:
            K8slanError: it cannot serve.

        """
        parts = [self._lans.run(), self.election.run(self._lead)]
        if self.webhook:
            parts += [self._keeper.secret.run(), self._serve(self.webhook)]
        try:
            await _until(stop, *parts)
        finally:
            if self.webhook:
                await self.webhook.close()

    async def _serve(self, webhook: Webhook) -> None:
        """Give the webhook each certificate that comes."""
        while True:
            await self._new_chain.wait()
            self._new_chain.clear()
            if self.chain:
                try:
                    await webhook.use(self.chain)
                except K8slanError as error:
                    if not webhook.serving:
                        raise
                    log.error("%s", error)

    async def _lead(self) -> None:
        """What only the leader does."""
        nads = Informer(self.client, NADS.path(), self.world.nads, optional=True)
        watch = functools.partial(Informer, self.client, on_live=self.world.mark_all)
        self._watched = (
            watch(VTEPS.path(), self.world.vteps),
            watch(NODES.path(), self.world.nodes),
            watch(PODS.path(self._namespace), self.world.old_agents, select=OLD_AGENTS),
        )
        parts = [nads.run(), *(informer.run() for informer in self._watched), self._tend(nads)]
        if self.webhook:
            parts += [self._keeper.trust.run(), self._keeper.run()]
        await _until(asyncio.Event(), *parts)

    async def _tend(self, nads: Informer[Any]) -> None:
        """Run the loop once everything has been seen: what is not known yet is not missing."""
        for event in (self._lans.synced, nads.synced, *(informer.live for informer in self._watched)):
            await event.wait()
        self.world.mark_all()
        log.info("tends %d LANs", len(self.world.lans))
        await self.loop.run()


async def _until(stop: asyncio.Event, *parts: Coroutine[Any, Any, None]) -> None:
    """Run all parts until ``stop`` is set, or one of them ends, which only an error does; all have ended then."""
    tasks = [asyncio.create_task(part) for part in parts]
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)
    for task in done - {stopping}:
        task.result()


async def run(options: ControllerOptions) -> None:
    """Run a controller until SIGTERM or SIGINT.

    Raises:
        K8slanError: it cannot run here.

    """
    from k8slan_cli.serve import health

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    client = Client(Asynchronous(access(options.kubeconfig, options.context)), CONTROLLER)
    controller = Controller(client, options)
    http = health.serve(options.http, controller.registry(), controller.missing) if options.http else None
    try:
        await controller.run(stop)
    finally:
        await client.close()
        if http:
            await http.close()
