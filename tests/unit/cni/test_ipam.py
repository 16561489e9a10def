"""Delegation: what an IPAM plugin is given, and what is made of what it says."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.cni import ipam
from k8slan_cli.cni.result import Dns, Ip, Result
from k8slan_cli.errors import CniError
from k8slan_cli.lan.routes import Route

CONFIG = b'{"cniVersion": "1.1.0", "name": "n", "ipam": {"type": "host-local", "subnet": "10.0.0.0/24"}}'
HOST_LOCAL = {
    "0.3.1": b'{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.0.0.2/24","gateway":"10.0.0.1"}],'
    b'"routes":[{"dst":"0.0.0.0/0"}],"dns":{}}',
    "0.4.0": b'{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.0.0.2/24","gateway":"10.0.0.1"}],'
    b'"routes":[{"dst":"0.0.0.0/0"}],"dns":{}}',
    "1.0.0": b'{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1"}],'
    b'"routes":[{"dst":"0.0.0.0/0"}],"dns":{}}\n',
    "1.1.0": b'{\n  "cniVersion": "1.1.0",\n  "ips": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1"}],\n'
    b'  "routes": [{"dst": "0.0.0.0/0", "mtu": 0}],\n  "dns": {}\n}',
}


@pytest.mark.parametrize("version", HOST_LOCAL)
def test_the_result_of_every_version_is_the_same_value(version: str) -> None:
    assert ipam.read_result("host-local", HOST_LOCAL[version]) == Result(
        ips=(Ip(address="10.0.0.2/24", gateway=ip_address("10.0.0.1")),),
        routes=(Route(destination="0.0.0.0/0"),),
        dns=Dns(),
    )


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (b"", "the answer of IPAM plugin x is not JSON"),
        (b"[]", "the answer of IPAM plugin x is not a JSON object"),
        (b"panic: runtime error", "the answer of IPAM plugin x is not JSON"),
        (b'{"ips":[{"address":"x"}]}', "the answer of IPAM plugin x: ips[0].address: "),
        (b'{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.2/24"}}', "IPAM plugin x gave no address"),
        (b'{"ips":[]}', "IPAM plugin x gave no address"),
    ],
)
def test_what_is_no_result_is_an_error_of_ipam(output: bytes, said: str) -> None:
    with pytest.raises(CniError) as caught:
        ipam.read_result("x", output)
    assert caught.value.code == 103
    assert caught.value.msg.startswith(said)


def test_the_plugins_own_words_are_passed_on() -> None:
    error = ipam.read_error(
        "host-local", "ADD", b'{"cniVersion":"1.0.0","code":11,"msg":"no free address","details":"d"}'
    )
    assert (error.code, error.details) == (103, "d")
    assert error.msg == "IPAM plugin host-local failed at ADD: no free address"


def test_a_version_that_it_does_not_know_can_be_told() -> None:
    assert ipam.read_error("static", "ADD", b'{"code":1,"msg":"incompatible CNI versions"}').code == 1


@given(st.binary(max_size=40) | st.sampled_from([b"{}", b'{"code":"x"}', b'{"code":7,"msg":["x"],"details":{}}']))
def test_whatever_a_failed_plugin_prints_is_an_error_of_ipam(output: bytes) -> None:
    error = ipam.read_error("x", "DEL", output)
    assert error.code == 103
    assert error.msg.startswith("IPAM plugin x failed at DEL")


def test_it_is_given_the_configuration_as_it_came() -> None:
    assert ipam.config(CONFIG, "1.1.0") is CONFIG
    assert json.loads(ipam.config(CONFIG, "1.0.0")) == json.loads(CONFIG) | {"cniVersion": "1.0.0"}


def test_an_earlier_result_is_given_in_the_same_version_as_the_rest() -> None:
    previous = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "net1", "mtu": 1400}],
        "ips": [{"address": "10.0.0.2/8"}],
    }
    given_one = json.dumps(json.loads(CONFIG) | {"prevResult": previous}).encode()
    assert json.loads(ipam.config(given_one, "0.4.0"))["prevResult"] == {
        "cniVersion": "0.4.0",
        "interfaces": [{"name": "net1"}],
        "ips": [{"version": "4", "address": "10.0.0.2/8"}],
    }


@pytest.mark.parametrize(
    ("asked", "output", "version"),
    [
        ("1.1.0", b'{"cniVersion":"1.0.0","supportedVersions":["0.1.0","0.3.1","0.4.0","1.0.0"]}', "1.0.0"),
        ("1.1.0", b'{"supportedVersions":["1.1.0","1.0.0"]}', "1.1.0"),
        ("0.4.0", b'{"supportedVersions":["0.3.1","0.4.0","1.0.0"]}', "0.4.0"),
        ("0.3.1", b'{"supportedVersions":["1.0.0"]}', "0.3.1"),
        ("1.1.0", b'{"supportedVersions":["0.1.0"]}', "1.1.0"),
        ("1.1.0", b'{"supportedVersions":"1.0.0"}', "1.1.0"),
        ("1.1.0", b"", "1.1.0"),
    ],
)
def test_it_is_spoken_to_in_the_newest_version_that_both_know(asked: str, output: bytes, version: str) -> None:
    assert ipam.version_for(asked, output) == version


def test_status_and_gc_are_only_for_plugins_that_have_them() -> None:
    assert [ipam.knows("1.0.0", verb) for verb in ("ADD", "DEL", "CHECK", "STATUS", "GC")] == [True] * 3 + [False] * 2
    assert ipam.knows("1.1.0", "GC")


def test_it_is_given_the_environment_with_the_verb_to_do() -> None:
    given_one = {"CNI_COMMAND": "ADD", "CNI_IFNAME": "net1", "PATH": "/bin", "K8SLAN_RUN_DIR": "/x"}
    assert ipam.environ(given_one, "DEL") == {"CNI_COMMAND": "DEL", "CNI_IFNAME": "net1"}


def test_it_is_looked_for_in_absolute_directories_only() -> None:
    assert ipam.directories({"CNI_PATH": "/opt/cni/bin:bin::./x:/usr/lib/cni"}) == ("/opt/cni/bin", "/usr/lib/cni")
    assert ipam.directories({}) == ()
