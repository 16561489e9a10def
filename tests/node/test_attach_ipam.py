"""IPAM delegation to real plugins: what a pod gets, what the runtime is told, and that no address is ever lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.cni import wire
from k8slan_cli.diagnose.protocol import WARN
from tests.node.diagnostics import examined
from tests.support import names
from tests.support.agents import CLIENTS, PLUGINS, Node, dynamic, eventually, macvtap, pods, veth
from tests.support.netns import Namespace, command
from tests.support.require import require

pytestmark = pytest.mark.usefixtures("swept")

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    for plugin in ("host-local", "static"):
        require("node", (PLUGINS / plugin).exists(), f"needs {PLUGINS / plugin} (Debian: containernetworking-plugins)")
    with Node.create() as node, node.agent():
        yield node


@pytest.fixture
def spoke(node: Node) -> str:
    """A spoke of a LAN of its own."""
    spoke = names.unique("s")
    node.lan(spokes=[spoke])
    return spoke


def host_local(node: Node, **more: Any) -> dict[str, Any]:
    """An ``ipam`` section for host-local."""
    subnet = {"type": "host-local", "subnet": "198.51.100.0/24", "dataDir": str(node.leases)}
    return subnet | {"rangeStart": "198.51.100.10", "rangeEnd": "198.51.100.250"} | more


def addresses(pod: Namespace, ifname: str = "net1") -> set[str]:
    """The addresses of an interface, but for the one that IPv6 makes by itself."""
    found = pod.ip("address", "show", "dev", ifname)[0]["addr_info"]
    return {f"{a['local']}/{a['prefixlen']}" for a in found if a["scope"] != "link"}


def routes(pod: Namespace) -> set[tuple[str, str]]:
    """The routes that have a gateway."""
    both = [*pod.ip("-4", "route", "show"), *pod.ip("-6", "route", "show")]
    return {(route["dst"], route["gateway"]) for route in both if "gateway" in route}


# ---------------------------------------------------------------- what a pod gets


@pytest.mark.parametrize("version", VERSIONS)
def test_host_local_gives_an_address_in_every_version(node: Node, pod: Namespace, spoke: str, version: str) -> None:
    """Debian's plugins know CNI up to 1.0.0; a network of 1.1.0 works with them all the same."""
    config = veth(spoke, version, ipam=host_local(node, routes=[{"dst": "203.0.113.0/24", "gw": "198.51.100.1"}]))
    result = node.add(pod, config).result()
    assert addresses(pod) == {"198.51.100.10/24"}
    assert routes(pod) == {("203.0.113.0/24", "198.51.100.1")}
    assert node.held() == {"198.51.100.10"}
    told = {"version": "4"} if version in ("0.3.1", "0.4.0") else {}
    assert result["cniVersion"] == version
    assert result["ips"] == [told | {"address": "198.51.100.10/24", "gateway": "198.51.100.1", "interface": 1}]
    assert result["routes"] == [{"dst": "203.0.113.0/24", "gw": "198.51.100.1"}]
    if version != "0.3.1":
        node.check(pod, config, result).ok()
    node.delete(pod, config).ok()
    node.assert_nothing_left()


@pytest.mark.parametrize("which", CLIENTS)
def test_static_gives_addresses_routes_and_dns(node: Node, pod: Namespace, spoke: str, which: str) -> None:
    dns = {"nameservers": ["198.51.100.53"], "domain": "example.org", "search": ["example.org"], "options": ["ndots:1"]}
    section = {
        "type": "static",
        "addresses": [
            {"address": "198.51.100.7/24", "gateway": "198.51.100.1"},
            {"address": "2001:db8::7/64", "gateway": "2001:db8::1"},
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "198.51.100.1"}, {"dst": "2001:db8:1::/48", "gw": "2001:db8::1"}],
        "dns": dns,
    }
    config = veth(spoke, ipam=section)
    result = node.add(pod, config, which=which).result()
    assert addresses(pod) == {"198.51.100.7/24", "2001:db8::7/64"}
    assert routes(pod) == {("default", "198.51.100.1"), ("2001:db8:1::/48", "2001:db8::1")}
    assert result["dns"] == dns
    assert [ip["address"] for ip in result["ips"]] == ["198.51.100.7/24", "2001:db8::7/64"]
    node.check(pod, config, result, which=which).ok()
    node.delete(pod, config, which=which).ok()
    node.assert_nothing_left()


def test_static_takes_the_addresses_that_the_runtime_asks_for(node: Node, pod: Namespace, spoke: str) -> None:
    config = veth(
        spoke, ipam={"type": "static"}, capabilities={"ips": True}, runtimeConfig={"ips": ["198.51.100.77/24"]}
    )
    assert node.add(pod, config).result()["ips"] == [{"address": "198.51.100.77/24", "interface": 1}]
    assert addresses(pod) == {"198.51.100.77/24"}
    node.delete(pod, config).ok()


def test_a_route_that_the_pod_has_already_is_left_as_it_is(node: Node, pod: Namespace, spoke: str) -> None:
    """The pod's default route is the cluster network's; a network that names one too is common, and no fault."""
    pod.ip("link", "add", "eth0", "type", "bridge")
    pod.ip("link", "set", "eth0", "up")
    pod.ip("address", "add", "203.0.113.5/24", "dev", "eth0")
    pod.ip("route", "add", "default", "via", "203.0.113.1")
    config = veth(
        spoke, ipam=host_local(node, routes=[{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "198.51.100.1"}])
    )
    node.add(pod, config).result()
    assert routes(pod) == {("default", "203.0.113.1"), ("192.0.2.0/24", "198.51.100.1")}
    node.delete(pod, config).ok()


def test_dns_of_the_network_is_passed_on_where_ipam_gives_none(node: Node, pod: Namespace, spoke: str) -> None:
    config = veth(spoke, ipam=host_local(node), dns={"nameservers": ["192.0.2.53"]})
    assert node.add(pod, config).result()["dns"] == {"nameservers": ["192.0.2.53"]}
    node.delete(pod, config).ok()


def test_a_vms_address_is_told_and_left_to_its_guest(node: Node, pod: Namespace) -> None:
    """On the macvtap, the pod's kernel would answer for it."""
    spoke = names.unique("v")
    node.lan(spokes=[spoke])
    config = macvtap(spoke, ipam=host_local(node))
    result = node.add(pod, config).result()
    assert result["ips"][0]["address"] == "198.51.100.10/24"
    assert addresses(pod) == set()
    node.check(pod, config, result).ok()
    node.delete(pod, config).ok()
    node.assert_nothing_left()


def test_pods_of_a_dynamic_lan_get_addresses_of_their_own(node: Node) -> None:
    lan = node.lan(dynamic=True)
    config = dynamic(f"default/{lan}", ipam=host_local(node))
    with pods(3) as several:
        calls = [node.start("ADD", pod, config) for pod in several]
        given = {call().result()["ips"][0]["address"] for call in calls}
        assert given == {f"198.51.100.{host}/24" for host in (10, 11, 12)}
        assert set().union(*map(addresses, several)) == given
        for pod in several:
            node.delete(pod, config).ok()
    node.assert_nothing_left()


# ---------------------------------------------------------------- what goes wrong


def test_no_address_left(node: Node) -> None:
    lan = node.lan(dynamic=True)
    one = {"rangeStart": "198.51.100.10", "rangeEnd": "198.51.100.10"}
    config = dynamic(f"default/{lan}", ipam=host_local(node, **one))
    with pods(2) as (first, second):
        node.add(first, config).result()
        said = node.add(second, config).error(103)
        assert said.startswith("IPAM plugin host-local failed at ADD: ")
        assert "no IP addresses available in range set" in said
        assert second.links() == {}
        assert [record["container"] for record in node.records()] == [first.name]
        node.delete(first, config).ok()
    node.assert_nothing_left()


@pytest.mark.parametrize("which", CLIENTS)
def test_a_plugin_that_is_not_there_leaves_the_spoke_free(node: Node, pod: Namespace, spoke: str, which: str) -> None:
    said = node.add(pod, veth(spoke, ipam={"type": "nowhere"}), which=which).error(103)
    assert f"IPAM plugin nowhere is not in {PLUGINS}" in said
    assert pod.links() == {}
    node.assert_nothing_left()
    node.add(pod, veth(spoke), which=which).result()
    node.delete(pod, veth(spoke), which=which).ok()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\necho 'no JSON'\n", "the answer of IPAM plugin odd is not JSON"),
        ("#!/bin/sh\necho '{\"ips\":[]}'\n", "IPAM plugin odd gave no address"),
        ("#!/bin/sh\nexit 3\n", "IPAM plugin odd failed at ADD without saying why"),
        ("#!/bin/sh\nkill -9 $$\n", "IPAM plugin odd failed at ADD without saying why"),
        ("#!/nowhere/sh\n", "IPAM plugin odd cannot be run: No such file or directory"),
        ("not a program", "IPAM plugin odd cannot be run: Exec format error"),
    ],
)
def test_a_plugin_that_misbehaves(node: Node, pod: Namespace, spoke: str, script: str, said: str) -> None:
    programs(node, odd=script)
    assert said in node.add(pod, veth(spoke, ipam={"type": "odd"}), plugins=str(node.folder)).error(103)
    assert pod.links() == {}
    node.assert_nothing_left()


def programs(node: Node, **scripts: str) -> None:
    """Write programs into the node's folder, to be found by CNI_PATH; one that runs at the moment is replaced."""
    for name, script in scripts.items():
        path = node.folder / f"{name}.new"
        path.write_text(script)
        path.chmod(0o755)
        path.rename(node.folder / name)


@pytest.mark.parametrize("name", ["../host-local", "/usr/lib/cni/host-local", "..", "a/b", "a\nb"])
def test_a_plugins_name_is_only_a_name(node: Node, pod: Namespace, spoke: str, name: str) -> None:
    assert "ipam.type: " in node.add(pod, veth(spoke, ipam={"type": name})).error(7)
    node.delete(pod, veth(spoke, ipam={"type": name})).ok()
    node.assert_nothing_left()


def test_an_address_that_the_kernel_refuses_is_given_back(node: Node, pod: Namespace, spoke: str) -> None:
    config = veth(spoke, ipam=host_local(node, routes=[{"dst": "203.0.113.0/24", "gw": "192.0.2.254"}]))
    assert "bring up" in node.add(pod, config).error(102)
    assert pod.links() == {}
    node.assert_nothing_left()


def test_a_lan_that_fails_gives_the_address_back(node: Node, pod: Namespace, spoke: str) -> None:
    pod.ip("link", "add", "net1", "type", "bridge")
    assert "the pod has an interface net1 already" in node.add(pod, veth(spoke, ipam=host_local(node))).error(102)
    node.assert_nothing_left()


def test_an_address_without_a_prefix_length_is_refused(node: Node, pod: Namespace, spoke: str) -> None:
    config = veth(spoke, capabilities={"ips": True}, runtimeConfig={"ips": ["198.51.100.7"]})
    assert "'198.51.100.7' has no prefix length" in node.add(pod, config).error(7)
    assert pod.links() == {}
    node.assert_nothing_left()


def test_a_plugin_that_is_missing_is_named_and_its_pod_can_go(node: Node, pod: Namespace, spoke: str) -> None:
    config = veth(spoke, ipam={"type": "absent"})
    said = node.add(pod, config, plugins="/nowhere:/opt/none").error(103)
    assert said.startswith("IPAM plugin absent is not in /nowhere, /opt/none (install it there on every node")
    assert pod.links() == {}
    node.delete(pod, config, plugins="/nowhere:/opt/none").ok()
    node.assert_nothing_left()


def test_a_pod_whose_plugin_refuses_everything_can_go(node: Node, pod: Namespace, spoke: str) -> None:
    """As host-local does for a subnet that is none: it has given nothing, so nothing is to be released."""
    config = veth(spoke, ipam=host_local(node, subnet="198.51.100.0"))
    assert "invalid CIDR" in node.add(pod, config).error(103)
    assert pod.links() == {}
    for _ in range(2):  # a kubelet stops a sandbox more than once
        node.delete(pod, config).ok()
    assert list((node.run / "unreleased").iterdir()) == []
    node.assert_nothing_left()


_IMPATIENT = """
import sys
from k8slan_cli.__main__ import main
from k8slan_cli.agent import ipam
ipam._ADD_SECONDS = ipam._SECONDS = 1.0
sys.exit(main())
"""
"""An agent that gives a plugin a second."""


def test_a_plugin_that_hangs_is_ended_with_all_that_it_has_started(pod: Namespace) -> None:
    with Node.create() as node:
        spoke, begun = names.unique("s"), node.folder / "begun"
        node.lan(spokes=[spoke])
        programs(node, stuck=f"#!/bin/sh\n[ $CNI_COMMAND != VERSION ] || exit 0\necho $$ >>{begun}\nsleep 600\n")
        config = veth(spoke, ipam={"type": "stuck"})
        with node.agent(program=("-c", _IMPATIENT)):
            said = node.add(pod, config, plugins=str(node.folder)).error(103)
            assert said.startswith("IPAM plugin stuck did not finish ADD in 1 s")
            assert pod.links() == {}
            # It may have given an address, so it is asked to take it back for as long as it takes.
            node.delete(pod, config, plugins=str(node.folder)).ok()
            assert len(list((node.run / "unreleased").iterdir())) == 1
            programs(node, stuck="#!/bin/sh\n")
            eventually("it is asked again", lambda: not list((node.run / "unreleased").iterdir()))
            node.assert_nothing_left()
        groups = begun.read_text().split()
        assert len(groups) > 1
        running = (line.split() for line in command("ps", "-eo", "pgid=,stat=").splitlines())
        assert [group for group, state in running if group in groups and not state.startswith("Z")] == []


# ---------------------------------------------------------------- giving back


@pytest.mark.parametrize("kind", [veth, macvtap])
def test_addresses_that_cannot_be_released_let_their_pod_go_and_are_released_later(
    node: Node, pod: Namespace, spoke: str, kind: Callable[..., dict[str, Any]]
) -> None:
    """The runtime is told once, and so is whoever looks at the pod; from then on it is the agent's."""
    assert node.current
    shutil.copy(PLUGINS / "host-local", node.folder / "leaving")
    plugins = str(node.folder)
    config = kind(spoke, ipam=host_local(node) | {"type": "leaving"})
    node.add(pod, config, plugins=plugins).result()
    (node.folder / "leaving").unlink()
    mark = node.current.log.mark()
    assert "IPAM plugin leaving is not in" in node.delete(pod, config, plugins=plugins).error(103)
    assert pod.links() == {}
    node.delete(pod, config, plugins=plugins).ok()
    (record,) = (node.run / "unreleased").iterdir()
    assert json.loads(record.read_text())["why"].startswith("IPAM plugin leaving is not in")
    assert record.stat().st_mode & 0o777 == 0o600
    node.current.log.wait(f"addresses of {pod.name} .net1. are not released: IPAM plugin leaving", since=mark)
    (check,) = (check for check in examined(node) if check.what == "IPAM")
    assert (check.state, check.words.partition(",")[0]) == (WARN, "addresses of 1 interfaces are not released")
    assert node.held() == {"198.51.100.10"}
    shutil.copy(PLUGINS / "host-local", node.folder / "aside")
    (node.folder / "aside").rename(node.folder / "leaving")
    node.current.log.wait(f"addresses of {pod.name} .net1. are released after all", since=mark)
    assert "IPAM" not in {check.what for check in examined(node)}
    node.assert_nothing_left()


def test_what_is_not_released_outlives_an_agent(pod: Namespace, spoke: str) -> None:
    with Node.create() as node:
        node.lan(spokes=[spoke])
        shutil.copy(PLUGINS / "host-local", node.folder / "leaving")
        config = veth(spoke, ipam=host_local(node) | {"type": "leaving"})
        with node.agent():
            node.add(pod, config, plugins=str(node.folder)).result()
            (node.folder / "leaving").rename(node.folder / "left")
            node.delete(pod, config, plugins=str(node.folder)).error(103)
        assert node.held()
        (node.folder / "left").rename(node.folder / "leaving")
        with node.agent() as agent:
            agent.log.wait("are released after all")
            node.assert_nothing_left()


def test_an_address_outlives_the_record_of_its_attachment(pod: Namespace, spoke: str) -> None:
    """A reboot takes the record, and a node may come up without its plugins."""
    with Node.create() as node:
        node.lan(spokes=[spoke])
        shutil.copy(PLUGINS / "host-local", node.folder / "leaving")
        config = veth(spoke, ipam=host_local(node) | {"type": "leaving"})
        with node.agent():
            node.add(pod, config, plugins=str(node.folder)).result()
        for record in (node.run / "attachments").iterdir():
            record.unlink()
        (node.folder / "leaving").rename(node.folder / "left")
        with node.agent() as agent:
            assert "IPAM plugin leaving is not in" in node.delete(pod, config, plugins=str(node.folder)).error(103)
            node.delete(pod, config, plugins=str(node.folder)).ok()
            assert node.held()
            (node.folder / "left").rename(node.folder / "leaving")
            agent.log.wait("are released after all")
            node.assert_nothing_left()


def test_an_add_that_gets_nothing_leaves_to_be_released_what_is(node: Node, pod: Namespace, spoke: str) -> None:
    shutil.copy(PLUGINS / "host-local", node.folder / "leaving")
    config = veth(spoke, ipam=host_local(node) | {"type": "leaving"})
    node.add(pod, config, plugins=str(node.folder)).result()
    (node.folder / "leaving").rename(node.folder / "left")
    node.delete(pod, config, plugins=str(node.folder)).error(103)
    node.add(pod, config, plugins=str(node.folder)).error(103)
    assert len(list((node.run / "unreleased").iterdir())) == 1
    (node.folder / "left").rename(node.folder / "leaving")
    node.delete(pod, config, plugins=str(node.folder)).ok()
    assert list((node.run / "unreleased").iterdir()) == []
    node.assert_nothing_left()


def test_a_pod_that_was_refused_before_ipam_was_asked_can_go(node: Node, pod: Namespace) -> None:
    config = veth(names.unique("s"), ipam={"type": "absent"})
    node.add(pod, config).error(100)
    node.delete(pod, config).ok()
    assert list((node.run / "unreleased").iterdir()) == []


def test_a_new_attachment_of_the_same_name_keeps_its_address(node: Node, pod: Namespace, spoke: str) -> None:
    """What its predecessor left to be released would take it away."""
    shutil.copy(PLUGINS / "host-local", node.folder / "leaving")
    config = veth(spoke, ipam=host_local(node) | {"type": "leaving"})
    node.add(pod, config, plugins=str(node.folder)).result()
    node.delete(pod, config, plugins="/nowhere").error(103)
    node.add(pod, veth(spoke, ipam=host_local(node, rangeStart="198.51.100.20"))).result()
    assert list((node.run / "unreleased").iterdir()) == []
    node.delete(pod, config, plugins=str(node.folder)).ok()
    node.assert_nothing_left()


def test_an_interface_is_repaired_also_if_its_index_is_anothers_by_now(pod: Namespace, spoke: str) -> None:
    with Node.create() as node:
        lan = node.lan(spokes=[spoke])
        config = veth(spoke, ipam=host_local(node))
        with node.agent():
            node.add(pod, config).result()
        index = pod.links()["net1"]["ifindex"]
        node.inside(lan).run("ip", "link", "delete", f"{spoke}p")
        pod.ip("link", "add", "other", "index", str(index), "type", "bridge")
        with node.agent() as agent:
            agent.log.wait("bring up .* with 198.51.100.10/24")
            assert pod.links()["net1"]["ifindex"] != index
            node.delete(pod, config).ok()
            node.assert_nothing_left()


def test_an_address_is_given_back_at_del_even_if_its_network_has_lost_its_ipam(
    node: Node, pod: Namespace, spoke: str
) -> None:
    node.add(pod, veth(spoke, ipam=host_local(node))).result()
    assert node.held() == {"198.51.100.10"}
    node.delete(pod, veth(spoke)).ok()
    node.assert_nothing_left()


def test_a_second_del_asks_the_plugin_again(node: Node, pod: Namespace, spoke: str) -> None:
    """The runtime asks again after a DEL that failed halfway, and the plugin has to hear of it."""
    log = node.folder / "asked"
    give = '{"cniVersion":"1.0.0","ips":[{"address":"198.51.100.3/24"}]}'
    programs(node, told=f"#!/bin/sh\necho \"$CNI_COMMAND\" >>{log}\n[ $CNI_COMMAND != ADD ] || echo '{give}'\n")
    config = veth(spoke, ipam={"type": "told"})
    node.add(pod, config, plugins=str(node.folder)).result()
    for _ in range(2):
        node.delete(pod, config, plugins=str(node.folder)).ok()
    assert log.read_text().split() == ["VERSION", "ADD", "DEL", "DEL"]


def test_a_failing_del_is_told_and_can_be_repeated(node: Node, pod: Namespace, spoke: str) -> None:
    broken = node.folder / "broken"
    give = '{"cniVersion":"1.0.0","ips":[{"address":"198.51.100.3/24"}]}'
    fail = '{"code":11,"msg":"the database is away"}'
    add, delete = f"ADD) echo '{give}';;", f"DEL) [ ! -e {broken} ] || {{ echo '{fail}'; exit 1; }};;"
    script = f"#!/bin/sh\ncase $CNI_COMMAND in\n{add}\n{delete}\nesac\n"
    programs(node, frail=script)
    config = veth(spoke, ipam={"type": "frail"})
    node.add(pod, config, plugins=str(node.folder)).result()
    broken.touch()
    said = node.delete(pod, config, plugins=str(node.folder)).error(103)
    assert "IPAM plugin frail failed at DEL: the database is away" in said
    assert pod.links() == {}
    broken.unlink()
    node.delete(pod, config, plugins=str(node.folder)).ok()
    node.assert_nothing_left()


def test_a_slow_plugin_does_not_keep_others_waiting(node: Node, pod: Namespace, spoke: str) -> None:
    fifo = node.folder / "gate"
    os.mkfifo(fifo)
    give = '{"cniVersion":"1.0.0","ips":[{"address":"198.51.100.3/24"}]}'
    programs(node, slow=f"#!/bin/sh\n[ $CNI_COMMAND != ADD ] || {{ read x <{fifo}; echo '{give}'; }}\n")
    other = names.unique("s")
    node.lan(spokes=[other])
    slow = node.start("ADD", pod, veth(spoke, ipam={"type": "slow"}), plugins=str(node.folder))
    with fifo.open("w") as gate, Namespace.create("pod") as quick:  # open waits for the plugin to be there
        node.add(quick, veth(other)).result()
        assert "UP" in pod.links()["net1"]["flags"]
        assert addresses(pod) == set()
        gate.write("go\n")
        gate.flush()
        assert slow().result()["ips"][0]["address"] == "198.51.100.3/24"
        node.delete(quick, veth(other)).ok()
    node.delete(pod, veth(spoke, ipam={"type": "slow"}), plugins=str(node.folder)).ok()


def test_an_agent_that_is_ended_during_a_slow_add_undoes_it() -> None:
    with Node.create() as node, pods(2) as (pod, other):
        spoke = names.unique("s")
        node.lan(spokes=[spoke, "other"])
        fifo = node.folder / "gate"
        os.mkfifo(fifo)
        slow = f"#!/bin/sh\n{PLUGINS}/host-local\nstatus=$?\n[ $CNI_COMMAND != ADD ] || read x <{fifo}\nexit $status\n"
        programs(node, slow=slow)
        config = veth(spoke, ipam=host_local(node) | {"type": "slow"})
        with node.agent() as agent:
            node.add(other, veth("other")).result()
            call = node.start("ADD", pod, config, plugins=str(node.folder))
            with fifo.open("w"):
                assert node.held() == {"198.51.100.10"}
                assert agent.stop() == 0
            call().error(11)
            assert "Traceback" not in str(agent.log)
        assert node.held() == set()
        assert [record["container"] for record in node.records()] == [other.name]
        with node.agent():
            node.add(pod, veth(spoke)).result()
            for one, name in ((pod, spoke), (other, "other")):
                node.delete(one, veth(name)).ok()
            node.assert_nothing_left()


# ---------------------------------------------------------------- GC


def test_gc_gives_back_what_the_runtime_has_forgotten(node: Node) -> None:
    lan = node.lan(dynamic=True)
    config = dynamic(f"default/{lan}", ipam=host_local(node))
    with pods(2) as (kept, forgotten):
        for pod in (kept, forgotten):
            node.add(pod, config).result()
        valid = [{"containerID": kept.name, "ifname": "net1"}]
        node.cni("GC", kept, config | {"cni.dev/valid-attachments": valid}).ok()
        assert [record["container"] for record in node.records()] == [kept.name]
        assert node.held() == {"198.51.100.10"}
        assert set(kept.links()) == {"net1"}
        assert forgotten.links() == {}
        node.cni("GC", kept, config | {"cni.dev/attachments": []}).ok()
        node.assert_nothing_left()


def test_gc_goes_on_after_one_that_fails(node: Node) -> None:
    lan = node.lan(dynamic=True)
    config = dynamic(f"default/{lan}", ipam=host_local(node))
    frail = f"#!/bin/sh\n[ $CNI_COMMAND != DEL ] || exit 3\nexec {PLUGINS}/host-local\n"
    with pods(3) as several:
        for pod, script in zip(several, (frail, frail, f"#!/bin/sh\nexec {PLUGINS}/host-local\n"), strict=True):
            programs(node, frail=script)
            config = dynamic(f"default/{lan}", ipam=host_local(node) | {"type": f"frail-{pod.name}"})
            (node.folder / "frail").rename(node.folder / f"frail-{pod.name}")
            node.add(pod, config, plugins=str(node.folder)).result()
        plain = dynamic(f"default/{lan}", ipam=host_local(node)) | {"cni.dev/attachments": []}
        said = node.cni("GC", several[0], plain).error(11)
        assert all(
            (f"{pod.name} (net1): IPAM plugin frail-{pod.name} failed at DEL" in said) == (pod != several[2])
            for pod in several
        )
        assert [pod.links() for pod in several] == [{}] * 3
        assert node.records() == []
        assert node.held() == {"198.51.100.10", "198.51.100.11"}
        for pod in several:
            (node.folder / f"frail-{pod.name}").write_text(f"#!/bin/sh\nexec {PLUGINS}/host-local\n")
        node.cni("GC", several[0], plain).ok()
        node.assert_nothing_left()


def test_the_plugin_is_asked_for_its_version_only_once(node: Node, pod: Namespace, spoke: str) -> None:
    log = node.folder / "versions"
    programs(node, counted=f"#!/bin/sh\n[ $CNI_COMMAND != VERSION ] || echo x >>{log}\nexec {PLUGINS}/host-local\n")
    config = veth(spoke, ipam=host_local(node) | {"type": "counted"})
    for _ in range(2):
        result = node.add(pod, config, plugins=str(node.folder)).result()
        node.check(pod, config, result, plugins=str(node.folder)).ok()
        node.delete(pod, config, plugins=str(node.folder)).ok()
    node.cni("STATUS", pod, config, plugins=str(node.folder)).ok()
    assert log.read_text() == "x\n"
    node.assert_nothing_left()


def test_records_hold_what_is_needed_to_give_an_address_back(node: Node, pod: Namespace, spoke: str) -> None:
    config = veth(spoke, ipam=host_local(node))
    node.add(pod, config).result()
    [record] = node.records()
    assert json.loads(record["config"]) == config
    assert ["CNI_PATH", str(PLUGINS)] in record["environ"]
    path = next((node.run / "attachments").iterdir())
    assert Path(path).stat().st_mode & 0o777 == 0o600
    node.delete(pod, config).ok()
    assert eventually("the record goes", lambda: not path.exists())


# ---------------------------------------------------------------- DHCP


def test_dhcp_gets_an_address_over_the_lan(node: Node, pod: Namespace) -> None:
    """The containernetworking daemon asks through the interface, so that has to be there and up before."""
    require("node", (PLUGINS / "dhcp").exists(), f"needs {PLUGINS / 'dhcp'} (Debian: containernetworking-plugins)")
    require("node", shutil.which("busybox") is not None, "needs a DHCP server (Debian: busybox-static)")
    path = str(node.folder / "dhcp.sock")
    lan = node.lan(dynamic=True)
    config = dynamic(f"default/{lan}", ipam={"type": "dhcp", "daemonSocketPath": path})
    settings, leases = node.folder / "udhcpd.conf", node.folder / "udhcpd.leases"
    leases.touch()
    settings.write_text(
        "start 198.51.100.50\nend 198.51.100.59\ninterface net1\noption subnet 255.255.255.0\n"
        f"option router 198.51.100.1\noption lease 600\nlease_file {leases}\npidfile {node.folder}/udhcpd.pid\n"
    )
    with Namespace.create("d") as server:
        node.add(server, dynamic(f"default/{lan}", runtimeConfig={"ips": ["198.51.100.1/24"]})).result()
        daemon = (str(PLUGINS / "dhcp"), "daemon", "-socketpath", path)
        with server.start("busybox", "udhcpd", "-f", str(settings)), node.namespace.start(*daemon):
            eventually("the daemon listens", lambda: Path(path).is_socket())
            result = node.add(pod, config).result()
            (given,) = addresses(pod)
            assert given.startswith("198.51.100.5")
            assert [(ip["address"], ip["gateway"]) for ip in result["ips"]] == [(given, "198.51.100.1")]
            assert "1 packets received" in pod.run("busybox", "ping", "-c", "1", "-W", "5", "198.51.100.1")
            index = pod.links()["net1"]["ifindex"]  # by which the daemon renews the lease
            (port,) = (record["port"] for record in node.records() if record["container"] == pod.name)
            with node.told(f"bring up .* with {given}"):
                node.inside(lan).run("ip", "link", "delete", port)
            assert pod.links()["net1"]["ifindex"] == index
            node.delete(pod, config).ok()
        node.delete(server, dynamic(f"default/{lan}")).ok()
    node.assert_nothing_left()


# ---------------------------------------------------------------- an agent in a container


IMAGE_PATH = "/opt/k8slan/bin:/usr/local/bin:/usr/bin:/bin"
"""The PATH of the Containerfile."""


def test_a_node_root_that_is_none_is_said_at_the_start() -> None:
    with Node.create() as other, other.agent("--host-root", "/nowhere", ready=False) as agent:
        assert agent.wait() != 0
        agent.log.join()
        assert "cannot use --host-root /nowhere: No such file or directory" in str(agent.log)


def test_the_nodes_file_system_is_elsewhere(spoke: str, tmp_path: Path) -> None:
    """As in a container: plugins run in the node's own file system, where pods' namespaces are found for a repair.

    Their folder is behind a link with an absolute path, as on k3s.
    """
    with Node.create() as node, Namespace.create("pod") as pod:
        # A node's root with nothing but a plugin, a place for its leases, and the file of a pod's namespace.
        here = tmp_path / "var/run/pod"
        for folder in ("opt/cni", "var/lib/rancher/bin", "leases", "var/run"):
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "opt/cni/bin").symlink_to("/var/lib/rancher/bin")
        shutil.copy(PLUGINS / "host-local", tmp_path / "var/lib/rancher/bin/here")
        for library in re.findall(r"/\S+", command("sh", "-c", f"ldd {PLUGINS}/host-local || true")):
            (tmp_path / library.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, tmp_path / library.lstrip("/"))
        here.touch()
        command("mount", "--bind", str(pod.path), str(here))
        try:
            lan = node.lan(spokes=[spoke])
            config = veth(spoke, ipam=host_local(node) | {"type": "here", "dataDir": "/leases"})
            # The namespace's path as the node has it: the client, which is on the node, could open it there.
            with node.agent("--host-root", str(tmp_path), PATH=IMAGE_PATH) as agent:
                (outcome,) = call_with(node, "/var/run/pod", pod, config)
                assert addresses(pod) == {"198.51.100.10/24"}
                assert outcome["interfaces"][1]["sandbox"] == "/var/run/pod"
                assert list((tmp_path / "leases").glob("*/198.51.100.10"))
                mark = agent.log.mark()
                node.inside(lan).run("ip", "link", "del", f"{spoke}p")
                agent.log.wait("bring up .* with 198.51.100.10/24", since=mark)
                assert addresses(pod) == {"198.51.100.10/24"}
                node.delete("/var/run/pod", config, plugins="/opt/cni/bin").ok()
                assert not list((tmp_path / "leases").glob("*/198.51.100.10"))
                node.assert_nothing_left()
        finally:
            command("umount", str(here))


def call_with(node: Node, path: str, pod: Namespace, config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """ADD by hand: CNI_NETNS says ``path``, and the descriptor that goes with it is the pod's."""
    environ = node.environ("ADD", path, plugins="/opt/cni/bin")
    request = wire.encode_request(wire.encode_payload(environ, json.dumps(config).encode()))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(20)
        client.connect(str(node.run / "agent" / "cni.sock"))
        socket.send_fds(client, [request], [pod.fd()])
        answer = client.recv(1 << 16)
    assert answer[4] == 0, answer
    yield json.loads(answer[5:])
