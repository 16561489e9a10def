"""What the agent must not forget over a restart: attachments, addresses to release, and the LANs it knew last.

They are files under the run directory. It lies on a tmpfs, as the namespaces do that it describes: a reboot takes both.
Every write goes to a file beside and is renamed, so that a record is there wholly or not at all. Nothing that a runtime
or a user says becomes part of a path.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import logging
import os
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

from k8slan_cli import limits
from k8slan_cli.cni import request as cni
from k8slan_cli.cni.request import QEMU
from k8slan_cli.errors import CniError, Invalid, StoreError
from k8slan_cli.lan import codec, names
from k8slan_cli.lan.links import Bandwidth
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.lan.routes import Route
from k8slan_cli.plan.state import Attachment, AttachmentKind, Owner

log = logging.getLogger(__name__)
Key = tuple[str, str]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 so that a reader, or a crash, never finds half of it.

    Raises:
        StoreError: the file system is full, read-only or not there.

    """
    aside = path.with_name(f".{path.name}")  # one writer at a time: the agent that holds the run directory's lock
    try:
        try:
            fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                if os.write(fd, data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(fd)
            aside.rename(path)
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise
    except OSError as error:
        raise StoreError(
            f"cannot write a record into {path.parent}: {limits.describe(error)}",
            hint=limits.advice(error, path.parent),
        ) from error


class AttachmentRecords:
    """The attachments of this node, by container and interface, each in a file of its own."""

    def __init__(self, directory: Path) -> None:
        """Read what is there, if there is anything."""
        self._directory = directory
        self._by_key: dict[Key, Attachment] = {}
        self._by_lan: dict[LanRef, dict[Key, Attachment]] = {}
        for path in sorted(directory.glob("[!.]*.json")):
            try:
                attachment = _attachment(json.loads(path.read_bytes()))
                if path != self._path(attachment.key):
                    raise ValueError(f"it is the record of {attachment.who}, and not in its place")
            except (ValueError, TypeError, KeyError, RecursionError, OSError) as error:
                log.error("the record %s cannot be read and is passed over: %s", path, error)
            else:
                self._remember(attachment)

    def __iter__(self) -> Iterator[Attachment]:
        return iter(tuple(self._by_key.values()))

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: Key) -> Attachment | None:
        """The attachment of a container's interface, if there is one."""
        return self._by_key.get(key)

    def of(self, lan: LanRef) -> tuple[Attachment, ...]:
        """The attachments of a LAN."""
        return tuple(self._by_lan.get(lan, {}).values())

    def lans(self) -> frozenset[LanRef]:
        """The LANs that have attachments here."""
        return frozenset(self._by_lan)

    def put(self, attachment: Attachment) -> None:
        """Record an attachment, or what is new of it.

        Raises:
            StoreError: it could not be written; nothing has changed then.

        """
        data = {f.name: getattr(attachment, f.name) for f in dataclasses.fields(attachment)}
        data |= {"lan": str(attachment.lan), "routes": [_route_document(r) for r in attachment.routes]}
        data["bandwidth"] = dataclasses.asdict(attachment.bandwidth)
        write_whole(self._path(attachment.key), json.dumps(data).encode())
        self._remember(attachment)

    def delete(self, key: Key) -> None:
        """Forget an attachment; nothing happens if it is not there.

        Raises:
            StoreError: the record could not be removed.

        """
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot remove a record from {self._directory}: {error.strerror}") from error
        attachment = self._by_key.pop(key, None)
        if attachment:
            of_lan = self._by_lan[attachment.lan]
            del of_lan[key]
            if not of_lan:
                del self._by_lan[attachment.lan]

    def _path(self, key: Key) -> Path:
        return self._directory / names.record(*key)

    def _remember(self, attachment: Attachment) -> None:
        self._by_key[attachment.key] = attachment
        self._by_lan.setdefault(attachment.lan, {})[attachment.key] = attachment


def _route_document(route: Route) -> dict[str, Any]:
    return {**dataclasses.asdict(route), "gateway": str(route.gateway) if route.gateway else None}


def _attachment(data: object) -> Attachment:
    """The attachment of a record. Somebody may have written into it, so nothing is taken for granted.

    Raises:
        ValueError, TypeError, KeyError: it is none.

    """
    if not isinstance(data, dict):
        raise TypeError("it holds no object")
    lan = LanRef.parse(str(data.pop("lan")))
    routes = [
        Route(**{**route, "gateway": ip_address(route["gateway"]) if route["gateway"] else None})
        for route in data.pop("routes")
    ]
    attachment = Attachment(
        **{
            **data,
            "lan": lan,
            "kind": AttachmentKind(data["kind"]),
            "offload": data["offload"] if isinstance(data.get("offload"), bool) else None,
            "bandwidth": _bandwidth(data.get("bandwidth", {})),
            "tap_owner": _owner(data.get("tap_owner", (QEMU, QEMU))),
            "addresses": tuple(str(ip_interface(address)) for address in data["addresses"]),
            "environ": tuple((str(name), str(value)) for name, value in data["environ"]),
            "routes": tuple(routes),
        }
    )
    for field in (
        "container",
        "ifname",
        "port",
        "mac",
        "netns",
        "netns_id",
        "pod",
        "pod_uid",
        "vm_name",
        "vm_uid",
        "since",
        "network",
        "config",
    ):
        if not isinstance(getattr(attachment, field), str):
            raise TypeError(f"{field} is not text")
    for field in ("mtu", "tap", "index"):
        if not isinstance(getattr(attachment, field), int):
            raise TypeError(f"{field} is not a number")
    for field in ("ifname", "port"):
        if fault := names.interface_fault(getattr(attachment, field), 15):
            raise ValueError(f"{field} {fault}")
    if len(bytes.fromhex(attachment.mac.replace(":", ""))) != 6:
        raise ValueError(f"mac is {attachment.mac!r}")
    return attachment


def _bandwidth(data: Any) -> Bandwidth:
    return Bandwidth(**{name: int(value) for name, value in data.items()})


def _owner(data: object) -> Owner:
    match data:
        case [int(user), int(group)] if min(user, group) >= 0 and max(user, group) < (1 << 32) - 1:
            return user, group
    raise ValueError(f"tap_owner is {data!r}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Addresses that an IPAM plugin has not taken back yet: what to ask it, whose they are, and why it has not."""

    request: cni.Del
    who: str
    why: str

    @property
    def key(self) -> Key:
        """Container and interface."""
        return (self.request.container, self.request.ifname)


class Unreleased:
    """The addresses of this node that are still to be released, by container and interface, each in a file."""

    def __init__(self, directory: Path) -> None:
        """Read what is there, if there is anything."""
        self._directory = directory
        self._by_key: dict[Key, Release] = {}
        for path in sorted(directory.glob("[!.]*.json")):
            try:
                release = _release(json.loads(path.read_bytes()))
            except (ValueError, TypeError, KeyError, RecursionError, OSError, CniError) as error:
                log.error("the record %s cannot be read and is passed over: %s", path, error)
            else:
                self._by_key[release.key] = release

    def __iter__(self) -> Iterator[Release]:
        return iter(tuple(self._by_key.values()))

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: Key) -> Release | None:
        """What is to be released for a container's interface, if anything is."""
        return self._by_key.get(key)

    def put(self, release: Release) -> None:
        """Record addresses that are to be released.

        Raises:
            StoreError: it could not be written; nothing has changed then.

        """
        request = release.request
        environ = {name: value for name, value in request.environ.items() if name.startswith("CNI_")}
        data = {"who": release.who, "why": release.why, "environ": environ, "config": request.stdin.decode()}
        write_whole(self._path(release.key), json.dumps(data).encode())
        self._by_key[release.key] = release

    def delete(self, key: Key) -> None:
        """Forget what is released; nothing happens if it is not there.

        Raises:
            StoreError: the record could not be removed.

        """
        if key in self._by_key:
            try:
                self._path(key).unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(f"cannot remove a record from {self._directory}: {error.strerror}") from error
            del self._by_key[key]

    def _path(self, key: Key) -> Path:
        return self._directory / names.record(*key)


def _release(data: Any) -> Release:
    """What a record says is to be released.

    Raises:
        ValueError, TypeError, KeyError, CniError: it says nothing of that kind.

    """
    request = cni.parse(data["environ"], data["config"].encode())
    if not isinstance(request, cni.Del) or not request.ipam:
        raise ValueError("it is no DEL of an IPAM plugin")
    return Release(request=request, who=str(data["who"]), why=str(data["why"]))


class KnownLans:
    """The LANs as they were known last, so that pods attach after a restart with no API server in sight.

    Each is kept with its origin (a file's name, for LANs from files): a file that is broken now still stands for the
    LAN that it held.
    """

    def __init__(self, directory: Path) -> None:
        """Read what is there. What cannot be read is as good as not known."""
        self._directory = directory
        self._entries: dict[LanRef, tuple[Lan, str]] = {}
        for path in directory.glob("[!.]*.json"):
            try:
                entry = json.loads(path.read_bytes())
                lan = codec.decode(entry["lan"], strict=False)
                self._entries[lan.ref] = (lan, str(entry["origin"]))
            except (OSError, ValueError, TypeError, KeyError, RecursionError, Invalid) as error:
                log.error("the record %s cannot be read and is passed over: %s", path, error)

    def all(self) -> Mapping[LanRef, tuple[Lan, str]]:
        """The LANs with their origins."""
        return self._entries

    def change(self, news: Mapping[LanRef, tuple[Lan, str] | None]) -> None:
        """Write down what is new or has changed, remove what is gone. A full disk is logged: the agent goes on."""
        try:
            for ref, entry in news.items():
                if entry is None:
                    self._path(ref).unlink(missing_ok=True)
                    self._entries.pop(ref, None)
                elif self._entries.get(ref) != entry:
                    data = {"origin": entry[1], "lan": _document(entry[0])}
                    write_whole(self._path(ref), json.dumps(data).encode())
                    self._entries[ref] = entry
        except (StoreError, OSError) as error:
            log.error("the known LANs are not all written down: %s", error)

    def _path(self, ref: LanRef) -> Path:
        return self._directory / names.record(ref.namespace, ref.name)


def _document(lan: Lan) -> dict[str, Any]:
    document = codec.encode(lan)
    document["metadata"] |= {"uid": lan.uid, "creationTimestamp": lan.created, "finalizers": list(lan.finalizers)}
    if lan.deleting:
        document["metadata"]["deletionTimestamp"] = "unknown"
    document["status"] = {"nodes": [codec.encode_node(node) for node in lan.nodes], "attached": int(lan.attached)}
    named = {"names": lan.forms, "resources": dict(lan.resources), "withoutResources": sorted(lan.bare)}
    document["status"] |= {"vni": lan.vni, "granted": codec.encode_grant(lan.granted), **named}
    return document
