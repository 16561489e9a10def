"""What is said of a deletion that waits."""

from __future__ import annotations

import pytest

from k8slan_cli.cli.lan.delete import _names_all
from tests.support import scene


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("in use by VM lab/firewall on node w2, pod lab/router-a on node w1, pod lab/router-b on node w2", True),
        ("in use by pod lab/router-a on node w1", False),
        ("not yet removed on: w1", False),
    ],
)
def test_who_holds_a_lan_is_not_said_twice(message: str, said: bool) -> None:
    assert _names_all(message, scene.on(scene.RED, scene.VTEPS).holders) == said
