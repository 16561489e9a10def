"""The rules of a LAN as functions from values to problems. Webhook, CLI and file reader print the same list.

Three questions are answered: is this LAN right in itself (``rules``), may it become that one (``change``, ``gain``),
and which of several LANs can be had beside each other (``settle``). What is wrong with the shape of a document is the
codec's matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from k8slan_cli.errors import Problem
from k8slan_cli.lan import links, names
from k8slan_cli.lan.model import ANY, Grant, Lan, LanRef, Uplink
from k8slan_cli.lan.names import Forms
from k8slan_cli.lan.vnis import MAX_VNI

MAX_SPOKES = 1022
"""A bridge has 1,023 ports (Linux, BR_MAX_PORTS), and VXLAN takes one."""
TOLERATED_SPOKES = 4095
"""As many as lists of before have: they go on, as only the ports in use count, but a new list is not as long."""
MAX_REMOTES = 64
"""Each frame without a known place is sent to each of them, by each node."""
MAX_UPLINKS = 16
"""One is active; more than a few to take its place are a mistake."""
MAX_VLAN = 4094
"""IEEE 802.1Q, 9.6: 0 and 4095 are no VLANs."""
MAX_TTL = 255
MIN_MTU, MAX_MTU = 68, 65535 - 74
"""RFC 791 demands 68 bytes of every link; a packet has 65,535 at the most, VXLAN's own headers included."""
MAX_NAMESPACES = 256
_KERNELS_OWN = frozenset({"lo", "all", "default"})
"""``lo`` is in every namespace; the others are folders under /proc/sys/net, so the kernel gives them to no link."""


def rules(lan: Lan, *, new: bool = False) -> tuple[Problem, ...]:
    """All rules that ``lan`` breaks by itself; a ``new`` one may not have as many spokes as some of before do."""
    return tuple(_rules(lan, MAX_SPOKES if new else TOLERATED_SPOKES))


def _rules(lan: Lan, most_spokes: int) -> Iterator[Problem]:
    yield from _fault("metadata.name", names.subdomain_fault(lan.ref.name))
    yield from _fault("metadata.namespace", names.label_fault(lan.ref.namespace))
    yield from _fault("spec.ns", names.file_fault(lan.netns))
    yield from _fault("spec.bridge", names.interface_fault(lan.bridge))
    yield from _fault("spec.vxlan", names.interface_fault(lan.vxlan))
    for field, name in (("spec.bridge", lan.bridge), ("spec.vxlan", lan.vxlan)):
        if name in _KERNELS_OWN:
            yield Problem(field=field, message=f"{name!r} is a name that the kernel keeps for itself")
    if lan.bridge == lan.vxlan:
        yield Problem(field="spec.vxlan", message=f"{lan.vxlan!r} is the bridge's name too")
    if not 1 <= lan.vni <= MAX_VNI and not lan.allotted:
        yield Problem(field="spec.vni", message=f"{lan.vni} is not in 1..{MAX_VNI}")
    if not 1 <= lan.port <= 65535:
        yield Problem(field="spec.vxlanPort", message=f"{lan.port} is not in 1..65535")
    if lan.group is not None and not lan.group.is_multicast:
        hint = "leave vxlanGrp out for unicast"
        yield Problem(field="spec.vxlanGrp", message=f"{lan.group} is not a multicast address ({hint})")
    if not 0 <= lan.ttl <= MAX_TTL:
        yield Problem(field="spec.vxlanTTL", message=f"{lan.ttl} is not in 1..{MAX_TTL}")
    elif lan.ttl and lan.group is None:
        yield Problem(field="spec.vxlanTTL", message="is for multicast: set vxlanGrp, or leave it out")
    if lan.underlay is not None:
        yield from _fault("spec.defaultVxlanDev", names.interface_fault(lan.underlay, 15))
    for node, device in lan.underlays:
        yield from _fault(device_field(node), names.subdomain_fault(node.lower()))
        yield from _fault(device_field(node), names.interface_fault(device, 15))
    yield from _remotes(lan)
    yield from _uplinks(lan)
    yield from _allowed_namespaces(lan)
    if lan.mtu is not None and not MIN_MTU <= lan.mtu <= MAX_MTU:
        yield Problem(field="spec.mtu", message=f"{lan.mtu} is not in {MIN_MTU}..{MAX_MTU}")
    if lan.fragment and lan.group is not None and lan.group.version == 6:
        hint = "needs a vxlanGrp of IPv4, or none: Linux does not fragment VXLAN over IPv6"
        yield Problem(field="spec.fragment", message=hint)
    yield from _spokes(lan, most_spokes)
    yield from _links(lan)
    if lan.dynamic and not names.subdomain_fault(lan.ref.name):
        yield from _fault("metadata.name", names.subdomain_fault(names.lan_nad(lan.ref.name)))


def device_field(node: str) -> str:
    """The path of a node's entry in ``spec.vxlanDevMap``."""
    return f"spec.vxlanDevMap[{node if names.subdomain_fault(node) == '' else names.shown(node)}]"


def _remotes(lan: Lan) -> Iterator[Problem]:
    if len(lan.remotes) > MAX_REMOTES:
        yield Problem(field="spec.remotes", message=f"has {len(lan.remotes)} addresses, {MAX_REMOTES} at the most")
        return
    for position, address in enumerate(lan.remotes):
        if address.is_loopback:
            yield Problem(field=remote_field(position), message=f"{address} is no address of another host")
        elif (first := lan.remotes.index(address)) != position:
            yield Problem(field=remote_field(position), message=f"{address} is spec.remotes[{first}] already")


def _uplinks(lan: Lan) -> Iterator[Problem]:
    if len(lan.uplinks) > MAX_UPLINKS:
        yield Problem(field="spec.uplinks", message=f"has {len(lan.uplinks)} entries, {MAX_UPLINKS} at the most")
        return
    for position, uplink in enumerate(lan.uplinks):
        field = uplink_field(position)
        yield from _fault(f"{field}.node", names.subdomain_fault(uplink.node))
        fault = names.interface_fault(uplink.device, names.MAX_DEVICE)
        if not fault and uplink.device in _KERNELS_OWN:
            fault = f"{uplink.device!r} is a name that the kernel keeps for itself"
        yield from _fault(f"{field}.device", fault)
        if not 0 <= uplink.vlan <= MAX_VLAN:
            yield Problem(field=f"{field}.vlan", message=f"{uplink.vlan} is not in 1..{MAX_VLAN}")
        if (first := lan.uplinks.index(uplink)) != position:
            yield Problem(field=field, message=f"{uplink} is {uplink_field(first)} already")
        elif uplink.vlan and (whole := replace(uplink, vlan=0)) in lan.uplinks:
            text = f"{uplink.device} is taken whole by {uplink_field(lan.uplinks.index(whole))}: name one of the two"
            yield Problem(field=f"{field}.vlan", message=text)
        elif not fault and not uplink.vlan and uplink.device == lan.underlay_on(uplink.node):
            text = (
                f"{uplink.device} carries the LAN's VXLAN on node {uplink.node}: name another device, or a VLAN of it"
            )
            yield Problem(field=f"{field}.device", message=text)
        elif (port := names.uplink(uplink.device, uplink.vlan)) in (lan.bridge, lan.vxlan):
            text = f"its port {port!r} has the name of the LAN's bridge or VXLAN device"
            yield Problem(field=f"{field}.device", message=text)


def uplink_field(position: int) -> str:
    """Return the path of an uplink in the document."""
    return f"spec.uplinks[{position}]"


def _allowed_namespaces(lan: Lan) -> Iterator[Problem]:
    allowed = lan.allowed_namespaces
    if len(allowed) > MAX_NAMESPACES:
        message = f"has {len(allowed)} namespaces, {MAX_NAMESPACES} at the most; {ANY!r} allows all"
        yield Problem(field="spec.allowedNamespaces", message=message)
        return
    for position, namespace in enumerate(allowed):
        field = f"spec.allowedNamespaces[{position}]"
        if namespace != ANY and (fault := names.label_fault(namespace)):
            yield Problem(field=field, message=f"{fault}; {ANY!r} allows all")
        elif (first := allowed.index(namespace)) != position:
            yield Problem(field=field, message=f"{namespace!r} is spec.allowedNamespaces[{first}] already")


def _links(lan: Lan) -> Iterator[Problem]:
    if lan.cable and (lan.dynamic or len(lan.spokes) != 2):
        has = "a dynamic LAN has any number" if lan.dynamic else f"this LAN has {len(lan.spokes)}"
        yield Problem(field="spec.cable", message=f"a cable has two ends, and so two spokes; {has}")
    if len(lan.links) > links.MAX_LINKS:
        yield Problem(field="spec.links", message=f"has {len(lan.links)} links, {links.MAX_LINKS} at the most")
        return
    spokes = frozenset(lan.spokes)
    for name, link in lan.links:
        if name not in spokes and not (lan.dynamic and names.is_plug(name)):
            known = "a spoke of the LAN" + (", or NAMESPACE/POD:INTERFACE" if lan.dynamic else "")
            yield Problem(field=links.field(name), message=f"{names.shown(name)} is not {known}")
        yield from links.faults(name, link)


def remote_field(position: int) -> str:
    """Return the path of a remote in the document."""
    return f"spec.remotes[{position}]"


def _spokes(lan: Lan, most: int) -> Iterator[Problem]:
    if not lan.spokes and not lan.dynamic:
        yield Problem(field="spec.spokes", message="needs at least one spoke, or spec.dynamic: true")
    if len(lan.spokes) > most:
        yield Problem(field="spec.spokes", message=f"has {len(lan.spokes)} spokes, {MAX_SPOKES} at the most")
        return
    known = frozenset(lan.spokes)
    for position, spoke in enumerate(lan.vm_spokes or ()):
        if spoke not in known:
            yield Problem(field=f"spec.vmSpokes[{position}]", message=f"{names.shown(spoke)} is not a spoke of the LAN")
    taken = {lan.bridge: "spec.bridge", lan.vxlan: "spec.vxlan"}
    seen: dict[str, int] = {}
    for position, spoke in enumerate(lan.spokes):
        field = spoke_field(position)
        if fault := names.label_fault(spoke, names.MAX_INTERFACE):
            yield Problem(field=field, message=fault)
            continue
        if (first := seen.setdefault(spoke, position)) != position:
            yield Problem(field=field, message=f"{spoke!r} is spec.spokes[{first}] already")
        port = names.port(spoke)
        for derived in (port, names.stub(port), names.ifb(port)):
            if derived in taken:
                yield Problem(field=field, message=f"its device {derived!r} has the name of {taken[derived]}")


def _fault(field: str, fault: str) -> Iterator[Problem]:
    if fault:
        yield Problem(field=field, message=fault)


def change(old: Lan, new: Lan) -> tuple[Problem, ...]:
    """What of ``old`` must not become what it is in ``new``; all else may be edited while the LAN is in use."""
    fixed = {"ns": (old.netns, new.netns), "vni": (old.vni, new.vni)}
    fixed |= {"bridge": (old.bridge, new.bridge), "vxlan": (old.vxlan, new.vxlan)}
    fixed["fragment"] = (str(old.fragment).lower(), str(new.fragment).lower())
    return tuple(
        Problem(field=f"spec.{name}", message=f"is immutable: {before} cannot become {after} (make a new LAN)")
        for name, (before, after) in fixed.items()
        if before != after
    )


def gain(old: Lan, new: Lan) -> tuple[Problem, ...]:
    """Return what ``new`` has that ``old`` has not: a LAN that is being deleted may give up things, and get nothing."""
    late, had = "while the LAN is being deleted", frozenset(old.spokes)
    added = [
        Problem(field=spoke_field(position), message=f"{spoke} cannot be added {late}")
        for position, spoke in enumerate(new.spokes)
        if spoke not in had
    ]
    if new.dynamic and not old.dynamic:
        added.append(Problem(field="spec.dynamic", message=f"cannot be set {late}"))
    return (*change(old, new), *added)


# ---------------------------------------------------------------- several LANs

Claim = str | int
"""A namespace's name; a VNI; a NAD's name with its namespace, which has a "/"; an uplink, which has a space."""
_Owners = dict[Claim, LanRef]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Which LANs can be had beside each other.

    ``lans``     those that may be realised, as they may be: no two of them share a claim
    ``clashes``  what other LANs have of those that cannot be had as they are wanted
    """

    lans: Mapping[LanRef, Lan]
    clashes: Mapping[LanRef, tuple[Problem, ...]]


def spoke_field(position: int) -> str:
    """Return the path of a spoke in the document."""
    return f"spec.spokes[{position}]"


def nad_claim(namespace: str, nad: str) -> Claim:
    """Return the claim to a NAD's name."""
    return f"{namespace}/{nad}"


def claims(lan: Lan) -> Iterator[tuple[Claim, str, str]]:
    """Yield what a LAN must have for itself: each claim with its field and as the user wrote it.

    A spoke is claimed by the names of its NADs, and so in the LAN's namespace: by the short one always.
    """
    yield lan.netns, "spec.ns", lan.netns
    if lan.vni:
        yield lan.vni, "spec.vni", str(lan.vni)
    for position, uplink in enumerate(lan.uplinks):
        yield str(uplink), uplink_field(position), str(uplink)
    for position, spoke in enumerate(lan.spokes):
        yield nad_claim(lan.ref.namespace, names.veth_nad(spoke)), spoke_field(position), spoke
        if lan.forms is not Forms.SHORT:
            nad = names.veth_nad(spoke, lan.ref.name)
            yield nad_claim(lan.ref.namespace, nad), spoke_field(position), f"{spoke}, as NAD {nad},"


def stakes(lan: Lan) -> frozenset[Claim]:
    """Return all that a LAN wants or has been granted: LANs without a stake in common cannot clash.

    A stake is not always a claim: in a NIC of which a LAN has but a VLAN others may have other ones.
    """
    forms = (lan,) if lan.granted in (None, grant(lan)) else (lan, as_granted(lan))
    nics = (str(replace(uplink, vlan=0)) for form in forms for uplink in form.uplinks)
    return frozenset(claim for form in forms for claim, _, _ in claims(form)).union(nics)


def settle(lans: Iterable[Lan], held: Mapping[LanRef, Lan] = MappingProxyType({})) -> Settled:
    """Decide which LANs can be had. Agents, controller, webhook and workstation all decide by this.

    ``held`` are LANs with attachments on the node that asks, as they are realised there. What they hold stays theirs,
    whatever others want, however old these are. So does what the controller has granted to a LAN. If such a LAN has
    been edited so that it wants what another has, the edit is not followed: it goes on with what it had (see
    ``_as_it_was``) until the clash is gone. So neither LAN is torn down.

    All else goes to the first that wants it; a LAN gets all that it wants or nothing. The first is one with
    attachments, on any node; then one that is not being deleted; then the oldest, and of one age the first by name.

    A LAN that is being deleted gains nothing, and one without attachments claims nothing any more.
    """
    ranked = sorted(lans, key=_rank)
    owners: _Owners = {}
    had: dict[LanRef, frozenset[Claim]] = {}
    found: dict[LanRef, Lan] = {}
    for lan in ranked:
        former = held.get(lan.ref)
        if former and not _taken(former, owners):
            had[lan.ref] = frozenset(_own(former, owners))
            found[lan.ref] = _as_it_was(lan, former)
    refused = [lan for lan in ranked if lan.ref in found or not lan.leaving]
    freed = True
    while freed:  # what a LAN gives up may be what another was granted, or what one before it waits for
        waiting, refused, freed = refused, [], False
        for lan in waiting:
            if lan.granted and not lan.leaving:
                former = as_granted(lan)
                had[lan.ref] = had.get(lan.ref, frozenset()).union(_own(former, owners))
                if lan.ref not in found and not _taken(former, owners):
                    found[lan.ref] = former
        for lan in waiting:
            if _against(lan, found.get(lan.ref), owners):
                refused.append(lan)
                continue
            for claim in had.pop(lan.ref, frozenset()).difference(_own(lan, owners)):
                del owners[claim]
                freed = True
            found[lan.ref] = lan
    return Settled(lans=found, clashes={lan.ref: _against(lan, found.get(lan.ref), owners) for lan in refused})


def _rank(lan: Lan) -> tuple[bool, bool, str, LanRef]:
    return not lan.in_use, lan.deleting, lan.created or _UNKNOWN, lan.ref


_UNKNOWN, _NEVER = "~", "~~"
"""After all times of creation."""


def as_newest(lan: Lan) -> Lan:
    """Return a LAN that comes after all others: who writes one may not take from another what it has."""
    return replace(lan, attached=False, nodes=(), created=_NEVER)


def grant(lan: Lan) -> Grant:
    """Return what is to be granted to a LAN for it to be as it is wanted."""
    return Grant(netns=lan.netns, vni=lan.vni, spokes=lan.spokes, uplinks=lan.uplinks, forms=lan.forms)


def as_granted(lan: Lan) -> Lan:
    """Return a LAN with what has been granted to it, instead of what it wants."""
    if (had := lan.granted) is None:
        return lan
    return replace(lan, netns=had.netns, vni=had.vni, spokes=had.spokes, uplinks=had.uplinks, forms=had.forms)


def _own(lan: Lan, owners: _Owners) -> list[Claim]:
    """Make a LAN the owner of what it claims and no other has; returns what of it is its own."""
    return [claim for claim, _, _ in claims(lan) if owners.setdefault(claim, lan.ref) == lan.ref]


def _against(lan: Lan, former: Lan | None, owners: _Owners) -> tuple[Problem, ...]:
    """Return what is against a LAN as it is wanted, if it is held as ``former``."""
    return (*(gain(former, lan) if former and lan.deleting else ()), *_taken(lan, owners))


def _taken(lan: Lan, owners: _Owners) -> tuple[Problem, ...]:
    """Return what of a LAN is another's, or what it wants twice: two of its NADs may come out with one name."""
    problems: list[Problem] = []
    own: set[Claim] = set()
    for claim, field, shown in claims(lan):
        if (owner := owners.get(claim, lan.ref)) != lan.ref or claim in own:
            problems.append(Problem(field=field, message=f"{shown} is in use by LAN {owner}"))
        own.add(claim)
    for position, uplink in enumerate(lan.uplinks):
        rival = _whole(uplink, owners) if uplink.vlan else _a_vlan(uplink, owners)
        if rival not in (None, lan.ref):
            what = f"{replace(uplink, vlan=0)} is in use as a whole" if uplink.vlan else f"a VLAN of {uplink} is in use"
            problems.append(Problem(field=uplink_field(position), message=f"{what} by LAN {rival}"))
    return tuple(problems)


def _whole(uplink: Uplink, owners: _Owners) -> LanRef | None:
    """Return which LAN has the NIC of an uplink as a whole, VLANs included."""
    return owners.get(str(replace(uplink, vlan=0)))


def _a_vlan(uplink: Uplink, owners: _Owners) -> LanRef | None:
    """Return which LAN has a VLAN of a NIC."""
    start, _, end = str(replace(uplink, vlan=MAX_VLAN)).partition(str(MAX_VLAN))
    found = (c for c in owners if isinstance(c, str) and c.startswith(start) and c.endswith(end))
    return next((owners[claim] for claim in found), None)


def _as_it_was(lan: Lan, former: Lan) -> Lan:
    """Return a LAN as it is now, but for what it is known by and has for itself."""
    return replace(
        lan,
        netns=former.netns,
        bridge=former.bridge,
        vxlan=former.vxlan,
        vni=former.vni,
        allotted=former.allotted,
        uplinks=former.uplinks,
        spokes=former.spokes,
        dynamic=former.dynamic,
        forms=former.forms,
    )


def own_spokes(lan: Lan, problems: Iterable[Problem]) -> tuple[str, ...]:
    """Return the spokes of a LAN that are not in ``problems``, which tell of its clashes."""
    others = {problem.field for problem in problems}
    return tuple(spoke for position, spoke in enumerate(lan.spokes) if spoke_field(position) not in others)
