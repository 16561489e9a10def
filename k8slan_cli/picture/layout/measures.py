"""How large words, boxes and the gaps between them are in a picture, in pixels; and what many devices change. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from k8slan_cli.picture.topology import Device, Topology
from k8slan_cli.picture.words import device_about, device_name

CHAR, SMALL = 7.3, 6.7
"""Widths of a character of names, and of other words."""
LINE, PORT = 16, 16
"""Heights of a line of words, and of a wire at a box."""
PAD, BOX, LOW, HEAD = 10, 44, 24, 22
"""Space beside words in a box, heights of a box of two lines and of one, height of a bus's name."""
GAP, STUB = 12, 10
"""Space between things, and what a wire goes straight at least before it bends."""
WINDOW = 1232
"""Width that parts beside each other may take: a laptop's window."""
CROWD = 12
"""More than so many that are on one LAN alone are drawn as a grid."""
_MANY = 60
"""From so many devices on, boxes have one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """Height of a box, the gap below it, and how many that are joined to a device alone are each drawn at it.

    ``named`` is whether lines have the names of their LANs: a lab's are made up.
    """

    height: float = BOX
    gap: float = GAP
    hosts: int = CROWD
    named: bool = True

    @classmethod
    def of(cls, topology: Topology) -> Style:
        """Return the style for a picture of a topology."""
        if len(topology.devices) >= _MANY:
            return cls(height=LOW, gap=6, hosts=3, named=False)
        return cls(named=not any(device.lab for device in topology.devices))

    def width(self, device: Device) -> float:
        """Return how wide a device's box is."""
        first, second = len(device_name(device)) * CHAR, len(device_about(device)) * SMALL
        inside = max(first, second) if self.height == BOX else first + CHAR * bool(second) + second
        return inside + 2 * PAD
