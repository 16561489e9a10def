"""The rules of a LAN as functions from values to problems. Webhook, CLI and file reader print the same list.

Three questions are answered: is this LAN right in itself (``rules``), may it become that one (``change``), and which
of several LANs cannot live together (``clashes``). What is wrong with the shape of a document is the codec's matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from k8slan_cli.errors import Problem
from k8slan_cli.lan import names
from k8slan_cli.lan.model import Lan, LanRef

MAX_VNI = (1 << 24) - 1
MAX_SPOKES = 1022
"""A bridge has 1,023 ports, and VXLAN takes one."""
TOLERATED_SPOKES = 4095
"""As many as lists of before have: they go on, as only the ports in use count, but a new list is not as long."""
MIN_MTU, MAX_MTU = 68, 65535 - 74
"""RFC 791 demands 68 bytes of every link; a packet has 65,535 at the most, VXLAN's own headers included."""
_KERNELS_OWN = frozenset({"lo", "all", "default"})
"""``lo`` is in every namespace; the others are folders under /proc/sys/net, so the kernel gives them to no link."""


def rules(lan: Lan) -> tuple[Problem, ...]:
    """All rules that ``lan`` breaks by itself."""
    return tuple(_rules(lan))


def _rules(lan: Lan) -> Iterator[Problem]:
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
    if not 1 <= lan.vni <= MAX_VNI:
        yield Problem(field="spec.vni", message=f"{lan.vni} is not in 1..{MAX_VNI}")
    if not 1 <= lan.port <= 65535:
        yield Problem(field="spec.vxlanPort", message=f"{lan.port} is not in 1..65535")
    if lan.group is not None and not lan.group.is_multicast:
        hint = "leave vxlanGrp out for unicast"
        yield Problem(field="spec.vxlanGrp", message=f"{lan.group} is not a multicast address ({hint})")
    if lan.underlay is not None:
        yield from _fault("spec.defaultVxlanDev", names.interface_fault(lan.underlay, 15))
    for node, device in lan.underlays:
        yield from _fault(device_field(node), names.subdomain_fault(node.lower()))
        yield from _fault(device_field(node), names.interface_fault(device, 15))
    if lan.mtu is not None and not MIN_MTU <= lan.mtu <= MAX_MTU:
        yield Problem(field="spec.mtu", message=f"{lan.mtu} is not in {MIN_MTU}..{MAX_MTU}")
    yield from _spokes(lan)
    if lan.dynamic and not names.subdomain_fault(lan.ref.name):
        yield from _fault("metadata.name", names.subdomain_fault(names.lan_nad(lan.ref.name)))


def device_field(node: str) -> str:
    """The path of a node's entry in ``spec.vxlanDevMap``."""
    return f"spec.vxlanDevMap[{node if names.subdomain_fault(node) == '' else names.shown(node)}]"


def _spokes(lan: Lan) -> Iterator[Problem]:
    if not lan.spokes and not lan.dynamic:
        yield Problem(field="spec.spokes", message="needs at least one spoke, or spec.dynamic: true")
    if len(lan.spokes) > TOLERATED_SPOKES:
        yield Problem(field="spec.spokes", message=f"has {len(lan.spokes)} spokes, {MAX_SPOKES} at the most")
    taken = {lan.bridge: "spec.bridge", lan.vxlan: "spec.vxlan"}
    seen: dict[str, int] = {}
    taps: dict[int, int] = {}
    for position, spoke in enumerate(lan.spokes):
        field = f"spec.spokes[{position}]"
        if fault := names.label_fault(spoke, names.MAX_INTERFACE):
            yield Problem(field=field, message=fault)
            continue
        if (first := seen.setdefault(spoke, position)) != position:
            yield Problem(field=field, message=f"{spoke!r} is spec.spokes[{first}] already")
        elif (first := taps.setdefault(names.tap_index(spoke), position)) != position:
            # One in two thousand million pairs.
            yield Problem(field=field, message=f"{spoke!r} would share its tap device with spec.spokes[{first}]")
        for derived in (names.port(spoke), names.stub(names.port(spoke))):
            if derived in taken:
                yield Problem(field=field, message=f"its device {derived!r} has the name of {taken[derived]}")


def _fault(field: str, fault: str) -> Iterator[Problem]:
    if fault:
        yield Problem(field=field, message=fault)


def change(old: Lan, new: Lan) -> tuple[Problem, ...]:
    """What of ``old`` must not become what it is in ``new``; all else may be edited while the LAN is in use."""
    fixed = {"ns": (old.netns, new.netns), "vni": (old.vni, new.vni)}
    fixed |= {"bridge": (old.bridge, new.bridge), "vxlan": (old.vxlan, new.vxlan)}
    return tuple(
        Problem(field=f"spec.{name}", message=f"is immutable: {before} cannot become {after} (make a new LAN)")
        for name, (before, after) in fixed.items()
        if before != after
    )


def clashes(lans: Iterable[Lan]) -> dict[LanRef, tuple[Problem, ...]]:
    """The LANs that must not be realised, each with what it has in common with an older one.

    The rule is the same everywhere: in the order of creation (then of namespace and name), a LAN is in if its
    ``ns``, ``vni`` and spokes are taken by none that is in already.
    """
    namespaces: dict[str, LanRef] = {}
    vnis: dict[int, LanRef] = {}
    spokes: dict[str, LanRef] = {}
    taps: dict[int, tuple[str, LanRef]] = {}
    found: dict[LanRef, tuple[Problem, ...]] = {}
    for lan in sorted(lans, key=lambda lan: (lan.created or "~", lan.ref)):
        problems: list[Problem] = []
        if owner := namespaces.get(lan.netns):
            problems.append(Problem(field="spec.ns", message=f"{lan.netns} is in use by LAN {owner}"))
        if owner := vnis.get(lan.vni):
            problems.append(Problem(field="spec.vni", message=f"{lan.vni} is in use by LAN {owner}"))
        for position, spoke in enumerate(lan.spokes):
            if owner := spokes.get(spoke):
                message = f"{spoke} is in use by LAN {owner}"
            elif tap := taps.get(names.tap_index(spoke)):
                message = f"{spoke} would share its tap device with spoke {tap[0]} of LAN {tap[1]}"
            else:
                continue
            problems.append(Problem(field=f"spec.spokes[{position}]", message=message))
        if problems:
            found[lan.ref] = tuple(problems)
            continue
        namespaces[lan.netns] = vnis[lan.vni] = lan.ref
        spokes |= dict.fromkeys(lan.spokes, lan.ref)
        taps |= {names.tap_index(spoke): (spoke, lan.ref) for spoke in lan.spokes}
    return found
