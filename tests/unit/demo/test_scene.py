"""What the demo plays: it has to be a valid LAN, and every guest needs a place and a way."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from k8slan_cli.demo.scene import LAN, NETNS, DemoOptions, scene
from k8slan_cli.lan import codec, names
from k8slan_cli.plan.objects import nads

KINDS = [
    DemoOptions(),
    DemoOptions(ipv6=True),
    DemoOptions(multicast=True),
    DemoOptions(ipv6=True, multicast=True),
    DemoOptions(nodes=8),
]


@pytest.mark.parametrize("options", KINDS)
def test_the_document_is_a_valid_lan_with_every_guest(options: DemoOptions) -> None:
    played = scene(options)
    found = codec.decode(played.document())
    assert (found.ref, found.netns) == (LAN, NETNS)
    assert found.spokes == tuple(guest.spoke for guest in played.guests)
    assert found.group == (ip_address(played.group) if played.group else None)
    assert bool(played.group) == options.multicast
    if found.group:
        assert found.group.is_multicast
        assert (found.group.version == 6) == options.ipv6


@pytest.mark.parametrize("options", KINDS)
def test_guests_are_configured_as_their_nads_say(options: DemoOptions) -> None:
    played = scene(options)
    written = {nad.name: json.loads(nad.config) for nad in nads(codec.decode(played.document()))}
    for guest in played.guests:
        config = json.loads(guest.config())
        wanted = written[config["name"]]
        assert {k: v for k, v in wanted.items() if k not in ("cniVersion", "capabilities")}.items() <= config.items()


@pytest.mark.parametrize("nodes", range(2, 9))
def test_two_pods_on_the_first_node_one_on_each_other_and_a_vm_on_the_last(nodes: int) -> None:
    played = scene(DemoOptions(nodes=nodes))
    assert [m.name for m in played.machines] == [f"node{n}" for n in range(1, nodes + 1)]
    assert [g.node for g in played.guests if not g.vm] == ["node1", *(m.name for m in played.machines)]
    assert [(g.node, g.vm) for g in played.guests][-1] == (f"node{nodes}", True)
    where = {g.spoke: g.node for g in played.guests}
    kinds = [pair.kind for pair in played.pairs]
    assert kinds == ["same node", *["across nodes"] * (nodes - 1), "to VM", "from VM"]
    for pair in played.pairs:
        assert (where[pair.src] == where[pair.dst]) == (pair.kind == "same node")
    assert {pair.dst for pair in played.pairs} | {"pod1"} == set(where)


def test_two_demos_do_not_share_a_tap() -> None:
    vms = [scene(DemoOptions(spare=spare)).guests[-1].spoke for spare in ("0000", "0001")]
    assert len({names.tap_index("default/demo", vm) for vm in vms}) == 2
    assert all(names.label_fault(vm, names.MAX_INTERFACE) == "" for vm in vms)
