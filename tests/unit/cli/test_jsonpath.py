"""kubectl's JSONPath templates."""

from __future__ import annotations

import json

import pytest

from k8slan_cli.cli import jsonpath
from tests.support import scene
from tests.unit.cli.cluster import Workstation

BLUE = scene.lan("blue", vni=7, spokes=["a", "b", "c"], status=scene.status(scene.READY))
BLUE["metadata"]["annotations"] = {"lan.k8slan.io/links-down": "a,b"}
BOTH = {"items": [BLUE, scene.RED]}


@pytest.mark.parametrize(
    ("template", "made"),
    [
        (".spec.vni", "7"),
        ("{.spec.vni}", "7"),
        ("{$.spec.vni}", "7"),
        ("{.spec.spokes}", '["a","b","c"]'),
        ("{.spec.spokes[*]}", "a b c"),
        ("{.spec.spokes[0]} {.spec.spokes[-1]}{.spec.spokes[9]}", "a c"),
        ("{.spec.spokes[1:]}|{.spec.spokes[0,2]}|{.spec.spokes[::2]}", "b c|a c|a c"),
        (r"{.metadata.annotations.lan\.k8slan\.io/links-down}", "a,b"),
        ("{.metadata['name']}/{['metadata'].namespace}", "blue/lab"),
        ("VNI={.spec.vni}{'\\n'}", "VNI=7\n"),
        ('{.status.conditions[?(@.type=="Ready")].reason}', "Ready"),
        ("{.status.conditions[?(@.status == 'False')].reason}{.nothing.at.all}", ""),
        ("{.status.conditions[?(@.observedGeneration>=1)].type}", "Ready"),
        ("{.status.conditions[?(@.message)].type}{.status.conditions[?(@.type>1)].type}", "Ready"),
        ("{..reason}", "Ready"),
        ("{.spec.*}", "br0 vxlan0 4789 7 " + '["a","b","c"]'),
    ],
)
def test_a_template_picks_what_kubectl_picks(template: str, made: str) -> None:
    assert jsonpath.template(template)(BLUE) == made


def test_a_range_is_repeated() -> None:
    text = '{range .items[*]}{.metadata.name}{"\\t"}{range .spec.spokes[*]}<{@}>{end}{"\\n"}{end}.'
    assert jsonpath.template(text)(BOTH) == "blue\t<a><b><c>\nred\t<e1><e2><vm1>\n."


@pytest.mark.parametrize(
    "text",
    ["{.a", "{end}", "{range .a}", "{.a[x]}", "{.a b}", "{.a..}", "{'a}", "{.a[?(@.b==c)]}", "{.a[?(b)]}", '{"\\x"}'],
)
def test_what_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        jsonpath.template(text)


def test_reading_commands_have_the_same_forms(k8slan: Workstation) -> None:
    assert k8slan("lan", "list", "-o", "jsonpath={.items[*].metadata.name}").stdout == "red\n"
    assert k8slan("lan", "get", "red", "-o", "jsonpath=.spec.vni").stdout == "10000\n"
    assert json.loads(k8slan("lan", "get", "red", "-o", "json").stdout)["kind"] == "LAN"
    assert k8slan("lan", "inspect", "red", "-o", "jsonpath={.attached[*].spoke}").stdout == "e1 e2 vm1\n"
    assert k8slan("lan", "inspect", "red", "-o", "name").stdout == "lan.lan.k8slan.io/red\n"
    assert '"ok": ' in k8slan("doctor", "-o", "json", status=1).stdout
    assert k8slan("doctor", "-o", "jsonpath={.ok}", status=1).stdout == "false\n"
    assert k8slan("doctor", "-o", "yaml", status=1).stdout.startswith("ok: false\n")
    for words, said in (
        (["doctor", "-o", "name"], "k8slan: -o name: what this prints is no object with a name\n  see -o json\n"),
        (
            ["lan", "list", "-o", "xml"],
            "k8slan: -o: 'xml' is not one of table, wide, json, yaml, name, jsonpath=PATH\n",
        ),
        (
            ["lan", "list", "-o", "jsonpath={.a"],
            "k8slan: -o jsonpath: '{.a': a brace is not closed\n  such as -o jsonpath='{.spec.vni}'\n",
        ),
    ):
        assert k8slan(*words, status=2).stderr == said


def test_lans_are_sorted_by_any_field_as_people_count(k8slan: Workstation) -> None:
    k8slan.put(scene.lan("a10", vni=7), scene.lan("a9", vni=80, mtu=1400))

    def order(path: str) -> list[str]:
        shown = k8slan("lan", "list", "--no-headers", f"--sort-by={path}").stdout
        return [line.split()[0] for line in shown.splitlines()]

    assert order(".spec.vni") == ["a10", "a9", "red"]
    assert order("{.metadata.name}") == ["a9", "a10", "red"]
    assert order(".spec.mtu")[-1] == "a9"
    assert "is not a JSONPath" in k8slan("lan", "list", "--sort-by=.a[x]", status=2).stderr
