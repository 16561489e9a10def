"""Generated LANs and parts of them, for property tests. Everything that comes out of ``lans`` is valid."""

from __future__ import annotations

import string
from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st

from k8slan_cli.lan import names, validate, vnis
from k8slan_cli.lan.links import (
    MAX_BURST,
    MAX_BURST_SECONDS,
    MAX_DELAY,
    MAX_JITTER,
    MAX_LIMIT,
    MAX_RATE,
    MIN_RATE,
    WHOLE,
    Impairment,
    Link,
)
from k8slan_cli.lan.model import Lan, LanRef, Uplink

_LOWER = string.ascii_lowercase + string.digits


def labels(longest: int = 63) -> st.SearchStrategy[str]:
    """DNS-1123 labels."""
    inner = st.text(alphabet=_LOWER + "-", max_size=longest - 1)
    return st.builds(lambda head, rest: (head + rest).rstrip("-"), st.sampled_from(_LOWER), inner)


spokes = labels(names.MAX_INTERFACE)
"""Names of spokes, of every length that is allowed."""

subdomains = st.lists(labels(20), min_size=1, max_size=4).map(".".join)
"""DNS-1123 subdomains: names of Kubernetes objects and nodes."""

files = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_]{0,20}[A-Za-z0-9])?(\.[A-Za-z0-9]{1,8})?", fullmatch=True)
"""Plain file names."""


def interfaces(longest: int) -> st.SearchStrategy[str]:
    """Names that the kernel gives to a link."""
    allowed = "".join(set(string.ascii_letters + string.digits + string.punctuation) - set("/:%"))
    plain = st.text(alphabet=allowed, min_size=1, max_size=longest)
    return plain.filter(lambda name: name not in (".", "..", "lo", "all", "default"))


groups = st.one_of(
    st.integers(int(IPv4Address("224.0.0.0")), int(IPv4Address("239.255.255.255"))).map(IPv4Address),
    st.integers(int(IPv6Address("ff00::")), int(IPv6Address("ffff::"))).map(IPv6Address),
)
"""Multicast addresses."""


nics = st.sampled_from(["eth1", "enp129s0f1np1"])


@st.composite
def impairments(draw: st.DrawFn) -> Impairment:
    """What can be done to frames, as valid as can be."""
    chances = st.just(0) | st.integers(1, WHOLE)
    delay = draw(st.just(0) | st.integers(1, MAX_DELAY))
    jitter = draw(st.just(0) | st.integers(0, min(delay, MAX_JITTER)))
    rate = draw(st.just(0) | st.integers(MIN_RATE, MAX_RATE))
    return Impairment(
        delay=delay,
        jitter=jitter,
        correlation=draw(chances) if jitter else 0,
        loss=draw(chances),
        duplicate=draw(chances),
        corrupt=draw(chances),
        reorder=draw(chances) if delay else 0,
        rate=rate,
        burst=draw(st.just(0) | st.integers(1, min(MAX_BURST, rate * MAX_BURST_SECONDS // 8))) if rate else 0,
        limit=draw(st.just(0) | st.integers(1, MAX_LIMIT)) if delay or rate else 0,
    )


def links() -> st.SearchStrategy[Link]:
    """What can be wanted of a link."""
    ends = st.sampled_from(["", "2030-01-31T18:30:00Z", "2030-01-31T18:30:00.5+01:00"])
    return st.builds(Link, down=st.booleans(), until=ends, to_pod=impairments(), from_pod=impairments())


@st.composite
def lans(draw: st.DrawFn) -> Lan:
    """Any valid LAN, without what only a cluster says of it (uid, creation, status)."""
    bridge, vxlan = draw(st.lists(interfaces(names.MAX_INTERFACE), min_size=2, max_size=2, unique=True))
    taken = {bridge, vxlan}
    free = spokes.filter(lambda s: not taken & {names.port(s), names.stub(names.port(s)), names.ifb(names.port(s))})
    dynamic = draw(st.booleans())
    chosen = draw(st.lists(free, min_size=0 if dynamic else 1, max_size=6, unique=True))
    ends = st.sampled_from(chosen) if chosen else st.just("lab/pod:net1")
    devices = draw(st.dictionaries(subdomains, interfaces(15), max_size=3))
    return Lan(
        ref=LanRef(namespace=draw(labels()), name=draw(subdomains)),
        netns=draw(files),
        bridge=bridge,
        vxlan=vxlan,
        vni=draw(st.integers(1, vnis.MAX_VNI)),
        group=(group := draw(st.none() | groups)),
        ttl=draw(st.integers(0, 255)) if group else 0,
        port=draw(st.integers(1, 65535)),
        underlay=draw(st.none() | interfaces(15)),
        underlays=tuple(sorted(devices.items())),
        remotes=tuple(
            draw(
                st.lists(
                    st.ip_addresses(network="192.0.2.0/24") | st.ip_addresses(network="2001:db8::/64"),
                    max_size=3,
                    unique=True,
                )
            )
        ),
        uplinks=tuple(
            draw(
                st.lists(
                    st.builds(Uplink, node=subdomains, device=nics, vlan=st.integers(0, validate.MAX_VLAN)),
                    max_size=2,
                    unique_by=lambda uplink: (uplink.node, uplink.device),
                )
            )
        ),
        allowed_namespaces=tuple(draw(st.lists(labels() | st.just("*"), max_size=2, unique=True))),
        mtu=draw(st.none() | st.integers(validate.MIN_MTU, validate.MAX_MTU)),
        fragment=(group is None or group.version == 4) and draw(st.booleans()),
        spokes=tuple(chosen),
        vm_spokes=draw(st.none() | st.just(tuple(chosen[:1]))),
        dynamic=dynamic,
        offload=draw(st.booleans()),
        cable=not dynamic and len(chosen) == 2 and draw(st.booleans()),
        links=tuple(sorted(draw(st.dictionaries(ends, links(), max_size=2)).items())),
        down=draw(st.frozensets(ends, max_size=2)),
    )
