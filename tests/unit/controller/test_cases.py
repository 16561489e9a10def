"""The controller's decisions, case by case, and for each the run-twice law."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.controller.rig import Rig, path, ref_of
from tests.unit.kube.fake_time import run as run_fast

FOLDER = Path(__file__).parent / "cases"


def cases() -> Iterator[Any]:
    for file in sorted(FOLDER.glob("*.yaml")):
        for case in yaml.safe_load(file.read_text()):
            yield pytest.param(case, id=f"{file.stem}: {case['what']}")


@pytest.mark.parametrize("case", list(cases()))
def test_case(case: dict[str, Any]) -> None:
    run_fast(play(case))


async def play(case: dict[str, Any]) -> None:
    rig = Rig()
    rig.change(case.get("start", {}))
    async with rig.running():
        async with rig.looping():
            await rig.settle()
        assert rig.all_decisions() == {}, "the start does not come to rest"
        rig.is_fresh = not case.get("stale")
        rig.change(case.get("change", {}))
        await rig.api.delivered()
        rig.seconds_later(case.get("later", 0))
        before, carried = len(rig.api.writes()), rig.loop.done.total()
        wanted = case.get("actions", {}) | case.get("others", {})
        assert rig.all_decisions() == wanted
        if "again" in case:
            again = rig.decision(ref_of(next(iter(case["start"]["lans"])))).again
            assert case["again"] == (None if again is None else (again - rig.now).total_seconds())
        async with rig.looping():
            await rig.settle()
            assert rig.all_decisions() == {}
            done = len(rig.api.writes()) - before
            assert (done > 0) == bool(wanted)
            assert rig.loop.done.total() - carried == sum(map(len, wanted.values())), "not done by the first decision"
            rig.world.mark_all()
            await rig.settle()
            assert len(rig.api.writes()) == before + done, "a second look writes"
    check(rig, case)


def check(rig: Rig, case: dict[str, Any]) -> None:
    """What is left."""
    for name, wanted in case.get("left", {}).items():
        found = rig.api.objects.get(path("lans", name))
        if wanted is None:
            assert found is None
            continue
        assert found is not None
        if "finalizers" in wanted:
            assert found["metadata"].get("finalizers", []) == wanted["finalizers"]
        status = found.get("status", {})
        for condition in status.get("conditions", ()):
            text = wanted.get(condition["type"])
            if text is not None:
                shown = f"{condition['status']} {condition['reason']}: {condition['message']}".removesuffix(": ")
                assert shown == text
        told = {"attached", "granted", "spokeCount", "nodeCount", "observedGeneration", "uplink"}
        for key in set(wanted) & told:
            assert status.get(key) == wanted[key], key
        if "degradedNodes" in wanted:
            said = [f"{node['name']}: {node['message']}" for node in status.get("degradedNodes", ())]
            assert said == wanted["degradedNodes"]
        if "nodes" in wanted:
            assert [node["name"] for node in status.get("nodes", ())] == wanted["nodes"]
    if "vteps" in case:
        vteps = {key: found for key, found in rig.api.objects.items() if "/vteps/" in key}
        marks = {key: "lost" if found["status"].get("lost") else "there" for key, found in vteps.items()}
        assert marks == {path("vteps", name): mark for name, mark in case["vteps"].items()}
    if "nads" in case:
        prefix = "/apis/k8s.cni.cncf.io/v1/namespaces/"
        names = [key.removeprefix(prefix) for key in rig.api.objects if key.startswith(prefix)]
        assert sorted(name.replace("/network-attachment-definitions/", "/") for name in names) == sorted(case["nads"])
