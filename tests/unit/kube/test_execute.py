"""How a command in a pod ended, by the last message of its stream."""

from __future__ import annotations

import json

import pytest

from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.execute import ended


def status(**fields: object) -> bytes:
    """The end of a command, as the kubelet tells it."""
    return json.dumps({"kind": "Status", "metadata": {}, **fields}).encode()


def test_a_command_that_succeeds() -> None:
    assert ended(status(status="Success")) == 0


def test_a_command_that_fails_has_its_status() -> None:
    causes = {"causes": [{"reason": "ExitCode", "message": "127"}]}
    assert ended(status(status="Failure", reason="NonZeroExitCode", details=causes)) == 127


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (status(status="Failure", message="container not found"), "container not found"),
        (b"no JSON", "no JSON"),
        (b"[]", r"\[\]"),
        (status(status="Failure"), "could not be run"),
    ],
)
def test_a_command_that_cannot_be_run(said: bytes, words: str) -> None:
    with pytest.raises(ApiError, match=words):
        ended(said)
