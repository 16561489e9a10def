"""Taking typed values out of JSON, each fault under its field's path.

A ``Field`` is a value of a JSON document together with where it stands and the CNI error code that a fault in
the document has, so that the readers of configurations (code 7) and of IPAM results (code 103) share one set of checks.
Only JSON and values: nothing here knows what a configuration or a result is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, NoReturn

from k8slan_cli.errors import CniError
from k8slan_cli.lan.model import IpAddress


def parse_json(data: bytes, code: int, what: str) -> dict[str, Any]:
    """The JSON object in ``data``: UTF-8, no NaN, of a depth and with numbers that Python takes.

    Raises:
        CniError: ``code``; the message begins with ``what``.

    """
    try:
        value = json.loads(data.decode(), parse_constant=_no_constant)
    except RecursionError:
        raise CniError(code, f"{what} is nested too deeply") from None
    except ValueError as error:
        raise CniError(code, f"{what} is not JSON", str(error)) from None
    if not isinstance(value, dict):
        raise CniError(code, f"{what} is not a JSON object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A JSON value, where it stands (``runtimeConfig.ips[0]``) and the error code of the document it is in."""

    value: object
    path: str
    code: int

    def fail(self, message: str, code: int | None = None) -> NoReturn:
        """Refuse this value."""
        raise CniError(code or self.code, f"{self.path}: {message}" if self.path else message)

    def at(self, key: str) -> Field:
        """A member; its value is None where there is none, and where it or this is null, as Go writes "nothing"."""
        members = self.mapping()
        return Field(value=members.get(key), path=f"{self.path}.{key}" if self.path else key, code=self.code)

    def mapping(self) -> Mapping[str, Any]:
        """The members of an object; null counts as an empty one."""
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            self.fail(f"must be an object, not {_kind(self.value)}")
        return self.value

    def items(self) -> Iterator[Field]:
        """The elements of a list; null counts as an empty one."""
        if self.value is not None and not isinstance(self.value, list):
            self.fail(f"must be a list, not {_kind(self.value)}")
        for index, value in enumerate(self.value or ()):
            yield Field(value=value, path=f"{self.path}[{index}]", code=self.code)

    def text(self) -> str:
        """A string of printable characters; null counts as an empty one."""
        if self.value is None:
            return ""
        if not isinstance(self.value, str):
            self.fail(f"must be a string, not {_kind(self.value)}")
        if not self.value.isprintable():
            self.fail("holds characters that cannot be printed")
        return self.value

    def texts(self) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(item.text() for item in self.items())

    def flag(self) -> bool:
        """Whether it is true; null counts as false."""
        if self.value is not None and not isinstance(self.value, bool):
            self.fail(f"must be true or false, not {_kind(self.value)}")
        return bool(self.value)

    def number(self, lowest: int, highest: int) -> int | None:
        """A whole number within bounds, None for null."""
        if self.value is None:
            return None
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            self.fail(f"must be a whole number, not {_kind(self.value)}")
        if not lowest <= self.value <= highest:
            self.fail(f"must be {lowest}..{highest}, not {self.value}")
        return self.value

    def address(self) -> IpAddress | None:
        """An IP address without a zone, None for null and ""."""
        text = self.text()
        try:
            address = ip_address(text) if text else None
        except ValueError:
            self.fail(f"{text!r} is not an IP address")
        if "%" in text:
            self.fail(f"{text!r} has a zone")
        return address

    def interface(self) -> str:
        """An address with its prefix length, ``10.0.0.2/24``."""
        text = self.text()
        if text and "/" not in text:
            self.fail(f"{text!r} has no prefix length: write it as ADDRESS/LENGTH")
        try:
            interface = ip_interface(text)
        except ValueError:
            self.fail(f"{text!r} is not an IP address with a prefix length")
        if "%" in text:
            self.fail(f"{text!r} has a zone")
        return str(interface)

    def network(self) -> str:
        """A destination of routes, in its usual form: ``10.0.0.0/8``; host bits are cleared."""
        text = self.text()
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            self.fail(f"{text!r} is not an IP network")
        if "%" in text:
            self.fail(f"{text!r} has a zone")
        return str(network)


def _kind(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return f"the number {value:.20g}" if abs(value) < 1e20 else "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "null"
