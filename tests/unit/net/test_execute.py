"""Waiting for a carrier, with a kernel that takes its time over it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any, cast

import pytest

from k8slan_cli.errors import KernelError
from k8slan_cli.net import execute, netlink
from k8slan_cli.net.netlink import IF_OPER_UP, IFF_LOWER_UP, IFF_UP, Message, Reply
from k8slan_cli.net.sockets import Netlink

UNKNOWN, DOWN = 0, 2  # linux/if.h, IF_OPER_*


class Kernel:
    """Tells of a link what it is given to tell, one answer for each question; None is a link that is gone."""

    def __init__(self, *answers: tuple[int, int] | None) -> None:
        self._answers: Iterator[tuple[int, int] | None] = iter(answers)
        self.asked = 0

    def ask(self, _message: Message, *, doing: str) -> list[Reply]:
        """Answer as RTM_GETLINK is answered."""
        self.asked += 1
        answer = next(self._answers)
        if answer is None:
            raise KernelError(errno.ENODEV, doing)
        flags, operstate = answer
        body = netlink.ifinfo(flags=flags) + netlink.u8(netlink.IFLA_OPERSTATE, operstate)
        return list(netlink.replies(Message(netlink.RTM_NEWLINK, 0, body).encode(1)))


CARRIER = IFF_UP | IFF_LOWER_UP


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([(CARRIER, IF_OPER_UP)], 1),
        ([(CARRIER, UNKNOWN), (CARRIER, DOWN), (CARRIER, IF_OPER_UP)], 3),
        ([(IFF_UP, DOWN)], 1),  # the pod has taken its end down
        ([(0, DOWN)], 1),  # a link that is to have no carrier
        ([(CARRIER, UNKNOWN), None], 2),
    ],
)
def test_a_carrier_is_waited_for_until_the_kernel_has_followed_it(answers: list[Any], asked: int) -> None:
    kernel = Kernel(*answers)
    execute._await_carrier(cast("Netlink", kernel), "ap")
    assert kernel.asked == asked


def test_a_kernel_that_never_follows_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "_CARRIER_SECONDS", 0.01)
    kernel = Kernel(*[(CARRIER, UNKNOWN)] * 1000)
    execute._await_carrier(cast("Netlink", kernel), "ap")
    assert 1 < kernel.asked < 100
