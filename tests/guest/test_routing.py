"""Routers on links that get bad: FRR's OSPF goes another way when a link loses most of its frames, and comes back.

Here and not on the cluster, whose nodes have this machine's kernel: that has no netem to lose frames with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from k8slan_cli.kube.kinds import LANS
from tests.cluster.harness import frr
from tests.node.fabric import eventually, fabric
from tests.support.agents import document, pods
from tests.support.netns import Namespace
from tests.unit.kube.fake_api import FakeApi

LINKS = ((1, 2), (1, 3), (2, 3))
CONVERGED = 40
"""Seconds; a neighbour is lost after four without a hello, and of those that are sent some arrive."""
_INTERFACE = """\
interface {}
 ip ospf network point-to-point
 ip ospf hello-interval 1
 ip ospf dead-interval 4
"""
_ROUTER = """\
router ospf
 ospf router-id 10.0.0.{}
 network 10.0.0.0/8 area 0
"""
_DAEMON = """\
mount --bind /dev "$1/dev" && mount -t proc proc "$1/proc" && mkdir -p "$1/run/frr/$2" "$1/var/tmp/frr/$2" || exit
exec chroot "$1" "/usr/lib/frr/$3" -N "$2" -u root -g root -f "$4"
"""


def spoke(router: int, other: int) -> str:
    return f"r{router}to{other}"


def link(api: FakeApi, low: int, high: int, **state: str) -> None:
    """Make the LAN of a link, or set the state of its lower router's end."""
    name, ends = f"r{low}r{high}", [spoke(low, high), spoke(high, low)]
    links = {ends[0]: state} if state else None
    lan = document(name, namespace="lab", vni=10 * low + high, spokes=ends, links=links)
    api.put(LANS.path("lab", name), lan)


@contextmanager
def daemons(routers: Mapping[int, Namespace]) -> Iterator[None]:
    """FRR in each router, with OSPF on all its interfaces."""
    root = frr.root()
    with ExitStack() as stack:
        for number, router in routers.items():
            asked = "".join(_INTERFACE.format(f"to{other}") for other in routers if other != number)
            config = root / f"etc/frr/r{number}.conf"
            config.write_text(asked + _ROUTER.format(number))
            for daemon, file in (("zebra", "/dev/null"), ("ospfd", f"/etc/frr/{config.name}")):
                stack.enter_context(router.start("sh", "-c", _DAEMON, "sh", str(root), f"r{number}", daemon, file))
        yield


def test_routers_go_another_way_when_a_link_loses_frames_or_is_pulled() -> None:
    api = FakeApi()
    for low, high in LINKS:
        link(api, low, high)

    async def body() -> None:
        with fabric(api, 1500) as (node,), pods(3) as namespaces:
            routers = dict(enumerate(namespaces, start=1))
            async with node.agent():
                ends = [*LINKS, *((high, low) for low, high in LINKS)]
                for router, other in ends:
                    await node.plug(routers[router], spoke(router, other), ifname=f"to{other}")
                    network = "10.{}.{}".format(*sorted((router, other)))
                    routers[router].ip("address", "add", f"{network}.{router}/24", "dev", f"to{other}")
                for number, router in routers.items():
                    router.ip("address", "add", f"10.0.0.{number}/32", "dev", "lo")
                    router.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
                with daemons(routers):
                    await goes_its_ways(api, routers[1])
                for router, other in ends:
                    await node.unplug(routers[router], spoke(router, other), ifname=f"to{other}")

    asyncio.run(asyncio.wait_for(body(), 150))


async def goes_its_ways(api: FakeApi, router: Namespace) -> None:
    """Make the link of routers 1 and 2 bad and good again, in two ways."""

    async def goes_by(name: str) -> None:
        def leads() -> bool:
            return [route["dev"] for route in router.ip("route", "show", "10.0.0.2/32")] == [name]

        await eventually(f"router 1 reaches router 2 by {name}", leads, CONVERGED)

    await goes_by("to2")
    link(api, 1, 2, loss="95%")
    await goes_by("to3")
    assert router.links()["to2"]["operstate"] == "UP"  # no carrier told it
    link(api, 1, 2)
    await goes_by("to2")
    link(api, 1, 2, state="down")
    await goes_by("to3")
    link(api, 1, 2, state="up")
    await goes_by("to2")
