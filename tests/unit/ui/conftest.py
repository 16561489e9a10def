"""What the tests of the page share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.ui.rig import Lab, lab, routers


@pytest.fixture
def routed(tmp_path: Path) -> Iterator[Lab]:
    """A cluster with three routers and a LAN of hosts."""
    with lab(tmp_path) as found:
        routers(found)
        yield found
