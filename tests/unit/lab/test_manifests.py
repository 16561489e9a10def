"""Labs as documents: what a link, a node and its files become, and names that fit and differ."""

from __future__ import annotations

import base64
import json
import subprocess

import pytest

from k8slan_cli.errors import Invalid
from k8slan_cli.lab.manifests import node_label
from k8slan_cli.lan import codec, names, validate
from k8slan_cli.lan.names import Forms
from k8slan_cli.plan.pods import NETWORKS_ANNOTATION
from tests.unit.lab.reading import PUBLIC, Document, documents, lab, of, public

HEAD = "name: t\ntopology:\n  defaults: {kind: linux, image: i}\n"


def made(nodes: str, *links: str, **where: object) -> list[Document]:
    """The documents of a lab with these nodes and links."""
    listed = "".join(f"    - {line}\n" for line in links)
    return documents(lab(f"{HEAD}  nodes: {nodes}\n  links:\n{listed}"), **where)


def networks(deployment: Document) -> list[Document]:
    """What a pod asks multus for."""
    found: list[Document] = json.loads(deployment["spec"]["template"]["metadata"]["annotations"][NETWORKS_ANNOTATION])
    return found


def container(deployment: Document) -> Document:
    """The node's container."""
    [found] = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_same_lab_gives_the_same_documents(name: str) -> None:
    first, second = (documents(public(name), uplink_node="w") for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", PUBLIC)
def test_every_pod_asks_for_what_its_lans_offer(name: str) -> None:
    found = documents(public(name), uplink_node="w")
    lans = [codec.decode(document) for document in of("LAN", found).values()]
    assert not validate.settle(lans).clashes
    offered = {names.veth_nad(spoke) for lan in lans for spoke in lan.spokes}
    asked = [each["name"] for deployment in of("Deployment", found).values() for each in networks(deployment)]
    assert len(set(asked)) == len(asked)
    assert set(asked) <= offered


@pytest.mark.parametrize("name", PUBLIC)
def test_all_objects_say_which_lab_they_are_of(name: str) -> None:
    for document in documents(public(name), uplink_node="w"):
        assert document["metadata"]["namespace"] == "ns"
        assert document["metadata"]["labels"][names.LAB_LABEL]
        assert not names.subdomain_fault(document["metadata"]["name"])


def test_a_link_of_two_is_a_cable() -> None:
    [lan] = of("LAN", made("{a: , b: }", 'endpoints: ["a:eth1", "b:eth2"]')).values()
    assert lan["metadata"]["name"] == "t-a-eth1-b-eth2"
    assert lan["spec"]["cable"] is True
    assert "vni" not in lan["spec"]


def test_nodes_of_the_cluster_offer_devices_for_what_vms_use_alone() -> None:
    vm = "{image: x, kind: vm}"
    found = of(
        "LAN", made(f"{{a: , b: , v: {vm}}}", 'endpoints: ["a:eth1", "b:eth1"]', 'endpoints: ["a:eth2", "v:eth1"]')
    )
    pods, mixed = (found[f"t-{name}"]["spec"] for name in ("a-eth1-b-eth1", "a-eth2-v-eth1"))
    assert pods["vmSpokes"] == []
    assert mixed["vmSpokes"] == mixed["spokes"][1:]


@pytest.mark.parametrize("kind", ["srl", "nokia_srlinux", "nokia_srsim", "fdio_vpp"])
def test_what_forwards_in_user_space_gets_frames_that_are_complete(kind: str) -> None:
    found = of(
        "LAN",
        made(
            f"{{a: , b: , s: {{kind: {kind}}}}}", 'endpoints: ["a:eth1", "b:eth1"]', 'endpoints: ["a:eth2", "s:e1-1"]'
        ),
    )
    assert found["t-a-eth2-s-e1-1"]["spec"]["offload"] is False
    assert "offload" not in found["t-a-eth1-b-eth1"]["spec"]


def test_a_bridge_is_no_cable_though_two_are_at_it() -> None:
    found = made("{a: , b: , br: {kind: bridge}}", 'endpoints: ["a:eth1", "br:1"]', 'endpoints: ["b:eth1", "br:2"]')
    [lan] = of("LAN", found).values()
    assert lan["metadata"]["name"] == "t-br"
    assert "cable" not in lan["spec"]
    assert len(lan["spec"]["spokes"]) == 2
    assert set(of("Deployment", found)) == {"t-a", "t-b"}


def test_interfaces_are_called_as_in_the_file() -> None:
    found = of("Deployment", made("{a: , b: }", 'endpoints: ["a:e1-10", "b:eth1"]', 'endpoints: ["a:e1-2", "b:eth2"]'))
    assert [each["interface"] for each in networks(found["t-a"])] == ["e1-2", "e1-10"]


def test_addresses_and_macs_are_asked_of_multus() -> None:
    link = "{endpoints: [{node: a, interface: eth1, mac: '02:00:00:00:00:01', ipv4: 10.0.0.1/24}, 'b:eth1']}"
    [network] = networks(of("Deployment", made("{a: , b: }", link))["t-a"])
    assert network["mac"] == "02:00:00:00:00:01"
    assert network["ips"] == ["10.0.0.1/24"]


def test_where_nads_have_long_names_those_are_asked_for() -> None:
    link = 'endpoints: ["a:eth1", "b:eth1"]'
    found = made("{a: , b: }", link, forms=Forms.LONG)
    [lan] = of("LAN", found).values()
    [network] = networks(of("Deployment", found)["t-a"])
    assert network["name"] == names.veth_nad(lan["spec"]["spokes"][0], lan["metadata"]["name"])


def test_an_impairment_acts_on_what_each_end_sends() -> None:
    [lan] = of("LAN", made("{a: , b: }", "{endpoints: ['a:e1', 'b:e1'], impairment: {delay: 5ms}}")).values()
    assert list(lan["spec"]["links"]) == lan["spec"]["spokes"]
    assert all(link == {"fromPod": {"delay": "5ms"}} for link in lan["spec"]["links"].values())


def test_a_nic_is_an_uplink_of_the_node_that_is_named() -> None:
    link = 'endpoints: ["a:eth1", "macvlan:enp1s0"]'
    [lan] = of("LAN", made("{a: }", link, uplink_node="worker1")).values()
    assert lan["spec"]["uplinks"] == [{"node": "worker1", "device": "enp1s0"}]
    with pytest.raises(Invalid, match="--uplink-node"):
        made("{a: }", link)


def test_a_tunnel_is_a_remote() -> None:
    link = "{type: vxlan, endpoint: 'a:eth1', remote: 192.0.2.1, vni: 7}"
    [lan] = of("LAN", made("{a: }", link)).values()
    assert lan["spec"]["remotes"] == ["192.0.2.1"]
    assert (lan["spec"]["vni"], lan["spec"]["vxlanPort"]) == (7, 14789)


def test_no_pod_asks_for_a_device() -> None:
    for deployment in of("Deployment", documents(public("frr01"))).values():
        assert "resources" not in container(deployment)


def test_limits_ports_and_capabilities() -> None:
    found = documents(public("mixed"), uplink_node="w")
    node = container(of("Deployment", found)["mixed-gw"])
    assert node["resources"]["limits"] == {"cpu": "1500m", "memory": "256Mi"}
    assert "SYS_PTRACE" in node["securityContext"]["capabilities"]["add"]
    [service] = of("Service", found).values()
    assert [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [(8080, 80), (5353, 53)]


def test_a_file_is_mounted_where_it_was_bound() -> None:
    found = documents(public("frr01"))
    [files] = (each for name, each in of("ConfigMap", found).items() if name == "frr01-router1")
    node = container(of("Deployment", found)["frr01-router1"])
    places = {mount["mountPath"]: files["data"][mount["subPath"]] for mount in node["volumeMounts"]}
    assert "ospf router-id 0.0.0.1" in places["/etc/frr/frr.conf"]
    assert "ospfd=yes" in places["/etc/frr/daemons"]


def test_a_file_that_is_no_text_is_kept_byte_by_byte() -> None:
    text = f"{HEAD}  nodes: {{a: {{binds: ['f:/f']}}}}\n"
    [files] = of("ConfigMap", documents(lab(text, files={"f": b"\xff\0"}))).values()
    assert base64.b64decode(files["binaryData"]["file-0"]) == b"\xff\0"


def test_another_file_makes_another_pod() -> None:
    text = f"{HEAD}  nodes: {{a: {{binds: ['f:/f']}}}}\n"
    first, second = (of("Deployment", documents(lab(text, files={"f": content}))) for content in (b"1", b"2"))
    assert first != second


def test_a_failing_command_does_not_stop_the_others() -> None:
    [deployment] = of("Deployment", made("{a: {exec: ['false', \"echo 'a b'\"]}}")).values()
    command = container(deployment)["lifecycle"]["postStart"]["exec"]["command"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.returncode == 0


def test_a_dollar_stays_one() -> None:
    [deployment] = of("Deployment", made("{a: {cmd: echo $$(HOME), env: {X: '$$(HOME)', Y: '$$$$'}}}")).values()
    found = container(deployment)
    assert found["env"] == [{"name": "X", "value": "$$(HOME)"}, {"name": "Y", "value": "$$$$"}]
    assert found["args"] == ["echo", "$$(HOME)"]


def test_a_vm_has_an_interface_for_each_link() -> None:
    found = made(
        "{v: {kind: vm, memory: 2gib}, b: }", 'endpoints: ["v:eth2", "b:eth2"]', 'endpoints: ["v:eth1", "b:eth1"]'
    )
    [vm] = of("VirtualMachine", found).values()
    spec = vm["spec"]["template"]["spec"]
    assert [each["name"] for each in spec["domain"]["devices"]["interfaces"]] == ["default", "eth1", "eth2"]
    assert spec["networks"][1]["multus"]["networkName"].startswith("k8slan-mac-v-eth1-")
    assert spec["domain"]["memory"]["guest"] == "2048Mi"
    assert vm["spec"]["template"]["metadata"]["labels"][names.LAB_NODE_LABEL] == "v"


def test_a_vm_of_a_template_keeps_what_it_has() -> None:
    template = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "old", "annotations": {"a": "b"}},
        "spec": {"template": {"spec": {"domain": {"devices": {"interfaces": [{"name": "own"}]}}}}},
    }
    text = f"{HEAD}  nodes: {{v: {{kind: vm, template: t}}, b: }}\n  links:\n    - endpoints: ['v:eth1', 'b:eth1']\n"
    [vm] = of("VirtualMachine", documents(lab(text, files={"t": json.dumps(template).encode()}))).values()
    assert vm["metadata"]["name"] == "t-v"
    assert vm["metadata"]["annotations"] == {"a": "b"}
    assert [each["name"] for each in vm["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"]] == [
        "own",
        "eth1",
    ]


def machine(spec: Document, *links: str, metadata: Document | None = None, **where: object) -> Document:
    """A VM of a template, on a LAN by each link."""
    template = {"kind": "VirtualMachine", "metadata": metadata, "spec": {"template": {"spec": spec}}}
    listed = "".join(f"    - {line}\n" for line in links)
    text = f"{HEAD}  nodes: {{v: {{kind: vm, template: t}}}}\n  links:\n{listed}"
    [vm] = of("VirtualMachine", documents(lab(text, files={"t": json.dumps(template).encode()}), **where)).values()
    return vm


def interfaces(vm: Document) -> list[str]:
    """What a VM's interfaces are called, in their order; each has a network of that name."""
    spec = vm["spec"]["template"]["spec"]
    found = [each["name"] for each in spec["domain"]["devices"]["interfaces"]]
    assert [each["name"] for each in spec["networks"]] == found
    return found


def test_interfaces_of_a_vm_that_differ_in_case_alone_have_names_of_their_own() -> None:
    own = {"domain": {"devices": {"interfaces": [{"name": "eth1"}]}}, "networks": [{"name": "eth1"}]}
    dummies = [f"{{type: dummy, endpoint: 'v:{name}'}}" for name in ("E1", "e1", "eth1", "eth2")]
    found = interfaces(machine(own, *dummies))
    assert len(set(found)) == 5
    assert {"eth1", "eth2"} < set(found)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [(None, ["default", "e1"]), ({"interfaces": None}, ["default", "e1"]), ({"autoattachPodInterface": False}, ["e1"])],
)
def test_a_vm_on_a_lan_stays_on_the_pod_network(devices: Document | None, expected: list[str]) -> None:
    found = machine({"domain": {"devices": devices}}, "{type: dummy, endpoint: 'v:e1'}")
    assert interfaces(found) == expected
    assert "networks" not in machine({"domain": {"devices": devices}})["spec"]["template"]["spec"]


def test_a_template_gives_labels_and_annotations_and_no_place() -> None:
    metadata = {"namespace": "other", "uid": "u", "labels": {"a": "b"}, "annotations": {"c": "d"}}
    for namespace in ("", "ns"):
        found = machine({"domain": {}}, metadata=metadata, namespace=namespace)["metadata"]
        assert found.get("namespace", "") == namespace
        assert "uid" not in found
        assert found["labels"] == {"a": "b", names.LAB_LABEL: "t", names.LAB_NODE_LABEL: "v"}
        assert found["annotations"] == {"c": "d"}


def test_nodes_that_differ_in_case_alone_have_names_of_their_own() -> None:
    found = of("Deployment", made("{PC: , pc: , p-c: , p_c: }"))
    assert len(found) == 4
    labels = {each["metadata"]["labels"][names.LAB_NODE_LABEL] for each in found.values()}
    assert labels == {"PC", "pc", "p-c", "p_c"}


def test_long_names_fit() -> None:
    long = "n" * 80
    found = made(f"{{{long}1: , {long}2: }}", f'endpoints: ["{long}1:eth1", "{long}2:eth1"]')
    assert len(of("Deployment", found)) == 2
    for document in found:
        assert len(document["metadata"]["name"]) <= names.MAX_LAB_OBJECT
        for value in document["metadata"]["labels"].values():
            assert not names.label_value_fault(value)


def test_two_labs_of_a_namespace_have_no_spoke_in_common() -> None:
    links = 'links: [{endpoints: ["a:eth1", "b:eth1"]}]'
    text = "name: {}\ntopology: {{defaults: {{kind: linux, image: i}}, nodes: {{a: , b: }}, {}}}\n"
    lans = [
        codec.decode(document)
        for name in ("one", "two")
        for document in of("LAN", documents(lab(text.format(name, links)))).values()
    ]
    assert not validate.settle(lans).clashes


def test_an_interface_in_another_link_is_another_spoke() -> None:
    nodes = "{a: , b: , c: }"
    first, second = (made(nodes, f'endpoints: ["a:eth1", "{other}:eth1"]') for other in "bc")
    [before], [after] = (networks(of("Deployment", found)["t-a"]) for found in (first, second))
    assert before["name"] != after["name"]


def test_without_a_namespace_none_is_said() -> None:
    found = documents(
        lab(f"{HEAD}  nodes: {{a: }}\n  links:\n    - {{type: dummy, endpoint: 'a:eth1'}}\n"), namespace=""
    )
    assert all("namespace" not in document["metadata"] for document in found)


def test_a_nodes_label_is_its_name_where_it_can_be() -> None:
    assert node_label("PC_1") == "PC_1"
    assert not names.label_value_fault(node_label("no label!"))
