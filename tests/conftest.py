"""What every suite shares: a skip is a failure where ``K8SLAN_REQUIRE`` says so (see support/require.py)."""

from __future__ import annotations

import signal

from tests.support.require import pytest_make_collect_report, pytest_runtest_makereport

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]

# A run in the background of a script has these ignored, and would hand that down to everything it starts: then
# nothing that is to be interrupted could be.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
