"""Writes into a wheel, and into an sdist, which commit it is of and when it was built: k8slan_cli/origin.py reads it.

The commit is git's, or ``$K8SLAN_COMMIT`` where the build sees no checkout, as in a container. The day is that of
``$SOURCE_DATE_EPOCH``, or today. A wheel that is made from an sdist keeps what that says.
"""

from __future__ import annotations

import json
import os
import runpy
import tempfile
import time
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_NAME = "k8slan_cli/build.json"


class BuildHook(BuildHookInterface[Any]):
    """Hatchling's hook, which runs before files are collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to what is built."""
        if version == "editable" or (Path(self.root) / _NAME).exists():
            return
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
            file.write(json.dumps(_origin(Path(self.root)), indent=2) + "\n")
        self._file = Path(file.name)
        self._file.chmod(0o644)
        build_data["force_include"][file.name] = _NAME

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the file, which is in what was built."""
        if file := getattr(self, "_file", None):
            file.unlink()


def _origin(root: Path) -> dict[str, str | bool]:
    """What ``k8slan_cli.origin`` finds in this checkout, and the day."""
    found = runpy.run_path(str(root / "k8slan_cli" / "origin.py"))["checkout"](root)
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return {
        "commit": os.environ.get("K8SLAN_COMMIT") or found.commit,
        "changed": found.changed,
        "built": time.strftime("%Y-%m-%d", time.gmtime(seconds)),
    }
