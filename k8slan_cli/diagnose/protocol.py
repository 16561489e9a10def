"""What travels between a workstation and a node's agent, as values and as JSON. Pure.

Requests are HTTP/1.1 POSTs with a JSON body and a bearer token. Their answers:

::

    /v1/attachments  JSON: who is attached on this node, with counters
    /v1/node         JSON: what the node has and lacks, its underlays, its clock
    /v1/traffic      lines of JSON: the same again and again, until the client says anything or goes away
    /v1/macs         JSON: what was learned of MAC addresses on a LAN; or it is forgotten
    /v1/session      lines of JSON both ways, until either side ends it: frames sent and received at one place
    /v1/capture      pcapng, until the client sends a byte or goes away; of each interface, how it ended comes last

A refusal has an HTTP status of 400 or more and ``{"error": …, "hint": …}``. The protocol's version is in the path:
fields may be added within one, and readers ignore those that they do not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from ipaddress import ip_address
from typing import Any, Self

from k8slan_cli.capture import SNAPLEN
from k8slan_cli.errors import Invalid, Problem
from k8slan_cli.lan.model import IpAddress
from k8slan_cli.lan.validate import MAX_MTU, MAX_TTL, MIN_MTU
from k8slan_cli.lan.vnis import MAX_VNI
from k8slan_cli.probe.run import Arrival, Probe, Sent

PORT = 9403
"""Where agents listen, on the node's loopback address only."""
AUDIENCE = "k8slan-agent"
"""Whom a token has to be meant for."""
ACCOUNT = "k8slan-operator"
"""The service account whose tokens agents take: who may ask the API server for one may ask agents."""

ATTACHMENTS, NODE, SESSION, CAPTURE = "/v1/attachments", "/v1/node", "/v1/session", "/v1/capture"
TRAFFIC, MACS = "/v1/traffic", "/v1/macs"
LINES = "application/x-ndjson"

MAX_HEAD = 16 << 10
MAX_BODY = 1 << 20
MAX_LINE = 64 << 10
MAX_PROBES = 256
"""How many other places' frames a session may wait for at a time."""
MAX_MACS = 4096
"""As many MAC addresses are told of a LAN on a node: those of its ports first, and those that were heard last."""
MOST_SECONDS = 60
"""The longest time from one look at counters to the next."""
MAX_COUNT = 100
"""The most frames of each class in one go."""

Document = Mapping[str, Any]


# ---------------------------------------------------------------- reading what came


class Fields:
    """Takes typed values out of a document and gathers what is wrong with it; ``check`` raises with all of it."""

    def __init__(self, document: object, subject: str) -> None:
        self._subject = subject
        self.problems: list[Problem] = []
        self._document: dict[str, Any] = document if isinstance(document, dict) else {}
        if not isinstance(document, dict):
            self.complain("", "must be an object")

    def complain(self, name: str, message: str) -> None:
        """Something is wrong with a field."""
        self.problems.append(Problem(field=name, message=message))

    def check(self) -> None:
        """Raise if anything was wrong.

        Raises:
            Invalid: with everything.

        """
        if self.problems:
            raise Invalid(self._subject, tuple(self.problems))

    def text(self, name: str, default: str = "", longest: int = 1024) -> str:
        """Text."""
        found = self._document.get(name, default)
        if not isinstance(found, str) or len(found) > longest:
            self.complain(name, f"must be text of at most {longest} characters")
            return default
        return found

    def number(self, name: str, least: int, most: int, default: int) -> int:
        """A whole number within bounds."""
        found = self._document.get(name, default)
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
            self.complain(name, f"must be a whole number from {least} to {most}")
            return default
        return found

    def several(self, name: str, most: int) -> Sequence[Any]:
        """A list."""
        found = self._document.get(name, [])
        if not isinstance(found, list) or len(found) > most:
            self.complain(name, f"must be a list of at most {most}")
            return []
        return found

    def part(self, name: str) -> Any:
        """Whatever is there."""
        return self._document.get(name)

    def octets(self, name: str, length: int) -> bytes:
        """Bytes as hexadecimal digits."""
        try:
            found = bytes.fromhex(self.text(name))
        except ValueError:
            found = b""
        if len(found) != length:
            self.complain(name, f"must be {length} bytes in hexadecimal digits")
        return found

    def address(self, name: str, text: object) -> IpAddress | None:
        """An IP address, None for nothing."""
        try:
            return ip_address(text) if isinstance(text, str) and text else None
        except ValueError:
            self.complain(name, "must be an IP address")
            return None


# ---------------------------------------------------------------- places


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An attachment by its identity in CNI: the container's id and the interface's name."""

    container: str
    ifname: str

    @classmethod
    def decode(cls, document: object) -> Self:
        """Read it.

        Raises:
            Invalid: it is none.

        """
        read = Fields(document, "an attachment")
        found = cls(container=read.text("container"), ifname=read.text("ifname"))
        read.check()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """A VXLAN that is made for a trial and gone after it, over the underlay as LANs use it.

    ``device`` is the underlay device, "" for the node's own choice; ``group`` the multicast group that frames are
    flooded to within ``ttl`` hops (0: one), or else ``peers`` the nodes' addresses, as LANs have them.
    """

    vni: int
    port: int
    device: str = ""
    group: IpAddress | None = None
    ttl: int = 0
    peers: tuple[IpAddress, ...] = ()

    def encode(self) -> Document:
        """Return the JSON form."""
        return {
            "vni": self.vni,
            "port": self.port,
            "device": self.device,
            "group": str(self.group) if self.group else "",
            "peers": [str(peer) for peer in self.peers],
            **({"ttl": self.ttl} if self.ttl else {}),  # which an older agent does not know
        }

    @classmethod
    def decode(cls, document: object) -> Self:
        """Read it.

        Raises:
            Invalid: with everything that is wrong.

        """
        read = Fields(document, "a trial VXLAN")
        found = cls(
            vni=read.number("vni", 1, MAX_VNI, 1),
            port=read.number("port", 1, 65535, 1),
            device=read.text("device", longest=15),
            group=read.address("group", read.text("group")),
            ttl=read.number("ttl", 0, MAX_TTL, 0),
            peers=tuple(
                address for peer in read.several("peers", MAX_PROBES) if (address := read.address("peers", peer))
            ),
        )
        read.check()
        return found


# ---------------------------------------------------------------- attachments


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What has gone through an interface in one direction since it was made."""

    packets: int = 0
    bytes: int = 0
    errors: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugged:
    """An attachment as its node's agent knows it; ``sent`` and ``received`` are seen from the pod or VM.

    ``lan`` and ``pod`` are ``namespace/name``; ``pod`` is "" where the runtime did not tell. ``vm`` is the name of the
    VM that the pod runs. ``up`` is what the LAN wants of its link, ``carrier`` whether there is one. ``fault`` says why
    it does not work, "" if it does. ``bandwidth`` is the most that the runtime lets through, in words.
    """

    node: str
    lan: str
    container: str
    ifname: str
    kind: str
    port: str
    mac: str
    mtu: int
    spoke: str = ""
    pod: str = ""
    vm: str = ""
    addresses: tuple[str, ...] = ()
    up: bool = True
    carrier: bool = False
    fault: str = ""
    bandwidth: str = ""
    sent: Traffic = field(default_factory=Traffic)
    received: Traffic = field(default_factory=Traffic)

    @property
    def place(self) -> Place:
        """Its identity."""
        return Place(container=self.container, ifname=self.ifname)

    @property
    def name(self) -> str:
        """``namespace/pod:interface`` for people, and for ``Lan.pulled``; with the container's id without a pod."""
        return f"{self.pod or self.container}:{self.ifname}"

    def encode(self) -> Document:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def decode(cls, document: Document) -> Self:
        """Read what an agent has sent; what it sends beyond this is passed over."""
        known = {f.name: document[f.name] for f in fields(cls) if f.name in document}
        known |= {key: Traffic(**document[key]) for key in ("sent", "received") if key in document}
        return cls(**known | {"addresses": tuple(document.get("addresses") or ())})


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """What to look at again every so many ``seconds``: a LAN (``namespace/name``), or "" for all."""

    lan: str = ""
    seconds: int = 2

    def encode(self) -> Document:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def decode(cls, document: object) -> Self:
        """Read it.

        Raises:
            Invalid: with everything that is wrong.

        """
        read = Fields(document, "the request")
        found = cls(lan=read.text("lan"), seconds=read.number("seconds", 1, MOST_SECONDS, 2))
        read.check()
        return found


# ---------------------------------------------------------------- MAC addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class Macs:
    """Of which LAN (``namespace/name``) to tell or to ``flush`` what was learned: all, or one ``mac`` alone."""

    lan: str
    mac: str = ""
    flush: bool = False

    def encode(self) -> Document:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def decode(cls, document: object) -> Self:
        """Read it.

        Raises:
            Invalid: with everything that is wrong.

        """
        read = Fields(document, "the request")
        found = cls(lan=read.text("lan"), mac=read.text("mac", longest=17).lower(), flush=read.part("flush") is True)
        if found.lan.count("/") != 1:
            read.complain("lan", "must be namespace/name")
        read.check()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMac:
    """A MAC address that a ``node`` has learned: at a bridge ``port``, of an attachment there or behind a ``peer``.

    ``plug`` is ``namespace/pod:interface``; ``age`` for how many seconds no frame has come from it.
    """

    mac: str
    node: str
    port: str
    spoke: str = ""
    plug: str = ""
    peer: str = ""
    age: int = 0

    def encode(self) -> Document:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def decode(cls, document: Document) -> Self:
        """Read what an agent has sent; what it sends beyond this is passed over."""
        return cls(**{f.name: document[f.name] for f in fields(cls) if f.name in document})


# ---------------------------------------------------------------- probing


def encode_probe(probe: Probe) -> Document:
    """A probe as JSON has it."""
    return {
        "id": probe.id.hex(),
        "src": probe.src.hex(),
        "dst": probe.dst.hex(),
        "mtu": probe.mtu,
        "count": probe.count,
        "keys": list(probe.keys),
    }


def decode_probe(document: object) -> Probe:
    """Read a probe.

    Raises:
        Invalid: with everything that is wrong; what comes out otherwise can be sent.

    """
    read = Fields(document, "a probe")
    default = Probe(src=b"", dst=b"", mtu=MIN_MTU)
    keys = tuple(read.several("keys", len(default.keys))) or default.keys
    for key in keys:
        if key not in default.keys:
            read.complain("keys", f"{key!r} is no class of frames")
    probe = Probe(
        src=read.octets("src", 6),
        dst=read.octets("dst", 6),
        mtu=read.number("mtu", MIN_MTU, MAX_MTU, MIN_MTU),
        count=read.number("count", 1, MAX_COUNT, 1),
        keys=keys,
        id=read.octets("id", 8),
    )
    read.check()
    return probe


def encode_sent(sent: Sent) -> Sequence[Any]:
    """A frame that was sent."""
    return [sent.key, sent.number, sent.at, sent.refused]


def decode_sent(item: Sequence[Any]) -> Sent:
    """Read it."""
    return Sent(*item)


def encode_arrival(arrival: Arrival) -> Sequence[Any]:
    """A frame that has come in."""
    return [arrival.key, arrival.number, arrival.at, arrival.difference]


def decode_arrival(item: Sequence[Any]) -> Arrival:
    """Read it."""
    return Arrival(*item)


# ---------------------------------------------------------------- capturing


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What to capture: where, which frames (libpcap's language, "" for all), how many bytes of each.

    That is at ``places``, until they are gone, or at all that is attached to ``lans`` (``namespace/name``), now or
    later, until the client has had enough. An agent from before there were ``lans`` misses the places.
    """

    places: tuple[Place, ...] = ()
    lans: tuple[str, ...] = ()
    filter: str = ""
    snaplen: int = SNAPLEN

    def encode(self) -> Document:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def decode(cls, document: object) -> Self:
        """Read it.

        Raises:
            Invalid: with everything that is wrong.

        """
        read = Fields(document, "a capture")
        found = cls(
            places=tuple(map(Place.decode, read.several("places", MAX_PROBES))),
            lans=tuple(map(str, read.several("lans", MAX_PROBES))),
            filter=read.text("filter", longest=4096),
            snaplen=read.number("snaplen", 14, SNAPLEN, SNAPLEN),
        )
        if not (found.places or found.lans):
            read.complain("places", "are none")
        read.check()
        return found


# ---------------------------------------------------------------- health

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Something looked at: ``what`` it is, its ``state`` (OK, WARN, FAIL), a sentence, and what to do about it."""

    what: str
    state: str
    words: str
    advice: str = ""

    def encode(self) -> Document:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def decode(cls, document: Document) -> Self:
        """Read what an agent has sent."""
        return cls(**{f.name: str(document.get(f.name, "")) for f in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderlayFacts:
    """An underlay device as it is on a node; ``vtep`` is the address that the others send to."""

    device: str
    mtu: int = 0
    up: bool = False
    vtep: IpAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What an agent says of its node: ``time`` in nanoseconds since 1970, ``underlays`` by what was asked for."""

    node: str
    version: str
    time: int
    checks: tuple[Check, ...] = ()
    underlays: Mapping[str, UnderlayFacts] = field(default_factory=dict)

    def encode(self) -> Document:
        """Return the JSON form."""
        return {
            "node": self.node,
            "version": self.version,
            "time": self.time,
            "checks": [check.encode() for check in self.checks],
            "underlays": {
                name: {"device": u.device, "mtu": u.mtu, "up": u.up, "vtep": str(u.vtep) if u.vtep else ""}
                for name, u in self.underlays.items()
            },
        }

    @classmethod
    def decode(cls, document: Document) -> Self:
        """Read what an agent has sent."""
        underlays = {
            name: UnderlayFacts(
                device=u["device"], mtu=u["mtu"], up=u["up"], vtep=ip_address(u["vtep"]) if u["vtep"] else None
            )
            for name, u in document["underlays"].items()
        }
        return cls(
            node=document["node"],
            version=document["version"],
            time=document["time"],
            checks=tuple(map(Check.decode, document["checks"])),
            underlays=underlays,
        )
