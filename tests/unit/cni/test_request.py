"""From environment and stdin to a request: what is required, what is refused with which code, what wins."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.cni.request import Add, Check, Del, Gc, NetConf, Plugin, RuntimePod, Status, Version, parse
from k8slan_cli.cni.result import Dns, Interface, Ip, Result
from k8slan_cli.errors import CniError
from k8slan_cli.lan.model import LanRef

ENVIRON = {
    "CNI_CONTAINERID": "c0ffee",
    "CNI_IFNAME": "net1",
    "CNI_NETNS": "/run/netns/x",
    "CNI_PATH": "/opt/cni/bin",
}
CONFIG = {"cniVersion": "1.1.0", "name": "k8slan-veth-a", "type": "k8slanveth", "veth": "a"}
PREVIOUS = {"prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "net1"}]}}
LIST = {"cni.dev/valid-attachments": [{"containerID": "c0ffee", "ifname": "net1"}]}
VERBS = ("ADD", "DEL", "CHECK", "STATUS", "GC")


def ask(verb: str = "ADD", environ: dict[str, str] | None = None, **members: Any) -> Any:
    """Parse a request; a variable or member that is given as None is left out."""
    variables = {name: value for name, value in (ENVIRON | (environ or {})).items() if value is not None}
    config = CONFIG | PREVIOUS | LIST | {name.replace("__", "."): value for name, value in members.items()}
    stdin = json.dumps({name: value for name, value in config.items() if value is not ...}).encode()
    return parse(variables | {"CNI_COMMAND": verb}, stdin)


def refused(verb: str = "ADD", environ: dict[str, Any] | None = None, **members: Any) -> CniError:
    with pytest.raises(CniError) as caught:
        ask(verb, environ, **members)
    return caught.value


# ---------------------------------------------------------------- verbs


def test_add() -> None:
    request = ask()
    assert isinstance(request, Add)
    assert (request.container, request.ifname, request.netns) == ("c0ffee", "net1", "/run/netns/x")
    assert (request.mac, request.pod) == (None, RuntimePod())
    assert request.config == NetConf(version="1.1.0", name="k8slan-veth-a", plugin=Plugin.VETH, spoke="a")
    assert request.environ == ENVIRON | {"CNI_COMMAND": "ADD"}
    assert json.loads(request.stdin)["veth"] == "a"


def test_del() -> None:
    request = ask("DEL", ipam={"type": "host-local"})
    assert isinstance(request, Del)
    assert (request.container, request.ifname, request.netns) == ("c0ffee", "net1", "/run/netns/x")
    assert request.ipam == "host-local"


def test_check() -> None:
    request = ask("CHECK")
    assert isinstance(request, Check)
    assert request.previous == Result(interfaces=(Interface(name="net1"),))


def test_status() -> None:
    request = ask("STATUS", dict.fromkeys(ENVIRON))
    assert isinstance(request, Status)
    assert request.config.spoke == "a"


def test_gc() -> None:
    request = ask("GC", {"CNI_CONTAINERID": None, "CNI_IFNAME": None, "CNI_NETNS": None})
    assert isinstance(request, Gc)
    assert request.valid == {("c0ffee", "net1")}


def test_version() -> None:
    request = parse({"CNI_COMMAND": "VERSION"}, b'{"cniVersion":"0.4.0"}')
    assert isinstance(request, Version)
    assert request.version == "0.4.0"


# ---------------------------------------------------------------- the environment

REQUIRED = {
    "ADD": {"CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"},
    "DEL": {"CNI_CONTAINERID", "CNI_IFNAME"},
    "CHECK": {"CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"},
    "STATUS": set(),
    "GC": {"CNI_PATH"},
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", ENVIRON)
@pytest.mark.parametrize("value", [None, ""])
def test_each_verb_needs_its_variables_and_no_other(verb: str, name: str, value: str | None) -> None:
    if name in REQUIRED[verb]:
        error = refused(verb, {name: value})
        assert (error.code, error.msg) == (4, f"{verb} needs {name}")
    else:
        ask(verb, {name: value})


@pytest.mark.parametrize("verb", [None, "", "add", "FROB", "ADD\n"])
def test_an_unknown_command_is_refused(verb: str | None) -> None:
    variables = ENVIRON | ({"CNI_COMMAND": verb} if verb is not None else {})
    with pytest.raises(CniError) as caught:
        parse(variables, json.dumps(CONFIG).encode())
    assert caught.value.code == 4


BAD_CONTAINERS = ["../x", "a/b", ".a", "-a", "_a", "a b", "a\n", "a\0", "ä", "a" * 254]
BAD_IFNAMES = [".", "..", "a/b", "a:b", "a b", "a\tb", "a\n", "a\0", "eth%d", "é", "x" * 16]


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("CNI_CONTAINERID", value) for value in BAD_CONTAINERS] + [("CNI_IFNAME", value) for value in BAD_IFNAMES],
)
def test_names_that_cannot_be_are_refused(verb: str, name: str, value: str) -> None:
    error = refused(verb, {name: value})
    assert error.code == 4
    assert error.msg.startswith(name)


@pytest.mark.parametrize("name", ["a", "A.b_c-d", "0" * 64])
def test_container_ids_of_the_spec_are_taken(name: str) -> None:
    assert ask(environ={"CNI_CONTAINERID": name}).container == name


def test_the_longest_interface_name_is_taken() -> None:
    assert ask(environ={"CNI_IFNAME": "x" * 15}).ifname == "x" * 15


def test_a_namespace_that_would_garble_a_log_is_refused() -> None:
    assert refused(environ={"CNI_NETNS": "/run/\n2026 all is well"}).code == 4


def test_the_pod_is_known_by_cni_args() -> None:
    args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=lab;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=f00;K8S_POD_UID=1-2"
    pod = ask(environ={"CNI_ARGS": args}).pod
    assert pod == RuntimePod(namespace="lab", name="web-0", uid="1-2", sandbox="f00")
    assert (str(pod), str(RuntimePod())) == ("lab/web-0", "")


@pytest.mark.parametrize(
    "args",
    [
        "IgnoreUnknown=true;FOO=bar",
        "FOO=bar;IgnoreUnknown=1",
        "IgnoreUnknown=TRUE;A=b;",
        "IgnoreUnknown=1;A=b;IgnoreUnknown=true",
        "IgnoreUnknown=0",
        "",
    ],
)
def test_unknown_args_are_ignored_if_that_is_asked_for(args: str) -> None:
    ask(environ={"CNI_ARGS": args})


@pytest.mark.parametrize(
    "args",
    [
        "FOO=bar",
        "IgnoreUnknown=false;FOO=bar",
        "IgnoreUnknown=0;FOO=1",
        "IgnoreUnknown=yes",
        "MAC",
        "=x",
        "K8S_POD_NAME=a\nb",
        "K8S_POD_NAMESPACE=mine;K8S_POD_NAMESPACE=yours",
    ],
)
def test_other_args_are_refused_but_do_not_hinder_del(args: str) -> None:
    assert refused(environ={"CNI_ARGS": args}).code == 4
    ask("DEL", {"CNI_ARGS": args})


# ---------------------------------------------------------------- the configuration


@pytest.mark.parametrize(
    ("pod", "spoke"),
    [("web-0", "r-0"), ("web-12", "r-12"), ("a-7-3", "r-3")],
)
def test_a_pod_of_a_stateful_set_gets_the_spoke_of_its_number(pod: str, spoke: str) -> None:
    assert ask(environ={"CNI_ARGS": f"K8S_POD_NAME={pod}"}, veth="r-*").config.spoke == spoke


@pytest.mark.parametrize("pod", ["web", "web-", "web-01", "web-7c9d-x2x", "web-1-x", ""])
def test_a_pod_without_a_number_gets_none(pod: str) -> None:
    error = refused(environ={"CNI_ARGS": f"K8S_POD_NAME={pod}" if pod else ""}, veth="r-*")
    told = f"veth: r-* is for pods of a StatefulSet, whose names end in a number: {pod!r} does not"
    assert (error.code, error.msg) == (7, told)


@pytest.mark.parametrize("verb", ["CHECK", "STATUS", "GC"])
def test_where_there_is_no_pod_the_first_spoke_stands_for_all(verb: str) -> None:
    assert ask(verb, veth="r-*").config.spoke == "r-0"


@pytest.mark.parametrize("text", ["-*", "*", "r*", "R-*", "rrrrrrrrrrrr-*", "r-*-*"])
def test_what_cannot_be_the_spokes_of_a_stateful_set_is_refused(text: str) -> None:
    assert refused(environ={"CNI_ARGS": "K8S_POD_NAME=web-1"}, veth=text).code == 7


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "stdin",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b'{"a":NaN}',
        b'{"a":1}x',
        b"\xff\xfe{\0}\0",
        b'{"a":"\xff"}',
        b'{"a":' + b"[" * 200_000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_json_object_cannot_be_decoded(verb: str, stdin: bytes) -> None:
    with pytest.raises(CniError) as caught:
        parse(ENVIRON | {"CNI_COMMAND": verb}, stdin)
    assert caught.value.code == 6


SINCE = {"ADD": "0.3.1", "CHECK": "0.4.0", "STATUS": "1.1.0", "GC": "1.1.0"}


@pytest.mark.parametrize("verb", SINCE)
@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_each_verb_is_there_since_its_version(verb: str, version: str) -> None:
    if version < SINCE[verb]:
        assert refused(verb, cniVersion=version).code == 1
    else:
        assert ask(verb, cniVersion=version).config.version == version


@pytest.mark.parametrize("version", [..., None, "", "0.1.0", "0.2.0", "0.3.0", "1.0", "1.2.0", "2.0.0", 1, ["1.0.0"]])
def test_other_versions_are_refused(version: object) -> None:
    for verb in SINCE:
        error = refused(verb, cniVersion=version)
        assert error.code == 1
        assert "0.3.1, 0.4.0, 1.0.0, 1.1.0" in error.details


FAULTS = {
    "name": [..., None, "", "../x", "-a", "a b", 5, ["a"], "\ud800"],
    "type": [..., None, "", "bridge", "k8slan-cni", 5],
    "veth": ["", "UPPER", "-a", "a" * 14, "a/b", "a_b", 5, ["a"], {}],
    "mtu": [-1, 67, 65536, "1500", 1500.0, True, [1500], 10**30],
    "mac": [
        "02:00:00:00:00",
        "02:00:00:00:00:0g",
        "0200.0000.0001",
        "02:00-00:00:00:01",
        "x" * 999,
        2,
        [],
        "01:00:5e:00:00:01",
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
        " 02:00:00:00:00:01",
    ],
    "ipam": [
        "host-local",
        [],
        1,
        {"type": 5},
        {"type": "../../bin/sh"},
        {"type": "/bin/sh"},
        {"type": "a/b"},
        {"type": ".."},
        {"type": "a\0"},
        {"type": "a b"},
        {"type": "x" * 300},
    ],
    "runtimeConfig": [
        "x",
        [],
        {"mac": 1},
        {"mac": "x"},
        {"ips": "10.0.0.1/24"},
        {"ips": [1]},
        {"ips": ["10.0.0.1/33"]},
        {"ips": ["10.0.0.1"]},
        {"ips": [""]},
        {"ips": ["fe80::1%eth0/64"]},
        {"ips": ["10.0.0.1/24", "x"]},
    ],
    "args": ["x", {"cni": 5}, {"cni": {"mac": "x"}}, {"cni": {"mac": 5}}],
    "dns": ["x", {"nameservers": "10.0.0.1"}, {"search": [1]}, {"domain": []}, {"options": ["a\nb"]}],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in FAULTS for value in FAULTS[name]])
def test_a_faulty_field_is_refused_by_its_path_but_does_not_hinder_del(name: str, value: object) -> None:
    error = refused(**{name: value})
    assert error.code == 7
    assert error.msg.startswith(name)
    assert ask("DEL", **{name: value}).ipam == ""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mtu": "1500"}, "mtu: must be a whole number, not a string"),
        ({"mtu": 1500.5}, "mtu: must be a whole number, not the number 1500.5"),
        ({"mtu": 1e300}, "mtu: must be a whole number, not a number"),
        ({"mtu": True}, "mtu: must be a whole number, not true or false"),
        ({"mtu": 60}, "mtu: must be 68..65535, not 60"),
        (
            {"type": "k8slanmacvtap", "veth": ..., "spoke": "a", "owner": -1},
            "owner: must be 0..4294967294, not -1",
        ),
        ({"ipam": []}, "ipam: must be an object, not a list"),
        ({"args": {"cni": {"mac": {}}}}, "args.cni.mac: must be a string, not an object"),
        ({"runtimeConfig": {"ips": 7}}, "runtimeConfig.ips: must be a list, not the number 7"),
        ({"runtimeConfig": {"ips": [None]}}, "runtimeConfig.ips[0]: '' is not an IP address with a prefix length"),
        (
            {"runtimeConfig": {"ips": ["10.0.0.2"]}},
            "runtimeConfig.ips[0]: '10.0.0.2' has no prefix length: write it as ADDRESS/LENGTH",
        ),
        ({"mac": "02:00"}, "mac: '02:00' is not a MAC address of six bytes"),
        ({"spoke": "a"}, "type: k8slanveth needs 'veth' or 'lan', not spoke"),
        ({"veth": ...}, "type: k8slanveth needs 'veth' or 'lan', not none of them"),
        ({"lan": "x", "veth": ...}, "lan: 'x' is not NAMESPACE/NAME of a LAN"),
    ],
)
def test_a_refusal_says_what_should_be_there(fields: dict[str, Any], message: str) -> None:
    assert refused(**fields).msg == message


def test_the_path_says_which_element() -> None:
    assert refused(runtimeConfig={"ips": ["10.0.0.1/24", "x"]}).msg.startswith("runtimeConfig.ips[1]: 'x'")


@pytest.mark.parametrize(
    "fields",
    [
        {"veth": ...},
        {"veth": None},
        {"spoke": "a"},
        {"veth": ..., "spoke": "a"},
        {"type": "k8slanmacvtap"},
        {"type": "k8slanmacvtap", "spoke": "a"},
        {"type": "k8slanmacvtap", "veth": ..., "lan": "lab/x"},
        {"type": "k8slanmacvtap", "veth": ...},
    ],
)
def test_a_target_of_the_right_kind(fields: dict[str, Any]) -> None:
    error = refused(**fields)
    assert (error.code, error.msg.startswith("type: ")) == (7, True)


def test_the_target_of_a_virtual_machine() -> None:
    config = ask(type="k8slanmacvtap", veth=..., spoke="vm").config
    assert (config.plugin, config.spoke, config.lan) == (Plugin.MACVTAP, "vm", None)


@pytest.mark.parametrize(
    ("fields", "owner", "group"),
    [
        ({}, 107, 107),
        ({"owner": None, "group": None}, 107, 107),
        ({"owner": 0}, 0, 107),
        ({"group": 36}, 107, 36),
        ({"owner": 1000, "group": 4294967294}, 1000, 4294967294),
    ],
)
def test_who_a_macvtap_is_for(fields: dict[str, Any], owner: int, group: int) -> None:
    config = ask(type="k8slanmacvtap", veth=..., spoke="vm", **fields).config
    assert (config.owner, config.group) == (owner, group)


@pytest.mark.parametrize("field", ["owner", "group"])
@pytest.mark.parametrize("value", [-1, 4294967295, 10**30, "107", "qemu", 107.0, True, [107], {"uid": 107}])
def test_who_a_macvtap_cannot_be_for(field: str, value: object) -> None:
    error = refused(type="k8slanmacvtap", veth=..., spoke="vm", **{field: value})
    assert (error.code, error.msg.startswith(f"{field}: must be ")) == (7, True)


@pytest.mark.parametrize("fields", [{}, {"type": "k8slanmacvtap", "veth": ..., "spoke": "a"}])
def test_a_spoke_is_one_of_the_lan_that_is_named_with_it(fields: dict[str, Any]) -> None:
    assert (ask(**fields).config.spoke, ask(**fields).config.lan) == ("a", None)
    config = ask(**fields, lan="lab/my.lan").config
    assert (config.spoke, config.lan) == ("a", LanRef(namespace="lab", name="my.lan"))


@pytest.mark.parametrize(
    ("path", "name"), [("/run/k8slan/netns/lab-x", "lab-x"), ("lab.x", "lab.x"), ("", ""), (None, "")]
)
def test_the_path_of_the_go_system_says_which_lan(path: str | None, name: str) -> None:
    assert ask(peerNS=path).config.netns == name
    assert ask(peerNS=path, lan="lab/x").config.netns == "", "which is named"


@pytest.mark.parametrize("path", ["/", "/run/..", "/run/netns/a b", 5])
def test_a_path_of_no_lan(path: object) -> None:
    assert refused(peerNS=path).msg.startswith("peerNS: ")


def test_the_target_on_a_dynamic_lan() -> None:
    config = ask(veth=..., lan="lab/my.lan").config
    assert (config.spoke, config.lan) == (None, LanRef(namespace="lab", name="my.lan"))


@pytest.mark.parametrize("lan", ["", "x", "/", "/x", "lab/", "lab/x/y", "../x", "lab/..", "LAB/x", 5])
def test_a_lan_that_is_none(lan: object) -> None:
    error = refused(veth=..., lan=lan)
    assert (error.code, error.msg.startswith("lan: ")) == (7, True)


def test_optional_fields() -> None:
    config = ask(
        mtu=1400,
        runtimeConfig={"ips": ["10.0.0.5/24", "2001:DB8::0:5/64"]},
        dns={"nameservers": ["10.0.0.1"], "domain": "lab", "search": ["a", "b"], "options": ["ndots:2"]},
        deviceID="/dev/tap7",
        something={"else": [1]},
        cniVersions=["1.0.0"],
    ).config
    assert (config.mtu, config.ipam, config.unknown) == (1400, "", ("something",))
    assert config.ips == ("10.0.0.5/24", "2001:db8::5/64")
    assert config.dns == Dns(nameservers=("10.0.0.1",), domain="lab", search=("a", "b"), options=("ndots:2",))


def test_the_fields_of_the_go_system() -> None:
    routes = [
        {"dst": "10.9.0.0/16", "gw": "10.0.0.1"},
        {"Destination": "::/0", "gateway": "fe80::1"},
        {"dst": "1.2.3.4"},
    ]
    fields = {"addrs": ["10.0.0.5/24"], "routes": routes, "disableTxChecksum": True, "peerNS": "/run/k8slan/netns/x"}
    config = ask(**fields).config
    assert (config.addresses, config.offload, config.unknown) == (("10.0.0.5/24",), False, ())
    assert [(route.destination, str(route.gateway)) for route in config.routes] == [
        ("10.9.0.0/16", "10.0.0.1"),
        ("::/0", "fe80::1"),
        ("1.2.3.4/32", "None"),
    ]
    machine = ask(type="k8slanmacvtap", veth=..., spoke="a", **fields).config
    assert (machine.addresses, machine.routes, machine.offload) == ((), (), None)
    assert machine.unknown == ("addrs", "disableTxChecksum", "routes"), "which are a pod's"


def test_addresses_that_are_asked_for_are_the_ipam_plugins_to_read() -> None:
    """Some take them without a prefix length, which their own configuration has."""
    config = ask(ipam={"type": "host-local"}, runtimeConfig={"ips": ["10.0.0.5"]}).config
    assert (config.ipam, config.ips) == ("host-local", ())


@pytest.mark.parametrize(
    "fields",
    [
        {"mtu": 0, "ipam": {}, "runtimeConfig": {}, "args": {}, "dns": {}},
        {"mtu": None, "ipam": None, "runtimeConfig": None, "args": None, "dns": None, "mac": None},
        {"ipam": {"type": ""}, "runtimeConfig": {"mac": "", "ips": None}, "args": {"cni": None}, "mac": ""},
        {"args": {"labels": {"a": 1}}},
    ],
)
def test_nothing_said_is_nothing_asked_for(fields: dict[str, Any]) -> None:
    request = ask(**fields)
    assert request.mac is None
    assert request.config == ask().config


# ---------------------------------------------------------------- MAC addresses

_WISHES = {
    "runtimeConfig": {"mac": "02:00:00:00:00:01"},
    "args": {"cni": {"mac": "02:00:00:00:00:02"}},
    "CNI_ARGS": "MAC=02:00:00:00:00:03",
    "mac": "02:00:00:00:00:04",
}


@given(st.sets(st.sampled_from(list(_WISHES))))
def test_of_several_wishes_the_first_in_order_counts(given_ones: set[str]) -> None:
    environ = {"CNI_ARGS": _WISHES["CNI_ARGS"]} if "CNI_ARGS" in given_ones else {}
    fields = {name: _WISHES[name] for name in given_ones if name != "CNI_ARGS"}
    ranks = [number for number, name in enumerate(_WISHES, 1) if name in given_ones]
    assert ask(environ=environ, **fields).mac == (f"02:00:00:00:00:0{ranks[0]}" if ranks else None)


@pytest.mark.parametrize("mac", ["02:AB:cd:00:00:01", "02-ab-cd-00-00-01", "02abCD000001"])
def test_every_spelling_comes_out_the_same(mac: str) -> None:
    assert ask(mac=mac).mac == "02:ab:cd:00:00:01"


def test_a_bad_mac_in_the_environment_is_a_fault_of_the_environment() -> None:
    error = refused(environ={"CNI_ARGS": "MAC=01:00:00:00:00:01"})
    assert (error.code, error.msg) == (4, "CNI_ARGS: MAC: 01:00:00:00:00:01 is a group address")


# ---------------------------------------------------------------- CHECK and GC


def test_check_without_the_result_of_add_is_refused() -> None:
    for previous in (..., None):
        error = refused("CHECK", prevResult=previous)
        assert (error.code, error.msg) == (7, "prevResult: CHECK needs the result of ADD")


def test_a_fault_in_the_result_of_add_is_named_by_its_path() -> None:
    error = refused("CHECK", prevResult={"ips": [{"address": "10.0.0.2/24"}, {"address": "x"}]})
    assert (error.code, error.msg.partition(" ")[0]) == (7, "prevResult.ips[1].address:")


def test_the_result_of_add_is_read_in_every_version() -> None:
    for version, extra in (("0.4.0", {"version": "4"}), ("1.0.0", {}), ("1.1.0", {})):
        ips = [{"address": "10.0.0.2/24", "interface": 0} | extra]
        previous = {"cniVersion": version, "interfaces": [{"name": "net1"}], "ips": ips}
        request = ask("CHECK", cniVersion=version, prevResult=previous)
        assert request.previous.ips == (Ip(address="10.0.0.2/24", interface=0),)


def test_gc_without_a_list_is_refused_as_it_would_remove_everything() -> None:
    error = refused("GC", **{"cni.dev/valid-attachments": ...})
    assert (error.code, error.msg.partition(":")[0]) == (7, "cni.dev/valid-attachments")


@pytest.mark.parametrize("empty", [[], None])
def test_an_empty_list_keeps_nothing(empty: object) -> None:
    assert ask("GC", **{"cni.dev/valid-attachments": empty}).valid == frozenset()


def test_the_older_name_of_the_list_is_taken_where_the_other_is_not_there() -> None:
    older = {"cni.dev/attachments": [{"containerID": "old", "ifname": "net9"}]}
    assert ask("GC", **older).valid == {("c0ffee", "net1")}
    assert ask("GC", **older, **{"cni.dev/valid-attachments": ...}).valid == {("old", "net9")}


@pytest.mark.parametrize("value", ["x", {}, [5], [{"containerID": 5, "ifname": "a"}]])
def test_a_faulty_list_is_refused(value: object) -> None:
    assert refused("GC", **{"cni.dev/valid-attachments": value}).code == 7


@given(st.sampled_from(VERBS), st.binary(max_size=80))
def test_whatever_comes_the_error_is_a_cni_error(verb: str, stdin: bytes) -> None:
    with contextlib.suppress(CniError):  # DEL takes almost anything
        parse(ENVIRON | {"CNI_COMMAND": verb}, stdin)


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from(VERBS),
    st.dictionaries(st.sampled_from([*FAULTS, "cniVersion", "spoke", "lan", "prevResult", *LIST]), _ANY, max_size=5),
    st.dictionaries(st.sampled_from([*ENVIRON, "CNI_ARGS"]), st.text(max_size=8), max_size=3),
)
def test_any_types_anywhere_are_a_request_or_a_cni_error(
    verb: str, members: dict[str, Any], environ: dict[str, str]
) -> None:
    code = 0
    try:
        ask(verb, environ, **members)
    except CniError as error:
        code = error.code
    assert code in (0, 1, 4, 6, 7)
