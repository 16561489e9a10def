"""How soon the kubelet can give the resources of a LAN of 200 spokes.

The kubelet's own word counts: its pod-resources API says what is allocatable, and that is what it admits pods by. The
node's status in the API server follows when the kubelet next writes it, which no event makes it do: it is every
``nodeStatusUpdateFrequency``, 10 s by default and 2 s on the tests' nodes, and it is only told.

The kubelet remembers a resource that is gone for five minutes and pays for it with each new one. So it is the same 200
spokes in every round.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

from grpclib.client import Channel, UnaryUnaryMethod

from tests.bench.rows import Row
from tests.cluster import probing
from tests.cluster.harness import Cluster
from tests.cluster.harness.kubectl import Object
from tests.support.kubelet import Bytes

SPOKES = 200
LIMIT = 1.5  # seconds
_ROUNDS = 3
_ALLOCATABLE = "/v1.PodResourcesLister/GetAllocatableResources"
_LOOK_SECONDS = 0.05  # between two questions to the kubelet, which tells of nothing by itself, and works for each
_DEADLINE = 60.0


def rows(cluster: Cluster) -> Iterator[Row]:
    """LANs of 200 spokes, one after the other; the middle one of all times."""
    found = sorted(asyncio.run(_round(cluster, number)) for number in range(_ROUNDS))
    offered, told = found[_ROUNDS // 2]
    yield Row(f"{SPOKES} spokes applied → {2 * SPOKES} resources allocatable", offered, " s", LIMIT)
    yield Row(f"{SPOKES} spokes applied → {2 * SPOKES} resources in the node's status", told, " s")


async def _round(cluster: Cluster, number: int) -> tuple[float, float]:
    """Seconds until the kubelet offers all, and until the node's status has them."""
    spokes = [f"many{spoke}" for spoke in range(SPOKES)]
    names = {f"macvtap.k8slan.io/k8slan-{kind}-{spoke}" for kind in ("mac", "veth") for spoke in spokes}
    lan = probing.lan(f"many{number}", "default", vni=1000 + number, spokes=spokes)
    node = cluster.nodes[0]
    socket = Path(f"/proc/{node.machine.pid}/root/var/lib/kubelet/pod-resources/kubelet.sock")
    async with Channel(path=str(socket), codec=Bytes()) as kubelet:
        ask = UnaryUnaryMethod(kubelet, _ALLOCATABLE, bytes, bytes)
        started = time.monotonic()
        _post(cluster, "/apis/lan.k8slan.io/v1beta1/namespaces/default/lans", lan)
        while not names <= allocatable(await ask(b"")):
            if time.monotonic() - started > _DEADLINE:
                raise TimeoutError(f"the resources are not all there in {_DEADLINE:.0f} s")
            await asyncio.sleep(_LOOK_SECONDS)
        offered = time.monotonic() - started
    probing.until_allocatable(cluster, *names, timeout=_DEADLINE)
    told = time.monotonic() - started
    cluster.kubectl.delete("lan", f"many{number}")
    cluster.kubectl.until("node", node.name, holds=_offers_nothing, what="without resources")
    return offered, told


def _offers_nothing(node: Object) -> bool:
    found = node["status"]["allocatable"]
    return all(value == "0" for name, value in found.items() if name.startswith("macvtap.k8slan.io/"))


def allocatable(answer: bytes) -> set[str]:
    """The names of the devices' resources in an AllocatableResourcesResponse (podresources/v1, api.proto)."""
    return {value.decode() for device in _fields(answer, 1) for value in _fields(device, 1)}


def _fields(data: bytes, wanted: int) -> Iterator[bytes]:
    """The length-delimited fields of one number in a message of protocol buffers."""
    at = 0
    while at < len(data):
        key, at = _number(data, at)
        value, at = _number(data, at)  # for every other kind of field there is here, a number is all of it
        if key & 7 == 2:
            if key >> 3 == wanted:
                yield data[at : at + value]
            at += value


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def _post(cluster: Cluster, path: str, document: object) -> None:
    """Create an object, at once: a kubectl of its own would take longer to start than some of what is measured."""
    folder = cluster.kubeconfig.parent
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "admin.crt", folder / "admin.key")
    host, _, port = cluster.control.url.removeprefix("https://").partition(":")
    connection = http.client.HTTPSConnection(host, int(port), timeout=30, context=context)
    try:
        connection.request("POST", path, json.dumps(document), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        words = answer.read().decode()
        if answer.status != http.HTTPStatus.CREATED:
            raise RuntimeError(f"POST {path}: {answer.status} {words}")
    finally:
        connection.close()
