"""Words of a command line as kubectl takes them."""

from __future__ import annotations

import pytest

from k8slan_cli.cli.arguments import usual
from tests.unit.cli.cluster import Workstation
from tests.unit.render.command import call


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("lan list", "lan list"),
        ("-n ux lan list -o wide", "lan list -n ux -o wide"),
        ("--context=a lan --namespace ux inspect b", "lan inspect --context=a --namespace ux b"),
        ("--kubeconfig f doctor -q", "doctor --kubeconfig f -q"),
        ("lan create x --dry-run=server", "lan create x --dry-run=server"),
        ("lan delete x --dry-run --all", "lan delete x --dry-run=server --all"),
        ("lan create x --dry-run=none", "lan create x --dry-run=none"),
        ("node-agent --dry-run", "node-agent --dry-run"),
        ("--debug node-agent --dry-run", "--debug node-agent --dry-run"),
        ("lan create node-agent --dry-run", "lan create node-agent --dry-run=server"),
        ("-n ux lan delete -- --dry-run", "lan delete -n ux -- --dry-run"),
        ("lan capture lan -n ux", "lan capture lan -n ux"),
        ("-n ux lab exec r1 -- ip -n x", "lab exec -n ux r1 -- ip -n x"),
        ("-nlab lan list", "lan list -nlab"),
        ("-n=lab lan list", "lan list -nlab"),
        ("--debug -n lab lan list", "--debug lan list -n lab"),
        ("lan --debug -nlab list", "--debug lan list -nlab"),
        ("lan -n lab list -n ux", "lan list -n lab -n ux"),
        ("lan list -n=lab -o=json -l=a=b", "lan list -nlab -ojson -la=b"),
        ("lab exec r1 -- ls -l=a", "lab exec r1 -- ls -l=a"),
        ("-n lab -h", "-h"),
        ("lan -n lab -h", "lan -h"),
        ("-n lab lan list -h", "lan list -n lab -h"),
        ("-n lab", ""),
        ("lan add-spoke red q --dry-run client", "lan add-spoke red q --dry-run=client"),
        ("lan add-spoke red --dry-run none q", "lan add-spoke red --dry-run=none q"),
        ("lan add-spoke red --dry-run q", "lan add-spoke red --dry-run=server q"),
        ("lan add-spoke red q --dry-run -- client", "lan add-spoke red q --dry-run=server -- client"),
        ("--version", "--version"),
        ("-n", "-n"),
        ("", ""),
    ],
)
def test_options_before_the_command_go_behind_it(given: str, taken: str) -> None:
    assert usual(given.split()) == taken.split()


def test_a_dry_run_of_another_kind_is_refused() -> None:
    assert (
        "'maybe' is not one of none, client, server" in call("lan", "create", "x", "--dry-run=maybe", status=2).stderr
    )


def test_help_says_where_options_and_values_may_stand() -> None:
    assert "-n NAMESPACE, --context, --kubeconfig and --as may stand before" in call("--help").stdout
    assert "\n  --dry-run[=none|client|server]  Change" in call("lan", "set", "-h").stdout
    assert call("-n", "lab", "lan", "-h").stdout == call("lan", "-h").stdout
    assert call("-n", "lab", "-h").stdout == call("-h").stdout


def test_a_command_takes_them_before_itself(k8slan: Workstation) -> None:
    where = ["--kubeconfig", str(k8slan.kubeconfig), "-n", "lab"]
    assert call(*where, "lan", "list").stdout == call("lan", "list", *where).stdout != ""
    assert call(*where, "lan", "delete", "red", "--dry-run=server").stdout.startswith("LAN lab/red would be deleted")
