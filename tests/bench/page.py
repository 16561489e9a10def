"""What the page of `k8slan ui` costs a browser that shows 300 attachments, and how soon it has what agents tell.

Debian's Chromium, without a screen; the cluster and its agents are those of the page's tests. Every attachment has
another rate with each look. The processor's time is that of scripts, style and layout together.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.rows import Row, quantile
from tests.support import browser
from tests.ui.test_page import row, shown, tick
from tests.unit.ui.rig import Lab, crowd, lab

ATTACHMENTS = 300
_FRAME = 16.7
"""Milliseconds: what takes longer than this is seen to jerk."""
_TIMES = 30
_SPENT = ("ScriptDuration", "RecalcStyleDuration", "LayoutDuration")


def rows() -> Iterator[Row]:
    """The figures of a page."""
    if browser.find() is None:
        raise SystemExit("needs chromium: tools/setup test installs it")
    with tempfile.TemporaryDirectory() as folder, lab(Path(folder)) as found:
        crowd(found, ATTACHMENTS)
        spent, waited = zip(*_updates(Path(folder), found), strict=True)
    yield Row(f"update of {ATTACHMENTS} attachments, processor, p50", quantile(spent, 0.5), " ms", _FRAME)
    yield Row(f"update of {ATTACHMENTS} attachments, processor, p95", quantile(spent, 0.95), " ms")
    yield Row(f"update of {ATTACHMENTS} attachments, told → seen, p50", quantile(waited, 0.5), " ms", 1000)
    yield Row(f"update of {ATTACHMENTS} attachments, told → seen, p95", quantile(waited, 0.95), " ms", 1000)


def _updates(folder: Path, found: Lab) -> Iterator[tuple[float, float]]:
    """Of each update, milliseconds of the browser's processor time, and from the agents' word until it is seen."""
    with browser.start(folder, loopback=True) as chromium, shown(chromium, found, ATTACHMENTS) as view:
        view.until(f"{row(f'eth0 of p{ATTACHMENTS - 1}')}.innerText.includes('0 bit/s')")
        tick(view, found, 0)
        for number in range(1, _TIMES + 1):
            before, begun = view.metrics(), time.monotonic()
            tick(view, found, number)
            waited, after = time.monotonic() - begun, view.metrics()
            yield 1000 * sum(after[part] - before[part] for part in _SPENT), 1000 * waited
