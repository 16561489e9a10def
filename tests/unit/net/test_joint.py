"""A kernel that lacks what redirects are made of."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any, cast

import pytest
from pyroute2.netlink.rtnl import RTM_NEWQDISC, RTM_NEWTFILTER

from k8slan_cli.errors import KernelError
from k8slan_cli.net import joint, netlink
from k8slan_cli.net.sockets import Netlink


class Kernel:
    """Has every link, and refuses messages of one type."""

    def __init__(self, refused: int) -> None:
        self._refused = refused

    def ask(self, _message: Any, *, doing: str) -> list[Any]:  # noqa: ARG002 - as the real one has it
        """Answer as RTM_GETLINK is answered."""
        told = netlink.LinkMessage()
        told.update(index=1, flags=0, attrs=[])
        return [told]

    def apply(self, messages: Sequence[Any], *, doing: str, ignore: frozenset[int] = frozenset()) -> None:
        """Take all others."""
        if any(message["header"]["type"] == self._refused for message in messages) and errno.ENOENT not in ignore:
            raise KernelError(errno.ENOENT, doing)


@pytest.mark.parametrize("refused", [RTM_NEWQDISC, RTM_NEWTFILTER])
def test_the_modules_are_named(refused: int) -> None:
    with pytest.raises(KernelError, match=r"spec\.fragment needs sch_ingress, cls_u32 and act_mirred"):
        joint.join(cast("Netlink", Kernel(refused)), "vxlan0", "bridge-to-vxlan", doing="redirect")
