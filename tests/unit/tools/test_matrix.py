"""What ``make matrix`` chooses, runs and prints, but for the clusters."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import matrix
from tests.cluster.matrix import ROWS, Row
from tests.unit.tools.program import ROOT


def test_every_row_is_in_the_table() -> None:
    table = (ROOT / "docs/compatibility.md").read_text().replace("**", "")
    assert [row for row in ROWS if matrix.table([(row, "")]).splitlines()[-1].rstrip("| ") not in table] == []


@pytest.mark.parametrize("test", matrix.TESTS)
def test_every_test_is_there(test: str) -> None:
    path, _, name = test.partition("::")
    assert f"def {name}" in (ROOT / path).read_text()


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("45 passed in 12.30s\n", "45 passed"),
        ("==== 1 failed, 44 passed, 2 skipped, 1 error in 61.00s (0:01:01) ====\n", "1 failed, 44 passed, 1 error"),
        ("no tests ran in 0.01s\n", "nothing ran"),
        ("", "nothing ran"),
    ],
)
def test_results_are_pytests_numbers(line: str, wanted: str) -> None:
    assert matrix.counted(line) == wanted


def test_rows_are_chosen_by_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[Row] = []

    def run(row: Row) -> tuple[bool, str]:
        ran.append(row)
        return row.multus == "thin", "2 passed"

    monkeypatch.setattr(matrix, "run", run)
    assert matrix.main(["1.30"]) == 1
    assert [row.multus for row in ran] == ["thin", "thick"]
    assert "| 1.30.14 | 4.2.2 thick | 1.3.1 | 2 passed |" in capsys.readouterr().out
    assert matrix.main(["1.30", "thin"]) == 0
    assert matrix.main(["1.29"]) == 2
    assert len(ran) == 3


def test_a_row_is_a_run_of_pytest_with_its_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "python"
    program.write_text(
        '#!/bin/sh\necho "$K8SLAN_KUBERNETES $K8SLAN_MULTUS $K8SLAN_REQUIRE $3"\necho "3 passed in 1s"\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(matrix.sys, "executable", str(program))
    assert matrix.run(Row(kubernetes="1.30.14", multus="thick")) == (True, "3 passed")
    assert capsys.readouterr().out.startswith("1.30.14 thick cluster -q\n")
