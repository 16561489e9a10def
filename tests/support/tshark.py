"""What tshark reads in a capture: somebody else's word on what is written."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support.require import require


def frames(suite: str, path: Path, *fields: str) -> list[list[str]]:
    """These fields of each frame of a file, which is whole. Without tshark a test of ``suite`` is skipped."""
    require(suite, shutil.which("tshark") is not None, "needs tshark, which checks what is written")
    options = [option for field in fields for option in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=|", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cut short" not in done.stderr
    return [line.split("|") for line in done.stdout.splitlines()]
