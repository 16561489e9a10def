"""containerlab's files as labs: what goes before what, both forms of links, and all that is wrong, with its place."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.errors import Invalid
from k8slan_cli.lab.model import MAX_FILES, MAX_FILES_SIZE, MAX_USER_DATA, End, Node, Port, Segment, Tunnel
from tests.unit.lab.reading import PUBLIC, lab, public

TWO = """\
name: two
topology:
  defaults: {kind: linux, image: i}
  nodes: {a: , b: }
  links:
    - endpoints: ["a:eth1", "b:eth1"]
"""


def node(fields: str, kinds: str = "{}", groups: str = "{}", defaults: str = "{}", **files: bytes) -> Node:
    """The only node of a lab, of kind linux with an image unless its fields say otherwise."""
    text = f"""\
name: one
topology:
  defaults: {defaults}
  kinds: {kinds}
  groups: {groups}
  nodes:
    n: {fields}
"""
    [found] = lab(text, files={name.replace("__", "/"): content for name, content in files.items()}).nodes
    return found


def links(*lines: str) -> tuple[Segment, ...]:
    """What links between a, b, c and the bridges br and ovs become."""
    listed = "".join(f"    - {line}\n" for line in lines)
    bridges = "br: {kind: bridge}, ovs: {kind: ovs-bridge}"
    head = "name: l\ntopology:\n  defaults: {kind: linux, image: i}\n"
    return lab(f"{head}  nodes: {{a: , b: , c: , {bridges}}}\n  links:\n{listed}").segments


def problems(text: str) -> list[str]:
    """What is wrong with a file."""
    with pytest.raises(Invalid) as refused:
        lab(text)
    return [str(problem) for problem in refused.value.problems]


# ---------------------------------------------------------------- what goes before what


@pytest.mark.parametrize("name", PUBLIC)
def test_public_labs_are_read(name: str) -> None:
    found = public(name)
    assert found.nodes
    assert found.segments


def test_the_most_special_level_has_the_last_word() -> None:
    levels = {
        "defaults": "{kind: linux, image: d, cmd: d, group: g}",
        "kinds": "{linux: {image: k, cmd: k, entrypoint: k}}",
        "groups": "{g: {image: g, cmd: g}}",
    }
    found = node("{image: n}", **levels)
    assert (found.image, found.args, found.command) == ("n", ("g",), ("k",))


def test_a_group_gives_the_kind_and_is_before_its_fields() -> None:
    found = node("{group: g}", groups="{g: {kind: frr, image: g}}", kinds="{frr: {image: k, user: 5}}")
    assert (found.kind, found.image, found.user) == ("frr", "g", 5)


def test_mappings_are_merged_and_commands_come_one_after_the_other() -> None:
    found = node(
        "{image: i, env: {A: n, C: n}, exec: [n, d], labels: {x: n}}",
        defaults="{kind: linux, env: {A: d, B: d}, exec: [d, 'd 2'], labels: {x: d, y: d}}",
        kinds="{linux: {env: {B: k}, exec: [k]}}",
    )
    assert dict(found.env) == {"A": "n", "B": "k", "C": "n"}
    assert found.after == (("d",), ("d", "2"), ("k",), ("n",))
    assert dict(found.labels) == {"x": "n", "y": "d"}


def test_a_bind_of_the_same_place_is_replaced() -> None:
    found = node(
        "{image: i, binds: ['mine:/etc/x']}",
        defaults="{kind: linux, binds: ['theirs:/etc/x/', 'other:/etc/y']}",
        mine=b"m",
        theirs=b"t",
        other=b"o",
    )
    assert {file.place: file.content for file in found.files} == {"/etc/x": b"m", "/etc/y": b"o"}


# ---------------------------------------------------------------- fields of nodes


def test_words_are_taken_apart_as_a_shell_does() -> None:
    found = node("""{kind: linux, image: i, entrypoint: sh -c, cmd: "'sleep 5; exit'", exec: ['echo "a b"']}""")
    assert found.command == ("sh", "-c")
    assert found.args == ("sleep 5; exit",)
    assert found.after == (("echo", "a b"),)


def test_env_files_come_before_env() -> None:
    found = node("{kind: linux, image: i, env-files: [f], env: {A: 1}}", f=b"# c\nA=0\n B = x y\n\n")
    assert dict(found.env) == {"A": "1", "B": "x y"}


def test_a_folder_is_bound_file_by_file() -> None:
    found = node("{kind: linux, image: i, binds: ['d:/srv:ro', /cache]}", d__one=b"1", d__sub__two=b"2")
    assert {file.place for file in found.files} == {"/srv/one", "/srv/sub/two"}
    assert found.volumes == ("/cache",)


def test_a_nodes_own_folder_is_containerlabs() -> None:
    where = {"clab-one__n__conf": b"1", "clab-one__all": b"2"}
    found = node("{kind: linux, image: i, binds: ['__clabNodeDir__/conf:/a', '__clabDir__/all:/b']}", **where)
    assert {file.place: file.content for file in found.files} == {"/a": b"1", "/b": b"2"}


@pytest.mark.parametrize(
    ("text", "size"),
    [("512mib", 512 << 20), ("1Gb", 10**9), ("1.5GiB", 3 << 29), ("2 M", 2_000_000), ("1048576", 1 << 20)],
)
def test_memory(text: str, size: int) -> None:
    assert node(f"{{kind: linux, image: i, memory: '{text}'}}").memory == size


def test_ports() -> None:
    found = node("{kind: linux, image: i, ports: ['80:8080', '53:53/udp', '127.0.0.1:8443:443/TCP']}")
    assert found.ports == (
        Port(outside=80, inside=8080),
        Port(outside=53, inside=53, protocol="UDP"),
        Port(outside=8443, inside=443),
    )


def test_frr_has_its_files_and_its_daemons() -> None:
    found = node("{kind: frr, image: i, startup-config: r.conf, extras: {frr: {daemons: [ospfd]}}}", **{"r.conf": b"x"})
    files = {file.place: file.content.decode() for file in found.files}
    assert files["/etc/frr/frr.conf"] == "x"
    assert "ospfd=yes" in files["/etc/frr/daemons"]
    assert "bgpd=no" in files["/etc/frr/daemons"]
    assert dict(found.sysctls)["net.ipv4.ip_forward"] == "1"


def test_frr_without_a_word_starts_all_daemons_with_an_empty_configuration() -> None:
    files = {file.place: file.content.decode() for file in node("{kind: frr, image: i}").files}
    assert "bgpd=yes" in files["/etc/frr/daemons"]
    assert "frr defaults traditional" in files["/etc/frr/frr.conf"]


def test_what_a_file_says_goes_before_what_a_kind_has() -> None:
    bound = "binds: ['d:/etc/frr/daemons', 'c:/etc/frr/frr.conf'], sysctls: {net.ipv4.ip_forward: 0}"
    found = node(f"{{kind: frr, image: i, {bound}}}", d=b"mine", c=b"mine too")
    files = {file.place: file.content for file in found.files}
    assert (files["/etc/frr/daemons"], files["/etc/frr/frr.conf"]) == (b"mine", b"mine too")
    assert dict(found.sysctls) == {"net.ipv4.ip_forward": "0", "net.ipv6.conf.all.forwarding": "1"}


def test_images_are_started_as_their_kinds_want_it() -> None:
    srl = node("{kind: srl, image: i}")
    assert srl.args == ("sudo", "bash", "-c", "touch /.dockerenv && /opt/srlinux/bin/sr_linux")
    assert (dict(srl.env), srl.user) == ({"SRLINUX": "1"}, 0)
    ceos = node("{kind: arista_ceos, image: i, env: {INTFTYPE: et, X: 1}}")
    assert ceos.args[0] == "/sbin/init"
    assert set(ceos.args[1:]) == {f"systemd.setenv={key}={value}" for key, value in ceos.env}
    assert {"CEOS=1", "INTFTYPE=et", "X=1"} <= {f"{key}={value}" for key, value in ceos.env}


@pytest.mark.parametrize(
    ("fields", "command", "args"), [("cmd: a b", (), ("a", "b")), ("entrypoint: a", ("a",), ()), ("user: 5", (), None)]
)
def test_a_file_may_start_an_image_otherwise(fields: str, command: tuple[str, ...], args: tuple[str, ...]) -> None:
    found = node(f"{{kind: srl, image: i, {fields}}}")
    assert found.command == command
    assert found.args == args or (args is None and found.args and found.user == 5)


def test_a_startup_config_of_several_lines_is_itself() -> None:
    found = node('{kind: ceos, image: i, startup-config: "hostname x\\nend\\n"}')
    assert [(file.place, file.content) for file in found.files] == [("/mnt/flash/startup-config", b"hostname x\nend\n")]


def test_only_what_containerlab_runs_with_less_is_unprivileged() -> None:
    assert node("{kind: linux, image: i, cap-add: [cap_sys_time, NET_RAW]}").capabilities == (
        "NET_ADMIN",
        "NET_RAW",
        "SYS_TIME",
    )
    assert node("{kind: nokia_srlinux, image: i}").privileged
    assert not node("{kind: linux, image: i}").privileged


def test_a_vm_of_a_template() -> None:
    template = b"kind: VirtualMachine\nspec: {template: {spec: {domain: {}}}}\n"
    found = node("{kind: vm, template: vm.yaml, startup-config: user.yaml}", **{"vm.yaml": template, "user.yaml": b"#"})
    assert found.template == {"kind": "VirtualMachine", "spec": {"template": {"spec": {"domain": {}}}}}
    assert found.config == "#"


# ---------------------------------------------------------------- links


def test_a_link_in_either_form_is_the_same() -> None:
    brief = links('endpoints: ["a:eth1", "b:e1-1"]')
    assert brief == (Segment(ends=(End(node="a", interface="eth1"), End(node="b", interface="e1-1"))),)
    assert brief == links(
        "{type: veth, endpoints: [{node: a, interface: eth1}, {node: b, interface: e1-1}]}",
    )
    assert brief == links('{type: veth, endpoints: ["a:eth1", {node: b, interface: e1-1}]}')


@pytest.mark.parametrize(
    ("name", "linux"), [("ethernet-1/10", "e1-10"), ("ethernet-1/2/3", "e1-2-3"), ("e1-4", "e1-4"), ("mgmt0", "mgmt0")]
)
def test_sr_linux_may_have_its_own_names_of_interfaces(name: str, linux: str) -> None:
    text = "name: x\ntopology:\n  defaults: {image: i}\n  nodes: {s: {kind: srl}, a: {kind: linux}}\n  links: "
    [segment] = lab(text + f"[{{endpoints: ['s:{name}', 'a:eth1']}}]").segments
    assert segment.ends[0].interface == linux
    if name != linux:
        both = f"[{{endpoints: ['s:{name}', 'a:eth1']}}, {{endpoints: ['s:{linux}', 'a:eth2']}}]"
        assert f"s:{linux} is in use by topology.links[0].endpoints[0]" in problems(text + both)[0]


def test_all_that_a_link_says_is_kept() -> None:
    [found] = links(
        "{mtu: 1400, impairment: {delay: 20ms, loss: 1%}, endpoints: "
        "[{node: a, interface: eth1, mac: '02:00:00:00:00:0A', ipv4: 10.0.0.1/24, ipv6: '2001:db8::1/64'}, 'b:eth1']}"
    )
    first, second = found.ends
    assert found.mtu == 1400
    assert (first.mac, first.addresses) == ("02:00:00:00:00:0a", ("10.0.0.1/24", "2001:db8::1/64"))
    assert first.impairment == second.impairment
    assert first.impairment.words == "delay 20ms, loss 1%"


def test_addresses_of_a_brief_link_are_those_of_its_ends() -> None:
    [found] = links('{endpoints: ["a:eth1", "b:eth1"], ipv4: [10.0.0.1/24, 10.0.0.2/24]}')
    assert [end.addresses for end in found.ends] == [("10.0.0.1/24",), ("10.0.0.2/24",)]


def test_all_links_of_a_bridge_are_one_lan() -> None:
    [found] = links('endpoints: ["a:eth1", "br:x"]', 'endpoints: ["br:y", "b:eth1"]', 'endpoints: ["c:eth1", "br:z"]')
    assert found.name == "br"
    assert [end.node for end in found.ends] == ["a", "b", "c"]


def test_bridges_that_are_linked_are_one_lan() -> None:
    found = links(
        'endpoints: ["a:eth1", "br:1"]',
        'endpoints: ["b:eth1", "ovs:1"]',
        'endpoints: ["br:2", "ovs:2"]',
        'endpoints: ["ovs:3", "c:eth1"]',
    )
    assert [[end.node for end in segment.ends] for segment in found] == [["a", "b", "c"]]


def test_what_shares_a_nic_is_one_lan() -> None:
    found = links(
        'endpoints: ["a:eth1", "macvlan:enp1s0"]',
        "{type: macvlan, endpoint: {node: b, interface: eth1}, host-interface: enp1s0}",
        "{type: macvlan, endpoint: 'c:eth1', host-interface: enp2s0}",
        'endpoints: ["br:1", "macvlan:enp2s0"]',
        'endpoints: ["b:eth2", "host:ve1"]',
        "{type: host, endpoint: 'c:eth2', host-interface: ve2}",
    )
    assert sorted(([nic.device for nic in each.nics], [end.node for end in each.ends]) for each in found) == [
        (["enp1s0"], ["a", "b"]),
        (["enp2s0"], ["c"]),
        (["ve1"], ["b"]),
        (["ve2"], ["c"]),
    ]


def test_an_interface_of_the_host_has_to_be_there() -> None:
    [said] = lab(
        "name: x\ntopology:\n nodes: {a: {kind: linux, image: i}}\n links: [{endpoints: ['a:eth1', 'host:ve1']}]"
    ).warnings
    assert "topology.links[0] (4:10): ve1 is not made: have it on the node" in said


def test_tunnels() -> None:
    end = "endpoint: {node: a, interface: eth1}, remote: 192.0.2.1, vni: 100"
    [found] = links(f"{{type: vxlan, {end}}}")
    assert found.tunnels == (Tunnel(remote="192.0.2.1", vni=100, port=14789),)
    [found] = links(f"{{type: vxlan-stitch, {end}, udp-port: 4789}}")
    assert found.tunnels == (Tunnel(remote="192.0.2.1", vni=100, port=4789),)


def test_a_dummy_is_a_lan_of_one_and_mgmt_net_of_many() -> None:
    found = links(
        "{type: dummy, endpoint: 'a:eth1'}",
        "{type: mgmt-net, endpoint: 'a:eth2'}",
        'endpoints: ["b:eth1", "mgmt-net:x"]',
    )
    assert sorted((each.name, len(each.ends)) for each in found) == [("", 1), ("mgmt-net", 2)]


# ---------------------------------------------------------------- warnings


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("startup-delay: 5", "topology.nodes.n.startup-delay (4:34): is not used: nodes start all at once"),
        ("license: l.key", "topology.nodes.n.license (4:34): is not used"),
        ("mgmt-ipv4: 172.20.20.2", "topology.nodes.n.mgmt-ipv4 (4:34): is not used: the cluster gives"),
        ("mgmt_ipv6: '::1'", "topology.nodes.n.mgmt_ipv6 (4:34): is not used"),
        ("network-mode: none", "network-mode (4:34): is not used: a pod always has eth0"),
        ("restart-policy: 'no'", "restart-policy (4:34): is not used"),
        ("sysctls: {kernel.domainname: x}", "sysctls.kernel.domainname (4:44): is not set"),
        ("startup-config: 'a\n\n  b'", "startup-config (4:34): is not used: where linux keeps"),
        ("extras: {srl-agents: [x]}", "extras.srl-agents (4:43): is not used"),
        ("labels: {a: 'two words'}", "labels.a (4:43): is not used: 'two words' cannot be a label's value"),
        ("env: {__IMPORT_ENVS: true}", "env.__IMPORT_ENVS (4:40): is not used"),
        ("stages: {create: {wait-for: []}}", "topology.nodes.n.stages (4:34): is not used"),
        ("exec: [sysctl -w net.ipv4.ip_forward=1]", "exec[0] (4:41): fails in a node of kind linux that is not"),
        ("exec: ['true', \"sh -c 'sysctl -p'\"]", "exec[1] (4:49): fails in a node of kind linux that is not"),
        ("exec: [/bin/mount -t tmpfs x /x]", "Give --privileged, or cap-add: [SYS_ADMIN]"),
    ],
)
def test_what_is_not_done_is_said(fields: str, words: str) -> None:
    [warning] = lab(f"name: w\ntopology:\n  nodes:\n    n: {{kind: linux, image: i,   {fields}}}\n").warnings
    assert words in warning


@pytest.mark.parametrize(
    ("fields", "warnings"),
    [
        ("kind: linux, image: 'quay.io/frrouting/frr:10.1'", 1),
        ("kind: linux, image: 'frr:1', cap-add: [SYS_ADMIN], exec: [mount -a]", 0),
        ("kind: frr, image: 'frr:1', exec: [mount -a, echo sysctl]", 0),
        ("kind: ceos, image: i, exec: [sysctl -a]", 0),
    ],
)
def test_what_needs_privileges_is_said(fields: str, warnings: int) -> None:
    assert len(lab(f"name: w\ntopology: {{nodes: {{n: {{{fields}}}}}}}\n").warnings) == warnings


def test_what_a_file_has_beside_the_topology_is_said() -> None:
    found = lab(f"mgmt: {{network: x}}\nprefix: ''\n{TWO}$Q\n".replace("$Q", "    # $UNUSED")).warnings
    assert [warning.partition(":")[0] + ":" for warning in found] == ["mgmt (1:", "prefix (2:"]


def test_kinds_that_are_not_known_run_as_privileged_containers() -> None:
    found = lab("name: w\ntopology: {nodes: {n: {kind: vr-sros, image: i}}}\n")
    assert found.nodes[0].privileged
    assert "vr-sros is not known here" in found.warnings[0]


VM_TEMPLATE = b"kind: VirtualMachine\nspec: {template: {spec: {domain: {}}}}\n"


def test_a_template_in_a_namespace_of_its_own_is_said() -> None:
    template = {"t": VM_TEMPLATE + b"metadata: {namespace: other}\n"}
    [said] = lab("name: w\ntopology: {nodes: {n: {kind: vm, template: t}}}\n", files=template).warnings
    assert "topology.nodes.n.template (2:34): t's namespace is not used" in said


@pytest.mark.parametrize(
    ("fields", "unused"),
    [
        ("kind: vm, image: i, exec: [x], env: {A: b}, extras: {frr: {}}", ["exec", "env", "extras"]),
        ("kind: vm, template: t, image: i, image-pull-policy: always", ["image", "image-pull-policy"]),
        ("kind: linux, image: i, template: t", ["template"]),
        (
            "kind: bridge, image: i, exec: [x], env: {A: b}, ports: ['8:8'], startup-config: t, network-mode: none",
            ["image", "exec", "env", "ports", "startup-config", "network-mode"],
        ),
        ("kind: linux, image: i, ports: ['127.0.0.1:9090:90']", ["ports[0]"]),
        ("kind: linux, image: i, binds: ['t:/a:ro', 't:/b:rw,z']", ["binds[1]"]),
    ],
)
def test_a_node_says_what_it_does_not_take(fields: str, unused: list[str]) -> None:
    text = f"name: w\ntopology:\n  defaults: {{cmd: x}}\n  nodes:\n    n: {{{fields}}}\n    br: {{kind: bridge}}\n"
    found = [warning.split()[0] for warning in lab(text, files={"t": VM_TEMPLATE}).warnings]
    assert {each for each in found if "nodes.n." in each} == {f"topology.nodes.n.{name}" for name in unused}
    assert ("topology.defaults.cmd" in found) == ("vm" in fields)


@pytest.mark.parametrize(
    ("link", "unused"),
    [
        ("{endpoints: ['a:e1', 'b:e1'], mode: bridge, remote: x, vni: 5}", ["mode", "remote", "vni"]),
        ("{endpoints: ['a:e1', 'macvlan:x'], host-interface: x, mode: bridge}", ["host-interface"]),
        ("{type: macvlan, endpoint: 'a:e1', host-interface: x, mode: vepa, udp-port: 5}", ["mode", "udp-port"]),
        ("{type: host, endpoint: 'a:e1', host-interface: x, mode: vepa}", ["mode"]),
        ("{type: mgmt-net, endpoint: 'a:e1', host-interface: x}", ["host-interface"]),
        ("{type: dummy, endpoint: 'a:e1', remote: x, ipv4: [10.0.0.1/24]}", ["remote", "ipv4"]),
        ("{endpoints: ['a:e1', 'b:e1'], ipv4: [10.0.0.1/24, '', 10.0.0.3/24]}", ["ipv4[2]"]),
        ("{endpoints: ['a:e1', 'br:e1'], ipv6: ['2001:db8::1/64', '2001:db8::2/64']}", ["ipv6[1]"]),
        ("{endpoints: ['mgmt-net:x', 'b:e1'], ipv4: [10.0.0.1/24, 10.0.0.2/24]}", ["ipv4[0]"]),
        ("{endpoints: ['a:e1', {node: br, interface: x, mac: '02:00:00:00:00:01'}]}", ["endpoints[1].mac"]),
        ("{endpoints: ['a:e1', {node: macvlan, interface: x, ipv4: 10.0.0.1/24}]}", ["endpoints[1].ipv4"]),
    ],
)
def test_a_link_says_what_it_does_not_take(link: str, unused: list[str]) -> None:
    nodes = "{a: {kind: linux, image: i}, b: {kind: linux, image: i}, br: {kind: bridge}, c: {kind: linux, image: i}}"
    text = f"name: w\ntopology:\n  nodes: {nodes}\n  links: [{{endpoints: ['c:e1', 'br:c']}}, {link}]\n"
    found = [warning.split()[0] for warning in lab(text).warnings]
    assert set(found) - {"topology.links[1]"} == {f"topology.links[1].{name}" for name in unused}


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "must be fields with values"),
        ("name: x", "topology (1:1): is missing"),
        ("topology: {nodes: {}}", "name (1:1): is missing"),
        ("name: x\ntopology: {nodes: [a]}", "topology.nodes (2:12): must be fields with values"),
        ("name: [x]\ntopology: {nodes: {}}", "name (1:1): must be text"),
        ("name: '--'\ntopology: {nodes: {}}", "name (1:1): must have a letter or a digit"),
        (
            "name: x\ntopologi: {}\ntopology: {nodes: {}}",
            "topologi (2:1): is no field that is known: did you mean topology?",
        ),
        (
            "name: x\ntopology: {nodes: {}, node: {}}",
            "topology.node (2:23): is no field that is known: did you mean nodes?",
        ),
        ("name: x\ntopology: {nodes: {a: 5}}", "topology.nodes.a (2:20): must be fields with values"),
    ],
)
def test_a_file_that_is_no_topology(text: str, words: str) -> None:
    assert any(words in problem for problem in problems(text)), problems(text)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("imge: i", "imge (4:30): is no field that is known: did you mean image?"),
        ("cpu: many", "cpu (4:30): must be a number"),
        ("cpu: -1", "cpu (4:30): must be greater than 0"),
        ("cpu: nan", "cpu (4:30)"),
        ("memory: lots", "memory (4:30): 'lots' is not a size"),
        ("memory: 5kb", "memory (4:30): 5kb is not at least 1MiB"),
        ("image: [i]", "image (4:20): must be text"),
        ("exec: {a: b}", "exec (4:30): must be a list"),
        ("exec: ['echo \"']", "exec[0] (4:37): cannot be taken apart into words: no closing quotation"),
        ("env: [a]", "env (4:30): must be fields with values"),
        ("env: {'a=b': c}", "cannot be the name of a variable"),
        ("ports: ['80']", "ports[0] (4:38): '80' is not OUTSIDE:INSIDE"),
        ("ports: ['0:80']", "is not OUTSIDE:INSIDE"),
        ("ports: ['80:1', '80:2']", "ports[1] (4:46): port 80 is topology.nodes.n.ports[0] already"),
        ("user: somebody", "user (4:30): 'somebody': Kubernetes takes a user by its number"),
        ("image-pull-policy: often", "'often' is not one of Always, Never, IfNotPresent"),
        ("network-mode: host", "a pod with another's network cannot be plugged into LANs"),
        ("network-mode: 'container:b'", "a pod with another's network"),
        ("binds: ['x:relative']", "binds[0] (4:38): 'relative' is not where a file can be in a node"),
        ("binds: ['x:/a/../b']", "is not where a file can be"),
        ("binds: ['x:/']", "a node has its image there"),
        ("binds: ['x:/a:exec']", "the option 'exec' is not known"),
        ("binds: ['absent:/a']", "binds[0] (4:38): absent cannot be read: No such file or directory"),
        ("env-files: [absent]", "env-files[0] (4:42): absent cannot be read"),
        ("sysctls: {'net; reboot': 1}", "is not the name of a sysctl"),
        ("cap-add: ['NET ADMIN']", "is not a capability"),
        ("labels: {lab.k8slan.io/name: other}", "is k8slan's own label"),
        ("startup-config: https://lab.example/r1.cfg", "startup-config (4:30): is not fetched"),
        ("group: 5", ""),
    ],
)
def test_a_field_of_a_node_that_cannot_be(fields: str, words: str) -> None:
    text = f"name: x\ntopology:\n  nodes:\n    n: {{kind: frr, image: i, {fields}}}\n".replace(
        "image: i, image:", "image:"
    )
    if not words:
        lab(text)
        return
    found = problems(text)
    assert len(found) == 1
    assert "topology.nodes.n" in found[0]
    assert words in found[0]


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ("{n: {image: i}}", "topology.nodes.n (4:4): has no kind, and topology.defaults.kind gives none"),
        ("{n: {kind: linux}}", "topology.nodes.n (4:4): needs an image"),
        ("{n: {kind: vm}}", "needs an image, or a template"),
        ("{n: {kind: host}}", "host: a node is a pod or a VM here"),
        ("{n: {kind: ext-container}}", "what runs outside of the lab is not plugged into it"),
        ("{mgmt-net: {kind: linux, image: i}}", "mgmt-net is a word of links, and no name for a node"),
        ("{vxlan-stitch: {kind: linux, image: i}}", "vxlan-stitch is a word of links, and no name for a node"),
        ("{'macvlan:x': {kind: bridge}}", "the name must have no colon"),
        ("{'~': {kind: linux, image: i}}", "the name must have a letter or a digit"),
        (
            "{n: {kind: frr, image: i, extras: {frr: {daemons: ospfd}}}}",
            "extras.frr (4:38): must have a list of daemons",
        ),
        ("{n: {kind: frr, image: i, extras: {frr: {daemons: [ospf]}}}}", "did you mean"),
    ],
)
def test_a_node_that_cannot_be(nodes: str, words: str) -> None:
    [found] = problems(f"name: x\ntopology:\n nodes:\n  {nodes}\n")
    assert words in found


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("endpoints: ['a:eth1']", "[0].endpoints (7:7): a link has two endpoints"),
        ("endpoints: ['a:eth1', 'b:eth1', 'c:eth1']", "a link has two endpoints"),
        ("type: veth", "topology.links[0] (7:7): a link has two endpoints"),
        ("endpoints: ['a', 'b:eth1']", "endpoints[0] (7:19): 'a' is not NODE:INTERFACE"),
        ("endpoints: ['aa:eth1', 'b:eth1']", "there is no node 'aa': did you mean a?"),
        ("endpoints: ['a:eth1', 'a:eth1']", "a:eth1 is in use by topology.links[0].endpoints[0]"),
        ("endpoints: ['a:eth0', 'b:eth1']", "eth0 is a pod's interface on the cluster's pod network"),
        ("endpoints: ['a:', 'b:eth1']", "the interface is empty"),
        ("endpoints: ['a:ethernet-1/1', 'b:eth1']", "the interface 'ethernet-1/1' is not an interface name"),
        ("endpoints: ['a:much-too-long-a-name', 'b:eth1']", "is longer than 15 bytes"),
        ("endpoints: ['a:Ethernet1/1', 'b:eth1']", "Name it as Linux does, such as eth1 or e1-1"),
        ("endpoints: ['a:lo', 'b:eth1']", "'lo' is a name that the kernel keeps for itself"),
        ("{type: host, endpoint: 'a:eth1'}", "host-interface is empty"),
        ("endpoints: ['a:eth1', 'macvlan:']", "host-interface is empty"),
        ("endpoints: ['a:eth1', 'vxlan:100']", "write it in full: type, endpoint, remote and vni"),
        ("endpoints: ['mgmt-net:x', 'macvlan:y']", "at least one of the two has to be a node"),
        ("{type: cable, endpoints: []}", "'cable' is not one of veth, mgmt-net, macvlan"),
        ("{type: dummy, endpoints: ['a:eth1', 'b:eth1']}", "a link of type dummy has one endpoint"),
        ("{type: vxlan, endpoint: 'a:eth1', remote: here, vni: 1}", "remote (7:41): 'here' is not an IP address"),
        ("{type: vxlan, endpoint: 'a:eth1', remote: 192.0.2.1}", "vni (7:7): is not in 1..16777215"),
        ("{type: vxlan, endpoint: 'a:eth1', remote: 192.0.2.1, vni: x}", "vni (7:60): must be a whole number"),
        ("{endpoints: ['a:eth1', 'b:eth1'], mtu: 20}", "mtu (7:41): must be greater than or equal to 68"),
        ("{endpoints: [{node: a}, 'b:eth1']}", "endpoints[0].interface (7:20): is missing"),
        ("{endpoints: [{node: a, interface: e1, mac: x}, 'b:e1']}", "'x' is not a MAC address"),
        ("{endpoints: [{node: a, interface: e1, ipv4: x}, 'b:e1']}", "'x' is not an address with the length"),
        ("{endpoints: [{node: a, interface: e1, colour: x}, 'b:e1']}", "colour (7:45): is no field that is known"),
        (
            "{endpoints: ['a:e1', 'b:e1'], impairment: {delay: 5}}",
            "impairment.delay (7:50): '5' is not written as 10ms",
        ),
        (
            "{endpoints: ['a:e1', 'b:e1'], impairment: {jitter: 5ms}}",
            "impairment.jitter (7:50): is more than the delay",
        ),
        ("{endpoints: ['a:e1', 'b:e1'], impairment: {lag: 5ms}}", "impairment.lag (7:50): is no field that is known"),
        ("{endpoints: ['a:e1', 'b:e1'], bandwidth: 5}", "links[0].bandwidth (7:37): is no field that is known"),
    ],
)
def test_a_link_that_cannot_be(link: str, words: str) -> None:
    head = "name: x\ntopology:\n  defaults: {kind: linux, image: i}\n  nodes: {a: , b: , c: }\n\n  links:\n"
    found = problems(f"{head}    - {link}\n")
    assert any(words in problem for problem in found), found


def test_tunnels_of_two_networks_cannot_meet_at_a_bridge() -> None:
    tunnel = "{{type: vxlan, endpoint: 'br:{0}', remote: 192.0.2.{0}, vni: {0}}}"
    with pytest.raises(Invalid, match="one vni and udp-port"):
        links('endpoints: ["a:eth1", "br:x"]', tunnel.format(1), tunnel.format(2))


@pytest.mark.parametrize(
    ("hub", "words"),
    [
        ("macvlan:nic", "topology.links (4:2): 2 ends meet at macvlan:nic, 1 at the most"),
        ("br:{n}", "topology.nodes.br (3:38): 2 ends meet here, 1 at the most"),
    ],
)
def test_too_many_ends_are_told_by_where_they_meet(hub: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8slan_cli.lab.links.MAX_SPOKES", 1)
    both = ", ".join(f"{{endpoints: ['a:eth{n}', '{hub.format(n=n)}']}}" for n in (1, 2))
    nodes = "{a: {kind: linux, image: i}, br: {kind: bridge}}"
    [said] = problems(f"name: x\ntopology:\n nodes: {nodes}\n links: [{both}]")
    assert words in said


def test_all_problems_are_said_at_once() -> None:
    found = problems(
        "name: x\ntopology:\n  nodes:\n    a: {kind: linux, cpus: 1}\n    b: {kind: linux, image: i, user: me}\n"
        "  links:\n    - endpoints: [a:eth1, c:eth1]\n"
    )
    assert [problem.partition(" ")[0] for problem in found] == [
        "topology.nodes.a.cpus",
        "topology.nodes.a",
        "topology.nodes.b.user",
        "topology.links[0].endpoints[1]",
    ]


def test_a_startup_config_of_commands_is_refused_where_it_has_to_be_json() -> None:
    text = (
        "name: x\ntopology:\n  kinds: {srl: {image: i, startup-config: f}}\n  nodes: {a: {kind: srl}, b: {kind: srl}}\n"
    )
    assert lab(text, files={"f": b"{}"}).nodes[0].files[0].content == b"{}"
    with pytest.raises(Invalid) as refused:
        lab(text, files={"f": b"set / system name host-name x\n"})
    [said] = map(str, refused.value.problems)
    assert "topology.kinds.srl.startup-config (3:27): is not JSON" in said
    assert "k8slan lab save" in said


def test_files_have_bounds() -> None:
    with pytest.raises(Invalid, match="put it into the image"):
        node("{kind: linux, image: i, binds: ['big:/x']}", big=b"x" * (MAX_FILES_SIZE + 1))
    many = {f"d__{number}": b"" for number in range(MAX_FILES + 1)}
    with pytest.raises(Invalid, match="put it into the image"):
        node("{kind: linux, image: i, binds: ['d:/x']}", **many)
    with pytest.raises(Invalid, match="use a template"):
        node("{kind: vm, image: i, startup-config: u}", u=b"x" * (MAX_USER_DATA + 1))


@pytest.mark.parametrize(
    "template",
    [
        *(b"[", b"5", b"kind: Pod", b"kind: VirtualMachine", b"kind: VirtualMachine\nspec: []"),
        VM_TEMPLATE.replace(b"domain: {}", b"domain: {devices: [1]}"),
        VM_TEMPLATE.replace(b"domain: {}", b"domain: {}, networks: [{}]"),
        VM_TEMPLATE.replace(b"domain: {}", b"domain: {}, volumes: 5"),
    ],
)
def test_a_template_that_is_no_vm(template: bytes) -> None:
    with pytest.raises(Invalid, match="template"):
        node("{kind: vm, template: t}", t=template)


_VALUES = st.recursive(
    st.none() | st.text(max_size=8) | st.integers(-5, 70000) | st.sampled_from(["a:eth1", "macvlan:x", "linux", "/x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "image", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
_FIELDS = [
    *("kind", "group", "image", "exec", "env", "binds", "ports", "cpu", "memory", "sysctls", "labels", "extras", "cmd"),
    *("startup-config", "user", "template", "network-mode"),
]


@given(
    fields=st.dictionaries(st.sampled_from(_FIELDS), _VALUES, max_size=5),
    link=st.dictionaries(
        st.sampled_from(
            ["type", "endpoints", "endpoint", "mtu", "vni", "remote", "impairment", "host-interface", "ipv4", "mode"]
        ),
        _VALUES,
        max_size=5,
    ),
)
def test_whatever_is_in_a_file_is_read_or_refused(fields: dict[str, object], link: dict[str, object]) -> None:
    text = json.dumps(
        {"name": "x", "topology": {"defaults": {"kind": "linux"}, "nodes": {"a": fields}, "links": [link]}}
    )
    with contextlib.suppress(Invalid):
        lab(text)
