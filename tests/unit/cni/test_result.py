"""Results and errors in the JSON of each version, and back."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.cni import result, versions
from k8slan_cli.cni.fields import Field
from k8slan_cli.cni.result import Dns, Interface, Ip, Result
from k8slan_cli.errors import CniError
from k8slan_cli.lan.routes import Route

FULL = Result(
    interfaces=(
        Interface(name="ap", mac="02:00:00:00:00:01", mtu=1446),
        Interface(name="net1", mac="02:00:00:00:00:02", mtu=1446, sandbox="/run/netns/x"),
    ),
    ips=(
        Ip(address="10.0.0.2/24", gateway=ip_address("10.0.0.1"), interface=1),
        Ip(address="2001:db8::2/64"),
    ),
    routes=(
        Route(destination="0.0.0.0/0", gateway=ip_address("10.0.0.1")),
        Route(destination="10.1.0.0/16", mtu=1400, advmss=1360, priority=5, table=100, scope=253),
    ),
    dns=Dns(nameservers=("10.0.0.1",), domain="lab", search=("a.lab",), options=("ndots:2",)),
)

EXPECTED: dict[str, Any] = {
    "interfaces": [
        {"name": "ap", "mac": "02:00:00:00:00:01"},
        {"name": "net1", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/x"},
    ],
    "ips": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1", "interface": 1}, {"address": "2001:db8::2/64"}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "10.1.0.0/16"}],
    "dns": {"nameservers": ["10.0.0.1"], "domain": "lab", "search": ["a.lab"], "options": ["ndots:2"]},
}


def read(document: object, code: int = 7) -> Result:
    return result.decode(Field(value=document, path="", code=code))


def test_1_0_0() -> None:
    assert result.encode(FULL, "1.0.0") == {"cniVersion": "1.0.0"} | EXPECTED


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0"])
def test_older_versions_say_the_ip_version(version: str) -> None:
    ips = [{"version": "4"} | EXPECTED["ips"][0], {"version": "6"} | EXPECTED["ips"][1]]
    assert result.encode(FULL, version) == {"cniVersion": version} | EXPECTED | {"ips": ips}


def test_1_1_0_says_mtu_and_all_of_a_route() -> None:
    route = {"dst": "10.1.0.0/16", "mtu": 1400, "advmss": 1360, "priority": 5, "table": 100, "scope": 253}
    assert result.encode(FULL, "1.1.0") == {"cniVersion": "1.1.0"} | EXPECTED | {
        "interfaces": [interface | {"mtu": 1446} for interface in EXPECTED["interfaces"]],
        "routes": [EXPECTED["routes"][0], route],
    }


@pytest.mark.parametrize("version", versions.SUPPORTED)
def test_an_empty_result(version: str) -> None:
    assert result.encode(Result(), version) == {"cniVersion": version, "interfaces": [], "ips": []}


def test_scope_0_is_said() -> None:
    routes = result.encode(Result(routes=(Route(destination="10.0.0.0/8", scope=0),)), "1.1.0")["routes"]
    assert routes == [{"dst": "10.0.0.0/8", "scope": 0}]


_ADDRESSES = st.ip_addresses()
_U32 = st.integers(0, 2**32 - 1)
_WORDS = st.text("abc.-:0", max_size=6)
_RESULTS = st.builds(
    Result,
    interfaces=st.lists(
        st.builds(Interface, name=_WORDS, mac=_WORDS, mtu=_U32, sandbox=_WORDS), min_size=1, max_size=3
    ).map(tuple),
    ips=st.lists(
        st.builds(
            Ip,
            address=st.builds(lambda a, n: f"{a}/{n}", _ADDRESSES, st.integers(0, 32)),
            gateway=st.none() | _ADDRESSES,
            interface=st.none() | st.just(0),
        ),
        max_size=3,
    ).map(tuple),
    routes=st.lists(
        st.builds(
            Route,
            destination=_ADDRESSES.map(lambda a: f"{a}/{a.max_prefixlen}"),
            gateway=st.none() | _ADDRESSES,
            mtu=_U32,
            advmss=_U32,
            priority=_U32,
            table=_U32,
            scope=st.none() | st.integers(0, 255),
        ),
        max_size=3,
    ).map(tuple),
    dns=st.builds(
        Dns,
        nameservers=st.lists(_WORDS, max_size=2).map(tuple),
        domain=_WORDS,
        search=st.lists(_WORDS, max_size=2).map(tuple),
        options=st.lists(_WORDS, max_size=2).map(tuple),
    ),
)


@given(_RESULTS)
def test_1_1_0_loses_nothing(there: Result) -> None:
    assert read(json.loads(result.to_json(result.encode(there, "1.1.0")))) == there


@given(_RESULTS, st.sampled_from(["0.3.1", "0.4.0", "1.0.0"]))
def test_older_versions_lose_only_what_they_do_not_know(there: Result, version: str) -> None:
    known = replace(
        there,
        interfaces=tuple(replace(interface, mtu=0) for interface in there.interfaces),
        routes=tuple(Route(destination=route.destination, gateway=route.gateway) for route in there.routes),
    )
    assert read(result.encode(there, version)) == known


def test_what_another_plugin_wrote_comes_out_in_the_usual_form() -> None:
    there = read(
        {
            "interfaces": [{"name": "net1", "mac": "02:AB:00:00:00:01", "socketPath": "/x"}],
            "ips": [{"version": "6", "address": "2001:DB8:0::2/64", "gateway": ""}],
            "routes": [{"dst": "10.1.2.3/8", "gw": None}],
            "dns": None,
        }
    )
    assert there == Result(
        interfaces=(Interface(name="net1", mac="02:ab:00:00:00:01"),),
        ips=(Ip(address="2001:db8::2/64"),),
        routes=(Route(destination="10.0.0.0/8"),),
    )


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"interfaces": {}}, "interfaces"),
        ({"interfaces": [5]}, "interfaces[0]"),
        ({"interfaces": [{"name": 5}]}, "interfaces[0].name"),
        ({"interfaces": [{"mtu": -1}]}, "interfaces[0].mtu"),
        ({"interfaces": [{"mtu": 1.5}]}, "interfaces[0].mtu"),
        ({"ips": "10.0.0.1/24"}, "ips"),
        ({"ips": [{}]}, "ips[0].address"),
        ({"ips": [{"address": "10.0.0.1"}]}, "ips[0].address"),
        ({"ips": [{"address": "10.0.0.1/33"}]}, "ips[0].address"),
        ({"ips": [{"address": "fe80::1%a/64"}]}, "ips[0].address"),
        ({"ips": [{"address": "10.0.0.1/8", "gateway": "x"}]}, "ips[0].gateway"),
        ({"ips": [{"address": "10.0.0.1/8", "gateway": "fe80::1%a"}]}, "ips[0].gateway"),
        ({"ips": [{"address": "10.0.0.1/8", "interface": 1}]}, "ips[0].interface"),
        ({"ips": [{"address": "10.0.0.1/8", "interface": -1}]}, "ips[0].interface"),
        ({"interfaces": [{}, {}], "ips": [{"address": "10.0.0.1/8", "interface": 2}]}, "ips[0].interface"),
        ({"routes": [{"dst": "x"}]}, "routes[0].dst"),
        ({"routes": [{}]}, "routes[0].dst"),
        ({"routes": [{"dst": "10.0.0.0/8", "scope": 256}]}, "routes[0].scope"),
        ({"routes": [{"dst": "10.0.0.0/8", "table": 2**32}]}, "routes[0].table"),
        ({"routes": [{"dst": "fe80::%a/64"}]}, "routes[0].dst"),
        ({"dns": []}, "dns"),
        ({"dns": {"search": ["a", 5]}}, "dns.search[1]"),
    ],
)
def test_a_fault_is_named_by_its_path(document: object, path: str) -> None:
    with pytest.raises(CniError) as caught:
        read(document, code=103)
    assert (caught.value.code, caught.value.msg.partition(": ")[0]) == (103, path)


def test_an_error_object() -> None:
    assert result.encode_error(CniError(11, "try again", "look there"), "0.4.0") == {
        "cniVersion": "0.4.0",
        "code": 11,
        "msg": "try again",
        "details": "look there",
    }
    assert "details" not in result.encode_error(CniError(100, "no such spoke"), "1.0.0")


def test_the_versions_there_are() -> None:
    assert result.encode_versions("0.4.0") == {
        "cniVersion": "0.4.0",
        "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }
    assert result.encode_versions("7.0.0")["cniVersion"] == "1.1.0"


def test_json_is_one_line_of_ascii() -> None:
    assert result.to_json({"a": 'é"\n', "b": [1]}) == b'{"a":"\\u00e9\\"\\n","b":[1]}'
