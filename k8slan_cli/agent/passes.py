"""One pass: read what is there, plan what should be, carry out the difference. The body of every loop, callable once.

It blocks (netlink, /proc) and so runs in a worker thread; passes over the same LAN never overlap.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from k8slan_cli.agent.store import Key
from k8slan_cli.errors import Invalid, K8slanError, KernelError, PodGone
from k8slan_cli.lan import names
from k8slan_cli.lan.model import IpAddress, Lan, Uplink
from k8slan_cli.net import fdb, observe, taps
from k8slan_cli.net.execute import Context, execute
from k8slan_cli.net.node import Node
from k8slan_cli.plan import desired as planner
from k8slan_cli.plan import operations as op
from k8slan_cli.plan import uplinks
from k8slan_cli.plan.desired import Elsewhere
from k8slan_cli.plan.diff import diff
from k8slan_cli.plan.moves import Move
from k8slan_cli.plan.operations import Operation
from k8slan_cli.plan.state import Attachment, LanState, Underlay, absent, tunnel_port
from k8slan_cli.plan.uplinks import SeenUplink, opened_in

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Self:
    """The node itself: the names by which LANs may refer to it, and its InternalIP, if known."""

    name: str
    aliases: frozenset[str] = frozenset()
    address: IpAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a pass did: the state it was after, its operations, those that failed, and why there was no plan, if so.

    ``uplinks`` are this node's uplinks of the LAN as they were found.
    """

    desired: LanState
    underlay: Underlay | None = None
    operations: tuple[Operation, ...] = ()
    failures: tuple[tuple[Operation, KernelError], ...] = ()
    unplanned: K8slanError | None = None
    uplinks: tuple[SeenUplink, ...] = ()

    def failure_of(self, key: Key) -> K8slanError | None:
        """Why an attachment does not work, if it does not: its own failure, or else one of the whole LAN."""
        whole = self.unplanned
        for operation, error in self.failures:
            if isinstance(operation, op.ShapePort):
                continue  # a link that is better than it should be keeps no pod away; the LAN says so
            attachment = getattr(operation, "attachment", None)
            if attachment is None and not hasattr(operation, "uplink"):  # pods go on without hardware
                whole = whole or error
            elif attachment is not None and attachment.key == key:
                return error
        return whole

    @property
    def trouble(self) -> K8slanError | None:
        """The first thing that is wrong with the LAN on this node, if anything is."""
        return self.unplanned or next((error for _, error in self.failures), None)


def find_underlay(node: Node, lan: Lan, me: Self, around: Elsewhere) -> Underlay:
    """The device that carries the LAN's VXLAN here.

    Raises:
        UnderlayMissing: there is no such device.

    """
    remotes = planner.remote_addresses(lan, around)
    return observe.underlay(node, lan.underlay_on(me.name, *me.aliases), me.address, remotes)


def mtu_inside(node: Node, lan: Lan, me: Self) -> int:
    """The MTU that the LAN has, or would have, on this node.

    Raises:
        Invalid: the LAN cannot be had here.
        UnderlayMissing: there is no underlay device.

    """
    around = planner.elsewhere(lan, me.name, ())
    state = planner.plan(lan, find_underlay(node, lan, me, around), (), around, others=True)
    return state.bridge.mtu if state.bridge else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a pass is about: a LAN (None: one that is gone) with its namespace, the node, and all attachments.

    ``addressed`` are those that have got addresses and routes since their interfaces were made. ``around`` is what
    other nodes have of the LAN, and ``moves`` are the MAC addresses that have moved since the pass before. ``opened``
    is the port of the uplink that is active here, "" for none; with None that is not known yet, and stays as it is.
    """

    lan: Lan | None
    netns: str
    me: Self
    attachments: Collection[Attachment]
    addressed: Collection[Key] = ()
    around: Elsewhere = field(default_factory=Elsewhere)
    moves: Collection[Move] = ()
    opened: str | None = ""

    @property
    def uplinks(self) -> tuple[Uplink, ...]:
        """Return this node's uplinks of the LAN."""
        return self.lan.uplinks_on(self.me.name) if self.lan else ()


def plan_pass(node: Node, aim: Aim) -> tuple[Outcome, LanState]:
    """What should be and what is.

    Raises:
        KernelError: what is there could not be read.

    """
    observed = observe.lan_state(node, aim.netns, devices=_taps(aim.attachments))
    if aim.lan is None or not (aim.attachments or aim.uplinks):
        return Outcome(desired=absent(aim.netns)), observed
    nics = {uplink: observe.nic(node, uplink.device) for uplink in aim.uplinks}
    opened = opened_in(observed.uplinks.values()) if aim.opened is None else aim.opened
    try:
        underlay = find_underlay(node, aim.lan, aim.me, aim.around)
        around = planner.as_heard(aim.around, aim.lan, aim.me.name, observed)
        desired = planner.plan(aim.lan, underlay, aim.attachments, around, nics=nics, opened=opened)
    except (Invalid, KernelError) as error:
        kept = planner.without_underlay(observed, aim.attachments, aim.uplinks, opened)
        seen = tuple(uplinks.seen(uplink, nic, underlay=0, mtu=0) for uplink, nic in nics.items())
        return Outcome(desired=kept, unplanned=error, uplinks=seen), observed
    seen = planner.look_at(nics, underlay, desired.bridge.mtu if desired.bridge else 0)
    return Outcome(desired=desired, underlay=underlay, uplinks=seen), observed


def run_pass(node: Node, aim: Aim, pods: Mapping[Key, int]) -> Outcome:
    """One pass over a whole LAN.

    Raises:
        KernelError: what is there could not be read.

    """
    with node.turn(aim.netns):
        return _carry_out(node, aim, pods, *plan_pass(node, aim))


def run_quick_pass(node: Node, aim: Aim, pods: Mapping[Key, int], ports: Collection[str], last: Outcome) -> Outcome:
    """A pass over some ports of a LAN, and its peers, however many other ports it has; ``last`` left it in order.

    A port whose ADD is under way is not looked for: it is made, and the kernel says if it is there. If that does not
    succeed, or the LAN is not as it was, a pass over the whole LAN follows.

    Raises:
        KernelError: what is there could not be read.

    """
    with node.turn(aim.netns):
        return _run_quick_pass(node, aim, pods, ports, last)


def _run_quick_pass(node: Node, aim: Aim, pods: Mapping[Key, int], ports: Collection[str], last: Outcome) -> Outcome:
    before, underlay = last.desired, last.underlay
    if aim.lan is None or not (aim.attachments or aim.uplinks) or underlay is None or before.vxlan is None:
        return run_pass(node, aim, pods)
    opened = opened_in(before.uplinks.values())
    changed = aim.uplinks != tuple(each.uplink for each in last.uplinks) or aim.opened not in (None, opened)
    if changed or aim.lan.cable:
        return run_pass(node, aim, pods)
    concerned = [a for a in aim.attachments if a.port in ports]
    on_way = {a.port for a in concerned if a.key in pods and a.key not in aim.addressed}
    if aim.around.losers is None and any(a.port not in on_way for a in concerned):
        return run_pass(node, aim, pods)  # only the port itself can tell whether it has lost its spoke
    around = planner.as_heard(aim.around, aim.lan, aim.me.name, before)
    desired = planner.plan(aim.lan, underlay, concerned, around, others=True)
    desired = replace(desired, uplinks=before.uplinks)
    tunnel = replace(desired.vxlan, peers=before.vxlan.peers) if desired.vxlan else None
    if desired.vxlan is None or (tunnel, desired.joint) != (before.vxlan, before.joint):
        return run_pass(node, aim, pods)
    if underlay.routed and desired.vxlan.peers != before.vxlan.peers:
        return run_pass(node, aim, pods)  # another device may lead to them
    observed = replace(
        desired, ports={}, attachments={}, stubs={}, shapes={}, taps=taps.owners(node.host_root, _taps(concerned))
    )
    if old := set(ports) - on_way:
        looked_at = [aim.lan.bridge, *old, *map(names.stub, old), *map(names.ifb, old)]
        observed = observe.lan_state(node, aim.netns, only=looked_at, devices=_taps(concerned))
        if observed.bridge != desired.bridge:
            return run_pass(node, aim, pods)
    observed = replace(observed, vxlan=before.vxlan, joint=before.joint, uplinks=before.uplinks)
    outcome = Outcome(desired=desired, underlay=underlay, uplinks=last.uplinks)
    outcome = _carry_out(node, aim, pods, outcome, observed)
    lan_failed = any(not isinstance(error, PodGone) for _, error in outcome.failures)
    return run_pass(node, aim, pods) if lan_failed else outcome


def _taps(attachments: Collection[Attachment]) -> list[int]:
    return [a.tap for a in attachments if a.tap]


def _carry_out(node: Node, aim: Aim, pods: Mapping[Key, int], outcome: Outcome, observed: LanState) -> Outcome:
    operations = diff(outcome.desired, observed, underlay=outcome.underlay.name if outcome.underlay else "")
    late = (op.ConfigurePod(a) for a in outcome.desired.attachments.values() if a.key in aim.addressed)
    operations += tuple(operation for operation in late if operation not in operations)
    context = Context(node, aim.netns, pods)
    failures = _execute(operations, context)
    if not failures:
        stale = _stale(node, aim, outcome.desired, [o.attachment for o in operations if isinstance(o, op.CreateVeth)])
        failures = _execute(stale, context)
        operations += stale
    return replace(outcome, operations=operations, failures=tuple(failures))


def _stale(node: Node, aim: Aim, desired: LanState, come: Iterable[Attachment]) -> tuple[Operation, ...]:
    """What has been learned of MAC addresses that have moved, here too if there is anywhere else that they may be."""
    bridge, vxlan, handle = desired.bridge, desired.vxlan, node.lan(aim.netns)
    if not (bridge and vxlan and handle):
        return ()
    moves = [*aim.moves]
    if vxlan.peers or vxlan.tunnel.group:
        moves += (Move(mac=attachment.mac, port=attachment.port) for attachment in come if not attachment.vm_uid)
    return tuple(fdb.look(handle, moves, bridge.name, vxlan.link.name, tunnel_port(desired)))


def _execute(operations: Iterable[Operation], context: Context) -> list[tuple[Operation, KernelError]]:
    """Carry operations out and return those that failed."""
    failures: list[tuple[Operation, KernelError]] = []
    begun: set[Key] = set()
    failed: set[Key] = set()
    unmade: set[str] = set()
    for operation in operations:
        attachment = getattr(operation, "attachment", None)
        if attachment is not None and attachment.key in failed:
            continue
        if isinstance(operation, op.OpenUplink) and operation.uplink.port.name in unmade:
            continue
        try:
            execute(operation, context)
        except KernelError as error:
            failures.append((operation, error))
            log.warning("%s: cannot %s", context.name, error)
            if isinstance(operation, op.CreateUplink):
                unmade.add(operation.uplink.port.name)
            if attachment is not None:
                failed.add(attachment.key)
                if attachment.key in begun:
                    _unmake(attachment, context)
        else:
            log.info("%s: %s", context.name, operation.describe())
            if isinstance(operation, op.CreateVeth):
                begun.add(operation.attachment.key)
    return failures


def _unmake(attachment: Attachment, context: Context) -> None:
    """Take the port of a half-made attachment away: with it there, the next pass would think all is well."""
    with contextlib.suppress(KernelError):
        execute(op.DeleteLinks((attachment.port,)), context)
