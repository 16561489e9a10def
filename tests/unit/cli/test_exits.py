"""How commands end: statuses and words."""

from __future__ import annotations

import pytest

from k8slan_cli.cli import exits
from k8slan_cli.cli.exits import Exit, InUseError, LateError, UsageError
from k8slan_cli.errors import AbsentError, Invalid, K8slanError, KernelError, Problem
from k8slan_cli.kube.client import ApiError, MissingError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (K8slanError("x"), Exit.FAILED),
        (KernelError(1, "x"), Exit.FAILED),
        (Invalid("x", ()), Exit.FAILED),
        (ApiError("x", status=409), Exit.FAILED),
        (UsageError("x"), Exit.USAGE),
        (MissingError("x"), Exit.MISSING),
        (LateError("x"), Exit.LATE),
        (InUseError("x"), Exit.IN_USE),
        (AbsentError("x"), Exit.ABSENT),
    ],
)
def test_each_error_has_its_status(error: K8slanError, status: Exit) -> None:
    assert exits.status(error) is status


@pytest.mark.parametrize("status", Exit)
def test_the_table_of_statuses_is_whole(status: Exit) -> None:
    assert exits.__doc__ is not None
    assert [line for line in exits.__doc__.splitlines() if line.strip().startswith(f"{status.value} ")]


def test_words() -> None:
    problems = (Problem(field="spec.vni", message="is 0"), Problem(field="spec.mtu", message="is 1"))
    assert exits.words(Invalid("LAN a", problems)) == "LAN a is not valid:\n  spec.vni: is 0\n  spec.mtu: is 1"
    assert exits.words(Invalid("settings", problems)).startswith("settings are not valid:\n")
    assert exits.words(K8slanError("it is gone", hint="look elsewhere")) == "it is gone\n  look elsewhere"
    assert exits.words(K8slanError("it is gone")) == "it is gone"
