"""LANs from a folder of files: added, edited while in use, removed, broken, in each other's way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support import names
from tests.support.agents import AT_ONCE, Node, document, dynamic, eventually, pods, veth
from tests.support.netns import Namespace, command


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node.create() as node, node.agent():
        yield node


@pytest.fixture(autouse=True)
def swept(node: Node) -> Iterator[None]:
    """A test that fails does not make the next one fail, and no test sees the files of another."""
    yield
    node.sweep()
    for path in node.files.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def tunnel(node: Node, lan: str) -> dict[str, Any]:
    """The options of a LAN's VXLAN device, or nothing while there is none."""
    link = node.inside(lan).links().get("vxlan0", {})
    found: dict[str, Any] = link.get("linkinfo", {}).get("info_data", {})
    return found


# ---------------------------------------------------------------- edited while in use


def test_a_lan_that_is_edited_follows(node: Node, pod: Namespace) -> None:
    """MTU, peers, VNI, port, group: each is real at once, and the pod's interface is not touched."""
    base: dict[str, Any] = {"spokes": ["a"], "peers": ["192.0.2.8"], "vni": 6001}
    lan = node.lan(**base)
    node.add(pod, veth("a")).result()
    index = pod.links()["net1"]["ifindex"]
    port = node.inside(lan).links()["ap"]["ifindex"]

    def edited(changed: dict[str, Any], what: str, looked_for: Any) -> None:
        assert node.current
        mark = node.current.log.mark()
        node.lan(lan, **base | changed)
        eventually(what, looked_for, AT_ONCE)
        assert node.current.log.operations(mark)
        assert "cannot" not in "\n".join(node.current.log.lines[mark:])

    edited({"mtu": 1400}, "MTU", lambda: {link["mtu"] for link in node.inside(lan).links().values()} == {1400})
    edited(
        {"peers": ["192.0.2.8", "192.0.2.9"]}, "peers", lambda: node.inside(lan).peers() == {"192.0.2.8", "192.0.2.9"}
    )
    edited({"peers": []}, "no peers", lambda: node.inside(lan).peers() == set())
    edited({"vni": 6002}, "VNI", lambda: tunnel(node, lan).get("id") == 6002)
    edited({"vxlanPort": 4790}, "port", lambda: tunnel(node, lan).get("port") == 4790)
    edited({"vxlanGrp": "239.1.1.1"}, "group", lambda: tunnel(node, lan).get("group") == "239.1.1.1")
    edited({}, "unicast again", lambda: tunnel(node, lan).get("local") == "192.0.2.1")
    assert node.inside(lan).links()["vxlan0"]["master"] == "br0"
    assert (pod.links()["net1"]["ifindex"], node.inside(lan).links()["ap"]["ifindex"]) == (index, port)
    node.delete(pod, veth("a")).ok()
    node.assert_nothing_left()


def test_the_underlay_is_edited(node: Node, pod: Namespace) -> None:
    node.namespace.ip("link", "add", "eth1", "mtu", "1600", "type", "veth", "peer", "name", "wire1", "mtu", "1600")
    node.namespace.ip("address", "add", "203.0.113.1/24", "dev", "eth1")
    lan = node.lan(spokes=["a"], vni=6003)
    node.add(pod, veth("a")).result()
    node.lan(lan, spokes=["a"], vni=6003, vxlanDevMap={node.name: "eth1"})
    eventually("the tunnel is over eth1", lambda: tunnel(node, lan).get("local") == "203.0.113.1", AT_ONCE)
    eventually("it has its MTU", lambda: {x["mtu"] for x in node.inside(lan).links().values()} == {1546}, AT_ONCE)
    node.delete(pod, veth("a")).ok()
    node.namespace.ip("link", "delete", "eth1")


def test_bridge_and_tunnel_are_renamed(node: Node, pod: Namespace) -> None:
    lan = node.lan(spokes=["a"], vni=6004)
    node.add(pod, veth("a")).result()
    index = pod.links()["net1"]["ifindex"]
    node.lan(lan, spokes=["a"], vni=6004, bridge="switch", vxlan="wire")

    def there() -> bool:
        links = node.inside(lan).links()
        return set(links) == {"ap", "switch", "wire"} and links["ap"].get("master") == "switch"

    eventually("they have their new names", there, AT_ONCE)
    assert pod.links()["net1"]["ifindex"] == index
    node.delete(pod, veth("a")).ok()
    node.assert_nothing_left()


def test_the_namespace_is_renamed(node: Node, pod: Namespace) -> None:
    """Everything is made anew under the new name, and nothing is left under the old."""
    lan = node.lan(spokes=["a"], vni=6005)
    node.add(pod, veth("a", runtimeConfig={"ips": ["198.51.100.4/24"]})).result()
    mac = pod.links()["net1"]["address"]
    node.lan(lan, spokes=["a"], vni=6005, ns=f"{lan}-2")
    eventually("the old one is gone", lambda: not node.inside(lan).path.exists())
    eventually("the pod is back", lambda: pod.links().get("net1", {}).get("operstate") == "UP")
    assert pod.links()["net1"]["address"] == mac
    assert set(node.inside(f"{lan}-2").links()) == {"ap", "br0", "vxlan0"}
    node.delete(pod, veth("a")).ok()
    node.assert_nothing_left()


def test_spokes_come_and_go(node: Node) -> None:
    """One in use may be taken from the list: the pod stays, and nobody comes after it."""
    lan = node.lan(spokes=["a"])
    with pods(2) as (one, two):
        node.add(one, veth("a")).result()
        assert "no LAN has the spoke 'b'" in node.add(two, veth("b")).error(100)
        index = one.links()["net1"]["ifindex"]
        node.lan(lan, spokes=["b"], vni=6006)
        node.add(two, veth("b")).result()
        assert one.links()["net1"]["ifindex"] == index
        node.delete(one, veth("a")).ok()
        assert "no LAN has the spoke 'a'" in node.add(one, veth("a")).error(100)
        node.delete(two, veth("b")).ok()
    node.assert_nothing_left()


def test_touching_a_file_changes_nothing(node: Node, pod: Namespace) -> None:
    lan = node.lan(spokes=["a"])
    node.add(pod, veth("a")).result()
    assert node.current
    mark = node.current.log.mark()
    text = (node.files / f"{lan}.yaml").read_text()
    node.write(f"{lan}.yaml", f"# a remark\n{text}")
    node.lan(dynamic=True)  # what comes after it has been taken in, so it has been too
    assert node.current.log.operations(mark) == []
    assert f"LAN default/{lan} has changed" not in "\n".join(node.current.log.lines[mark:])
    node.delete(pod, veth("a")).ok()


# ---------------------------------------------------------------- removed


def test_a_lan_that_is_removed_goes_wholly_and_comes_back_with_its_pods(node: Node, pod: Namespace) -> None:
    lan = node.lan(spokes=["a"], vni=6007)
    config = veth("a", runtimeConfig={"ips": ["198.51.100.4/24"]})
    node.add(pod, config).result()
    mac = pod.links()["net1"]["address"]
    with node.told(f"delete namespace {lan}"):
        (node.files / f"{lan}.yaml").unlink()
    eventually("the pod is unplugged", lambda: pod.links() == {})
    assert node.mounts() == []
    with node.told("bring up"):
        node.lan(lan, spokes=["a"], vni=6007)
    assert pod.links()["net1"]["address"] == mac
    infos = pod.ip("address", "show", "dev", "net1")[0]["addr_info"]
    assert "198.51.100.4" in {info["local"] for info in infos}
    with node.told(f"delete namespace {lan}"):
        (node.files / f"{lan}.yaml").unlink()
    node.delete(pod, config).ok()
    node.assert_nothing_left()


def test_a_folder_that_is_removed_is_no_wish_that_its_lans_go() -> None:
    with Node.create() as node, pods(2) as (one, two):
        lan = node.lan(spokes=["a", "b"])
        with node.agent() as agent:
            node.add(one, veth("a")).result()
            mark = agent.log.mark()
            node.files.rename(node.folder / "elsewhere")
            agent.log.wait("the LAN folder .* is gone: its LANs stay as they are", since=mark)
            node.add(two, veth("b")).result()
            assert {"ap", "bp"} < set(node.inside(lan).links())
            for pod, spoke in ((one, "a"), (two, "b")):
                node.delete(pod, veth(spoke)).ok()
            node.assert_nothing_left()


@pytest.mark.parametrize("number", range(4))
def test_removing_the_folder_with_its_files_does_not_end_the_agent(number: int) -> None:
    """Whether the files are seen to go before the folder is is a matter of luck; the agent lives on either way."""
    with Node.create() as node:
        for _ in range(number * 20):
            node.lan(dynamic=True)
        with node.agent() as agent:
            shutil.rmtree(node.files)
            agent.log.wait("the LAN folder .* is gone: its LANs stay as they are")
            assert node.cni("STATUS", "", veth("nowhere")).error(50)


def test_without_the_folder_an_agent_does_not_start() -> None:
    with Node.create() as node:
        node.files.rmdir()
        with node.agent(ready=False) as agent:
            assert agent.wait() == 1
        assert f"k8slan: cannot watch the LAN folder {node.files}: No such file or directory" in str(agent.log)


# ---------------------------------------------------------------- broken


def wait_ignored(node: Node, file: str, text: str | bytes) -> str:
    """Write a file that has to be ignored; what the agent says of it."""
    assert node.current
    mark = node.current.log.mark()
    node.write(file, text)
    return node.current.log.wait(rf"ERROR +{file} is ignored: ", since=mark)


def test_a_broken_file_is_named_with_all_its_problems_and_the_others_go_on(node: Node, pod: Namespace) -> None:
    good = node.lan(spokes=["good"])
    bad = document("bad", spokes=["fourteen-chars", "UPPER", "x", "x"], vxlanGrp="192.0.2.1", mtu="large", colour="red")
    bad["spec"] |= {"vni": 1 << 24, "ns": "../../etc", "bridge": "a/b", "vxlanPort": 0}
    said = wait_ignored(node, "bad.yaml", yaml.safe_dump(bad))
    for field in (
        *("spec.spokes[0]: ", "spec.spokes[1]: ", "spec.spokes[3]: 'x' is spec.spokes[2] already", "spec.vxlanGrp: "),
        *("spec.mtu: must be a whole number", "spec.colour: is unknown", "spec.vni: 16777216 is not in 1..16777215"),
        *("spec.ns: '../../etc' is not a plain file name", "spec.bridge: 'a/b'", "spec.vxlanPort: 0 is not in"),
    ):
        assert field in said
    node.add(pod, veth("good")).result()
    node.lan(good, spokes=["good"], vni=6010, mtu=1400)
    node.delete(pod, veth("good")).ok()
    node.assert_nothing_left()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"spokes": ["fourteen-chars"]}, "spec.spokes[0]: 'fourteen-chars' is longer than 13 characters"),
        ({"ns": "../../etc"}, "spec.ns: '../../etc' is not a plain file name"),
        ({"ns": "a\0b"}, "spec.ns: 'a\\x00b' is not a plain file name"),
        ({"spokes": ["a\nb"]}, "spec.spokes[0]: 'a\\nb' is not a DNS label"),
        ({"bridge": "a\nb"}, "spec.bridge: 'a\\nb' is not an interface name"),
        ({"vni": 0}, "spec.vni: 0 is not in 1..16777215"),
        ({"vni": 1 << 24}, "spec.vni: 16777216 is not in 1..16777215"),
        ({"vxlanGrp": "192.0.2.1"}, "spec.vxlanGrp: 192.0.2.1 is not a multicast address"),
        ({"vni": "12"}, "spec.vni: must be a whole number, not text"),
        ({"spokes": "a"}, "spec.spokes: must be a list, not text"),
        ({"mtu": 67}, "spec.mtu: 67 is not in 68.."),
        ({"spoke": ["a"]}, "spec.spoke: is unknown"),
        ({"spokes": []}, "spec.spokes: needs at least one spoke, or spec.dynamic: true"),
    ],
)
def test_every_wrong_field_is_named(node: Node, spec: dict[str, Any], said: str) -> None:
    name = names.unique("lan")
    whole = document(name, **{"spokes": ["a"]} | spec)
    line = wait_ignored(node, f"{name}.yaml", yaml.safe_dump(whole))
    assert said in line
    assert not (node.run / "lans").joinpath(name).exists()
    node.assert_nothing_left()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is not YAML"),
        ("\t- x", "is not YAML"),
        ("just text", "is not a mapping"),
        ("[1, 2]", "is not a mapping"),
        ("a: !!python/object/apply:os.system ['true']", "is not YAML"),
        ("a: !!timestamp nonsense", "is not YAML"),
        ("a: !!int ''", "is not YAML"),
        ("a: !!bool maybe", "is not YAML"),
        (f"a: {'1:' * 300}1.5", ""),
        ("a: " + "[" * 5000, "is not YAML"),
        ("a: &x [*x]\nb: *x", "is unknown"),
        ("? [a, b]\n: c", "is not YAML"),
        (b"\xff\xfe\x00", "is not UTF-8"),
        (b"a: \x00", "is not YAML"),
        (b"#" + b"x" * (10 << 20), "is larger than"),
        ("---\n".join(["{}\n"] * 3), "is missing"),
    ],
)
def test_what_is_no_lan_is_named_and_ignored(node: Node, text: str | bytes, said: str) -> None:
    assert said in wait_ignored(node, f"{names.unique()}.yaml", text)


def test_an_empty_file_holds_no_lan_and_is_no_fault(node: Node) -> None:
    assert node.current
    mark = node.current.log.mark()
    for number, text in enumerate(("", "# nothing\n", "---\n---\n", "null\n")):
        node.write(f"empty{number}.yaml", text)
    node.lan(dynamic=True)
    assert "is ignored" not in "\n".join(node.current.log.lines[mark:])


def test_what_is_not_a_file_is_named_and_holds_nothing_up(node: Node, pod: Namespace) -> None:
    """A loop of links, a dangling link, a pipe that nobody writes to, a folder."""
    assert node.current
    mark = node.current.log.mark()
    (node.files / "loop.yaml").symlink_to("loop.yaml")
    (node.files / "dangling.yaml").symlink_to("nowhere")
    os.mkfifo(node.files / "pipe.yaml")
    (node.files / "folder.yaml").mkdir()
    (node.files / "device.yaml").symlink_to("/dev/zero")
    node.lan(spokes=["a"])
    for file, said in (
        ("loop.yaml", "cannot be read: Too many levels of symbolic links"),
        ("pipe.yaml", "is not a file"),
        ("folder.yaml", "is not a file"),
        ("device.yaml", "is not a file"),
    ):
        node.current.log.wait(rf"{file} is ignored: .*{said}", since=mark)
    node.add(pod, veth("a")).result()
    node.delete(pod, veth("a")).ok()


def test_other_files_are_not_looked_at(node: Node) -> None:
    assert node.current
    mark = node.current.log.mark()
    for name in (".hidden.yaml", "note.txt", "lan.yaml~", "lan.json"):
        node.write(name, "a: [")
    node.lan(dynamic=True)
    assert "is ignored" not in "\n".join(node.current.log.lines[mark:])


def test_a_large_file_does_not_keep_the_agent_from_answering(node: Node, pod: Namespace) -> None:
    node.lan(spokes=["a"])
    item = "- {a: [1, 2, 3], b: some text, c: {d: e}}\n"
    node.write("large.yaml", item * ((1 << 18) // len(item)))
    answers = 0
    assert node.current
    while "large.yaml is ignored" not in str(node.current.log):
        node.cni("STATUS", pod, veth("a"))
        answers += 1
    assert answers > 3


def test_a_broken_file_still_stands_for_the_lan_that_it_held(pod: Namespace) -> None:
    """Also after a restart: a typing error does not tear pods off, nor keep new ones out."""
    with Node.create() as node, Namespace.create("pod") as second:
        lan = node.lan(spokes=["a", "b"], vni=6011)
        with node.agent() as agent:
            node.add(pod, veth("a")).result()
            index = pod.links()["net1"]["ifindex"]
            wait_ignored(node, f"{lan}.yaml", "spec: [")
            node.add(second, veth("b")).result()
            node.delete(second, veth("b")).ok()
            assert agent.log.operations()[-1] == f"{lan}: delete bp"
        with node.agent() as agent:
            agent.log.wait(f"{lan}.yaml is ignored")
            assert agent.log.operations() == []
            assert pod.links()["net1"]["ifindex"] == index
            node.add(second, veth("b")).result()
            node.lan(lan, spokes=["a"], vni=6011)
            for one, spoke in ((pod, "a"), (second, "b")):
                node.delete(one, veth(spoke)).ok()
            node.assert_nothing_left()


# ---------------------------------------------------------------- several in one file, and in each other's way


def test_several_lans_in_one_file(node: Node) -> None:
    one, two = names.unique("lan"), names.unique("lan")
    texts = [yaml.safe_dump(document(name, spokes=[f"{name[-5:]}x"])) for name in (one, two)]
    with node.told(f"LAN default/{two} is there"):
        node.write("both.yaml", "---\n".join(texts))
    with pods(2) as both:
        for pod, name in zip(both, (one, two), strict=True):
            node.add(pod, veth(f"{name[-5:]}x")).result()
        broken = [document(one, spokes=["UPPER"]), document(two, spokes=["x"], vni=0)]
        said = wait_ignored(node, "both.yaml", yaml.safe_dump_all(broken))
        assert "spec.spokes[0]" in said
        assert "spec.vni" in said
        for pod, name in zip(both, (one, two), strict=True):
            assert node.inside(name).links()
            node.delete(pod, veth(f"{name[-5:]}x")).ok()
    node.assert_nothing_left()


def test_one_lan_in_two_files_or_twice_in_one(node: Node) -> None:
    lan = node.lan(spokes=["a"], file="first.yaml")
    said = wait_ignored(node, "second.yaml", yaml.safe_dump(document(lan, spokes=["b"])))
    assert f"metadata.name: LAN default/{lan} is in first.yaml too" in said
    other = names.unique("lan")
    twice = yaml.safe_dump_all([document(other, spokes=["c"]), document(other, spokes=["d"])])
    assert f"LAN default/{other} is in third.yaml twice" in wait_ignored(node, "third.yaml", twice)


def test_of_two_that_clash_the_one_that_was_there_first_goes_on(node: Node, pod: Namespace) -> None:
    """Its name may well be the later one in the alphabet."""
    assert node.current
    first = node.lan("zzz", spokes=["shared", "mine"], vni=6020)
    node.add(pod, veth("mine")).result()
    mark = node.current.log.mark()
    node.write("aaa.yaml", yaml.safe_dump(document("aaa", spokes=["shared", "other"], vni=6020, ns="zzz")))
    said = node.current.log.wait("LAN default/aaa is not realised, it clashes: ", since=mark)
    for field in (
        "spec.ns: zzz is in use by LAN default/zzz",
        "spec.vni: 6020 is in use",
        "spec.spokes[0]: shared is in",
    ):
        assert field in said
    with Namespace.create("pod") as second:
        assert "spoke other is of LAN default/aaa, which clashes" in node.add(second, veth("other")).error(100)
        node.add(second, veth("shared")).result()
        assert node.records()[0]["lan"] == node.records()[1]["lan"] == f"default/{first}"
        node.delete(second, veth("shared")).ok()
    node.delete(pod, veth("mine")).ok()
    with node.told("LAN default/aaa is there"):
        (node.files / "zzz.yaml").unlink()
    node.add(pod, veth("other")).result()
    node.delete(pod, veth("other")).ok()
    node.assert_nothing_left()


def test_who_was_there_first_is_known_after_a_restart() -> None:
    with Node.create() as node:
        node.lan("zzz", spokes=["shared"])
        with node.agent():
            node.write("aaa.yaml", yaml.safe_dump(document("aaa", spokes=["shared"])))
            assert node.current
            node.current.log.wait("LAN default/aaa is not realised")
        with node.agent() as agent:
            agent.log.wait("LAN default/aaa is not realised")
            assert "LAN default/zzz is not realised" not in str(agent.log)


def test_files_are_read_again_after_a_burst(node: Node) -> None:
    """A hundred at once: all are there in the end."""
    count = 100
    lans = [names.unique("b") for _ in range(count)]
    with node.told(f"LAN default/{lans[-1]} is there"):
        for lan in lans:
            node.write(f"{lan}.yaml", yaml.safe_dump(document(lan, dynamic=True)))
    for lan in (lans[0], lans[count // 2], lans[-1]):
        node.cni("STATUS", "", dynamic(f"default/{lan}")).ok()


def test_files_that_are_links_into_another_folder_follow_it() -> None:
    """A ConfigMap as a volume: the files are links through one that is swapped when it changes."""
    with Node.create() as node:
        lan = names.unique("lan")
        for number, spokes in enumerate((["a"], ["a", "b"])):
            data = node.files / f"..{number}"
            data.mkdir()
            (data / "lan.yaml").write_text(yaml.safe_dump(document(lan, spokes=spokes, vni=6040)))
        (node.files / "..data").symlink_to("..0")
        (node.files / "lan.yaml").symlink_to("..data/lan.yaml")
        with node.agent() as agent:
            agent.log.wait(f"LAN default/{lan} is there")
            mark = agent.log.mark()
            (node.files / "..data_tmp").symlink_to("..1")
            command("mv", "-T", str(node.files / "..data_tmp"), str(node.files / "..data"))
            agent.log.wait(f"LAN default/{lan} has changed", since=mark)
            node.cni("STATUS", "", veth("b")).ok()
