"""The CNI plugins, by the CNI project's own client: cnitool has the last word on what a runtime may expect.

Only ``make matrix`` runs this, which names it to pytest: it is none of the files that pytest looks for.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.harness import Kubectl, Node, build
from tests.cluster.life import Lan, Lans, lans, root
from tests.support import names

__all__ = ["lans"]

CHECKING = ("0.4.0", "1.0.0", "1.1.0")
"""Versions of CNI that have CHECK."""

Cnitool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def lan(lans: Lans) -> Lan:
    """A LAN of one spoke."""
    return lans(spokes=1)


@pytest.fixture
def netns(node1: Node) -> Iterator[str]:
    """A network namespace of node 1, as a runtime makes one for a pod."""
    name = names.unique("ref")
    node1.run("ip", "netns", "add", name)
    yield f"/run/netns/{name}"
    node1.run("ip", "netns", "delete", name)


@pytest.fixture(params=["0.3.1", *CHECKING])
def config(request: pytest.FixtureRequest, lan: Lan, kubectl: Kubectl) -> dict[str, Any]:
    """The configuration that the LAN's NAD gives to multus, in each version of CNI."""
    nad = kubectl.get("net-attach-def", f"k8slan-veth-{lan.spokes[0]}")
    return json.loads(nad["spec"]["config"]) | {"cniVersion": request.param}


@pytest.fixture
def cnitool(
    node1: Node, netns: str, config: dict[str, Any], kubectl: Kubectl, say: Callable[[str], None]
) -> Iterator[Cnitool]:
    """Runs cnitool on node 1 for the namespace, as the runtime of a pod would."""
    place = names.unique("cni")
    folder = root(node1) / "var/lib" / place
    folder.mkdir()
    shutil.copy(build.cnitool(say), folder / "cnitool")
    chain = {key: config[key] for key in ("cniVersion", "name")} | {"plugins": [config]}
    (folder / "lan.conflist").write_text(json.dumps(chain))
    environment = {
        "CNI_PATH": "/opt/cni/bin",
        "NETCONFPATH": f"/var/lib/{place}",
        "CNI_IFNAME": "net1",
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={kubectl.namespace};K8S_POD_NAME=referee",
    }
    settings = [f"{key}={value}" for key, value in environment.items()]

    def run(verb: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        return node1.run("env", *settings, f"/var/lib/{place}/cnitool", verb, config["name"], netns, check=check)

    yield run
    run("del")
    shutil.rmtree(folder)


def test_a_runtime_adds_checks_and_deletes_and_may_repeat_what_it_does(
    cnitool: Cnitool, config: dict[str, Any], node1: Node, netns: str
) -> None:
    added = json.loads(cnitool("add").stdout)
    assert added["cniVersion"] == config["cniVersion"]
    [there] = [each for each in added["interfaces"] if each.get("sandbox")]
    [link] = [each for each in node1.ip("link", netns=netns) if each["ifname"] == "net1"]
    assert (there["name"], there["mac"]) == ("net1", link["address"])
    if config["cniVersion"] in CHECKING:
        cnitool("check")
    cnitool("del")
    cnitool("del")
    assert "net1" not in [each["ifname"] for each in node1.ip("link", netns=netns)]


@pytest.mark.parametrize("config", CHECKING, indirect=True)
def test_a_check_passes_with_the_interface_put_back_that_was_deleted(cnitool: Cnitool, node1: Node, netns: str) -> None:
    added = json.loads(cnitool("add").stdout)
    node1.run("nsenter", f"--net={netns}", "ip", "link", "delete", "net1")
    cnitool("check")
    [there] = [each for each in added["interfaces"] if each.get("sandbox")]
    assert [each["address"] for each in node1.ip("link", netns=netns) if each["ifname"] == "net1"] == [there["mac"]]
