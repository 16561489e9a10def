"""Results and errors as values, and the JSON that each CNI version wants for them.

What differs (CNI spec, section 5, and its older editions): up to 0.4.0 every address says its IP version; an
interface's ``mtu`` and all but ``dst`` and ``gw`` of a route came with 1.1.0. Reading takes all of these at once,
whatever version the text claims, since no two of them contradict each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from k8slan_cli.cni import versions
from k8slan_cli.cni.fields import Field
from k8slan_cli.errors import CniError
from k8slan_cli.lan.model import IpAddress
from k8slan_cli.lan.routes import Route

_MAX_U32 = (1 << 32) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """An interface that was made; ``sandbox`` is its namespace's path, "" for one of the node; MTU 0: not said."""

    name: str
    mac: str = ""
    mtu: int = 0
    sandbox: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ip:
    """An address with its prefix length (``10.0.0.2/24``); ``interface`` is an index into the result's interfaces."""

    address: str
    gateway: IpAddress | None = None
    interface: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dns:
    """Name servers and search list: passed on, for the runtime to use."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What ADD answers, what CHECK is given back, and (without interfaces) what IPAM gives."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[Ip, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Dns = Dns()


# ---------------------------------------------------------------- writing


def encode(result: Result, version: str) -> dict[str, Any]:
    """The result object of a supported CNI version; what is empty is left out, but for interfaces and ips."""
    modern = versions.at_least(version, "1.1.0")
    document: dict[str, Any] = {
        "cniVersion": version,
        "interfaces": [_interface(interface, modern) for interface in result.interfaces],
        "ips": [_ip(ip, tagged=not versions.at_least(version, "1.0.0")) for ip in result.ips],
        "routes": [_route(route, modern) for route in result.routes],
        "dns": _filled(
            nameservers=list(result.dns.nameservers),
            domain=result.dns.domain,
            search=list(result.dns.search),
            options=list(result.dns.options),
        ),
    }
    return {key: value for key, value in document.items() if value or key in ("interfaces", "ips")}


def _interface(interface: Interface, modern: bool) -> dict[str, Any]:
    mtu = interface.mtu if modern else 0
    return {"name": interface.name} | _filled(mac=interface.mac, mtu=mtu, sandbox=interface.sandbox)


def _ip(ip: Ip, *, tagged: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"version": "6" if ":" in ip.address else "4"} if tagged else {}
    document |= {"address": ip.address} | _filled(gateway=_text(ip.gateway))
    return document if ip.interface is None else document | {"interface": ip.interface}


def _route(route: Route, modern: bool) -> dict[str, Any]:
    document = {"dst": route.destination} | _filled(gw=_text(route.gateway))
    if modern:
        document |= _filled(mtu=route.mtu, advmss=route.advmss, priority=route.priority, table=route.table)
        if route.scope is not None:
            document["scope"] = route.scope
    return document


def _filled(**members: Any) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value}


def _text(address: IpAddress | None) -> str:
    return "" if address is None else str(address)


def encode_error(error: CniError, version: str) -> dict[str, Any]:
    """The error object (CNI spec 1.1.0, "Error"); ``version`` is the one that the request asked for."""
    return {"cniVersion": version, "code": error.code, "msg": error.msg} | _filled(details=error.details)


def encode_versions(version: str) -> dict[str, Any]:
    """The answer to VERSION, in ``version`` if that is supported, else in the newest."""
    known = version if version in versions.SUPPORTED else versions.NEWEST
    return {"cniVersion": known, "supportedVersions": list(versions.SUPPORTED)}


def to_json(document: Mapping[str, Any]) -> bytes:
    """A document as it goes over the wire: compact, ASCII, no white space around it."""
    return json.dumps(document, separators=(",", ":")).encode()


# ---------------------------------------------------------------- reading


def decode(source: Field) -> Result:
    """A result object of any supported version; MACs come out in lower case.

    Raises:
        CniError: the source's code; with the path of the field that is wrong.

    """
    interfaces = tuple(
        Interface(
            name=item.at("name").text(),
            mac=item.at("mac").text().lower(),
            mtu=item.at("mtu").number(0, _MAX_U32) or 0,
            sandbox=item.at("sandbox").text(),
        )
        for item in source.at("interfaces").items()
    )
    return Result(
        interfaces=interfaces,
        ips=tuple(
            Ip(
                address=item.at("address").interface(),
                gateway=item.at("gateway").address(),
                interface=item.at("interface").number(0, max(len(interfaces) - 1, 0)),
            )
            for item in source.at("ips").items()
        ),
        routes=tuple(read_route(item) for item in source.at("routes").items()),
        dns=decode_dns(source.at("dns")),
    )


def read_route(item: Field) -> Route:
    """One of the routes of a result or a configuration.

    Raises:
        CniError: the source's code.

    """
    return Route(
        destination=item.at("dst").network(),
        gateway=item.at("gw").address(),
        mtu=item.at("mtu").number(0, _MAX_U32) or 0,
        advmss=item.at("advmss").number(0, _MAX_U32) or 0,
        priority=item.at("priority").number(0, _MAX_U32) or 0,
        table=item.at("table").number(0, _MAX_U32) or 0,
        scope=item.at("scope").number(0, 255),
    )


def decode_dns(source: Field) -> Dns:
    """The DNS section of a result or a configuration.

    Raises:
        CniError: the source's code.

    """
    return Dns(
        nameservers=source.at("nameservers").texts(),
        domain=source.at("domain").text(),
        search=source.at("search").texts(),
        options=source.at("options").texts(),
    )
