"""Has the tests of this folder run in the guest, and reports what came of them as if they had run here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.guest.inside import VARIABLE
from tests.guest.machine import Machine
from tests.node.conftest import machine, no_leaks, pod, swept

__all__ = ["machine", "no_leaks", "pod", "swept"]

_running = pytest.StashKey[Machine]()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Tell how a test went in the guest, which the first one boots and the last one ends."""
    if VARIABLE in os.environ or not _ours(item):  # in the guest, or nothing for it
        return None
    hook, stash = item.ihook, item.session.stash
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)

    def run() -> list[dict[str, Any]]:
        if _running not in stash:
            stash[_running] = Machine.boot([each.nodeid for each in item.session.items if _ours(each)])
            item.config.add_cleanup(stash[_running].close)
        return stash[_running].reports(item.nodeid)

    for report in _told(item, run):
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    if _running in stash and not (nextitem and _ours(nextitem)):
        stash[_running].close()
    return True


def _told(item: pytest.Item, run: Callable[[], list[dict[str, Any]]]) -> list[pytest.TestReport]:
    """What the guest reports of a test, or why there is no guest."""
    call = pytest.CallInfo.from_call(run, "setup", reraise=(KeyboardInterrupt, pytest.exit.Exception))
    if call.excinfo:
        return [item.ihook.pytest_runtest_makereport(item=item, call=call)]
    for each in call.result:
        if each["outcome"] == "skipped" and isinstance(each["longrepr"], list):
            each["longrepr"] = tuple(each["longrepr"])  # which JSON does not have
    read = item.config.hook.pytest_report_from_serializable
    return [read(config=item.config, data=each) for each in call.result]


def _ours(item: pytest.Item) -> bool:
    return item.path.is_relative_to(Path(__file__).parent)
