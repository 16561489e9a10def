"""What pictures of a topology say of devices, LANs and ends of wires, in whatever format. Pure."""

from __future__ import annotations

from k8slan_cli.picture.topology import ATTACHED, HOST, NOBODY, VM, WAITING, Device, End, Segment

_NAME, _LABEL = 24, 44
"""Characters of a name and of what stands at a wire's end; longer ones lose their middle."""


def device_name(device: Device) -> str:
    """Return what a device is called in its box."""
    return _shown(device.name) + (f" ×{device.count}" if device.count > 1 else "")


def device_about(device: Device) -> str:
    """Return the second line of a device's box: what it is, and where."""
    what = {VM: "VM", HOST: "outside"}.get(device.kind, "")
    node = _shown(device.node) if device.kind != HOST else ""
    return " · ".join(filter(None, (what, node, device.state if device.state != ATTACHED else "")))


def bus_name(segment: Segment) -> str:
    """Return what a bus is called, and what is wrong with it."""
    return _shown(segment.name) + trouble(segment) + f" ({NOBODY[segment.hidden]})" * (not segment.ends)


def trouble(segment: Segment) -> str:
    """Return what is wrong with a LAN, in its controller's word, after a space; "" of nothing."""
    return f" {segment.state}" if segment.ill else ""


def end_words(end: End, segment: Segment, *, named: bool = False) -> tuple[str, bool]:
    """Return what stands at an end of a wire, and whether something is wrong there.

    The first end of a line says if its LAN is not ready, and is to have its name too if that is to be ``named``.
    """
    first = segment.line and end is segment.ends[0]
    wrong = trouble(segment).strip() if first else ""
    lan = f"· {segment.name}" if first and named else ""
    text = " ".join(filter(None, (end.interface, lan, wrong, end.remarks)))
    return _shown(text, _LABEL), bool(wrong or (end.note and end.link != WAITING))


def _shown(text: str, longest: int = _NAME) -> str:
    """Return a text, without its middle if it is too long: names differ at their ends."""
    return text if len(text) <= longest else f"{text[: longest // 2]}…{text[1 - longest // 2 :]}"
