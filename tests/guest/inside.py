"""What runs in the guest: pytest, as it is told through a port of virtio, to which every report of it goes.

A line is JSON. The first one comes from the machine: ``environment`` and ``arguments``. All others go there:
``report``, and ``end`` with the name of a test that is through.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

PORT = Path("/dev/vport1p1")
VARIABLE = "K8SLAN_GUEST"
"""Set in the guest alone."""


class Reporter:
    """The plugin that sends reports."""

    def __init__(self, port: Any, config: Any = None) -> None:
        self.port = port
        self.config = config

    def pytest_configure(self, config: pytest.Config) -> None:
        """Keep what turns reports into JSON and back."""
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Send a report of one phase of a test."""
        self._send(report=self.config.hook.pytest_report_to_serializable(config=self.config, report=report))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Say that there will be no other of this test."""
        self._send(end=nodeid)

    def _send(self, **line: Any) -> None:
        self.port.write(json.dumps(line).encode() + b"\n")


def main() -> int:
    """Run what is asked for; pytest's own words go to the console."""
    with PORT.open("r+b", buffering=0) as port:
        order = json.loads(port.readline())
        os.environ.clear()
        os.environ.update(order["environment"], **{VARIABLE: "1"})
        return pytest.main(order["arguments"], plugins=[Reporter(port)])


if __name__ == "__main__":
    sys.exit(main())
