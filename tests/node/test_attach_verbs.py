"""DEL, CHECK, STATUS and GC, and ADDs that meet each other: what each answers, and that nothing is left behind."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support import names
from tests.support.agents import AT_ONCE, CLIENTS, PLUGINS, Node, Outcome, dynamic, eventually, macvtap, pods, veth
from tests.support.netns import Namespace
from tests.support.require import require

pytestmark = pytest.mark.usefixtures("swept")


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node.create() as node, node.agent():
        yield node


@pytest.fixture
def spoke(node: Node) -> str:
    """A spoke of a LAN of its own."""
    spoke = names.unique("s")
    node.lan(name=f"{spoke}lan", spokes=[spoke])
    return spoke


# ---------------------------------------------------------------- ADD and DEL in every order


@pytest.mark.parametrize("which", CLIENTS)
def test_a_del_before_any_add_and_a_second_del_are_fine(node: Node, pod: Namespace, spoke: str, which: str) -> None:
    node.delete(pod, veth(spoke), which=which).ok()
    node.add(pod, veth(spoke), which=which).result()
    for _ in range(2):
        node.delete(pod, veth(spoke), which=which).ok()
    node.assert_nothing_left()


@pytest.mark.parametrize("which", CLIENTS)
def test_a_second_add_is_refused_and_the_first_stays(node: Node, pod: Namespace, spoke: str, which: str) -> None:
    node.add(pod, veth(spoke), which=which).result()
    before = pod.links()["net1"]["ifindex"]
    said = node.add(pod, veth(spoke), which=which).error(101)
    assert f"net1 of container {pod.name} is attached already" in said
    assert pod.links()["net1"]["ifindex"] == before
    node.delete(pod, veth(spoke), which=which).ok()
    node.assert_nothing_left()


def test_a_del_needs_no_namespace_and_no_lan(node: Node, spoke: str) -> None:
    """Of its configuration only the IPAM section counts."""
    with Namespace.create("pod") as pod:
        node.add(pod, veth(spoke)).result()
        config = {"cniVersion": "9.9.9", "name": "", "type": "who"}
        node.cni("DEL", "", config, container=pod.name).ok()
        assert pod.links() == {}
    node.assert_nothing_left()


def test_a_pod_namespace_that_is_gone_at_add(node: Node, spoke: str) -> None:
    assert "the network namespace '/run/netns/nowhere' is not there" in node.add(
        "/run/netns/nowhere", veth(spoke)
    ).error(3)
    for path in ("/etc/passwd", "/proc/self/ns/uts", "/dev/null", "relative/../path"):
        node.add(path, veth(spoke)).error(3)
    node.assert_nothing_left()


def test_a_pod_namespace_that_goes_between_add_and_del(node: Node, spoke: str) -> None:
    """The kernel removes a veth with its pod, and the LAN goes with the last of them; the DEL still comes."""
    with node.told(f"delete namespace {spoke}lan"), Namespace.create("pod") as pod:
        node.add(pod, veth(spoke)).result()
    assert [record["container"] for record in node.records()] == [pod.name]
    node.delete(pod, veth(spoke)).ok()
    node.assert_nothing_left()


def test_a_spoke_in_use_names_its_holder(node: Node, spoke: str) -> None:
    with pods(2) as (first, second):
        args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web"
        node.add(first, veth(spoke), args=args).result()
        said = node.add(second, veth(spoke)).error(101)
        assert said.startswith(f"spoke {spoke} is in use by prod/web (net1)")
        assert "a spoke takes one pod at a time; a dynamic LAN takes any number" in said
        assert f"spoke {spoke} is in use by prod/web (net1)" in node.add(second, macvtap(spoke)).error(101)
        assert second.links() == {}
        node.delete(second, veth(spoke)).ok()  # the runtime's DEL after a failed ADD must not touch the holder
        assert set(first.links()) == {"net1"}
        node.delete(first, veth(spoke)).ok()
    node.assert_nothing_left()


def test_a_pod_that_went_away_without_a_word_gives_its_spoke_up(node: Node, spoke: str) -> None:
    with node.told(f"delete namespace {spoke}lan"), Namespace.create("pod") as gone:
        node.add(gone, veth(spoke)).result()
    with Namespace.create("pod") as pod:
        node.add(pod, veth(spoke)).result()
        assert [record["container"] for record in node.records()] == [pod.name]
        node.delete(gone, veth(spoke)).ok()  # late, and it must not touch who is there now
        assert set(pod.links()) == {"net1"}
        node.delete(pod, veth(spoke)).ok()
    node.assert_nothing_left()


def test_a_pod_that_went_away_is_told_of_once_and_harms_nobody(node: Node) -> None:
    """Others come and go on the LAN as before; the dead attachment is not tried again at each of them."""
    lan = node.lan(dynamic=True)
    config = dynamic(f"default/{lan}")
    assert node.current
    mark = node.current.log.mark()
    with Namespace.create("pod") as gone:
        node.add(gone, config).result()
    with pods(3) as several:
        for pod in several:
            node.add(pod, config).result()
        for pod in several:
            node.delete(pod, config).ok()
    log = node.current.log

    def told() -> list[str]:
        return [line for line in log.lines[mark:] if gone.name in line and "gone" in line]

    eventually("the pod that is gone is told of", lambda: bool(told()))  # the kernel takes its time with a namespace
    node.delete(gone, config).ok()
    assert len(told()) == 1, "\n".join(told())
    node.assert_nothing_left()


# ---------------------------------------------------------------- at the same time


def test_of_two_that_want_a_spoke_at_once_one_gets_it(node: Node) -> None:
    """Whether the LAN is there already or not."""
    for number in range(8):
        spoke = names.unique("s")
        node.lan(spokes=[spoke, f"{spoke}x"])
        with ExitStack() as stack:
            other, *rivals = (stack.enter_context(Namespace.create("pod")) for _ in range(4))
            if number % 2:
                node.add(other, veth(f"{spoke}x")).result()
            calls = [node.start("ADD", pod, veth(spoke)) for pod in rivals]
            outcomes = [call() for call in calls]
            [winner] = [pod for pod, outcome in zip(rivals, outcomes, strict=True) if outcome.status == 0]
            for pod, outcome in zip(rivals, outcomes, strict=True):
                if pod is winner:
                    continue
                assert f"spoke {spoke} is in use by {winner.name} (net1)" in outcome.error(101)
                assert pod.links() == {}
            assert set(winner.links()) == {"net1"}
            assert {r["container"] for r in node.records()} == {winner.name} | ({other.name} if number % 2 else set())
            for pod in rivals:
                node.delete(pod, veth(spoke)).ok()
            node.delete(other, veth(f"{spoke}x")).ok()
        node.assert_nothing_left()


def test_a_successor_waits_for_the_del_of_its_predecessor(node: Node, spoke: str) -> None:
    """A pod is replaced: its DEL and the ADD of the new one come at the same moment."""
    with pods(2) as (old, new):
        node.add(old, veth(spoke)).result()
        leaving = node.start("DEL", old, veth(spoke))
        coming = node.start("ADD", new, veth(spoke))
        leaving().ok()
        outcome = coming()
        if outcome.status:  # it was there before the DEL
            outcome.error(101)
            node.add(new, veth(spoke)).result()
        assert set(new.links()) == {"net1"}
        node.delete(new, veth(spoke)).ok()
    node.assert_nothing_left()


def test_a_successor_waits_while_its_predecessor_leaves() -> None:
    """A pod that was deleted by force is detached after its successor came; of many successors one is next."""
    with Node.create() as node, node.agent("--handover", "30") as agent, pods(4) as (old, *rivals):
        spoke = names.unique("s")
        node.lan(name=f"{spoke}lan", spokes=[spoke])
        node.add(old, veth(spoke)).result()
        calls = {}
        for pod in rivals:
            calls[pod.name] = node.start("ADD", pod, veth(spoke))
            agent.log.wait(f"{pod.name} waits for spoke {spoke}, which {old.name} .net1. has")
        present, left = old, list(rivals)
        while left:
            mark = agent.log.mark()
            node.delete(present, veth(spoke)).ok()
            line = agent.log.wait(rf"attached \S+ .net1. to LAN \S+ at port {spoke}p", since=mark)
            [present] = [pod for pod in left if f" {pod.name} " in line]
            calls[present.name]().result()
            left.remove(present)
            assert set(present.links()) == {"net1"}
            assert all(pod.links() == {} for pod in left)
        node.delete(present, veth(spoke)).ok()
        node.assert_nothing_left()


def test_who_waits_in_vain_for_a_spoke_hears_who_has_it() -> None:
    with Node.create() as node, node.agent("--handover", "0.2") as agent, pods(2) as (old, new):
        spoke = names.unique("s")
        node.lan(name=f"{spoke}lan", spokes=[spoke])
        node.add(old, veth(spoke)).result()
        mark = agent.log.mark()
        assert f"spoke {spoke} is in use by {old.name} (net1)" in node.add(new, veth(spoke)).error(101)
        agent.log.wait(f"{new.name} waits for spoke {spoke}", since=mark)
        node.delete(new, veth(spoke)).ok()
        assert set(old.links()) == {"net1"}
        node.delete(old, veth(spoke)).ok()
        node.assert_nothing_left()


def test_add_and_del_of_the_same_interface_at_once(node: Node, pod: Namespace, spoke: str) -> None:
    """Whichever comes first, after one more DEL nothing is left."""
    for _ in range(5):
        calls: list[tuple[str, Callable[[], Outcome]]] = [
            (verb, node.start(verb, pod, veth(spoke))) for verb in ("ADD", "DEL", "ADD", "DEL")
        ]
        for verb, call in calls:
            outcome = call()
            if verb == "DEL":
                outcome.ok()
            elif outcome.status:
                outcome.error(101)
        assert len(node.records()) == len(pod.links()) <= 1
        node.delete(pod, veth(spoke)).ok()
        assert pod.links() == {}
        node.assert_nothing_left()


# ---------------------------------------------------------------- CHECK


@pytest.fixture
def attached(node: Node, pod: Namespace, spoke: str) -> Iterator[Callable[[], Outcome]]:
    """A pod with an address; called, it is CHECKed."""
    config = veth(spoke, runtimeConfig={"ips": ["198.51.100.9/24"]})
    result = node.add(pod, config).result()
    yield lambda: node.check(pod, config, result)
    node.delete(pod, config).ok()
    node.assert_nothing_left()


@pytest.mark.parametrize("which", CLIENTS)
@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_check_finds_nothing_wrong(node: Node, pod: Namespace, spoke: str, version: str, which: str) -> None:
    config = veth(spoke, version, runtimeConfig={"ips": ["198.51.100.9/24", "2001:db8::9/64"]})
    result = node.add(pod, config).result()
    node.check(pod, config, result, which=which).ok()
    node.delete(pod, config).ok()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("link set dev net1 down", "it is down"),
        ("link set dev net1 address 02:00:00:00:00:99", "its MAC is 02:00:00:00:00:99 instead of "),
        ("link set dev net1 mtu 1500", "its MTU is 1500, more than 1446"),
        ("address flush dev net1", "it lacks the address 198.51.100.9/24"),
        ("link set dev net1 name net2", "its interface net1 is gone"),
    ],
)
def test_check_finds_what_has_changed_in_the_pod(
    attached: Callable[[], Outcome], pod: Namespace, fault: str, said: str
) -> None:
    attached().ok()
    if "name" in fault:
        pod.ip("link", "set", "net1", "down")
    pod.ip(*fault.split())
    assert said in attached().error(104)


def test_check_waits_for_what_is_being_put_back(node: Node, pod: Namespace, spoke: str) -> None:
    """An agent that is stopped hears of a deletion and of the CHECK that follows it in the same moment."""
    result = node.add(pod, veth(spoke)).result()
    assert node.current
    for _ in range(5):
        node.current.process.send_signal(signal.SIGSTOP)
        pod.ip("link", "delete", "net1")
        answer = node.start("CHECK", pod, veth(spoke, prevResult=result))
        time.sleep(0.1)  # the call is on its way to the agent
        node.current.process.send_signal(signal.SIGCONT)
        answer().ok()
    node.delete(pod, veth(spoke)).ok()
    node.assert_nothing_left()


def test_check_finds_that_a_vms_interface_is_gone(node: Node, pod: Namespace) -> None:
    """The port behind it is as it was, so nothing tells the agent."""
    spoke = names.unique("v")
    node.lan(spokes=[spoke])
    result = node.add(pod, macvtap(spoke)).result()
    node.check(pod, macvtap(spoke), result).ok()
    pod.ip("link", "delete", "net1")
    assert "its interface net1 is gone" in node.check(pod, macvtap(spoke), result).error(104)
    node.delete(pod, macvtap(spoke)).ok()
    node.assert_nothing_left()


def test_check_finds_that_the_port_is_gone(pod: Namespace) -> None:
    """Which the agent repairs at once, but not while the LAN has no underlay."""
    with Node.create() as node:
        lan = node.lan(spokes=["a"])
        with node.agent() as agent:
            result = node.add(pod, veth("a")).result()
            node.namespace.ip("link", "delete", "eth0")
            agent.log.wait("stays as it is for now: the underlay device eth0 is not on this node")
            node.inside(lan).run("ip", "link", "del", "ap")
            said = node.check(pod, veth("a"), result).error(104)
            assert "its bridge port ap is gone; its interface net1 is gone" in said
            node.delete(pod, veth("a")).ok()
            node.assert_nothing_left()


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
def test_check_finds_nothing_wrong_with_what_tuning_has_changed(
    node: Node, pod: Namespace, spoke: str, version: str
) -> None:
    """A chain of the user's own: what the runtime remembers is what its last plugin answered."""
    require("node", (PLUGINS / "tuning").exists(), "needs tuning (Debian: containernetworking-plugins)")
    config = veth(spoke, version, runtimeConfig={"ips": ["198.51.100.9/24"]})
    result = node.add(pod, config).result()
    tuning = {"cniVersion": version, "name": config["name"], "type": "tuning", "dataDir": str(node.folder)}
    tuning |= {"mac": "02:00:00:00:07:07", "mtu": 1300}
    environ = node.environ("ADD", pod) | {"CNI_PATH": str(PLUGINS)}
    command = ("env", *(f"{name}={value}" for name, value in environ.items()), str(PLUGINS / "tuning"))
    left = json.loads(node.namespace.run(*command, text=json.dumps(tuning | {"prevResult": result})))
    assert (pod.links()["net1"]["address"], pod.links()["net1"]["mtu"]) == ("02:00:00:00:07:07", 1300)
    node.check(pod, config, left).ok()
    pod.ip("link", "set", "net1", "address", "02:00:00:00:07:08")
    assert "its MAC is 02:00:00:00:07:08 instead of 02:00:00:00:07:07" in node.check(pod, config, left).error(104)
    node.delete(pod, config).ok()
    node.assert_nothing_left()


def test_check_compares_what_the_runtime_remembers(node: Node, pod: Namespace, spoke: str) -> None:
    config = veth(spoke, runtimeConfig={"ips": ["198.51.100.9/24"]})
    result = node.add(pod, config).result()

    def check(**changed: object) -> str:
        return node.check(pod, config, result | changed).error(104)

    strange = [result["interfaces"][0], result["interfaces"][1] | {"mac": "02:00:00:00:00:99"}]
    assert f"its MAC is {result['interfaces'][1]['mac']} instead of 02:00:00:00:00:99" in check(interfaces=strange)
    assert "prevResult has no interface net1" in check(interfaces=result["interfaces"][:1], ips=[])
    assert "prevResult lacks 198.51.100.9/24" in check(ips=[])
    with Namespace.create("pod") as other:
        assert f"is not the namespace that {pod.name} (net1) was given" in node.check(
            other, config, result, container=pod.name
        ).error(104)
    assert "is not attached" in node.check(pod, config, result, ifname="net2").error(3)
    assert "CHECK needs the result of ADD" in node.cni("CHECK", pod, config).error(7)
    node.delete(pod, config).ok()


# ---------------------------------------------------------------- STATUS, GC, VERSION


@pytest.mark.parametrize("which", CLIENTS)
def test_status_says_whether_an_add_would_work(node: Node, pod: Namespace, spoke: str, which: str) -> None:
    node.cni("STATUS", pod, veth(spoke), which=which).ok()
    assert "no LAN has the spoke 'nowhere'" in node.cni("STATUS", pod, veth("nowhere"), which=which).error(50)
    homeless = names.unique("s")
    node.lan(spokes=[homeless], defaultVxlanDev="nowhere0")
    said = node.cni("STATUS", pod, veth(homeless), which=which).error(50)
    assert "the underlay device nowhere0 is not on this node" in said
    assert "STATUS came with CNI 1.1.0" in node.cni("STATUS", pod, veth(spoke, "1.0.0"), which=which).error(1)


@pytest.mark.parametrize("which", CLIENTS)
def test_gc_removes_what_is_not_in_the_list_and_only_of_its_network(node: Node, which: str) -> None:
    one, other = node.lan(dynamic=True), node.lan(dynamic=True)
    config, elsewhere = dynamic(f"default/{one}"), dynamic(f"default/{other}")
    with pods(2) as (kept, forgotten):
        node.add(kept, config).result()
        node.add(forgotten, config).result()
        node.add(forgotten, elsewhere, ifname="net2").result()
        valid = [{"containerID": kept.name, "ifname": "net1"}]
        node.cni("GC", "", config | {"cni.dev/valid-attachments": valid}, which=which).ok()
        assert set(kept.links()) == {"net1"}
        assert set(forgotten.links()) == {"net2"}
        assert {(r["container"], r["ifname"]) for r in node.records()} == {
            (kept.name, "net1"),
            (forgotten.name, "net2"),
        }
        assert "GC needs the list of attachments to keep" in node.cni("GC", "", config, which=which).error(7)
        node.cni("GC", "", config | {"cni.dev/valid-attachments": []}, which=which).ok()
        node.cni("GC", "", elsewhere | {"cni.dev/valid-attachments": []}, which=which).ok()
        assert kept.links() == forgotten.links() == {}
    node.assert_nothing_left()


@pytest.mark.parametrize("which", CLIENTS)
def test_version_needs_no_agent(pod: Namespace, which: str) -> None:
    with Node.create() as alone:
        for asked, told in (("0.4.0", "0.4.0"), ("9.0.0", "1.1.0")):
            answer = json.loads(alone.cni("VERSION", pod, {"cniVersion": asked}, which=which).stdout)
            assert answer == {"cniVersion": told, "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]}


def test_odd_names_of_pods_are_no_harm(node: Node, pod: Namespace, spoke: str) -> None:
    """What a runtime says about a pod ends up in an alias of 255 bytes and in the log."""
    args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={'ü' * 200};K8S_POD_NAME={'日' * 200}"
    result = node.add(pod, veth(spoke), args=args).result()
    assert node.current
    mark = node.current.log.mark()
    node.inside(f"{spoke}lan").run("ip", "link", "set", f"{spoke}p", "down")
    node.current.log.wait(f"set port {spoke}p", since=mark, seconds=AT_ONCE)
    node.check(pod, veth(spoke), result).ok()
    node.delete(pod, veth(spoke)).ok()
    node.assert_nothing_left()
