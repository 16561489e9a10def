"""The numbers and layouts of netlink.py, held against the kernel's own headers by a C compiler."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from k8slan_cli.net import netlink
from tests.support.require import require

_INCLUDES = ("rtnetlink", "if_link", "if_addr", "neighbour", "netlink", "veth", "if")
_OURS = ("OURS", "DOOMED")
_GROUPS = {
    "GROUP_LINK": "RTNLGRP_LINK",
    "GROUP_NEIGH": "RTNLGRP_NEIGH",
    "GROUP_IPV4_ADDRESS": "RTNLGRP_IPV4_IFADDR",
    "GROUP_IPV6_ADDRESS": "RTNLGRP_IPV6_IFADDR",
}
_STRUCTS = {
    "nlmsghdr": netlink._HEADER,
    "nlattr": netlink._ATTR,
    "ifinfomsg": netlink._IFINFO,
    "ifaddrmsg": netlink._IFADDR,
    "rtmsg": netlink._RTMSG,
    "ndmsg": netlink._NDMSG,
}


def _constants() -> dict[str, int]:
    """Everything in the module that bears a name of the kernel."""
    return {
        name: value
        for name, value in vars(netlink).items()
        if name.isupper() and type(value) is int and not name.startswith(("_", "AF_")) and name not in _OURS
    }


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """What the headers say: constants by name, sizes of structs as ``sizeof NAME``."""
    compiler = shutil.which("cc")
    require("unit", compiler is not None, "needs a C compiler (Debian: gcc)")
    there = all(Path("/usr/include/linux", f"{name}.h").exists() for name in _INCLUDES)
    require("unit", there, "needs the kernel's headers (Debian: linux-libc-dev)")
    folder = tmp_path_factory.mktemp("uapi")
    names = [_GROUPS.get(name, name) for name in _constants()]
    source = folder / "uapi.c"
    source.write_text(
        "#include <stdio.h>\n"
        + "".join(f"#include <linux/{name}.h>\n" for name in _INCLUDES)
        + "int main(void) {\n"
        + "".join(f'    printf("{name} %lld\\n", (long long){name});\n' for name in names)
        + "".join(f'    printf("sizeof {name} %zu\\n", sizeof(struct {name}));\n' for name in _STRUCTS)
        + "    return 0;\n}\n"
    )
    program = folder / "uapi"
    subprocess.run([str(compiler), "-o", program, source], check=True)
    said = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, _, value in (line.rpartition(" ") for line in said.splitlines())}


def test_every_number_is_the_kernels(headers: dict[str, int]) -> None:
    ours = {_GROUPS.get(name, name): value for name, value in _constants().items()}
    assert len(ours) > 80
    assert ours == {name: value for name, value in headers.items() if not name.startswith("sizeof ")}


@pytest.mark.parametrize(("name", "layout"), _STRUCTS.items(), ids=_STRUCTS)
def test_every_layout_is_as_long_as_the_kernels(headers: dict[str, int], name: str, layout: struct.Struct) -> None:
    assert headers[f"sizeof {name}"] == layout.size
