"""What is said of a topology file while it is read: problems, for which it is refused, and warnings.

Reading goes on after a problem, so that all of them are found. What is read from a field with one is not to be used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from k8slan_cli.errors import Problem, near
from k8slan_cli.lab.schema import NOTHING

if TYPE_CHECKING:
    from pydantic import BaseModel

    from k8slan_cli.lab.yaml_text import Path, Text


class Remarks:
    """Problems and warnings, in the order of reading; each names its field and where that is in ``text``."""

    def __init__(self, text: Text, warnings: Iterable[str]) -> None:
        self.problems: list[Problem] = []
        self.warnings = list(warnings)
        self._text = text

    def field(self, path: Path) -> str:
        """Return what to call a field, with where it is."""
        return self._text.field(path)

    def wrong(self, path: Path, message: str) -> None:
        """Say that a field cannot be as it is."""
        self.problems.append(Problem(field=self._text.field(path), message=message))

    def warn(self, path: Path, message: str) -> None:
        """Say that a field is valid, and not done here or not as the file has it."""
        self.warnings.append(f"{self._text.field(path)}: {message}")

    def idle(self, path: Path, fields: BaseModel, unused: Mapping[str, str]) -> None:
        """Warn of fields that are known and set, and mean nothing where they are, with the reasons of ``unused``."""
        for name, why in unused.items():
            if getattr(fields, name.replace("-", "_")) not in NOTHING:
                self.warn((*path, name), f"is not used: {why}")

    def unread(self, path: Path, fields: BaseModel, unused: Mapping[str, str]) -> None:
        """Warn of fields that mean nothing here, with the reasons of ``unused``, and refuse those that nobody knows."""
        known = [info.alias or name for name, info in type(fields).model_fields.items()]
        for name in fields.model_extra or ():
            if name in unused:
                self.warn((*path, name), f"is not used: {unused[name]}")
            else:
                hint = near(name, known)
                self.wrong((*path, name), "is no field that is known" + (f": {hint}" if hint.startswith("did") else ""))
