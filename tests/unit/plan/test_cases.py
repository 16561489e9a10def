"""The planner's cases (support/planner_cases.py tells their form), and what must hold for each of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from k8slan_cli.errors import Invalid
from k8slan_cli.plan.diff import diff
from k8slan_cli.plan.state import LanState
from tests.support import planner_cases
from tests.support.planner_cases import Case
from tests.support.simulator import apply_all

CASES = planner_cases.load(Path(__file__).with_name("cases"))


@pytest.mark.parametrize("case", [case for case in CASES if case.problem is None], ids=lambda case: case.name)
def test_case(case: Case) -> None:
    """The operations are those of the file, they can be done one after the other, and then there is nothing to do."""
    wanted = case.wanted()
    operations = diff(wanted, case.observed, underlay=case.underlay)
    assert [operation.describe() for operation in operations] == list(case.operations)
    reached = apply_all(operations, case.observed)
    assert diff(wanted, reached, underlay=case.underlay) == ()
    if case.keys.get("underlay") != "gone":
        assert reached == _as_observed(wanted, case.observed)


@pytest.mark.parametrize("case", [case for case in CASES if case.problem is not None], ids=lambda case: case.name)
def test_problem(case: Case) -> None:
    with pytest.raises(Invalid) as caught:
        case.wanted()
    assert str(caught.value) == case.problem


def test_each_case_tells_something_of_its_own() -> None:
    told = [(case.operations, case.problem) for case in CASES if case.operations or case.problem]
    assert len(told) > 50
    assert sum(1 for case in CASES if case.name.endswith("-noop")) == len(told) == len(CASES) / 2


def _as_observed(wanted: LanState, observed: LanState) -> LanState:
    return replace(wanted, attachments={}, taps=None if observed.taps is None else wanted.taps)
