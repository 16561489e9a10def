"""Waiting for a carrier, with a kernel that takes its time over it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any, cast

import pytest

from k8slan_cli.errors import KernelError
from k8slan_cli.net import execute, netlink
from k8slan_cli.net.sockets import Netlink

UP, CARRIER = 0x1, 0x10001  # linux/if.h, IFF_UP, IFF_LOWER_UP


class Kernel:
    """Tells of a link what it is given to tell, one answer for each question; None is a link that is gone."""

    def __init__(self, *answers: tuple[int, str] | None) -> None:
        self._answers: Iterator[tuple[int, str] | None] = iter(answers)
        self.asked = 0

    def ask(self, _message: Any, *, doing: str) -> list[Any]:
        """Answer as RTM_GETLINK is answered."""
        self.asked += 1
        answer = next(self._answers)
        if answer is None:
            raise KernelError(errno.ENODEV, doing)
        flags, operstate = answer
        told = netlink.LinkMessage()
        told.update(index=1, flags=flags, attrs=[["IFLA_OPERSTATE", operstate]])
        return [told]


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([(CARRIER, "UP")], 1),
        ([(CARRIER, "UNKNOWN"), (CARRIER, "DOWN"), (CARRIER, "UP")], 3),
        ([(UP, "DOWN")], 1),  # the pod has taken its end down
        ([(0, "DOWN")], 1),  # a link that is to have no carrier
        ([(CARRIER, "UNKNOWN"), None], 2),
    ],
)
def test_a_carrier_is_waited_for_until_the_kernel_has_followed_it(answers: list[Any], asked: int) -> None:
    kernel = Kernel(*answers)
    execute._await_carrier(cast("Netlink", kernel), "ap")
    assert kernel.asked == asked


def test_a_kernel_that_never_follows_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "_CARRIER_SECONDS", 0.01)
    kernel = Kernel(*[(CARRIER, "UNKNOWN")] * 1000)
    execute._await_carrier(cast("Netlink", kernel), "ap")
    assert 1 < kernel.asked < 100
