"""Which attachment a word on the command line means."""

from __future__ import annotations

import pytest

from k8slan_cli.cli.agents import Attachments, matching
from k8slan_cli.cli.exits import AbsentError
from k8slan_cli.errors import K8slanError
from k8slan_cli.operate.protocol import Plugged


def plugged(pod: str, ifname: str = "net1", *, spoke: str = "", node: str = "w1", kind: str = "veth") -> Plugged:
    return Plugged(
        node=node,
        lan="lab/blue",
        container=f"c-{pod}",
        ifname=ifname,
        kind=kind,
        port="p",
        mac="02:00:00:00:00:01",
        mtu=1446,
        spoke=spoke,
        pod=pod,
    )


ROUTER, ROUTER2 = plugged("lab/router", spoke="e1"), plugged("lab/router", "net2", spoke="e2")
HOST = plugged("lab/host", node="w2")
VM = plugged("lab/virt-launcher-fw-a1b2c", spoke="vm", kind="macvtap")
FOREIGN = plugged("other/host")
BARE = plugged("")
ALL = (ROUTER, ROUTER2, HOST, VM, FOREIGN, BARE)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("router", [ROUTER, ROUTER2]),
        ("router:net2", [ROUTER2]),
        ("lab/router:net1", [ROUTER]),
        ("host", [HOST]),
        ("other/host", [FOREIGN]),
        ("fw", [VM]),
        ("fw:net1", [VM]),
        ("lab/fw", [VM]),
        ("virt-launcher-fw-a1b2c", [VM]),
        ("e2", [ROUTER2]),
        ("c-", [BARE]),
        ("rout", []),
        ("", []),
        ("router:net9", []),
        (".*", []),
    ],
)
def test_a_word_means(text: str, found: list[Plugged]) -> None:
    assert matching(ALL, text, "lab") == found


def test_one_is_wanted() -> None:
    seen = Attachments(ALL)
    assert seen.named("host", "lab") is HOST
    with pytest.raises(AbsentError, match="more than once: say which of lab/router:net1, lab/router:net2"):
        seen.named("router", "lab")
    with pytest.raises(AbsentError, match=r"nothing of the name hoss is attached \(did you mean host\?"):
        seen.named("hoss", "lab")


def test_what_cannot_be_seen_is_said() -> None:
    seen = Attachments((HOST,), {"w9": K8slanError("asleep")})
    with pytest.raises(AbsentError, match=r"\(but the agents of w9 do not answer\)"):
        seen.named("router", "lab")
