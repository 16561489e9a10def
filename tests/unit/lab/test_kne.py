"""KNE's topologies as labs: vendors, configurations, services, and texts that are none."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from k8slan_cli.errors import Invalid, K8slanError
from k8slan_cli.lab import kne
from k8slan_cli.lab.files import Content
from k8slan_cli.lab.model import End, Lab, Port, Segment

TWO = """
name: "two"  # a comment
nodes: {
  name: "r1"
  vendor: NOKIA
  model: "ixr6e"
  config: { file: "r1.json" cert: { self_signed: { key_size: 4096, } } }
  services: { key: 22 value: { name: "ssh" inside: 22 } }
  services: { key: 9339 value: { name: "gnmi" inside: 57400 outside: 9339 } }
}
nodes: {
  name: "h1"
  vendor: HOST
  config: {
    image: "i"
    command: "/bin/sh"
    command: "-c"
    args: "sleep 5; exit"
    env: { key: "A" value: "b c" }
    data: "text"
    config_path: "/etc/lab"
    config_file: "conf"
  }
}
links: { a_node: "r1" a_int: "e1-1" z_node: "h1" z_int: "eth1" }
"""


def lab(text: str) -> Lab:
    """Read a text; there is one file."""

    def files(name: str) -> Mapping[str, Content]:
        if name != "r1.json":
            raise K8slanError(f"{name} cannot be read")
        return {"": (b"{}", 0o644)}

    return kne.read(text, "two.pb.txt", files=files)


def test_a_topology() -> None:
    found = lab(TWO)
    router, host = found.nodes
    assert (found.name, router.kind, router.image) == ("two", "nokia_srlinux", "ghcr.io/nokia/srlinux:latest")
    assert router.ports == (Port(outside=22, inside=22), Port(outside=9339, inside=57400))
    assert [(file.place, file.content) for file in router.files] == [("/etc/opt/srlinux/config.json", b"{}")]
    assert (host.kind, host.command, host.args) == ("linux", ("/bin/sh", "-c"), ("sleep 5; exit",))
    assert host.env == (("A", "b c"),)
    assert [(file.place, file.content) for file in host.files] == [("/etc/lab/conf", b"text")]
    assert found.segments == (Segment(ends=(End(node="r1", interface="e1-1"), End(node="h1", interface="eth1"))),)


def test_what_is_not_used_is_said() -> None:
    services = 'services: { key: 80 value: { inside_ip: "10.0.0.1" outside_ip: "10.0.0.2" node_port: 30000 } }'
    place = 'config: { file: "r1.json" config_path: "/x" config_file: "y" }'
    text = f'{TWO} nodes: {{ name: "r2" vendor: NOKIA {services} {place} }}'
    assert [warning.partition(":")[0] for warning in lab(text).warnings] == [
        "nodes[0].model",
        "nodes[0].config.cert",
        "nodes[0].services[22].name",
        "nodes[0].services[9339].name",
        *(f"nodes[2].services[80].{name}" for name in ("inside_ip", "outside_ip", "node_port")),
        "nodes[2].config.config_path",
        "nodes[2].config.config_file",
    ]


def test_the_older_type_says_the_kind_too() -> None:
    [node] = lab('name: "x" nodes: { name: "r" type: ARISTA_CEOS }').nodes
    assert (node.kind, node.image) == ("arista_ceos", "ceos:latest")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: ", "is no topology of KNE: 1:"),
        ('name: "x"\nnode: {}', '2:1 : Message type "k8slan.kne.Topology" has no field named "node"'),
        ("nodes: { vendor: ACME }", "ACME"),
        ('name: "x" nodes: { name: "r" } nodes: { name: "r" }', "nodes[1].name: 'r' is there already"),
        ('name: "x" nodes: { name: "r" vendor: CISCO }', "topology.nodes.r: needs an image"),
        ('name: "x" nodes: { name: "r" vendor: HOST config: { file: "absent" } }', "absent cannot be read"),
        ('name: "x" links: { a_node: "a" a_int: "e" z_node: "b" z_int: "e" }', "there is no node 'a'"),
        ('nodes: { name: "r" vendor: HOST }', "name: must have a letter or a digit"),
        ("\0", "is no topology of KNE"),
    ],
)
def test_what_is_no_topology_is_refused(text: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        lab(text)
    assert words in str(refused.value)
