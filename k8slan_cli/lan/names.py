"""Every name that is derived from another, and the bounds that names have. No other module glues names together.

A bridge port is named after its attachment: a spoke ``vm`` has the port ``vmp`` and, if a VM is on it, the stub
``vms`` below its macvtap; an attachment without a spoke has a port like ``3f9a0c1d7be2d``, an uplink one like
``eth1.100u``. The last letter tells them apart, so no two can meet, whatever the spoke is called. All fit into the 15
bytes of IFNAMSIZ because a spoke has 13 at the most.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

MAX_INTERFACE = 13
"""Longest interface name in a LAN object, as in the seed's API: a derived name needs room for a letter."""
MAX_DEVICE = 15
"""Longest name of a link (Linux, IFNAMSIZ - 1)."""
MAX_LABEL = 63
MAX_NETNS = 128
MAX_SUBDOMAIN = 253
_MAX_LAN = 200
"""As much of a LAN's name as the name of a NAD takes."""
_SHOWN = 80
_EACH = "-*"

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_FILE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

_NUMBER = re.compile(r"-(0|[1-9][0-9]*)\Z")

JOINT, JOINT_END = "bridge-to-vxlan", "vxlan-to-bridge"
"""The bridge port of a VXLAN device that is none itself, and its other end; names that users give are shorter."""

RESOURCE_DOMAIN = "macvtap.k8slan.io"
FINALIZER_PREFIX = "finalizer.k8slan.io/"
LAB_LABEL = "lab.k8slan.io/name"
"""The lab that an object belongs to."""
LAB_NODE_LABEL = "lab.k8slan.io/node"
"""Which of the lab's nodes a pod or a VM is."""
LEASE_PREFIX = "k8slan-uplink-"
_TAP_BASE = 1 << 24
_TAP_RANGE = (1 << 31) - 1 - _TAP_BASE


# ---------------------------------------------------------------- what a name may be


def shown(text: str) -> str:
    """Text that somebody gave, for a message: in quotes, on one line, and never endless."""
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…")


def one_line(text: str) -> str:
    """Text without line breaks: what somebody else wrote must not look like a line of k8slan's."""
    return " ".join(text.replace("\t", " ").splitlines())


def interface_fault(name: str, longest: int = MAX_INTERFACE) -> str:
    """Why ``name`` cannot name an interface (kernel: ``dev_valid_name``), or "" if it can."""
    if not name:
        return "is empty"
    if len(name.encode(errors="surrogatepass")) > longest:
        return f"{shown(name)} is longer than {longest} bytes"
    if name in (".", "..") or not name.isprintable() or not name.isascii() or any(c in "/:% " for c in name):
        return f"{shown(name)} is not an interface name: no '/', ':', '%', white space or control characters"
    return ""


def file_fault(name: str) -> str:
    """Why ``name`` is not a plain file name, or "" if it is."""
    if not name:
        return "is empty"
    if len(name) > MAX_NETNS:
        return f"{shown(name)} is longer than {MAX_NETNS} characters"
    if not _FILE.fullmatch(name) or ".." in name:
        return f"{shown(name)} is not a plain file name: letters, digits, and '-', '_', '.' between them"
    return ""


def label_fault(name: str, longest: int = MAX_LABEL) -> str:
    """Why ``name`` is not a DNS-1123 label of at most ``longest`` characters, or "" if it is."""
    if not name:
        return "is empty"
    if len(name) > longest:
        return f"{shown(name)} is longer than {longest} characters"
    if not _LABEL.fullmatch(name):
        return f"{shown(name)} is not a DNS label: lower-case letters, digits, and '-' between them"
    return ""


def subdomain_fault(name: str) -> str:
    """Why ``name`` is not a DNS-1123 subdomain, as names of Kubernetes objects and nodes are, or "" if it is."""
    if not name:
        return "is empty"
    if len(name) > MAX_SUBDOMAIN:
        return f"{shown(name)} is longer than {MAX_SUBDOMAIN} characters"
    if not _SUBDOMAIN.fullmatch(name):
        return f"{shown(name)} is not a DNS name: lower-case letters, digits, and '-' and '.' between them"
    return ""


def is_plug(text: str) -> bool:
    """Whether a text is written as an attachment of a dynamic LAN is called: ``namespace/pod:interface``."""
    namespace, _, rest = text.partition("/")
    pod, _, interface = rest.partition(":")
    return not (label_fault(namespace) or subdomain_fault(pod) or interface_fault(interface, 15))


# ---------------------------------------------------------------- derived names


def netns(namespace: str, name: str) -> str:
    """The network namespace of a LAN that names none: readable, and unique whatever the lengths."""
    return f"{name[:48].rstrip('-.')}-{_digest(namespace, name)[:8]}"


def port(spoke: str) -> str:
    """The bridge port of a spoke."""
    return f"{spoke}p"


def dynamic_port(container: str, ifname: str) -> str:
    """The bridge port of an attachment without a spoke."""
    return f"{_digest(container, ifname)[:12]}d"


def uplink(device: str, vlan: int = 0) -> str:
    """The bridge port of a node's NIC, or of a VLAN of it: readable where that fits into a name."""
    plain = f"{device}.{vlan}u" if vlan else f"{device}u"
    return plain if len(plain) <= MAX_DEVICE else f"{_digest('uplink', device, str(vlan))[:12]}u"


def is_uplink(port_name: str) -> bool:
    """Whether a bridge port may be that of a NIC: no port of a pod is called so."""
    return port_name.endswith("u")


def uplink_lease(namespace: str, name: str) -> str:
    """The Lease that the node with a LAN's active uplink holds."""
    plain = f"{LEASE_PREFIX}{namespace}-{name[:100].rstrip('-.')}"
    return f"{plain}-{_digest('uplink', namespace, name)[:8]}"


def sets(spokes: Iterable[str]) -> Iterator[str]:
    """The names that a StatefulSet's pods can go by: those whose first spoke, ``<name>-0``, is there."""
    for spoke in spokes:
        if (name := spoke.removesuffix("-0")) != spoke and not label_fault(name):
            yield name


def of_set(name: str) -> str:
    """What a configuration calls the spokes of a StatefulSet's pods together."""
    return f"{name}{_EACH}"


def spoke_of(text: str, pod: str) -> str:
    """The spoke that a configuration means for a pod: of ``web-*`` the one of the pod's number, "" if it has none."""
    if not text.endswith(_EACH):
        return text
    number = _NUMBER.search(pod)
    return f"{text.removesuffix(_EACH)}{number[0]}" if number else ""


def ifb(port_name: str) -> str:
    """The device by which what comes in at a port is kept back, as a kernel can keep back only what leaves one."""
    return f"{port_name}i"


def port_of_ifb(ifb_name: str) -> str | None:
    """The port that such a device belongs to; None for what is not one."""
    return ifb_name[:-1] if ifb_name.endswith(("pi", "di")) else None


def stub(port_name: str) -> str:
    """The lower device of a macvtap attachment, the other end of the veth at ``port_name``, which is a spoke's."""
    return f"{port_name[:-1]}s"


def port_of_stub(stub_name: str) -> str | None:
    """The port that a stub belongs to; None for what is not a stub."""
    return f"{stub_name[:-1]}p" if stub_name.endswith("s") and len(stub_name) > 1 else None


def port_of(device: str) -> str:
    """The port that a device of a LAN's namespace belongs to: itself, if it is none of those that go with one."""
    return port_of_stub(device) or port_of_ifb(device) or device


def tap_index(lan: str, spoke: str) -> int:
    """The link index of the macvtap of a spoke of a LAN, and so its ``/dev/tap<index>``: 2^24 .. 2^31-2.

    It is chosen rather than given by the kernel so that the device's path is known before the device exists. The
    range is far above what a kernel hands out by itself.
    """
    return _TAP_BASE + int(_digest("tap", lan, spoke), 16) % _TAP_RANGE


def mac(*parts: str) -> str:
    """A locally administered unicast MAC that is always the same for the same parts (IEEE 802, section 8.2)."""
    raw = bytearray.fromhex(_digest("mac", *parts)[:12])
    raw[0] = raw[0] & 0xFC | 0x02
    return raw.hex(":")


def record(container: str, ifname: str) -> str:
    """The file name of an attachment's record: a digest, so that nothing a runtime says becomes part of a path."""
    return f"{_digest(container, ifname)[:32]}.json"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()


# ---------------------------------------------------------------- Kubernetes objects


class Forms(enum.StrEnum):
    """Which names the NADs and resources of spokes have: with the spoke alone, with the LAN's name too, or two each."""

    SHORT = "short"
    LONG = "long"
    BOTH = "both"

    @classmethod
    def stated(cls, text: object) -> Forms:
        """Return what a LAN's status says; short names where it says nothing that is known."""
        return next((forms for forms in cls if forms == text), cls.SHORT)

    def of(self, lan: str) -> tuple[str, ...]:
        """Return what stands before the spokes of a LAN, once for each form: "", or the LAN's name."""
        return {Forms.SHORT: ("",), Forms.LONG: (lan,), Forms.BOTH: ("", lan)}[self]


def veth_nad(spoke: str, lan: str = "") -> str:
    """The NetworkAttachmentDefinition by which a pod attaches to a spoke; with ``lan``, its long form."""
    return _nad("k8slan-veth", spoke, lan)


def mac_nad(spoke: str, lan: str = "") -> str:
    """The NetworkAttachmentDefinition by which a KubeVirt VM attaches to a spoke; with ``lan``, its long form."""
    return _nad("k8slan-mac", spoke, lan)


def _nad(kind: str, spoke: str, lan: str) -> str:
    return f"{kind}-{_short(lan, _MAX_LAN, lan)}-{spoke}" if lan else f"{kind}-{spoke}"


def _short(name: str, longest: int, *of: str) -> str:
    """A name, with a digest of what it is of in place of its end if it is too long."""
    return name if len(name) <= longest else f"{name[: longest - 9].rstrip('-.')}-{_digest(*of)[:8]}"


def set_nad(name: str, lan: str = "") -> str:
    """The NetworkAttachmentDefinition by which a StatefulSet's pods attach, number 2 to the spoke ``<name>-2``."""
    return _nad("k8slan-set", name, lan)


def lan_nad(lan: str) -> str:
    """The NetworkAttachmentDefinition of a dynamic LAN."""
    return f"k8slan-lan-{lan}"


def resource(nad: str, lan: str = "") -> str:
    """The extended resource of a NetworkAttachmentDefinition: its name, and what makes it the LAN's own if need be."""
    name = f"{nad[: MAX_LABEL - 9].rstrip('-.')}-{_digest('resource', lan, nad)[:8]}" if lan else nad
    return f"{RESOURCE_DOMAIN}/{_short(name, MAX_LABEL, 'resource', nad)}"


def resource_fault(resource: str) -> str:
    """Why ``resource`` is not the name of a resource of k8slan's, or "" if it is."""
    domain, _, name = resource.partition("/")
    if domain != RESOURCE_DOMAIN or len(name) > MAX_LABEL:
        return f"{shown(resource)} is not a resource of {RESOURCE_DOMAIN}"
    return file_fault(name)


def finalizer(node: str) -> str:
    """The finalizer by which a node says that it still has a part of the LAN."""
    return FINALIZER_PREFIX + node


def vtep(lan: str, node: str) -> str:
    """The VTEP object of a LAN and a node: readable, and unique in the LAN's namespace whatever the lengths."""
    plain = f"{lan[:100].rstrip('-.')}-{node[:100].rstrip('-.')}"
    return f"{plain}-{_digest(lan, node)[:8]}"


def label_value(name: str) -> str:
    """The value of a label that stands for an object's name: itself, or a digest of one that is too long."""
    return name if len(name) <= MAX_LABEL else _digest("label", name)[:MAX_LABEL]


# ---------------------------------------------------------------- labs

MAX_LAB = 30
"""Characters of a lab's name in the names of its objects."""
MAX_LAB_OBJECT = 52
"""A pod of a Deployment has 11 more, of its ReplicaSet, and 6; the names of its Service and of its VM have 63."""
_DIGITS = "abcdefghijklmnopqrstuvwxyz234567"
_NOT_LABEL = re.compile(r"[^a-z0-9]+")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def as_label(text: str, longest: int = MAX_LABEL) -> str:
    """The DNS label that is most like a text, "" if nothing of it can be in one; shorter ones end in a digest."""
    found = _NOT_LABEL.sub("-", text.lower()).strip("-")
    return _short(found, longest, "label", text) if found else ""


def lab(name: str) -> str:
    """What a lab is called in labels and in the names of its objects, "" if its name has no letter and no digit."""
    return as_label(name, MAX_LAB)


def lab_object(lab_name: str, *parts: str) -> str:
    """The name of an object of a lab: ``lab-node``, of a link ``lab-node1-eth1-node2-eth1``."""
    return _short("-".join(filter(None, (lab_name, *map(as_label, parts)))), MAX_LAB_OBJECT, lab_name, *parts)


def lab_spoke(lan: str, node: str, interface: str) -> str:
    """The spoke of a node's interface on a LAN of a lab: ``r1-eth1-x7k2``, whose last part is the LAN's.

    Spokes of all labs of a namespace have to differ, as NADs are called after them; and where an interface is plugged
    into another link it is another spoke, so that the pod is made anew. Where that does not fit, or where a ``-`` in
    the node's name would make it ambiguous, it is the node's beginning, its number and a digest of seven letters:
    ``rout1-7ixrv2q``.
    """
    plain = f"{node}-{interface}-{_letters(4, lan)}"
    if "-" not in node and not label_fault(plain, MAX_INTERFACE):
        return plain
    label = as_label(node)
    head = label.rstrip("0123456789")
    number = label[len(head) :][-4:]
    return f"{head[: 5 - len(number)].strip('-')}{number}-{_letters(7, lan, node, interface)}"


def _letters(count: int, *of: str) -> str:
    number = int(_digest("lab", *of), 16)
    return "".join(_DIGITS[number >> 5 * place & 31] for place in range(count))


def distinct(wanted: Iterable[tuple[str, ...]], name: Callable[..., str]) -> dict[tuple[str, ...], str]:
    """Names for several things, by what each is made of; those that would have the same name get a digest each."""
    found = {parts: name(*parts) for parts in wanted}
    taken = Counter(found.values())
    return {
        parts: text if taken[text] == 1 else f"{text[: MAX_LAB_OBJECT - 9]}-{_digest(*parts)[:8]}"
        for parts, text in found.items()
    }


def label_value_fault(value: str) -> str:
    """Why a text cannot be the value of a label, or "" if it can."""
    if len(value) > MAX_LABEL or not _VALUE.fullmatch(value):
        return f"{shown(value)} cannot be a label's value: letters, digits, and '-', '_', '.' between them, 63 in all"
    return ""


def label_key_fault(key: str) -> str:
    """Why a text cannot be the key of a label, or "" if it can."""
    return "" if len(key) <= MAX_SUBDOMAIN and _KEY.fullmatch(key) else f"{shown(key)} cannot be the key of a label"
