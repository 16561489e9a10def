"""Commands as a shell calls them, against a cluster that a test furnishes."""

from __future__ import annotations

from typing import Any

import pytest

from k8slan_cli.cli.lan import text
from k8slan_cli.diagnose import cluster as diagnose
from k8slan_cli.diagnose.protocol import WARN
from k8slan_cli.kube import apply
from tests.support import scene
from tests.unit.cli.cluster import LANS, Workstation

# ---------------------------------------------------------------- links


def test_a_pulled_link_is_seen_by_every_command(k8slan: Workstation) -> None:
    assert "LINKS" not in k8slan("lan", "list").stdout
    k8slan.pull("e1", "nonsense")
    assert "  2 down\n" in k8slan("lan", "list").stdout
    shown = k8slan("lan", "inspect", "red").stdout
    assert (
        "  - The link of pod lab/router-a on node worker1 (net1) was pulled out; k8slan lan link router-a:net1 up"
        in shown
    )
    assert "names 'nonsense', which is no spoke of the LAN" in shown
    assert "╳ e1 ╳" in k8slan("lan", "graph").stdout
    _, _, checks = diagnose.lans(apply.connect(str(k8slan.kubeconfig)), "lab")
    said = [check.words for check in checks if check.state == WARN]
    assert any(words.startswith("LAN lab/red: The link of pod lab/router-a on node worker1 (net1)") for words in said)


# ---------------------------------------------------------------- list


def test_a_selector_that_matches_nothing_and_one_that_is_none(k8slan: Workstation) -> None:
    k8slan.api.objects.clear()
    assert k8slan("lan", "list", "-l", "a=b").stderr == "No LANs match selector 'a=b' in namespace lab.\n"
    k8slan.api.refuse[LANS] = (400, "unable to parse requirement: found ',', expected: identifier")
    assert k8slan("lan", "list", "-l", ",", status=2).stderr == (
        "k8slan: ',' is not a label selector\n  such as app=web,tier!=test\n"
    )


@pytest.mark.parametrize(
    ("spec", "cell"), [({"dynamic": True}, "dynamic"), ({"dynamic": True, "spokes": ["a"]}, "1+dynamic"), ({}, "0")]
)
def test_a_dynamic_lan_is_seen_as_one(spec: dict[str, Any], cell: str, k8slan: Workstation) -> None:
    k8slan.put(scene.lan("blue", vni=7, **spec))
    (row,) = [line for line in k8slan("lan", "list").stdout.splitlines() if line.startswith("blue")]
    assert row.split()[2] == cell


# ---------------------------------------------------------------- terminals


@pytest.mark.parametrize("columns", [40, 60, 90])
def test_what_a_terminal_is_too_narrow_for_is_told(
    columns: int, k8slan: Workstation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "width", lambda: columns)
    for words in (["list"], ["inspect", "red"]):
        done = k8slan("lan", *words)
        lines = (done.stdout + done.stderr).splitlines()
        assert max(map(len, lines)) <= columns
        assert any(line.startswith("Too narrow for") for line in lines) == (columns < 60 or words != ["list"])
        wide = k8slan("lan", *words, "-o", "wide")
        assert "Too narrow" not in wide.stdout + wide.stderr
