"""The controller with many LANs at once, against a client that only sends the same writes."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from k8slan_cli.kube import lans
from k8slan_cli.kube.client import APPLY, Client
from k8slan_cli.kube.kinds import LANS, NADS, NAMESPACES, Document
from k8slan_cli.kube.transport import Asynchronous
from k8slan_cli.kube.watch import Cache, Informer
from k8slan_cli.lan.model import API_VERSION, KIND, PROTECTION, Lan
from k8slan_cli.plan import objects
from tests.bench.fleet.access import SYSTEM, as_admin
from tests.bench.fleet.server import Server
from tests.bench.rows import Row

SPOKES = 20
_NAMESPACES = 10
_WRITES = 16
"""Requests under way at the same time, as the controller has them (k8slan_cli/controller/loop.py)."""
_NOTHING: Mapping[str, Any] = {}


@contextlib.contextmanager
def running(server: Server, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The controller as a process of its own, with its own rights."""
    config = server.as_account("k8slan-controller", folder)
    command = [sys.executable, "-m", "k8slan_cli", "controller", "--http=", f"--kubeconfig={config}"]
    with (
        (folder / "controller.log").open("ab") as log,
        subprocess.Popen([*command, f"--namespace={SYSTEM}"], stdout=log, stderr=log) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


async def rows(server: Server, folder: Path, count: int) -> AsyncIterator[Row]:
    """How long the controller takes for ``count`` LANs of 20 spokes, and how long a bare client."""
    client = Client(Asynchronous(as_admin(server.kubeconfig)))
    try:
        await _create(client, "tended", range(count))
        settled, status = await _settle(server, client, folder, count)
        await _create(client, "bare", range(count, 2 * count))
        began = time.perf_counter()
        found = await client.call("GET", LANS.path(), query={"labelSelector": "set=bare"})
        gate = asyncio.Semaphore(_WRITES)
        await asyncio.gather(*(_write(client, gate, lan, status) for lan in map(lans.read, found["items"])))  # type: ignore[arg-type]
        bare = time.perf_counter() - began
    finally:
        await client.close()
    what = f"controller: {count:,} LANs × {SPOKES} spokes"
    yield Row(f"{what}, settled after", settled, " s")
    yield Row(f"{what}, the same writes by a bare client", bare, " s")
    yield Row(f"{what}, settled / bare client", settled / bare, "×", 1.5)


async def _settle(server: Server, client: Client, folder: Path, count: int) -> tuple[float, Document]:
    """Seconds from the controller's first write to the last LAN's Ready; and the status that it gives a LAN."""
    first = last = 0.0
    done = asyncio.Event()
    ready: set[object] = set()

    def seen(key: object, old: Document | None, new: Document | None) -> None:
        nonlocal first, last
        if old is not None and not first:
            first = time.perf_counter()
        if new and any(c["type"] == "Ready" and c["status"] == "True" for c in new.get("conditions", ())):
            ready.add(key)
            last = time.perf_counter()
            if len(ready) == count:
                done.set()

    cache: Cache[Document] = Cache(_seen_of, seen)
    informer = Informer(client, LANS.path(), cache)
    watching = asyncio.create_task(informer.run())
    try:
        await informer.live.wait()
        with running(server, folder):
            await _done(done, f"{count} LANs ready", 60 + count)
        return last - first, cache.values()[0]
    finally:
        watching.cancel()


def _seen_of(document: Document) -> Document:
    """What tells that a LAN has been written: its status, and whether it is protected."""
    return {**document.get("status", _NOTHING), "finalizers": document["metadata"].get("finalizers", ())}


async def _done(event: asyncio.Event, what: str, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        raise TimeoutError(f"not {what} in {seconds:.0f} s") from None


async def _create(client: Client, what: str, numbers: range) -> None:
    for i in range(_NAMESPACES):
        await client.call("POST", NAMESPACES.path(), body={"metadata": {"name": f"{what}{i}"}})
    gate = asyncio.Semaphore(_WRITES)

    async def one(number: int) -> None:
        spec = {"vni": number + 1, "spokes": [f"s{number}-{k}" for k in range(SPOKES)]}
        metadata = {"name": f"l{number}", "labels": {"set": what}}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
        async with gate:
            await client.call("POST", LANS.path(f"{what}{number % _NAMESPACES}"), body=body)

    await asyncio.gather(*map(one, numbers))


async def _write(client: Client, gate: asyncio.Semaphore, lan: Lan, status: Document) -> None:
    """Send what the controller writes for a LAN, in its order: the finalizer, the NADs, the status."""

    async def send(method: str, path: str, body: Document, content_type: str = "application/json") -> None:
        query = {"fieldManager": lans.CONTROLLER} | ({"force": "true"} if content_type == APPLY else {})
        async with gate:
            await client.call(method, path, query=query, body=body, content_type=content_type)

    metadata = {"name": lan.ref.name, "namespace": lan.ref.namespace, "uid": lan.uid}
    head = {"apiVersion": API_VERSION, "kind": KIND}
    protected = head | {"metadata": metadata | {"finalizers": [PROTECTION]}}
    await send("PATCH", LANS.path(lan.ref.namespace, lan.ref.name), protected, APPLY)
    path = NADS.path(lan.ref.namespace)
    await asyncio.gather(*(send("POST", path, objects.document(nad)) for nad in objects.nads(lan)))
    written = head | {"metadata": metadata, "status": {k: v for k, v in status.items() if k != "finalizers"}}
    await send("PATCH", LANS.path(lan.ref.namespace, lan.ref.name, "status"), written, APPLY)
