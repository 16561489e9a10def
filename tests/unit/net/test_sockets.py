"""A request socket whose answers are dropped, refused or never given: an error says so, and the next request works."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from k8slan_cli.errors import KernelError
from k8slan_cli.net import netlink, sockets
from k8slan_cli.net.sockets import Netlink

NETLINK_USERSOCK = 2  # linux/netlink.h: a protocol where programs talk to each other, and the kernel never answers
GONE = netlink.set_link("nowhere", up=True)


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """A socket that takes requests and answers none."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_USERSOCK) as stranger:
        stranger.bind((0, 0))
        yield stranger


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch, stranger: socket.socket) -> Iterator[Netlink]:
    """A request socket whose requests go to that stranger instead of the kernel."""
    monkeypatch.setattr(sockets, "_ANSWER_SECONDS", 0.05)
    with Netlink() as asking, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_USERSOCK) as led_astray:
        led_astray.settimeout(sockets._ANSWER_SECONDS)
        led_astray.connect((stranger.getsockname()[0], 0))
        monkeypatch.setattr(asking, "_socket", led_astray)
        yield asking


def test_more_answers_than_the_buffer_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_ROOM", 4096)
    with Netlink() as asking:
        monkeypatch.setattr(sockets, "_PIECE", 1000)
        with pytest.raises(KernelError, match="change many links: No buffer space available") as refused:
            asking.apply([GONE] * 1000, doing="change many links")
        assert refused.value.errno == errno.ENOBUFS
        link = sockets.link(asking, "lo")
        assert link is not None
        assert link.name == "lo"


def test_a_thousand_requests_are_all_answered() -> None:
    with Netlink() as asking, pytest.raises(KernelError) as refused:
        asking.apply([GONE] * 1000, doing="change many links")
    assert refused.value.errno in (errno.ENODEV, errno.EPERM)


def test_an_answer_that_does_not_come(asking: Netlink) -> None:
    for ask in (lambda: asking.apply([GONE], doing="set port"), lambda: asking.ask(GONE, doing="set port")):
        with pytest.raises(KernelError, match=r"set port: the kernel has given no answer for 0\.05 s"):
            ask()


def test_a_request_that_cannot_be_sent(asking: Netlink, stranger: socket.socket) -> None:
    stranger.close()
    with pytest.raises(KernelError, match="set port: Connection refused"):
        asking.apply([GONE], doing="set port")
