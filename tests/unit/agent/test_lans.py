"""Which LANs a node realises: those with attachments here whatever others want, and nothing for one that leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from k8slan_cli.agent.lans import Lans
from k8slan_cli.agent.store import KnownLans
from k8slan_cli.errors import CniError, Problem
from k8slan_cli.lan import validate
from k8slan_cli.lan.model import PROTECTION, Grant, Lan, LanRef, NodeStatus, Snapshot

A, B = (
    Lan(
        ref=LanRef(namespace="n", name=name),
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
ELSEWHERE = replace(A, ref=LanRef(namespace="m", name="a"), netns="nm", vni=3)
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
        assert [str(problem) for problem in lans.refused[B.ref]] == ["spec.spokes[1]: a1 is in use by LAN n/a"]
    attached.remove(A.ref)
    assert lans.update(seen(replace(A, spokes=("a2",)), GREEDY)) == {A.ref, B.ref}
    assert lans.of_spoke("a1") == GREEDY


def test_what_others_write_of_a_lan_is_taken_in_while_its_edit_is_not_followed(tmp_path: Path) -> None:
    lans = Lans(KnownLans(tmp_path), lambda: [B.ref])
    lans.update(seen(A, B))
    granted = replace(A, granted=validate.grant(A))
    for entries in ((), (NodeStatus(name="n1"),)):
        lans.update(seen(granted, replace(GREEDY, nodes=entries, mtu=1400)))
        assert lans.get(B.ref) == replace(B, nodes=entries, mtu=1400)


@pytest.mark.parametrize("fields", [{"netns": A.netns}, {"vni": A.vni}, {"spokes": ("a1",)}])
def test_what_has_been_granted_to_a_lan_is_its_own_on_nodes_where_nobody_uses_it(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    """Whatever is edited, also over a restart, though an older LAN wants it that is in use elsewhere."""
    granted, rival = replace(A, granted=validate.grant(A)), replace(B, attached=True, **fields)
    for edited in (replace(granted, mtu=1400), replace(granted, spokes=("a1", "a3")), replace(granted, spokes=("a1",))):
        lans = Lans(KnownLans(tmp_path))
        lans.update(seen(rival, edited))
        assert (lans.get(A.ref), list(lans.refused)) == (edited, [B.ref])
    wishful = replace(granted, spokes=("a3", "b1"))
    lans = Lans(KnownLans(tmp_path / "new"))
    lans.update(seen(wishful, B))
    assert lans.get(A.ref) == granted
    assert lans.of_spoke("a2").ref == A.ref, "of an edit that clashes nothing is followed"


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
            with pytest.raises(CniError, match=r"LAN n/b(, which)? is being deleted"):
                ask()


@pytest.mark.parametrize(("granted", "attached"), [(None, False), (validate.grant(A), True), (Grant(netns="x"), False)])
def test_what_the_controller_has_said_is_known_after_a_restart(
    tmp_path: Path, granted: Grant | None, attached: bool
) -> None:
    lan = replace(A, granted=granted, attached=attached, uid="u")
    Lans(KnownLans(tmp_path)).update(seen(lan))
    assert Lans(KnownLans(tmp_path)).all() == {lan.ref: lan}


def test_a_spoke_alone_is_the_lans_of_the_pods_namespace_else_the_only_ones(tmp_path: Path) -> None:
    lans = Lans(KnownLans(tmp_path))
    lans.update(seen(A, ELSEWHERE, B))
    assert [lans.of_spoke("a1", namespace) for namespace in "nm"] == [A, ELSEWHERE]
    assert lans.of_spoke("b1", "m") == lans.of_spoke("b1", "") == B
    assert lans.of_spoke("a1") in (A, ELSEWHERE), "for a question about no pod any will do"
    for namespace in ("", "x"):
        with pytest.raises(CniError, match=r"LANs, of none in the pod.s namespace: m/a, n/a \(") as raised:
            lans.of_spoke("a1", namespace)
        assert '"lan": "NAMESPACE/NAME"' in raised.value.hint
    with pytest.raises(CniError, match="no LAN has the spoke 'x'"):
        lans.of_spoke("x", "n")
    lans.update(seen(A))
    assert lans.of_spoke("a1", "m") == A


def test_the_lan_of_the_pods_namespace_is_meant_though_it_cannot_be_had(tmp_path: Path) -> None:
    lans = Lans(KnownLans(tmp_path))
    for mine in (replace(ELSEWHERE, vni=1, created="2026-01-03T00:00:00Z"), replace(ELSEWHERE, deleting=True)):
        lans.update(seen(A, mine))
        with pytest.raises(CniError, match=r"LAN m/a, which (clashes|is being deleted)"):
            lans.of_spoke("a1", "m")
        assert lans.of_spoke("a1", "n") == lans.of_spoke("a1", "m", A.netns) == A


def test_the_go_systems_path_tells_lans_apart_by_namespace_or_name(tmp_path: Path) -> None:
    lans = Lans(KnownLans(tmp_path))
    lans.update(seen(A, replace(ELSEWHERE, ref=LanRef(namespace="m", name="z"))))
    assert [lans.of_spoke("a1", "x", at).ref.name for at in ("na", "nm", "a", "z")] == ["a", "z", "a", "z"]
    with pytest.raises(CniError, match="no LAN at 'nb' has the spoke 'a1'"):
        lans.of_spoke("a1", "n", "nb")


def test_of_a_thousand_lans_only_rivals_are_decided_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decided: list[set[str]] = []
    real = validate.settle

    def settle(lans: Iterable[Lan], held: Mapping[LanRef, Lan]) -> validate.Settled:
        wanted = list(lans)
        decided.append({lan.ref.name for lan in wanted})
        return real(wanted, held)

    monkeypatch.setattr(validate, "settle", settle)
    many = [
        replace(A, ref=replace(A.ref, name=f"l{n}"), netns=f"n{n}", vni=n + 1, spokes=(f"s{n}",)) for n in range(1000)
    ]
    lans = Lans(KnownLans(tmp_path))
    lans.update(seen(*many))

    def change(*news: Lan, gone: Lan | None = None) -> frozenset[LanRef]:
        decided.clear()
        return lans.update(replace(seen(*news), gone=frozenset({gone.ref} if gone else ())))

    assert change(replace(many[5], mtu=1400)) == {many[5].ref}
    assert decided == [set()]
    assert change(replace(many[5], spokes=("s5", "new"))) == {many[5].ref}
    assert decided == [{"l5"}]
    younger = replace(many[6], spokes=("s6", "s7"), created="2027-01-01T00:00:00Z")
    assert change(younger) == {younger.ref}
    assert decided == [{"l6", "l7"}]
    assert lans.refused.keys() == {younger.ref}
    assert change(gone=many[7]) == {many[7].ref, younger.ref}
    assert lans.of_spoke("s7") == younger
    assert lans.refused == {}
    assert len(lans.all()) == 999
    assert Lans(KnownLans(tmp_path)).all() == lans.all()


def test_a_lan_that_breaks_among_others_stays_as_it_was_known(tmp_path: Path) -> None:
    lans = Lans(KnownLans(tmp_path))
    lans.update(seen(A, B))
    problems = (Problem(field="spec.vni", message="is wrong"),)
    assert lans.update(Snapshot(broken={"n/a": problems}, gone=frozenset({A.ref}))) == frozenset()
    assert lans.all() == {A.ref: A, B.ref: B}
    assert lans.broken == {"n/a": problems}
    lans.update(Snapshot(lans={A.ref: (replace(A, mtu=1400), "n/a")}, gone=frozenset()))
    assert lans.broken == {}
    lans.update(Snapshot(gone=frozenset({A.ref})))
    assert lans.all() == {B.ref: B}


def test_what_a_broken_lan_has_been_granted_is_nobody_elses_on_a_node_that_never_knew_it(tmp_path: Path) -> None:
    """It is not realised there, as nobody knows how; what another LAN wants of it is not either, until it is gone."""
    problems = (Problem(field="spec.mtu", message="is wrong"),)
    thief = replace(B, vni=A.vni)
    lans = Lans(KnownLans(tmp_path))
    whole = replace(seen(thief), broken={str(A.ref): problems}, remains={A.ref: replace(A, granted=validate.grant(A))})
    lans.update(whole)
    lans.update(Snapshot(lans={ELSEWHERE.ref: (ELSEWHERE, "m/a")}, gone=frozenset()))
    assert lans.all() == {ELSEWHERE.ref: ELSEWHERE}
    with pytest.raises(CniError, match=r"LAN n/a breaks rules: spec.mtu: is wrong"):
        lans.of_name(A.ref)
    with pytest.raises(CniError, match=r"LAN n/b clashes: spec.vni: 1 is in use by LAN n/a"):
        lans.of_name(B.ref)
    assert KnownLans(tmp_path).all().keys() == {B.ref, ELSEWHERE.ref}
    lans.update(Snapshot(gone=frozenset({A.ref})))
    assert lans.get(B.ref) == thief
    lans = Lans(KnownLans(tmp_path / "new"))
    lans.update(replace(whole, remains={A.ref: A}))
    assert lans.get(B.ref) == thief, "what has not been granted is nobody's"
    lans.update(whole)
    lans.update(replace(seen(A), gone=frozenset()))
    assert (lans.get(A.ref), lans.get(B.ref)) == (None, thief), "when it is mended, it is a LAN like others"


def test_a_lan_without_a_vni_waits_for_it_and_keeps_the_one_it_has_in_use(tmp_path: Path) -> None:
    waiting = replace(A, vni=0, allotted=True)
    lans = Lans(KnownLans(tmp_path), lambda: [A.ref])
    lans.update(seen(waiting))
    assert lans.all() == {}
    for ask in (lambda: lans.of_spoke("a1", "n"), lambda: lans.of_name(A.ref)):
        with pytest.raises(CniError, match=r"LAN n/a(, which)? has no VNI yet: the controller allots it one"):
            ask()
    numbered = replace(waiting, vni=7)
    lans.update(seen(numbered))
    assert Lans(KnownLans(tmp_path)).all() == lans.all() == {A.ref: numbered}
    lans.update(seen(waiting))  # as when the object was made anew from a copy
    assert lans.all() == {A.ref: numbered}
    lans.update(seen(replace(waiting, vni=8)))
    assert lans.get(A.ref) == replace(waiting, vni=8)
