"""The run-twice law for any state of a cluster: what is decided is done once, and then there is nothing to do."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.controller.rig import Rig
from tests.unit.kube.fake_time import run as run_fast

NODES = ("n1", "n2", "n3")
_ENTRIES = st.lists(st.sampled_from(NODES), unique=True).map(
    lambda nodes: [{"name": node, "state": "Ready", "vtep": "10.0.0.9"} for node in nodes]
)
_FINALIZERS = st.lists(
    st.sampled_from(["example.org/x", *(f"finalizer.k8slan.io/{node}" for node in NODES)]), unique=True, max_size=2
)
_LANS = st.fixed_dictionaries(
    {
        "spec": st.fixed_dictionaries(
            {
                "vni": st.sampled_from([0, 1, 2]),
                "spokes": st.lists(st.sampled_from(["e1", "e2"]), max_size=2, unique=True),
                "dynamic": st.booleans(),
            }
        ),
        "status": st.fixed_dictionaries({"nodes": _ENTRIES}),
        "finalizers": _FINALIZERS,
    },
    optional={"annotations": st.just({"lan.k8slan.io/force-delete": "true"})},
)
_PORTS = st.fixed_dictionaries(
    {"pod": st.sampled_from(["p:e1", "q:e1", "p:e2", "r", "s"]), "mtu": st.sampled_from([1400, 1446])},
    optional={"claim": st.integers(1, 20), "mac": st.just("02:00:00:00:00:01")},
)
_VTEPS = st.fixed_dictionaries(
    {"ports": st.lists(_PORTS, max_size=2, unique_by=lambda port: port["pod"]), "mtu": st.sampled_from([1400, 1446])},
    optional={"state": st.just("Degraded"), "lost": st.just(True), "address": st.just("10.0.0.1")},
)
_HEALTH = st.sampled_from([{}, {"down": "2026-01-01T11:00:00Z"}, {"down": "2026-01-01T11:59:30Z"}])


def _some(names: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), values)


_STATES = st.fixed_dictionaries(
    {
        "nodes": _some([*NODES], _HEALTH),
        "lans": _some(["a", "b"], _LANS),
        "vteps": _some([f"{lan}@{node}" for lan in ("a", "b", "gone") for node in NODES], _VTEPS),
        "old_agents": _some(["agent1"], st.just({})),
    }
)


@given(_STATES, st.sets(st.sampled_from(["a", "b"])), st.booleans())
def test_what_is_decided_is_done_once(state: dict[str, Any], deleted: set[str], fresh: bool) -> None:
    run_fast(_play(state, deleted, fresh))


async def _play(state: dict[str, Any], deleted: set[str], fresh: bool) -> None:
    rig = Rig()
    rig.is_fresh = fresh
    rig.change(state)
    async with rig.running(), rig.looping():
        await _rest(rig)
        rig.change({"lans": dict.fromkeys(deleted & state["lans"].keys(), "deleted")})
        await _rest(rig)
        rig.seconds_later(60)
        await _rest(rig)


async def _rest(rig: Rig) -> None:
    await rig.settle()
    await asyncio.sleep(15)  # of the clock that jumps: counts may have to wait
    await rig.settle()
    assert rig.all_decisions() == {}
    writes = len(rig.api.writes())
    rig.world.mark_all()
    await rig.settle()
    assert len(rig.api.writes()) == writes, "a second look writes"
