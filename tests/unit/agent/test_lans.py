"""Which LANs a node realises: those with attachments here whatever others want, and nothing for one that leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from k8slan_cli.agent.lans import Lans
from k8slan_cli.agent.store import KnownLans
from k8slan_cli.errors import CniError
from k8slan_cli.lan.model import PROTECTION, Lan, LanRef, NodeStatus, Snapshot

A, B = (
    Lan(
        ref=LanRef(namespace=name, name=name),
        netns=f"n{name}",
        bridge="br0",
        vxlan="vxlan0",
        vni=vni,
        spokes=(f"{name}1", f"{name}2"),
        created=created,
    )
    for name, vni, created in (("a", 1, "2026-01-02T00:00:00Z"), ("b", 2, "2026-01-01T00:00:00Z"))
)
GREEDY = replace(B, spokes=("b1", "a1"))
LEAVING = replace(B, deleting=True, finalizers=("example.org/x",))


def seen(*lans: Lan) -> Snapshot:
    return Snapshot(lans={lan.ref: (lan, str(lan.ref)) for lan in lans})


def test_who_has_a_spoke_keeps_it_while_attached_also_over_a_restart(tmp_path: Path) -> None:
    attached = {A.ref, B.ref}
    for _ in range(2):
        lans = Lans(KnownLans(tmp_path), lambda: attached)
        if not lans.all():
            lans.update(seen(A, B))
        assert lans.all() == {A.ref: A, B.ref: B}
        lans.update(seen(A, GREEDY))
        assert lans.all() == {A.ref: A, B.ref: B}
        assert lans.of_spoke("a1") == A
        assert lans.of_spoke("b2") == B
        assert lans.seen(B.ref) == B
        assert [str(problem) for problem in lans.refused[B.ref]] == ["spec.spokes[1]: a1 is in use by LAN a/a"]
    attached.remove(A.ref)
    assert lans.update(seen(replace(A, spokes=("a2",)), GREEDY)) == {A.ref, B.ref}
    assert lans.of_spoke("a1") == GREEDY


def test_what_others_write_of_a_lan_is_taken_in_while_its_edit_is_not_followed(tmp_path: Path) -> None:
    lans = Lans(KnownLans(tmp_path), lambda: [B.ref])
    lans.update(seen(A, B))
    granted = replace(A, granted=True)
    for entries in ((), (NodeStatus(name="n1"),)):
        lans.update(seen(granted, replace(GREEDY, nodes=entries, mtu=1400)))
        assert lans.get(B.ref) == replace(B, nodes=entries, mtu=1400)


def test_a_lan_that_is_being_deleted_takes_nothing_though_older(tmp_path: Path) -> None:
    """Nor is it realised once nothing holds it but what others have put there."""
    lans = Lans(KnownLans(tmp_path), lambda: [A.ref])
    lans.update(seen(A, replace(LEAVING, finalizers=(PROTECTION,))))
    assert lans.all().keys() == {A.ref, B.ref}
    for edited in (LEAVING, replace(LEAVING, spokes=GREEDY.spokes), replace(LEAVING, netns=A.netns, vni=A.vni)):
        lans.update(seen(A, edited))
        assert lans.all() == {A.ref: A}
        assert lans.refused == {}
        for ask in (lambda: lans.of_spoke("b1"), lambda: lans.of_name(B.ref)):
            with pytest.raises(CniError, match="LAN b/b is being deleted"):
                ask()


@pytest.mark.parametrize("granted", [None, True, False])
def test_what_the_controller_has_said_is_known_after_a_restart(tmp_path: Path, granted: bool | None) -> None:
    lan = replace(A, granted=granted, uid="u")
    Lans(KnownLans(tmp_path)).update(seen(lan))
    assert Lans(KnownLans(tmp_path)).all() == {lan.ref: lan}
