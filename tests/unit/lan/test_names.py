"""Names: what they may be, what is derived from them, and that no two derived ones meet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.lan import names
from tests.unit.lan import strategies

ESCAPES = ("../../etc", "..", ".", "/", "/etc", "a/b", "a/../b", "./a", "a\0b", "a\nb", "a\n", "\0", "~root/")
anything = st.text(st.characters())  # lone surrogates included: JSON and YAML can hold them

# ---------------------------------------------------------------- what a name may be


@pytest.mark.parametrize("name", [*ESCAPES, "", "a..b", "-a", "a-", ".a", "a.", "_a", "ä", "a b", "a\t", "a" * 129])
def test_what_is_no_plain_file_name_is_refused(name: str) -> None:
    assert names.file_fault(name)


@pytest.mark.parametrize("name", ["a", "knlvrf", "A1_b-c.d", "0", "a" * 128])
def test_plain_file_names_pass(name: str) -> None:
    assert names.file_fault(name) == ""


@given(anything)
def test_a_name_that_passes_as_a_file_is_one_step_of_a_path(name: str) -> None:
    if names.file_fault(name) == "":
        assert "/" not in name
        assert "\0" not in name
        assert not name.startswith(".")
        assert name.isprintable()
        assert len(name.encode()) <= 128


@pytest.mark.parametrize(
    "name", [*ESCAPES, "", "a:1", "eth%d", "a b", "a\t", "\x7f", "é", "\ud800", "fourteen-chars", "a" * 14]
)
def test_what_the_kernel_would_not_name_a_link_is_refused(name: str) -> None:
    assert names.interface_fault(name)


@pytest.mark.parametrize("name", ["a", "br0", "vx.100", "a..b", "Eth-1_x@y", "thirteenchars"])
def test_names_of_links_pass(name: str) -> None:
    assert names.interface_fault(name) == ""


def test_length_of_a_link_name_counts_bytes_and_has_two_bounds() -> None:
    assert names.interface_fault("a" * 13) == ""
    assert names.interface_fault("a" * 14) == f"'{'a' * 14}' is longer than 13 bytes"
    assert names.interface_fault("a" * 15, 15) == ""
    assert names.interface_fault("é" * 7) == f"'{'é' * 7}' is longer than 13 bytes"


@pytest.mark.parametrize("name", [*ESCAPES, "", "-a", "a-", "A", "a_b", "a.b", "é", "a" * 64])
def test_what_is_no_dns_label_is_refused(name: str) -> None:
    assert names.label_fault(name)


def test_dns_labels_pass_up_to_their_bound() -> None:
    assert names.label_fault("0-a") == ""
    assert names.label_fault("a" * 63) == ""
    assert names.label_fault("a" * 13, 13) == ""
    assert names.label_fault("a" * 14, 13) == f"'{'a' * 14}' is longer than 13 characters"


@pytest.mark.parametrize("name", [*ESCAPES, "", ".a", "a.", "a.-b", "A.b", "a_b", "a" * 254])
def test_what_is_no_dns_name_is_refused(name: str) -> None:
    assert names.subdomain_fault(name)


def test_dns_names_pass_up_to_their_bound() -> None:
    assert names.subdomain_fault("worker-1.example.org") == ""
    assert names.subdomain_fault("a" * 253) == ""


@given(anything)
def test_faults_are_words_on_one_line_whatever_the_name(name: str) -> None:
    for fault in (names.interface_fault, names.file_fault, names.label_fault, names.subdomain_fault):
        words = fault(name)
        assert words.isprintable()
        assert len(words) < 500
        words.encode()


def test_a_name_without_end_is_cut_in_messages() -> None:
    assert names.shown("a" * 80) == f"'{'a' * 80}'"
    assert names.shown("a" * 81) == f"'{'a' * 79}…'"
    assert names.shown("a\n") == r"'a\n'"
    for fault in (names.interface_fault, names.file_fault, names.label_fault, names.subdomain_fault):
        assert len(fault("a" * 10_000_000)) < 300
        assert "aaa…'" in fault("a" * 10_000_000)


# ---------------------------------------------------------------- names of links


@given(st.lists(strategies.spokes, unique=True, min_size=2, max_size=6), strategies.labels(), strategies.interfaces(15))
def test_no_two_devices_of_a_lan_have_the_same_name(spokes: list[str], container: str, ifname: str) -> None:
    devices = [name for s in spokes for name in (names.port(s), names.stub(names.port(s)))]
    devices.append(names.dynamic_port(container, ifname))
    assert len(set(devices)) == len(devices)
    assert all(names.interface_fault(name, 15) == "" for name in devices)


@given(strategies.spokes, strategies.spokes)
def test_spokes_of_like_names_do_not_meet(left: str, right: str) -> None:
    """A spoke may well be called like the port of another."""
    for spoke in (left, names.port(left)[:13], names.stub(names.port(left))[:13]):
        mine = {names.port(spoke), names.stub(names.port(spoke))}
        others = {names.port(right), names.stub(names.port(right))}
        assert (mine & others == set()) or spoke == right


@given(strategies.spokes)
def test_a_stub_leads_back_to_its_port_and_a_port_is_no_stub(spoke: str) -> None:
    port = names.port(spoke)
    assert names.port_of_stub(names.stub(port)) == port
    assert names.port_of_stub(port) is None


@pytest.mark.parametrize("name", ["", "s", "lo", "vmp", "0123456789abd", "stubs0"])
def test_what_is_no_stub_has_no_port(name: str) -> None:
    assert names.port_of_stub(name) is None


@given(anything, anything)
def test_a_dynamic_port_is_a_link_name_whatever_the_runtime_says(container: str, ifname: str) -> None:
    port = names.dynamic_port(container, ifname)
    assert names.interface_fault(port) == ""
    assert names.port_of_stub(port) is None
    assert port == names.dynamic_port(container, ifname)


def test_interfaces_of_one_container_have_ports_of_their_own() -> None:
    ports = {names.dynamic_port(container, ifname) for container in ("c1", "c2") for ifname in ("net1", "net2")}
    assert len(ports) == 4


@given(strategies.spokes, strategies.spokes)
def test_a_tap_index_is_a_link_index_that_the_kernel_does_not_hand_out(lan: str, spoke: str) -> None:
    assert 1 << 24 <= names.tap_index(f"lab/{lan}", spoke) < (1 << 31) - 1
    assert names.tap_index(f"lab/{lan}", spoke) != names.tap_index(f"other/{lan}", spoke)


# ---------------------------------------------------------------- what must never change


def test_derived_names_stay_what_they_were() -> None:
    """Running pods and VMs, records and namespaces are known by them: a newer k8slan must find the same."""
    assert names.tap_index("lab/blue", "vm") == 1058984588
    assert names.tap_index("lab/blue", "srl") == 593606245
    assert names.netns("lab", "blue") == "blue-a66fb366"
    assert names.netns("lab", "b" * 60) == "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-2ce69e43"
    assert names.mac("lab/blue", "vm") == "d2:f9:eb:43:00:fc"
    assert names.record("c1", "net1") == "ca4978b4555a387c81a622599d81b91d.json"
    assert names.dynamic_port("c1", "net1") == "ca4978b4555ad"
    assert (names.port("vm"), names.stub("vmp")) == ("vmp", "vms")
    assert (names.veth_nad("vm"), names.mac_nad("vm"), names.lan_nad("blue")) == (
        "k8slan-veth-vm",
        "k8slan-mac-vm",
        "k8slan-lan-blue",
    )


# ---------------------------------------------------------------- MACs


@given(st.lists(anything, max_size=3))
def test_a_mac_is_unicast_and_locally_administered(parts: list[str]) -> None:
    mac = names.mac(*parts)
    raw = bytes.fromhex(mac.replace(":", ""))
    assert len(raw) == 6
    assert raw[0] & 0b11 == 0b10
    assert mac == raw.hex(":") == names.mac(*parts)


def test_macs_differ_by_each_part_and_by_where_it_ends() -> None:
    parts = [("lan", "vm"), ("lanv", "m"), ("lan", "srl"), ("lan2", "vm"), ("lan",), ("lan", "vm", "")]
    assert len({names.mac(*p) for p in parts}) == len(parts)


# ---------------------------------------------------------------- files


@given(strategies.labels(), strategies.subdomains)
def test_the_namespace_of_a_lan_that_names_none_is_a_valid_one(namespace: str, name: str) -> None:
    netns = names.netns(namespace, name)
    assert names.file_fault(netns) == ""
    assert netns.startswith(name[:40].rstrip("-."))


@pytest.mark.parametrize("name", ["a" * 253, "a" * 47 + "-" + "b" * 9, "a" * 47 + ".b"])
def test_long_names_give_valid_namespaces(name: str) -> None:
    assert names.file_fault(names.netns("default", name)) == ""


def test_lans_of_one_name_in_two_namespaces_do_not_share_theirs() -> None:
    assert names.netns("red", "lan") != names.netns("blue", "lan")
    assert names.netns("red", "a" * 60 + "b") != names.netns("red", "a" * 60 + "c")


@given(anything, anything)
def test_a_record_is_a_plain_file_whatever_the_runtime_says(container: str, ifname: str) -> None:
    record = names.record(container, ifname)
    assert names.file_fault(record) == ""
    assert record.endswith(".json")


@pytest.mark.parametrize("evil", ESCAPES)
def test_no_escape_gets_into_a_path(evil: str) -> None:
    for name in (names.record(evil, evil), names.dynamic_port(evil, evil)):
        assert names.file_fault(name) == ""


# ---------------------------------------------------------------- Kubernetes objects


@given(strategies.spokes)
def test_a_spokes_objects_have_valid_names_of_their_own(spoke: str) -> None:
    nads = {names.veth_nad(spoke), names.mac_nad(spoke), names.lan_nad(spoke)}
    assert len(nads) == 3
    for nad in nads:
        assert names.subdomain_fault(nad) == ""
        assert len(nad) <= 63  # the part behind the '/' of a resource's name
        assert names.resource(nad) == f"macvtap.k8slan.io/{nad}"


@given(strategies.subdomains)
def test_a_finalizer_names_its_node_behind_the_prefix(node: str) -> None:
    assert names.finalizer(node).removeprefix(names.FINALIZER_PREFIX) == node


# ---------------------------------------------------------------- labs


@given(st.text(max_size=90), st.text(max_size=90), st.text(max_size=20))
def test_a_spoke_of_a_lab_is_a_spoke(lab: str, node: str, interface: str) -> None:
    if names.as_label(node):
        assert not names.label_fault(names.lab_spoke(lab, node, interface), names.MAX_INTERFACE)


@pytest.mark.parametrize(
    ("node", "interface", "spoke"),
    [
        ("r1", "eth1", "r1-eth1-tkdf"),
        ("router1", "eth1", "rout1-"),
        ("pc3", "ethernet-1", "pc3-"),
        ("a-b", "eth1", "a-b-"),
        ("2024", "x", "2024-x-tkdf"),
    ],
)
def test_a_spoke_of_a_lab_is_like_its_node(node: str, interface: str, spoke: str) -> None:
    assert names.lab_spoke("lab", node, interface).startswith(spoke)


def test_things_of_one_name_get_names_of_their_own() -> None:
    found = names.distinct([("lab", "PC"), ("lab", "pc"), ("lab", "x")], names.lab_object)
    assert found["lab", "x"] == "lab-x"
    assert len(set(found.values())) == 3
    assert all(name.startswith("lab-pc-") for parts, name in found.items() if parts[1] != "x")


@given(st.text(max_size=90))
def test_a_label_of_a_text_is_a_label(text: str) -> None:
    found = names.as_label(text)
    assert not found or not names.label_fault(found)
