"""CNI requests as values: from the environment and stdin of a plugin to what is wanted, with everything checked.

Environment: CNI spec 1.1.0, section 2 ("Parameters", "CNI operations"). Configuration: section 1, and section 3 for
what the runtime adds. Unknown fields are tolerated, wrong types are not.

DEL is lenient on purpose: a configuration that ADD refused must not keep its pod from going away, so of a DEL's
configuration only the IPAM section counts, and only if it makes sense.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from k8slan_cli.cni import versions, wire
from k8slan_cli.cni.fields import Field, parse_json
from k8slan_cli.cni.result import Dns, Result, decode, decode_dns, read_route
from k8slan_cli.errors import CniError
from k8slan_cli.lan import names
from k8slan_cli.lan.links import MAX_BURST, MAX_RATE, MIN_RATE, UNLIMITED, Bandwidth
from k8slan_cli.lan.model import LanRef
from k8slan_cli.lan.routes import Route

_IDENTITY = ("CNI_CONTAINERID", "CNI_IFNAME")
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "ADD": (*_IDENTITY, "CNI_NETNS"),
    "DEL": _IDENTITY,
    "CHECK": (*_IDENTITY, "CNI_NETNS"),
    "STATUS": (),
    "GC": ("CNI_PATH",),
    "VERSION": (),
}
_SINCE = {"CHECK": "0.4.0", "STATUS": "1.1.0", "GC": "1.1.0"}
_MAX_IFNAME = 15  # IFNAMSIZ without its NUL
_MAX_WORD = 253
_MAX_ID = (1 << 32) - 2  # the highest user or group: the next is -1, which stands for none

_MOST_BITS = (1 << 63) - 1

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # container ids and network names, section 1 and 2
_MAC = re.compile(r"[0-9a-f]{2}([:-]?)[0-9a-f]{2}(?:\1[0-9a-f]{2}){4}")
_KNOWN_ARGS = frozenset(
    {
        "IgnoreUnknown",
        "MAC",
        "K8S_POD_NAMESPACE",
        "K8S_POD_NAME",
        "K8S_POD_UID",
        "K8S_POD_INFRA_CONTAINER_ID",
    }
)
_GC_LISTS = ("cni.dev/valid-attachments", "cni.dev/attachments")


QEMU = 107
"""User and group that KubeVirt runs a VM as, unless it is told otherwise."""


class Plugin(enum.StrEnum):
    """The names under which the executable is installed, and so the ``type`` of configurations."""

    VETH = "k8slanveth"
    MACVTAP = "k8slanmacvtap"


_SPOKES = {Plugin.VETH: "veth", Plugin.MACVTAP: "spoke"}
"""The key of the spoke in a configuration of each."""
_KNOWN_FIELDS = frozenset(
    {
        *("cniVersion", "cniVersions", "name", "type", "disableCheck", "disableGC", "loadOnlyInlinedPlugins"),
        *("args", "capabilities", "runtimeConfig", "prevResult", "dns", "ipam", "deviceID", "pciBusID"),
        *("lan", "mtu", "mac", "offload", "peerNS"),
    }
)
"""Of CNI (sections 1 and 3), of multus, which adds the last two of the second line, and of every configuration here."""
_OWN_FIELDS: Mapping[Plugin, frozenset[str]] = {
    Plugin.VETH: frozenset({"veth", "addrs", "routes", "disableTxChecksum"}),
    Plugin.MACVTAP: frozenset({"spoke", "owner", "group"}),
}
_ROUTE_KEYS = {"dst": "dst", "destination": "dst", "gw": "gw", "gateway": "gw"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimePod:
    """Whose interface it is, as far as the runtime tells (``K8S_POD_*`` of CNI_ARGS)."""

    namespace: str = ""
    name: str = ""
    uid: str = ""
    sandbox: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.name else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetConf:
    """A network's configuration: ``spoke`` or ``lan`` is set, or both; ``ipam`` is a plugin's name or "".

    A ``lan`` alone is a dynamic one; a ``spoke`` alone is one of the LAN that the pod's namespace has, or of the only
    one that has it. ``netns`` is a word on which: the last part of ``peerNS``, by which the Go system's configurations
    tell a LAN. ``mtu`` None means the LAN's own. ``ips`` are addresses with prefix lengths that the runtime asks for;
    with an IPAM plugin they are the plugin's to read. ``addresses`` and ``routes`` are a veth's by the configuration
    itself, beside all others. ``offload`` False: frames leave the LAN whole, with checksums filled in; None: as the LAN
    says. ``bandwidth`` is what the runtime asks for. ``unknown`` are the names of fields that mean nothing to k8slan.
    ``owner`` and ``group`` are whose a macvtap's device file is to be.
    """

    version: str
    name: str
    plugin: Plugin
    spoke: str | None = None
    lan: LanRef | None = None
    netns: str = ""
    mtu: int | None = None
    owner: int = QEMU
    group: int = QEMU
    ips: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    offload: bool | None = None
    bandwidth: Bandwidth = UNLIMITED
    unknown: tuple[str, ...] = ()
    ipam: str = ""
    dns: Dns = field(default_factory=Dns)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What every request carries on to a delegated plugin: the environment and stdin as they came."""

    environ: Mapping[str, str]
    stdin: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(_Request):
    """Plug an interface in. ``mac`` is the one asked for, in the form ``02:00:00:00:00:01``, or None."""

    container: str
    ifname: str
    netns: str
    config: NetConf
    mac: str | None = None
    pod: RuntimePod = RuntimePod()

    @property
    def who(self) -> str:
        """``namespace/pod`` where the runtime told it, the container's id otherwise."""
        return str(self.pod) or self.container


@dataclass(frozen=True, slots=True, kw_only=True)
class Del(_Request):
    """Unplug an interface, whatever is left of it; ``netns`` is "" when the runtime has none any more."""

    container: str
    ifname: str
    netns: str = ""
    ipam: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(_Request):
    """Compare an interface with what ADD answered."""

    container: str
    ifname: str
    netns: str
    config: NetConf
    previous: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(_Request):
    """Say whether an ADD with this configuration would work."""

    config: NetConf


@dataclass(frozen=True, slots=True, kw_only=True)
class Gc(_Request):
    """Remove what this configuration's network has beyond ``valid``: (container, interface) pairs."""

    config: NetConf
    valid: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Version(_Request):
    """Say which versions there are; ``version`` is the one asked for, supported or not."""

    version: str


Request = Add | Del | Check | Status | Gc | Version


def parse(environ: Mapping[str, str], stdin: bytes) -> Request:
    """What a runtime wants.

    Raises:
        CniError: 4 for the environment, 6 for stdin that is no JSON object, 1 for the version, 7 for the configuration.

    """
    verb = environ.get("CNI_COMMAND", "")
    if verb not in _REQUIRED:
        said = repr(verb[:64]) if verb else "not set"
        raise CniError(wire.INVALID_ENVIRONMENT, f"CNI_COMMAND is {said}: expected one of {', '.join(_REQUIRED)}")
    missing = [name for name in _REQUIRED[verb] if not environ.get(name)]
    if missing:
        raise CniError(wire.INVALID_ENVIRONMENT, f"{verb} needs {', '.join(missing)}")
    if verb == "VERSION":
        return Version(environ=environ, stdin=stdin, version=versions.asked(stdin))
    container, ifname, netns = _identity(environ)
    source = Field(value=parse_json(stdin, wire.DECODE_FAILURE, "the configuration"), path="", code=wire.INVALID_CONFIG)
    if verb == "DEL":
        ipam = _ipam_or_none(source)
        return Del(environ=environ, stdin=stdin, container=container, ifname=ifname, netns=netns, ipam=ipam)
    args = _args(environ.get("CNI_ARGS", "")) if verb == "ADD" else {}
    config = _config(source, verb, args.get("K8S_POD_NAME", ""))
    if verb == "STATUS":
        return Status(environ=environ, stdin=stdin, config=config)
    if verb == "GC":
        return Gc(environ=environ, stdin=stdin, config=config, valid=_valid_attachments(source))
    if verb == "CHECK":
        previous = source.at("prevResult")
        if previous.value is None:
            previous.fail("CHECK needs the result of ADD")
        return Check(
            environ=environ,
            stdin=stdin,
            container=container,
            ifname=ifname,
            netns=netns,
            config=config,
            previous=decode(previous),
        )
    return Add(
        environ=environ,
        stdin=stdin,
        container=container,
        ifname=ifname,
        netns=netns,
        config=config,
        mac=_wanted_mac(source, args.get("MAC", "")),
        pod=RuntimePod(
            namespace=args.get("K8S_POD_NAMESPACE", ""),
            name=args.get("K8S_POD_NAME", ""),
            uid=args.get("K8S_POD_UID", ""),
            sandbox=args.get("K8S_POD_INFRA_CONTAINER_ID", ""),
        ),
    )


# ---------------------------------------------------------------- the environment


def _identity(environ: Mapping[str, str]) -> tuple[str, str, str]:
    """Container, interface and namespace path; each is "" if it is not there, which some verbs allow."""
    container, ifname, netns = (environ.get(name, "") for name in (*_IDENTITY, "CNI_NETNS"))
    if container and (fault := container_fault(container)):
        raise CniError(wire.INVALID_ENVIRONMENT, f"CNI_CONTAINERID {fault}")
    if ifname and (fault := names.interface_fault(ifname, _MAX_IFNAME)):
        raise CniError(wire.INVALID_ENVIRONMENT, f"CNI_IFNAME {fault}")
    if not netns.isprintable():
        raise CniError(wire.INVALID_ENVIRONMENT, f"CNI_NETNS {netns!r} holds characters that cannot be printed")
    return container, ifname, netns


def container_fault(text: str) -> str:
    """Why ``text`` cannot be a container's id or a network's name (sections 1 and 2), or "" if it can."""
    if len(text) > _MAX_WORD:
        return f"is longer than {_MAX_WORD} characters"
    if not _WORD.fullmatch(text):
        return f"{text!r} must begin with a letter or digit, followed by letters, digits, '_', '.' and '-'"
    return ""


def _args(text: str) -> dict[str, str]:
    """CNI_ARGS: ``KEY=VALUE;KEY=VALUE``. An unknown key is an error unless IgnoreUnknown says otherwise."""
    args: dict[str, str] = {}
    for pair in text.split(";"):
        key, equals, value = pair.strip().partition("=")
        if not key and not equals:
            continue
        if not key or not equals or not value.isprintable():
            raise CniError(wire.INVALID_ENVIRONMENT, f"CNI_ARGS: {pair[:64]!r} is not KEY=VALUE")
        if key.startswith("K8S_POD_") and args.get(key, value) != value:
            raise CniError(wire.INVALID_ENVIRONMENT, f"CNI_ARGS: {key} is there twice")
        args[key] = value
    tolerant = args.get("IgnoreUnknown", "false").lower()
    if tolerant not in ("1", "true", "0", "false"):
        raise CniError(wire.INVALID_ENVIRONMENT, f"CNI_ARGS: IgnoreUnknown is {tolerant[:64]!r}, not true or false")
    unknown = sorted(args.keys() - _KNOWN_ARGS)
    if unknown and tolerant in ("0", "false"):
        raise CniError(wire.INVALID_ENVIRONMENT, f"CNI_ARGS: unknown {', '.join(unknown)[:256]}")
    return args


# ---------------------------------------------------------------- the configuration


def _config(source: Field, verb: str, pod: str) -> NetConf:
    version = _version(source.at("cniVersion"), verb)
    name = source.at("name")
    if fault := container_fault(name.text()):
        name.fail(fault)
    kind = source.at("type")
    if kind.text() not in tuple(Plugin):
        kind.fail(f"{kind.text()!r} is neither {' nor '.join(Plugin)}")
    plugin = Plugin(kind.text())
    veth = plugin is Plugin.VETH
    spoke, lan = _target(source, plugin, pod if verb == "ADD" else None)
    ipam = _ipam(source)
    ips = () if ipam else tuple(item.interface() for item in source.at("runtimeConfig").at("ips").items())
    return NetConf(
        version=version,
        name=name.text(),
        plugin=plugin,
        spoke=spoke,
        lan=lan,
        netns=_peer(source.at("peerNS")) if spoke and not lan else "",
        mtu=_mtu(source.at("mtu")),
        owner=_id(source.at("owner"), plugin),
        group=_id(source.at("group"), plugin),
        ips=ips,
        addresses=tuple(item.interface() for item in source.at("addrs").items()) if veth else (),
        routes=tuple(_route(item) for item in source.at("routes").items()) if veth else (),
        offload=_offload(source, plugin),
        bandwidth=_bandwidth(source.at("runtimeConfig").at("bandwidth")),
        unknown=tuple(sorted(_unknown(source.mapping(), plugin))),
        ipam=ipam,
        dns=decode_dns(source.at("dns")),
    )


def _version(source: Field, verb: str) -> str:
    version = source.value if isinstance(source.value, str) else ""
    if source.value is None:
        said = "cniVersion is absent, which means 0.1.0"
    elif version not in versions.SUPPORTED:
        said = f"cniVersion {str(source.value)[:32]!r} is not supported"
    elif not versions.at_least(version, _SINCE.get(verb, version)):
        raise CniError(wire.INCOMPATIBLE_VERSION, f"{verb} came with CNI {_SINCE[verb]}, not with {version}")
    else:
        return version
    raise CniError(wire.INCOMPATIBLE_VERSION, said, f"k8slan speaks {', '.join(versions.SUPPORTED)}")


def _target(source: Field, plugin: Plugin, pod: str | None) -> tuple[str | None, LanRef | None]:
    """The spoke to attach to, the LAN that it belongs to, or the dynamic LAN.

    Without a pod, the first of a StatefulSet's spokes stands for all.
    """
    own = _SPOKES[plugin]
    stray = [key for key in _SPOKES.values() if key != own and source.at(key).value is not None]
    spoke, lan = source.at(own), source.at("lan")
    if stray or (spoke.value is None and (lan.value is None or plugin is Plugin.MACVTAP)):
        allowed = [own, "lan"] if plugin is Plugin.VETH else [own]
        got = " and ".join(stray) or ("lan alone" if lan.value is not None else "none of them")
        source.at("type").fail(f"{plugin} needs {' or '.join(f'{key!r}' for key in allowed)}, not {got}")
    text = _numbered(spoke, "pod-0" if pod is None else pod) if plugin is Plugin.VETH else spoke.text()
    if spoke.value is not None and (fault := names.label_fault(text, names.MAX_INTERFACE)):
        spoke.fail(fault)
    return text or None, _lan(lan) if lan.value is not None else None


def _lan(source: Field) -> LanRef:
    text = source.text()
    namespace, slash, name = text.partition("/")
    fault = names.label_fault(namespace) or names.subdomain_fault(name)
    if not slash or fault:
        source.fail(f"{text!r} is not NAMESPACE/NAME of a LAN" + (f": {fault}" if slash else ""))
    return LanRef(namespace=namespace, name=name)


def _peer(source: Field) -> str:
    """The last part of the path of a LAN's network namespace."""
    name = source.text().rpartition("/")[2]
    if source.text() and (fault := names.file_fault(name)):
        source.fail(f"{source.text()!r} is not the path of a LAN's namespace: {name!r} {fault}")
    return name


def _route(source: Field) -> Route:
    """A route, as CNI writes it or as the Go system does."""
    members = {_ROUTE_KEYS.get(key.lower(), key): value for key, value in source.mapping().items()}
    return read_route(replace(source, value=members))


def _unknown(given: Iterable[str], plugin: Plugin) -> Iterator[str]:
    """The fields of a configuration that neither CNI and multus nor k8slan know."""
    known = _KNOWN_FIELDS | _OWN_FIELDS[plugin]
    return (name for name in given if name not in known and not name.startswith("cni.dev/"))


def _numbered(target: Field, pod: str) -> str:
    """The spoke of a pod that is one of several alike."""
    text = target.text()
    if not (spoke := names.spoke_of(text, pod)) and text:
        target.fail(f"{text} is for pods of a StatefulSet, whose names end in a number: {names.shown(pod)} does not")
    return spoke


def _offload(source: Field, plugin: Plugin) -> bool | None:
    """What a configuration wants. The Go system's field asks for whole frames or for nothing: KNL always writes it."""
    if plugin is Plugin.VETH and source.at("disableTxChecksum").flag():
        return False
    wish = source.at("offload")
    return None if wish.value is None else wish.flag()


def _mtu(source: Field) -> int | None:
    """0 means the same as none, as with other plugins; 68 is the least that IPv4 can do (RFC 791)."""
    return None if source.value == 0 else source.number(68, 65535)


def _bandwidth(source: Field) -> Bandwidth:
    """Take in bits and bits a second; a runtime writes 0 for what nobody asked for, and a burst alone means nothing."""

    def way(name: str) -> tuple[int, int]:
        rate, burst = (source.at(f"{name}{what}").number(0, _MOST_BITS) or 0 for what in ("Rate", "Burst"))
        if rate and not MIN_RATE <= rate <= MAX_RATE:
            source.at(f"{name}Rate").fail(f"must be {MIN_RATE}..{MAX_RATE} bits a second, not {rate}")
        return rate, min(burst // 8, MAX_BURST) if rate else 0

    (to_pod, to_pod_burst), (from_pod, from_pod_burst) = way("ingress"), way("egress")
    return Bandwidth(to_pod=to_pod, to_pod_burst=to_pod_burst, from_pod=from_pod, from_pod_burst=from_pod_burst)


def _id(source: Field, plugin: Plugin) -> int:
    """A user or group, of a macvtap only: for a veth it means nothing, whatever it is."""
    found = source.number(0, _MAX_ID) if plugin is Plugin.MACVTAP else None
    return QEMU if found is None else found


def _ipam(source: Field) -> str:
    """The IPAM plugin's name. It becomes a file name, so it may only be one."""
    plugin = source.at("ipam").at("type")
    if plugin.text() and (fault := names.file_fault(plugin.text())):
        plugin.fail(fault)
    return plugin.text()


def _ipam_or_none(source: Field) -> str:
    try:
        return _ipam(source)
    except CniError:
        return ""


def _wanted_mac(source: Field, from_args: str) -> str | None:
    """The MAC asked for, the runtime's word before the user's, the user's before the network's."""
    runtime = source.at("runtimeConfig").at("mac")
    user = source.at("args").at("cni").at("mac")
    environment = Field(value=from_args, path="CNI_ARGS: MAC", code=wire.INVALID_ENVIRONMENT)
    for wish in (runtime, user, environment, source.at("mac")):
        if wish.text():
            return _mac(wish)
    return None


def _mac(source: Field) -> str:
    text = source.text().lower()
    if not _MAC.fullmatch(text):
        source.fail(f"{text[:64]!r} is not a MAC address of six bytes")
    digits = re.sub("[:-]", "", text)
    mac = ":".join(digits[i : i + 2] for i in range(0, 12, 2))
    if int(digits[:2], 16) & 1:
        source.fail(f"{mac} is a group address")
    if mac == "00:00:00:00:00:00":
        source.fail(f"{mac} is no address")
    return mac


def _valid_attachments(source: Field) -> frozenset[tuple[str, str]]:
    """The attachments that GC must leave. Without such a list nothing may be removed, so it has to be there."""
    for key in _GC_LISTS:
        if key in source.mapping():
            return frozenset(
                (item.at("containerID").text(), item.at("ifname").text()) for item in source.at(key).items()
            )
    return source.at(_GC_LISTS[0]).fail("GC needs the list of attachments to keep")
