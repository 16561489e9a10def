"""What a suite needs of the machine: a test says so, and is skipped with a reason where it is not there.

Where ``K8SLAN_REQUIRE`` names the suite (``K8SLAN_REQUIRE=unit,node``, as CI does), nothing is skipped: the
same test fails, with the same reason. A suite is a folder under tests. The hooks at the end hold this for any
kind of skip, also for one that did not come from here; tests/conftest.py makes them known to pytest.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

VARIABLE = "K8SLAN_REQUIRE"


def required(suite: str) -> bool:
    """Whether nothing in a suite may be skipped."""
    return suite in (word.strip() for word in os.environ.get(VARIABLE, "").split(","))


def require(suite: str, condition: bool, reason: str) -> None:
    """Skip the test, fixture or module that calls unless ``condition`` holds; fail it in a required suite.

    ``reason`` says what is missing and, if that is known, how to get it.
    """
    if condition:
        return
    if required(suite):
        pytest.fail(f"{VARIABLE} names {suite!r}, so this may not be skipped: {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def suite_of(path: Path) -> str:
    """The suite a test file belongs to: the folder under the last ``tests`` in its path, or an empty word."""
    above = path.parts[:-1]
    if "tests" not in above:
        return ""
    below = above[len(above) - above[::-1].index("tests") :]
    return below[0] if below else ""


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport, path: Path) -> None:
    suite = suite_of(path)
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if required(suite):
        report.outcome = "failed"
        report.longrepr = f"{VARIABLE} names {suite!r}, so this may not be skipped: {reason}"
    else:  # One line of the summary for each file and reason, not for each test.
        report.longrepr = (str(path), 1, reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test of a required suite into a failed one."""
    report = yield
    _refuse_skip(report, item.path)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a skipped module of a required suite into an error."""
    report = yield
    _refuse_skip(report, collector.path)
    return report
