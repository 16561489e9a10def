"""A VM that migrates, as the workstation's commands see it: at two nodes, and running at one of them."""

from __future__ import annotations

from typing import Any

import pytest

from k8slan_cli.cli.lan import inspect
from k8slan_cli.inventory import lans, linking, occupancy
from k8slan_cli.inventory.occupancy import Users
from k8slan_cli.kube.client import MissingError
from tests.support import scene

LAN = scene.lan("red", spokes=["vm1", "e1"])
SOURCE = scene.port("virt-launcher-fw-aaaaa", "vm1", "02:00:00:00:00:01", kind="macvtap", vm="fw")
TARGET = scene.port("virt-launcher-fw-bbbbb", "vm1", "02:00:00:00:00:01", kind="macvtap", vm="fw", migrating=True)
THIEF = scene.port("thief", "vm1", "02:00:00:00:00:09")


class FakeCluster:
    """Answers for the VMI of the VM."""

    def __init__(self, node: str = "", error: Exception | None = None) -> None:
        self.node = node
        self.error = error

    def call(self, method: str, path: str, **_: Any) -> dict[str, Any]:
        """Return the VMI."""
        assert (method, path) == ("GET", "/apis/kubevirt.io/v1/namespaces/lab/virtualmachineinstances/fw")
        if self.error:
            raise self.error
        return {"metadata": {}, "status": {"nodeName": self.node}}


def users(cluster: FakeCluster, *more: scene.Object) -> Users:
    vteps = [scene.vtep("worker1", SOURCE), scene.vtep("worker2", TARGET, version=9), *more]
    item = lans.read(LAN)
    return occupancy.running(cluster, Users(by_lan={item.ref: scene.on(LAN, vteps)}))  # type: ignore[arg-type]


def states(found: Users) -> dict[str, str]:
    item = lans.read(LAN)
    on = found.of(item)
    return {each.node: inspect.state(each, item.lan, on) for each in on.attached}


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("worker1", {"worker1": "migrating, runs here", "worker2": "migrating, runs on worker1"}),
        ("worker2", {"worker1": "migrating, runs on worker2", "worker2": "migrating, runs here"}),
        ("", {"worker1": "migrating", "worker2": "migrating"}),
    ],
)
def test_both_ends_are_shown_and_at_which_it_runs(node: str, expected: dict[str, str]) -> None:
    found = users(FakeCluster(node))
    assert states(found) == expected
    assert [item.node for item in found.attached if not item.idle] == ([node] if node else [])


def test_without_the_right_to_see_the_vmi_this_is_said() -> None:
    found = users(FakeCluster(error=MissingError("eve may not get it", status=403)))
    assert set(states(found).values()) == {"migrating"}
    assert found.blind == ("where VM lab/fw runs cannot be seen: eve may not get it",)


def test_nobody_is_asked_about_vms_that_stay() -> None:
    item = lans.read(LAN)
    alone = Users(by_lan={item.ref: scene.on(LAN, [scene.vtep("worker2", TARGET)])})
    assert occupancy.running(FakeCluster(error=AssertionError()), alone) == alone  # type: ignore[arg-type]


def test_its_name_means_the_spoke_that_both_ends_are_on() -> None:
    for runs in ("worker2", ""):
        assert linking.named(users(FakeCluster(runs)), (), "fw", "lab").name == "vm1", "both ends are on the same spoke"


def test_only_who_takes_its_spoke_meanwhile_loses_it() -> None:
    found = users(FakeCluster("worker1"), scene.vtep("worker3", THIEF, version=10))
    (clash,) = found.of(lans.read(LAN)).clashes
    assert [item.node for item in clash.interfaces] == ["worker1", "worker3"]
    assert states(found)["worker3"] == "link down, spoke taken"
