"""A skip is a failure where ``K8SLAN_REQUIRE`` says so: shown by runs of pytest over a small suite."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


_SUITE = """
import pytest
from tests.support.require import require

def test_helper():
    require("node", False, "no such tool")

@pytest.mark.skip(reason="any other skip")
def test_mark():
    pass

@pytest.mark.xfail(reason="known", strict=True)
def test_known():
    raise AssertionError
"""


def _run_suite(directory: Path, **environment: str) -> str:
    """A run of pytest over a small tests/node of its own, with this project's hooks; what it printed."""
    suite = directory / "tests" / "node"
    suite.mkdir(parents=True)
    (directory / "tests" / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (suite / "test_skips.py").write_text(_SUITE)
    (suite / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    (directory / "pytest.ini").write_text("[pytest]\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "K8SLAN"))}
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "-rs",
        "--continue-on-collection-errors",
    ]
    done = subprocess.run(
        argv,
        cwd=directory,
        env=kept | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_skips_say_why(tmp_path: Path) -> None:
    said = _run_suite(tmp_path)
    assert "3 skipped, 1 xfailed" in said
    assert "no such tool" in said


def test_no_skip_slips_through_where_the_suite_is_required(tmp_path: Path) -> None:
    said = _run_suite(tmp_path, K8SLAN_REQUIRE="node,cluster")
    assert re.search(r"K8SLAN_REQUIRE names 'node', .*no such tool", said)
    assert re.search(r"K8SLAN_REQUIRE names 'node', .*any other skip", said)
    assert re.search(r"K8SLAN_REQUIRE names 'node', .*no_such_module", said)
    assert "skipped" not in said.splitlines()[-1]


def test_another_suite_may_skip(tmp_path: Path) -> None:
    assert "3 skipped, 1 xfailed" in _run_suite(tmp_path, K8SLAN_REQUIRE="cluster")
