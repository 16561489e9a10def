"""The controller with 1,000 LANs of 20 spokes, two nodes in each, as a process with its rights, on a real API server.

Requests are counted by the API server (audit log), not by the controller. ``python -m tests.bench.bench_controller
[LANS]`` runs this one alone. The API server shares the machine, and is what most of the time is spent on.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from k8slan_cli.kube.kinds import LANS, NADS, NODES, VTEPS
from k8slan_cli.lan import vtep_codec
from k8slan_cli.lan.model import LanRef
from k8slan_cli.lan.vtep import PodRef, Vtep, VtepPort
from tests.bench.rows import Row, table
from tests.cluster.bare import NAD_CRD, Api, lan_crd, until, vtep_crd
from tests.cluster.controllers import Controller, install

SPOKES = 20
_AGENT = "k8slan-controller"
_IDLE_SECONDS = 30.0
_NAMESPACES = 10
_NODES = 20


def rows(lans: int = 1000) -> Iterator[Row]:
    """All figures."""
    folder = Path(tempfile.mkdtemp(prefix="k8slan-bench-"))
    api = Api(folder)
    try:
        api.install(lan_crd(), vtep_crd(), NAD_CRD)
        install(api)
        for i in range(_NAMESPACES):
            api.call("POST", "/api/v1/namespaces", {"metadata": {"name": f"n{i}"}})
        for i in range(_NODES):
            api.call("POST", NODES.path(), {"metadata": {"name": f"worker{i}"}})
        yield from _begin(api, folder, lans)
        yield from _restart(api, folder, lans)
    finally:
        api.close()
        shutil.rmtree(folder)


def _begin(api: Api, folder: Path, lans: int) -> Iterator[Row]:
    controller = Controller(api, folder, "first")
    try:
        controller.wait_leading()
        empty = _resident(controller)
        api.requests()
        began = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda share: _create(api, range(share, lans, 4)), range(4)))
        created = time.monotonic() - began
        until(lambda: controller.metric('k8slan_lan_conditions{condition="Ready"}') == lans, "all are ready", 3600, 0.5)
        whole = time.monotonic() - began
        nads = _count(api, NADS.path())
        requests = _of_controller(api)
        writes = sum(count for (verb, _), count in requests.items() if verb not in ("get", "list", "watch"))
        yield Row(f"controller: {lans} LANs of {SPOKES} spokes created within", created, " s")
        yield Row("controller: NADs that are missing then", lans * SPOKES * 2 - nads, limit=0)
        yield Row("controller: from the first LAN to the last one's Ready", whole, " s")
        yield Row("controller: writes for each LAN, 40 of them its NADs", writes / lans, limit=42.05)
        yield Row("controller: reads for each LAN", (requests.total() - writes) / lans, limit=0.1)
        yield Row("controller: memory without LANs", empty, " MB")
        yield Row("controller: memory with them", _resident(controller), " MB", limit=200)
        yield Row("controller: CPU for each LAN", _cpu(controller) / lans * 1000, " ms")
        yield from _join(api, controller, lans)
        yield from _one_more(api, controller)
        yield from _idle(controller)
    finally:
        controller.end()


def _restart(api: Api, folder: Path, lans: int) -> Iterator[Row]:
    api.requests()
    began = time.monotonic()
    controller = Controller(api, folder, "second")
    try:
        controller.wait_leading(120)
        yield Row("controller: restart to all LANs looked at", time.monotonic() - began, " s")
        yield Row("controller: CPU of a restart", _cpu(controller), " s")
        _one(api, "n0", "last", lans + 10)  # when this one is ready, it has looked at all before
        until(lambda: _ready(api, "n0", "last"), "the last one is ready", 120)
        yield Row("controller: memory after a restart", _resident(controller), " MB", limit=200)
        writes = {key: n for key, n in _of_controller(api).items() if key[0] not in ("get", "list", "watch")}
        own = {("create", NADS.plural): 2, ("patch", "lans"): 1, ("patch", "lans/status"): 1}
        extra = {key: n - own.get(key, 0) for key, n in writes.items() if n > own.get(key, 0)}
        yield Row("controller: writes that a restart causes", sum(extra.values()), limit=0)
    finally:
        controller.end()


def _join(api: Api, controller: Controller, lans: int) -> Iterator[Row]:
    """Two nodes join each LAN, with one pod each."""
    api.requests()
    before, began = _cpu(controller), time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda share: _plug_in(api, range(share, lans, 4)), range(4)))
    joined = time.monotonic() - began
    until(lambda: all(_attached(api, f"n{i}") for i in range(_NAMESPACES)), "two are attached to each", 3600, 0.5)
    yield Row(f"controller: {2 * lans} VTEPs written within", joined, " s")
    yield Row("controller: from the first VTEP to the last LAN's count of them", time.monotonic() - began, " s")
    writes = sum(count for (verb, _), count in _of_controller(api).items() if verb not in ("get", "list", "watch"))
    yield Row("controller: writes for the VTEPs of each LAN", writes / lans, limit=2)
    yield Row("controller: CPU for the VTEPs of each LAN", (_cpu(controller) - before) / lans * 1000, " ms")
    yield Row("controller: memory with the VTEPs", _resident(controller), " MB", limit=200)


def _plug_in(api: Api, numbers: range) -> None:
    with api.connected() as own:
        for number in numbers:
            for node, spoke in ((number % _NODES, 0), ((number + 1) % _NODES, 1)):
                lan = LanRef(namespace=f"n{number % _NAMESPACES}", name=f"l{number}")
                port = VtepPort(
                    name=f"s{spoke}p",
                    interface="net1",
                    kind="veth",
                    spoke=f"s{number}-{spoke}",
                    pod=PodRef(namespace=lan.namespace, name=f"pod-{number}-{spoke}", uid=f"uid-{number}-{spoke}"),
                    mac=f"02:00:00:00:00:{spoke:02x}",
                    mtu=1446,
                )
                vtep = Vtep(lan=lan, node=f"worker{node}", mtu=1446, ports=(port,))
                own.call("POST", VTEPS.path(lan.namespace), vtep_codec.encode(vtep))


def _attached(api: Api, namespace: str) -> bool:
    return all(lan["status"]["attached"] == 2 for lan in api.call("GET", LANS.path(namespace))["items"])


def _one_more(api: Api, controller: Controller) -> Iterator[Row]:
    times = []
    for i in range(10):
        began = time.monotonic()
        _one(api, "n1", f"more{i}", 900000 + i)
        until(lambda name=f"more{i}": _ready(api, "n1", name), "ready")  # type: ignore[misc]
        times.append(time.monotonic() - began)
    yield Row("controller: one LAN more, to its Ready (median)", sorted(times)[5] * 1000, " ms")
    assert controller.process.poll() is None


def _idle(controller: Controller) -> Iterator[Row]:
    before = _cpu(controller)
    time.sleep(_IDLE_SECONDS)  # what is measured is what it does while nothing happens
    yield Row("controller: idle, of a core", (_cpu(controller) - before) / _IDLE_SECONDS * 100, " %", limit=0.2)


def _create(api: Api, numbers: range) -> None:
    with api.connected() as own:
        for number in numbers:
            body = _lan(f"l{number}", number + 1, [f"s{number}-{k}" for k in range(SPOKES)])
            own.call("POST", LANS.path(f"n{number % _NAMESPACES}"), body)


def _one(api: Api, namespace: str, name: str, vni: int) -> None:
    api.call("POST", LANS.path(namespace), _lan(name, vni, [name]))


def _lan(name: str, vni: int, spokes: list[str]) -> dict[str, object]:
    spec = {"vni": vni, "spokes": spokes}
    return {"apiVersion": "lan.k8slan.io/v1beta1", "kind": "LAN", "metadata": {"name": name}, "spec": spec}


def _ready(api: Api, namespace: str, name: str) -> bool:
    conditions = (api.get(LANS.path(namespace, name)).get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _count(api: Api, path: str) -> int:
    """How many objects there are: the API server says how many it left out of a page."""
    page = api.call("GET", f"{path}?limit=1")
    return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))


def _of_controller(api: Api) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for (agent, verb, resource), count in api.requests().items():
        if agent.startswith(_AGENT) and resource != "leases":
            found[verb, resource] += count
    return found


def _resident(controller: Controller) -> float:
    """Resident memory in MB (proc_pid_status(5))."""
    lines = Path(f"/proc/{controller.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def _cpu(controller: Controller) -> float:
    """Seconds of CPU so far (proc_pid_stat(5))."""
    fields = Path(f"/proc/{controller.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    found = list(rows(*map(int, sys.argv[1:])))
    sys.stdout.write(f"{table(found)}\n")
    sys.exit(0 if all(row.reached for row in found) else 1)
