"""The laws of the planner, over generated pairs of what is wanted and what is there."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import event, given

from k8slan_cli.lan import names
from k8slan_cli.plan import operations as op
from k8slan_cli.plan.diff import diff
from k8slan_cli.plan.operations import Operation
from k8slan_cli.plan.state import LanState, absent
from tests.support.simulator import apply_all
from tests.unit.plan import strategies
from tests.unit.plan.strategies import Pair


@given(strategies.pairs())
def test_run_twice(pair: Pair) -> None:
    """Every operation can be done in its turn, after them there is nothing to do, and what was wanted is there."""
    operations = diff(pair.wanted, pair.observed)
    event(f"{min(len(operations), 6)} operations")
    reached = apply_all(operations, pair.observed)
    assert diff(pair.wanted, reached) == ()
    if pair.planned:
        assert reached == replace(pair.wanted, attachments={})


@given(strategies.pairs())
def test_an_attachment_that_is_right_is_not_touched(pair: Pair) -> None:
    """Whatever else happens, no operation is about a port, or what hangs on it, that is as it should be."""
    wanted, observed = pair.wanted, pair.observed
    right = {
        name for name, port in wanted.ports.items() if observed.ports.get(name) == port and _stubs_right(name, pair)
    }
    event(f"{min(len(right), 3)} right")
    touched = {name for operation in diff(wanted, observed) for name in _touched(operation)}
    assert not touched & (right | {names.stub(name) for name in right})


@given(strategies.pairs())
def test_a_bridge_and_a_vxlan_device_that_are_right_are_not_touched(pair: Pair) -> None:
    wanted, observed = pair.wanted, pair.observed
    touched = {name for operation in diff(wanted, observed) for name in _touched(operation)}
    if wanted.bridge and observed.bridge == wanted.bridge:
        assert wanted.bridge.name not in touched
    joined = wanted.joint is None or wanted.joint.joined
    if wanted.vxlan and joined and (wanted.vxlan, wanted.joint) == (observed.vxlan, observed.joint):
        assert not {wanted.vxlan.link.name, names.JOINT} & touched


@given(strategies.pairs())
def test_links_go_in_one_go_and_before_anything_is_made(pair: Pair) -> None:
    """The kernel's wait at a deletion is paid once, and what is in the way is gone before its successor comes."""
    operations = diff(pair.wanted, pair.observed)
    deletions = [at for at, operation in enumerate(operations) if isinstance(operation, op.DeleteLinks)]
    assert len(deletions) <= 1
    makers = (op.CreateBridge, op.CreateVxlan, op.CreateJoint, op.CreateVeth, op.CreateMacvtap)
    assert all(
        deletions[0] < at for at, operation in enumerate(operations) if deletions and isinstance(operation, makers)
    )


@given(strategies.pairs())
def test_each_new_port_gets_its_pod_configured_right_after(pair: Pair) -> None:
    operations = diff(pair.wanted, pair.observed)
    for at, operation in enumerate(operations):
        if isinstance(operation, op.CreateVeth):
            rest: list[Operation] = [op.ConfigurePod(operation.attachment)]
            if operation.stub:
                rest[:0] = [op.CreateMacvtap(operation.attachment, operation.stub), op.GiveTap(operation.attachment)]
            assert list(operations[at + 1 : at + 1 + len(rest)]) == rest


@given(strategies.pairs())
def test_what_is_wanted_of_nothing_is_nothing(pair: Pair) -> None:
    """Removal ends with nothing, and nothing needs no removal."""
    removal = diff(absent("blue"), pair.observed)
    assert apply_all(removal, pair.observed).exists is False
    assert diff(absent("blue"), absent("blue")) == ()


@given(strategies.pairs())
def test_every_operation_says_what_it_does_on_one_line(pair: Pair) -> None:
    for operation in diff(pair.wanted, pair.observed, underlay="eth0"):
        words = operation.describe()
        assert words
        assert words.isprintable()


def _stubs_right(port: str, pair: Pair) -> bool:
    stub = names.stub(port)
    return pair.wanted.stubs.get(stub) == pair.observed.stubs.get(stub)


def _touched(operation: Operation) -> set[str]:
    """The names of the links that an operation is about."""
    match operation:
        case op.DeleteLinks(names=doomed):
            return set(doomed)
        case op.CreateBridge(bridge=bridge) | op.SetBridge(bridge=bridge):
            return {bridge.name}
        case op.CreateVxlan(link=link):
            return {link.name}
        case op.SetPort(port=port) | op.CreateJoint(port=port):
            return {port.name}
        case op.SetOffload(port=name):
            return {name}
        case op.SetStub(stub=stub):
            return {stub.name}
        case op.CreateVeth(attachment=attachment) | op.CreateMacvtap(attachment=attachment):
            return {attachment.port, names.stub(attachment.port)}
        case op.ConfigurePod(attachment=attachment):
            return {attachment.port}
        case op.JoinVxlan(vxlan=vxlan, port=port):
            return {vxlan, port}
        case op.AddPeer(vxlan=vxlan) | op.RemovePeer(vxlan=vxlan):
            return {vxlan}
        case _:
            return set()


def test_the_name_of_the_underlay_is_for_the_words_only() -> None:
    state = LanState(netns="blue", bridge=None)
    assert diff(state, state, underlay="eth0") == diff(state, state, underlay="eth1") == ()
