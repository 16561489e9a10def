"""Planner cases: small YAML files that say what is wanted, what is there, and which operations lie in between.

A case is one file; its first comment says what happens. Its keys:

``lan``          fields of the LAN's spec; ``vni``, ``ns``, ``bridge``, ``vxlan`` and ``spokes`` have defaults;
                 and ``down``, the links that are to have no carrier
``nodes``        VTEP addresses by node, as in the LAN's status; this node is ``w1``
``underlay``     the device: ``name``, ``index``, ``mtu``, ``up``, ``addresses``; or ``gone``
``vteps``        VTEPs by node, with ``address``, ``lost``, ``version`` and ``ports``: claims by spoke (0 for none)
``nics``         devices of this node by name, each with the fields of ``Nic`` that matter, or null for one that is not
                 there; those that ``lan: uplinks`` names are looked at
``opened``       the port of the uplink that is active here
``attachments``  who is plugged in: ``spoke`` or ``port``, ``kind``, ``container``, ``ifname``, ``pod``, …
``before``       what was wanted, and made, the last time: any of the keys above in place of the case's own, or ``{}``
                 for the same. Without it nothing is there.
``damage``       what has happened to it since: ``mounted``, ``quiet``, ``bridge``, ``vxlan``, ``joint``, ``ports``,
                 ``stubs``, ``shapes``, ``uplinks``, each with the fields that are different now, or null for what is
                 gone; and ``taps``, all there are, or null where /dev is not the agent's
``operations``   what is to be done, in the words of the log
``problem``      or why the LAN cannot be had on this node
``noop``         the case's twin: keys in place of the case's own, with which nothing is to be done, and ``why``
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import yaml

from k8slan_cli.lan import codec, names
from k8slan_cli.lan.links import Bandwidth
from k8slan_cli.lan.model import LINKS_DOWN, IpAddress, Lan
from k8slan_cli.lan.vtep import Vtep, VtepPort
from k8slan_cli.plan import desired
from k8slan_cli.plan.state import (
    UNSHAPED,
    Attachment,
    AttachmentKind,
    Joint,
    LanState,
    Port,
    Shaping,
    Stub,
    Underlay,
    UplinkPort,
    Vxlan,
    absent,
)
from k8slan_cli.plan.uplinks import Nic

NODE = "w1"
_WANTED = ("lan", "nodes", "vteps", "underlay", "attachments", "nics", "opened")
_KEYS = frozenset({*_WANTED, "before", "damage", "operations", "problem", "noop"})
_DEFAULTS: dict[str, Any] = {"ns": "blue", "bridge": "br0", "vxlan": "vx0", "vni": 7, "spokes": ["a", "b", "c"]}
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: ``wanted`` and ``observed`` lead to ``operations``, or planning fails with ``problem``."""

    name: str
    keys: Mapping[str, Any]
    operations: tuple[str, ...]
    problem: str | None
    observed: LanState

    @property
    def underlay(self) -> str:
        """The name of the underlay device."""
        entry = self.keys.get("underlay", {})
        return str(entry if entry == "gone" else _underlay(entry).name)

    def wanted(self) -> LanState:
        """What the planner wants.

        Raises:
            Invalid: the LAN cannot be had.

        """
        return _wanted(self.keys, self.observed)


def load(folder: Path) -> list[Case]:
    """All cases of a folder, the twin of each right behind it."""
    return [case for path in sorted(folder.glob("*.yaml")) for case in _read(path)]


def _read(path: Path) -> Iterator[Case]:
    keys: dict[str, Any] = yaml.safe_load(path.read_text())
    if unknown := keys.keys() - _KEYS:
        raise ValueError(f"{path.name}: unknown {sorted(unknown)}")
    if not path.read_text().startswith("# "):
        raise ValueError(f"{path.name}: begin with a comment that says what happens")
    if ("operations" in keys) == ("problem" in keys):
        raise ValueError(f"{path.name}: give either operations or a problem")
    twin = keys.pop("noop", None)
    yield _case(path.stem, keys)
    if twin is None:
        raise ValueError(f"{path.name}: has no twin")
    if unknown := twin.keys() - _KEYS - {"why"} or not twin.get("why"):
        raise ValueError(f"{path.name}: noop: unknown {unknown}, or no why")
    twin = {key: value for key, value in twin.items() if key != "why"}
    yield _case(f"{path.stem}-noop", {**keys, "problem": None, **twin, "operations": []})


def _case(name: str, keys: dict[str, Any]) -> Case:
    return Case(
        name=name,
        keys=keys,
        operations=tuple(keys.get("operations", ())),
        problem=keys.get("problem"),
        observed=_observed(keys),
    )


def _observed(keys: Mapping[str, Any]) -> LanState:
    before = keys.get("before")
    lan = _lan(keys)
    if before is None:
        state = absent(lan.netns)
    else:
        if unknown := before.keys() - set(_WANTED):
            raise ValueError(f"before: unknown {sorted(unknown)}")
        state = _wanted({**keys, **before}, absent(lan.netns))
        asked = {_attachment(entry).tap for entry in keys.get("attachments", [])}
        state = replace(state, taps={tap: owner for tap, owner in (state.taps or {}).items() if tap in asked})
    return _damaged(replace(state, attachments={}), keys.get("damage", {}))


def _wanted(keys: Mapping[str, Any], observed: LanState) -> LanState:
    attachments = [_attachment(entry) for entry in keys.get("attachments", [])]
    underlay = keys.get("underlay", {})
    if underlay == "gone":
        return desired.without_underlay(observed, attachments)
    lan = _lan(keys)
    around = desired.elsewhere(lan, NODE, _vteps(keys))
    nics = {uplink: _nic(keys.get("nics", {}).get(uplink.device)) for uplink in lan.uplinks_on(NODE)}
    opened = keys.get("opened", "")
    return desired.plan(lan, _underlay(underlay), attachments, around, nics=nics, opened=opened)


def _lan(keys: Mapping[str, Any]) -> Lan:
    nodes = [{"name": name, "vtep": address} for name, address in keys.get("nodes", {}).items()]
    spec = {**_DEFAULTS, **keys.get("lan", {})}
    annotations = {LINKS_DOWN: ",".join(spec.pop("down", []))}
    return codec.decode(
        {
            "apiVersion": "lan.k8slan.io/v1beta1",
            "kind": "LAN",
            "metadata": {"name": "blue", "namespace": "lab", "annotations": annotations},
            "spec": spec,
            "status": {"nodes": nodes},
        }
    )


def _vteps(keys: Mapping[str, Any]) -> list[Vtep]:
    return [
        Vtep(
            lan=_lan({}).ref,
            node=node,
            address=ip_address(entry["address"]),
            lost=entry.get("lost", False),
            version=entry.get("version", 1),
            ports=tuple(
                VtepPort(name=names.port(spoke), interface="net1", kind="veth", spoke=spoke, claim=claim)
                for spoke, claim in entry.get("ports", {}).items()
            ),
        )
        for node, entry in keys.get("vteps", {}).items()
    ]


def _underlay(entry: Mapping[str, Any]) -> Underlay:
    fields = {"name": "eth0", "index": 2, "mtu": 1500, "up": True, "addresses": ["10.0.0.1"], **entry}
    return Underlay(**{**fields, "addresses": tuple(ip_address(text) for text in fields["addresses"])})


def _nic(entry: Mapping[str, Any] | None) -> Nic | None:
    if entry is None:
        return None
    listed = {key: tuple(entry[key]) for key in ("addresses", "routes") if key in entry}
    return Nic(**{"index": 5, "mtu": 1500, **entry, **listed})


def _attachment(entry: Mapping[str, Any]) -> Attachment:
    spoke = entry.get("spoke")
    fields: dict[str, Any] = {
        "container": f"c-{spoke}",
        "ifname": "net1",
        "port": names.port(str(spoke)),
        "mac": "02:00:00:00:00:01",
        "mtu": 1446,
        "pod": f"lab/{spoke}",
        "tap": 9 if entry.get("kind") == "macvtap" else 0,
        "tap_owner": (107, 107),
        "complete": True,
        **entry,
    }
    fields |= {"kind": AttachmentKind(entry.get("kind", "veth")), "addresses": tuple(entry.get("addresses", ()))}
    fields["tap_owner"] = tuple(fields["tap_owner"])
    fields["bandwidth"] = Bandwidth(**entry.get("bandwidth", {}))
    return Attachment(lan=_lan({}).ref, **fields)


# ---------------------------------------------------------------- damage


def _damaged(state: LanState, damage: Mapping[str, Any]) -> LanState:
    known = {"mounted", "quiet", "bridge", "vxlan", "joint", "ports", "stubs", "shapes", "uplinks", "taps"}
    if unknown := damage.keys() - known:
        raise ValueError(f"damage: unknown {sorted(unknown)}")
    changes: dict[str, Any] = {key: damage[key] for key in ("mounted", "quiet") if key in damage}
    if "bridge" in damage:
        changes["bridge"] = damage["bridge"] and replace(_there(state.bridge), **damage["bridge"])
    if "vxlan" in damage:
        changes["vxlan"] = damage["vxlan"] and _vxlan(_there(state.vxlan), damage["vxlan"])
    if "joint" in damage:
        changes["joint"] = damage["joint"] and _joint(_there(state.joint), **damage["joint"])
    if "ports" in damage:
        changes["ports"] = _some(state.ports, damage["ports"], Port, {"bridge": None, "mtu": 1500})
    if "taps" in damage:
        taps = damage["taps"]
        changes["taps"] = None if taps is None else {tap: tuple(owner) for tap, owner in taps.items()}
    if "uplinks" in damage:
        changes["uplinks"] = dict(_uplinks(state.uplinks, damage["uplinks"]))
    if "stubs" in damage:
        changes["stubs"] = _some(state.stubs, damage["stubs"], Stub, {"mtu": 1500})
    if "shapes" in damage:
        changes["shapes"] = {**state.shapes} | {
            port: _shape(state.shapes.get(port, UNSHAPED), entry) for port, entry in damage["shapes"].items()
        }
    return replace(state, **changes)


def _shape(shape: Shaping, damage: Mapping[str, Any]) -> Shaping:
    queues = {
        way: replace(_there(getattr(shape, way)), **damage[way]) for way in ("to_pod", "from_pod") if way in damage
    }
    return replace(shape, **{**damage, **queues})


def _uplinks(found: Mapping[str, UplinkPort], damage: Mapping[str, Any]) -> Iterator[tuple[str, UplinkPort]]:
    for name, uplink in found.items():
        fields = damage.get(name, {})
        if fields is not None:
            lower = fields.get("lower", uplink.lower)
            port = {key: value for key, value in fields.items() if key != "lower"}
            yield name, replace(uplink, lower=lower, port=replace(uplink.port, **port))


def _there(value: T | None) -> T:
    if value is None:
        raise ValueError("damage to what is not there")
    return value


def _vxlan(vxlan: Vxlan, damage: Mapping[str, Any]) -> Vxlan:
    if unknown := damage.keys() - {"link", "tunnel", "peers"}:
        raise ValueError(f"damage: vxlan: unknown {sorted(unknown)}")
    tunnel = {key: _address(value) if key == "local" else value for key, value in damage.get("tunnel", {}).items()}
    peers = frozenset(ip_address(text) for text in damage["peers"]) if "peers" in damage else vxlan.peers
    return Vxlan(
        link=replace(vxlan.link, **damage.get("link", {})), tunnel=replace(vxlan.tunnel, **tunnel), peers=peers
    )


def _joint(joint: Joint, *, port: Mapping[str, Any] | None = None, joined: bool = True) -> Joint:
    return Joint(port=replace(joint.port, **(port or {})), joined=joined)


def _address(text: str | None) -> IpAddress | None:
    return ip_address(text) if text else None


def _some(found: Mapping[str, Any], damage: Mapping[str, Any], kind: type, blank: Mapping[str, Any]) -> dict[str, Any]:
    """``found`` with the named entries changed, gone (null), or there for the first time."""
    result = dict(found)
    for name, fields in damage.items():
        if fields is None:
            del result[name]
        elif name in result:
            result[name] = replace(result[name], **fields)
        else:
            result[name] = kind(**{"name": name, **blank, **fields})
    return result
