"""The guest's kernel: what the machine's may lack is there, and is loaded when it is asked for."""

from __future__ import annotations

import os

from tests.support.netns import Namespace


def test_links_and_qdiscs_of_modules_can_be_made() -> None:
    assert os.geteuid() == 0
    with Namespace.create("try") as namespace:
        namespace.ip("link", "add", "d0", "type", "dummy")
        for kind in (["wireguard"], ["bond"], ["macsec"], ["vlan", "id", "5"]):
            on = ["link", "d0"] if kind[0] in ("macsec", "vlan") else []
            namespace.ip("link", "add", *on, "name", kind[0], "type", *kind)
        namespace.run("tc", "qdisc", "add", "dev", "d0", "root", "netem", "delay", "1ms")
        assert set(namespace.links()) == {"d0", "wireguard", "bond", "macsec", "vlan"}
