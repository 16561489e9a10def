"""Figures as rows, and the few statistics they need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: ``limit`` is what it must reach, at most or (``least``) at least; None means it is only told."""

    name: str
    value: float
    unit: str = ""
    limit: float | None = None
    least: bool = False

    @property
    def reached(self) -> bool:
        """Whether the figure is as good as it has to be."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.least else self.value <= self.limit

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Name, value, reach, verdict."""
        reach = "" if self.limit is None else f"{'≥' if self.least else '≤'} {self.limit:g}{self.unit}"
        verdict = "" if self.limit is None else "ok" if self.reached else "short"
        return self.name, f"{self.value:.3g}{self.unit}", reach, verdict

    def __str__(self) -> str:
        return "  ".join(cell for cell in self.cells if cell)


def table(rows: Iterable[Row]) -> str:
    """Rows in columns."""
    cells = [("name", "value", "reach", ""), *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of all values are not above (0.5: the median)."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]
