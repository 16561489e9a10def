"""The cluster's addresses and links.

::

    host ── k8slan-c<slot> ══ host │ control plane │ nodes (bridge) ── worker1 ══ eth0 │ worker1 │
                                                                    ── worker2 ══ eth0 │ worker2 │

The bridge is the switch that the nodes stand on. All of it lies in the control plane's network namespace, so clusters
do not see each other and the same addresses serve each of them; only the veth to the host differs (its slot).
"""

from __future__ import annotations

import subprocess

from tests.cluster.harness.machine import Machine, MachineError

CONTROL = "10.213.0.254"
"""The control plane's address on the nodes' network."""

API = "10.96.0.1"
"""The service ``kubernetes``, as pods know it."""

SERVICES = "10.96.0.0/16"

DNS = "10.96.0.10"
"""Where pods are told to ask for names. There is no server."""

SLOTS = 256


def node_address(number: int) -> str:
    """A node's address on the nodes' network."""
    return f"10.213.0.{number}"


def pods(number: int) -> str:
    """The pod network of a node."""
    return f"10.244.{number}.0/24"


def host_link(slot: int) -> str:
    """The host's link to the cluster in a slot."""
    return f"k8slan-c{slot}"


def api_from_host(slot: int) -> str:
    """The control plane's address as the host knows it (198.18.0.0/15 is set aside for tests, RFC 2544)."""
    return f"198.18.{slot}.2"


def join_host(control: Machine) -> int:
    """Lay the veth between host and control plane in the first free slot and return the slot."""
    for slot in range(SLOTS):
        peer = ["peer", "name", "host", "netns", str(control.pid)]
        if _ip("link", "add", host_link(slot), "type", "veth", *peer, taken_is_fine=True):
            break
    else:
        raise MachineError(f"all {SLOTS} slots are taken: ip link show type veth")
    _ip("address", "add", f"198.18.{slot}.1/30", "dev", host_link(slot))
    _ip("link", "set", host_link(slot), "up")
    _batch(
        control,
        f"address add {api_from_host(slot)}/30 dev host",
        "link set host up",
        "link set lo up",
        "link add nodes type bridge mcast_snooping 0",
        f"address add {CONTROL}/24 dev nodes",
        "link set nodes up",
    )
    return slot


def leave_host(slot: int) -> None:
    """Remove the host's link, if it is there."""
    subprocess.run(["ip", "link", "delete", host_link(slot)], capture_output=True, check=False)


def join_node(control: Machine, node: Machine, number: int, others: tuple[int, ...]) -> None:
    """Plug a booted node into the switch, and lay routes between its pod network and everybody else's.

    Its MAC address is always the same, so nobody's neighbour table is wrong after it was rebooted.
    """
    subprocess.run(
        ["nsenter", f"--target={control.pid}", "-n", "ip", "link", "delete", node.name],
        capture_output=True,
        check=False,  # a former boot's, which the kernel takes away in its own time
    )
    _batch(
        control,
        f"link add {node.name} type veth peer name eth0 address 02:6b:38:73:00:{number:02x} netns {node.pid}",
        f"link set {node.name} master nodes up",
        f"route replace {pods(number)} via {node_address(number)}",
    )
    _batch(
        node,
        "link set lo up",
        f"address add {node_address(number)}/24 dev eth0",
        "link set eth0 up",
        f"route add default via {CONTROL}",
        *(f"route add {pods(other)} via {node_address(other)}" for other in others),
    )
    rule = f"ip daddr {API} tcp dport 443 dnat to {CONTROL}:6443"
    chains = {"prerouting": "prerouting", "output": "output"}
    rules = "".join(
        f"chain {name} {{ type nat hook {hook} priority -100; {rule}; }}\n" for name, hook in chains.items()
    )
    node.run("nft", "-f", "-", stdin=f"table ip cluster {{\n{rules}}}\n")


def _ip(*command: str, taken_is_fine: bool = False) -> bool:
    done = subprocess.run(["ip", *command], capture_output=True, text=True, check=False)
    if done.returncode != 0 and not (taken_is_fine and "File exists" in done.stderr):
        raise MachineError(f"ip {' '.join(command)}: {done.stderr.strip()}")
    return done.returncode == 0


def _batch(machine: Machine, *lines: str) -> None:
    """Several commands of ip at once, in a machine's network namespace but with the host's pids."""
    done = subprocess.run(
        ["nsenter", f"--target={machine.pid}", "-n", "ip", "-batch", "-"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise MachineError(f"{machine.name}: ip -batch: {done.stderr.strip()}")
