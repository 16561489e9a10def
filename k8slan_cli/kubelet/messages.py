"""The device plugin API's messages as values, and as protocol buffers. Pure.

The API has a handful of small messages (``k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1``), so their encoding is
written out here rather than generated: with grpcio and protobuf, 400 plugins took 35 MB more than with this and h2.
Unknown fields are passed over, as protocol buffers demand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

API_VERSION = "v1beta1"
REGISTER = "/v1beta1.Registration/Register"
OPTIONS = "/v1beta1.DevicePlugin/GetDevicePluginOptions"
LIST_AND_WATCH = "/v1beta1.DevicePlugin/ListAndWatch"
ALLOCATE = "/v1beta1.DevicePlugin/Allocate"
PREFERRED = "/v1beta1.DevicePlugin/GetPreferredAllocation"
PRE_START = "/v1beta1.DevicePlugin/PreStartContainer"

_LENGTH_DELIMITED = 2
_FIXED = {1: 8, 5: 4}  # wire types of fixed64 and fixed32, in bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device of a resource."""

    id: str
    healthy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNode:
    """A device file that the container gets under its path on the node, for reading and writing."""

    path: str


def register_request(endpoint: str, resource: str) -> bytes:
    """RegisterRequest: ``endpoint`` is a socket's file name in the kubelet's folder of device plugins."""
    return _text(1, API_VERSION) + _text(2, endpoint) + _text(3, resource)


def device_list(devices: tuple[Device, ...]) -> bytes:
    """ListAndWatchResponse."""
    return b"".join(
        _bytes(1, _text(1, device.id) + _text(2, "Healthy" if device.healthy else "Unhealthy")) for device in devices
    )


def parse_allocate_request(data: bytes) -> list[list[str]]:
    """AllocateRequest: the device ids for each container.

    Raises:
        ValueError: it is not one.

    """
    return [
        [raw.decode() for field, raw in _fields(container) if field == 1]
        for number, container in _fields(data)
        if number == 1
    ]


def allocate_response(containers: list[tuple[DeviceNode, ...]]) -> bytes:
    """AllocateResponse: what each container gets."""
    return b"".join(
        _bytes(1, b"".join(_bytes(3, _text(1, n.path) + _text(2, n.path) + _text(3, "rw")) for n in nodes))
        for nodes in containers
    )


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode()) if value else b""


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message: number and content."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == _LENGTH_DELIMITED:
            length, at = _read_varint(data, at)
            if at + length > len(data):
                raise ValueError("a field is longer than its message")
            yield key >> 3, data[at : at + length]
            at += length
        elif kind == 0:
            _, at = _read_varint(data, at)
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise ValueError(f"unknown wire type {kind}")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number does not end")
