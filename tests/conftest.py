"""What every suite shares: a skip is a failure where ``K8SLAN_REQUIRE`` says so (see support/require.py)."""

from __future__ import annotations

from tests.support.require import pytest_make_collect_report, pytest_runtest_makereport

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]
