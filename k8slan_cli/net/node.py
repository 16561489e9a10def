"""The node's namespaces as descriptors and sockets, each opened once and kept while its LAN is there."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from k8slan_cli.net import netns, sockets
from k8slan_cli.net.sockets import Netlink


@dataclass(frozen=True, slots=True)
class Handle:
    """A LAN's namespace: its descriptor, a request socket in it, and indexes of its links that were asked for once."""

    fd: int
    netlink: Netlink
    identity: str
    indexes: dict[str, int] = field(default_factory=dict)

    def index(self, name: str) -> int:
        """Return the index of a link that stays, which is asked for once.

        Raises:
            KernelError: there is no such link.

        """
        if name not in self.indexes:
            self.indexes[name] = sockets.existing_link(self.netlink, name).index
        return self.indexes[name]

    def close(self) -> None:
        """Let go of the namespace."""
        self.netlink.close()
        os.close(self.fd)


class Node:
    """The namespaces k8slan works in: the node's own, and one for each LAN that has attachments here.

    ``directory`` is where LAN namespaces are mounted, ``host_root`` where the node's own file system is seen. Handles
    are opened and closed from worker threads.
    """

    def __init__(self, directory: Path, host_root: Path = Path("/")) -> None:
        self.directory = directory
        self.host_root = host_root
        self.fd = netns.own()
        self.netlink = Netlink()
        self._handles: dict[str, Handle] = {}
        self._lock = threading.Lock()
        self._turns: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Have a LAN's namespace to oneself: a descriptor that another thread closes may be another file's by then.

        A LAN that takes over the namespace of one that goes has a loop of its own.
        """
        with self._lock:
            turn = self._turns[name]
        with turn:
            yield

    def close(self) -> None:
        """Close every handle; namespaces and links stay."""
        for name in list(self._handles):
            self.forget(name)
        self.netlink.close()
        os.close(self.fd)

    def path(self, name: str) -> Path:
        """Where a LAN's namespace is mounted."""
        return self.directory / name

    def lan(self, name: str) -> Handle | None:
        """The handle of a LAN's namespace, or None if there is no such namespace."""
        with self._lock:
            if handle := self._handles.get(name):
                return handle
            fd = netns.open_at(self.path(name))
            if fd is None:
                return None
            try:
                handle = self._handles[name] = Handle(fd, Netlink(fd), netns.identity(fd))
            except OSError:
                os.close(fd)
                raise
            return handle

    def identity(self, name: str) -> str:
        """Return the identity of a LAN's namespace, "" if there is none.

        It stays what it is while somebody has unmounted it: the next pass mounts it again.
        """
        with self._lock:
            if handle := self._handles.get(name):
                return handle.identity
        fd = netns.open_at(self.path(name))
        if fd is None:
            return ""
        try:
            return netns.identity(fd)
        finally:
            os.close(fd)

    def is_mounted(self, name: str) -> bool:
        """Whether the namespace of a handle is still what is mounted at its path."""
        try:
            there = netns.identity(self.path(name))
        except FileNotFoundError:
            return False
        handle = self._handles.get(name)
        return handle is None or there == handle.identity

    def forget(self, name: str) -> None:
        """Close the handle of a LAN's namespace."""
        with self._lock:
            if handle := self._handles.pop(name, None):
                handle.close()

    def present(self) -> frozenset[str]:
        """Names under ``directory``: namespaces, and the files of such as were cut short in the making."""
        try:
            return frozenset(entry.name for entry in self.directory.iterdir())
        except FileNotFoundError:
            return frozenset()
