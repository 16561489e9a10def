"""Routes of an interface, as IPAM plugins and CNI configurations give them and the kernel takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k8slan_cli.lan.model import IpAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route; ``gateway`` None means on-link, 0 and None elsewhere the kernel's own choice."""

    destination: str
    gateway: IpAddress | None = None
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int = 0
    scope: int | None = None
