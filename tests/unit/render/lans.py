"""LANs that are right and LANs that are not: for the decoder here, and for a real API server in tests/cluster."""

from __future__ import annotations

from typing import Any

SEED = {
    "ns": "knlvrf",
    "bridge": "br2",
    "vxlan": "vx2",
    "vni": 222,
    "defaultVxlanDev": "eth0",
    "vxlanDevMap": {"worker1": "eth1", "worker2": "eth2"},
    "spokes": ["srl", "vm"],
}
"""The example of the seed's README."""

SMALLEST = {"vni": 7, "spokes": ["a"]}

GOOD: dict[str, dict[str, Any]] = {
    "the seed's example": SEED,
    "the seed's, with its defaults written out": SEED | {"vxlanGrp": "ff02::14", "vxlanPort": 4789},
    "the least there can be": SMALLEST,
    "a VNI to be allotted": {"spokes": ["a"]},
    "a dynamic LAN without spokes": {"vni": 7, "dynamic": True},
    "both": SMALLEST | {"dynamic": True},
    "largest numbers": SMALLEST | {"vni": (1 << 24) - 1, "vxlanPort": 65535, "mtu": 65461},
    "smallest numbers": SMALLEST | {"vni": 1, "vxlanPort": 1, "mtu": 68},
    "longest names": {
        "vni": 7,
        "ns": "n" * 128,
        "bridge": "b" * 13,
        "vxlan": "v" * 13,
        "defaultVxlanDev": "d" * 15,
        "spokes": ["s" * 13],
    },
    "odd but real names": SMALLEST
    | {"ns": "A.b_c-9", "bridge": "b_r.0@x", "vxlan": "...", "defaultVxlanDev": "bond0.4094"},
    "IPv4 multicast": SMALLEST | {"vxlanGrp": "239.255.0.1"},
    "IPv6 multicast in full": SMALLEST | {"vxlanGrp": "ff05:0:0:0:0:0:0:1"},
    "IPv6 multicast that ends in zeros": SMALLEST | {"vxlanGrp": "FF05:1:2:3:4:5:6::"},
    "outer packets in fragments": SMALLEST | {"mtu": 1500, "fragment": True, "vxlanGrp": "239.255.0.1"},
    "remotes of both families": SMALLEST | {"remotes": ["192.0.2.9", "2001:DB8::9"]},
    "uplinks of three nodes": SMALLEST
    | {
        "uplinks": [
            {"node": "worker1", "device": "eth1"},
            {"node": "worker2", "device": "eth1", "vlan": 1},
            {"node": "worker2", "device": "eth1", "vlan": 2},
            {"node": "node.b", "device": "e" * 15, "vlan": 4094},
        ]
    },
    "open to some": SMALLEST | {"allowedNamespaces": ["guests", "lab-2"]},
    "open to all": SMALLEST | {"allowedNamespaces": ["*"]},
    "as many spokes as there may be": {"vni": 7, "spokes": [f"s{number}" for number in range(1022)]},
}

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "VNI 0": (SMALLEST | {"vni": 0}, "spec.vni in body should be greater than or equal to 1"),
    "VNI 2^24": (SMALLEST | {"vni": 1 << 24}, "spec.vni in body should be less than or equal to 16777215"),
    "a VNI that is text": (SMALLEST | {"vni": "7"}, "spec.vni in body must be of type integer"),
    "no spokes": ({"vni": 7, "spokes": []}, "spec.spokes: .*needs at least one spoke, or dynamic: true"),
    "neither spokes nor dynamic": ({"vni": 7}, "spec.spokes: .*needs at least one spoke, or dynamic: true"),
    "a spoke twice": ({"vni": 7, "spokes": ["a", "a"]}, r"spec.spokes\[1\]: Duplicate value"),
    "a spoke with capitals": ({"vni": 7, "spokes": ["a", "Foo"]}, r"spec.spokes\[1\]: .*'Foo' is not a DNS label"),
    "a spoke that ends in a hyphen": ({"vni": 7, "spokes": ["a-"]}, r"spec.spokes\[0\]: .*'a-' is not a DNS label"),
    "a spoke with a newline": ({"vni": 7, "spokes": ["a\n"]}, r"spec.spokes\[0\]: .*is not a DNS label"),
    "an empty spoke": ({"vni": 7, "spokes": [""]}, r"spec.spokes\[0\]: .*'' is not a DNS label"),
    "a spoke of 14": ({"vni": 7, "spokes": ["s" * 14]}, r"spec.spokes\[0\]: Too long"),
    "too many spokes": ({"vni": 7, "spokes": [f"s{n}" for n in range(4096)]}, "spec.spokes: Too many: 4096"),
    "ns out of its folder": (SMALLEST | {"ns": "../../etc"}, "spec.ns: .*'../../etc' is not a plain file name"),
    "ns two dots": (SMALLEST | {"ns": "a..b"}, "spec.ns: .*'a..b' is not a plain file name"),
    "ns with a slash": (SMALLEST | {"ns": "a/b"}, "spec.ns: .*'a/b' is not a plain file name"),
    "ns with NUL": (SMALLEST | {"ns": "a\0b"}, "spec.ns: .*is not a plain file name"),
    "ns with a newline": (SMALLEST | {"ns": "a\nb"}, "spec.ns: .*is not a plain file name"),
    "an empty ns": (SMALLEST | {"ns": ""}, "spec.ns: .*'' is not a plain file name"),
    "ns of 129": (SMALLEST | {"ns": "n" * 129}, "spec.ns: Too long"),
    "a bridge of 14": (SMALLEST | {"bridge": "b" * 14}, "spec.bridge: Too long"),
    "a bridge with a slash": (SMALLEST | {"bridge": "a/b"}, "spec.bridge: .*'a/b' is not an interface name"),
    "a bridge called ..": (SMALLEST | {"bridge": ".."}, r"spec.bridge: .*'\.\.' is not an interface name"),
    "a bridge with an umlaut": (SMALLEST | {"bridge": "brü"}, "spec.bridge: .*'brü' is not an interface name"),
    "a vxlan with a space": (SMALLEST | {"vxlan": "v x"}, "spec.vxlan: .*'v x' is not an interface name"),
    "a vxlan with a colon": (SMALLEST | {"vxlan": "v:0"}, "spec.vxlan: .*'v:0' is not an interface name"),
    "an empty vxlan": (SMALLEST | {"vxlan": ""}, "spec.vxlan: .*'' is not an interface name"),
    "one name for bridge and vxlan": (SMALLEST | {"vxlan": "br0"}, "spec.vxlan: .*is the bridge's name too"),
    "a unicast group": (SMALLEST | {"vxlanGrp": "10.0.0.1"}, "spec.vxlanGrp: .*'10.0.0.1' is not a multicast address"),
    "a group that is no address": (SMALLEST | {"vxlanGrp": "224.1"}, "spec.vxlanGrp: .*is not a multicast address"),
    "a group with a byte too large": (SMALLEST | {"vxlanGrp": "224.0.0.256"}, "spec.vxlanGrp: .*is not a multicast"),
    "a group with two gaps": (SMALLEST | {"vxlanGrp": "ff02::1::2"}, "spec.vxlanGrp: .*is not a multicast address"),
    "a group of nine parts": (
        SMALLEST | {"vxlanGrp": "ff02:1:2:3::4:5:6:7"},
        "spec.vxlanGrp: .*is not a multicast address",
    ),
    "port 0": (SMALLEST | {"vxlanPort": 0}, "spec.vxlanPort in body should be greater than or equal to 1"),
    "port 65536": (SMALLEST | {"vxlanPort": 65536}, "spec.vxlanPort in body should be less than or equal to 65535"),
    "a remote that is no address": (SMALLEST | {"remotes": ["host.example"]}, r"spec.remotes\[0\]"),
    "a remote twice": (SMALLEST | {"remotes": ["192.0.2.9"] * 2}, r"spec.remotes\[1\]: Duplicate value"),
    "an uplink without a device": (SMALLEST | {"uplinks": [{"node": "w"}]}, r"spec.uplinks\[0\].device: Required"),
    "an uplink's VLAN of 4095": (
        SMALLEST | {"uplinks": [{"node": "w", "device": "e", "vlan": 4095}]},
        r"spec.uplinks\[0\].vlan in body should be less than or equal to 4094",
    ),
    "an uplink's node with capitals": (
        SMALLEST | {"uplinks": [{"node": "W", "device": "e"}]},
        r"spec.uplinks\[0\].node: .*'W' is not the name of a node",
    ),
    "an uplink's device with a slash": (
        SMALLEST | {"uplinks": [{"node": "w", "device": "a/b"}]},
        r"spec.uplinks\[0\].device: .*'a/b' is not an interface name",
    ),
    "an uplink twice": (
        SMALLEST | {"uplinks": [{"node": "w", "device": "e"}] * 2},
        "spec.uplinks: .*has the same NIC or VLAN of a node twice",
    ),
    "an uplink and a VLAN of it": (
        SMALLEST | {"uplinks": [{"node": "w", "device": "e", "vlan": 1}, {"node": "w", "device": "e"}]},
        "spec.uplinks: .*has a NIC and a VLAN of it",
    ),
    "a namespace with capitals": (
        SMALLEST | {"allowedNamespaces": ["a", "B"]},
        r"spec.allowedNamespaces\[1\]: .*'B' is not a DNS label.*; '\*' allows all",
    ),
    "a namespace twice": (
        SMALLEST | {"allowedNamespaces": ["a", "a"]},
        r"spec.allowedNamespaces\[1\]: Duplicate value",
    ),
    "an MTU of 67": (SMALLEST | {"mtu": 67}, "spec.mtu in body should be greater than or equal to 68"),
    "an MTU of 65462": (SMALLEST | {"mtu": 65462}, "spec.mtu in body should be less than or equal to 65461"),
    "fragments of IPv6": (
        SMALLEST | {"fragment": True, "vxlanGrp": "ff02::14"},
        "spec.fragment: .*needs a vxlanGrp of IPv4, or none",
    ),
    "a device of 16": (SMALLEST | {"defaultVxlanDev": "d" * 16}, "spec.defaultVxlanDev: Too long"),
    "a node's device with a space": (
        SMALLEST | {"vxlanDevMap": {"worker1": "e 0"}},
        r"spec.vxlanDevMap\[worker1\]: .*'e 0' is not an interface name",
    ),
    "dynamic that is text": (SMALLEST | {"dynamic": "yes"}, "spec.dynamic in body must be of type boolean"),
    "an unknown field": (SMALLEST | {"vlan": 7}, 'unknown field "spec.vlan"'),
}
"""Each with what the API server says of it, as a regular expression."""


def document(spec: dict[str, Any], name: str = "example", namespace: str = "default") -> dict[str, Any]:
    """The LAN of a spec."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "lan.k8slan.io/v1beta1", "kind": "LAN", "metadata": metadata, "spec": spec}
