"""What the tests in a browser share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.browser import Browser, find, start
from tests.support.require import require


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that reaches this machine alone."""
    require("ui", find() is not None, "needs chromium, in which the page is tried")
    with start(tmp_path_factory.mktemp("browser"), loopback=True) as running:
        yield running
