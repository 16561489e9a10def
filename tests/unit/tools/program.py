"""The programs of tools/, as modules: they have no ending and so no import."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def program(name: str) -> dict[str, Any]:
    """What is defined in ``tools/name``, which is not run."""
    return runpy.run_path(str(ROOT / "tools" / name))
