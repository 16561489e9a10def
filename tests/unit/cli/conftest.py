"""What the tests of commands share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.cluster import Workstation, workstation


@pytest.fixture
def k8slan(tmp_path: Path) -> Iterator[Workstation]:
    """The command in a cluster in which the scene's LAN is in use."""
    with workstation(tmp_path) as found:
        yield found
