"""Who may ask an agent: tokens of one user, as the API server knows them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from k8slan_cli.agent import guard as guards
from k8slan_cli.agent.guard import ClusterGuard, FileGuard
from k8slan_cli.errors import K8slanError

ACCOUNT = "system:serviceaccount:k8slan-system:k8slan-operator"
GOOD, OTHER = "a.good.token", "an.other.token"


class Reviewer:
    """Stands in for the API server: whose a token is, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away = False

    async def __call__(self, token: str) -> str:
        """The user of a token."""
        self.asked.append(token)
        if self.away:
            raise K8slanError("no answer")
        return {GOOD: ACCOUNT, OTHER: "system:serviceaccount:lab:default"}.get(token, "")


def admits(guard: ClusterGuard, *tokens: str) -> list[bool]:
    async def ask() -> list[bool]:
        return [await guard.admits(token) for token in tokens]

    return asyncio.run(ask())


def guarded() -> tuple[ClusterGuard, Reviewer]:
    async def make() -> tuple[ClusterGuard, Reviewer]:
        reviewer = Reviewer()
        return ClusterGuard(reviewer, ACCOUNT), reviewer

    return asyncio.run(make())


def test_only_tokens_of_the_account_are_good() -> None:
    guard, reviewer = guarded()
    assert admits(guard, GOOD, OTHER, "no.such.token") == [True, False, False]
    assert len(reviewer.asked) == 3


def test_what_is_no_token_is_not_asked_about() -> None:
    guard, reviewer = guarded()
    assert admits(guard, "", "x", "a.b", "." * 5, "a." + "b" * 20_000 + ".c") == [False] * 5
    assert reviewer.asked == []


def test_a_good_token_is_asked_about_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    guard, reviewer = guarded()
    assert admits(guard, GOOD, GOOD, GOOD) == [True] * 3
    assert reviewer.asked == [GOOD]
    now = guards.time.monotonic()
    monkeypatch.setattr(guards.time, "monotonic", lambda: now + 61)
    assert admits(guard, GOOD) == [True]
    assert reviewer.asked == [GOOD, GOOD]


def test_a_bad_token_is_asked_about_each_time() -> None:
    guard, reviewer = guarded()
    assert admits(guard, OTHER, OTHER) == [False, False]
    assert reviewer.asked == [OTHER, OTHER]


def test_a_good_token_is_good_while_the_api_server_is_away_and_no_other_is() -> None:
    guard, reviewer = guarded()
    assert admits(guard, GOOD) == [True]
    reviewer.away = True
    assert admits(guard, GOOD) == [True]
    with pytest.raises(K8slanError, match="no answer"):
        admits(guard, OTHER)


def test_the_api_server_is_asked_few_questions_at_a_time() -> None:
    async def flood() -> tuple[int, int]:
        running = most = 0

        async def review(_token: str) -> str:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return ACCOUNT

        guard = ClusterGuard(review, ACCOUNT)
        answers = await asyncio.gather(*(guard.admits(f"a.{i}.c") for i in range(50)))
        return most, sum(answers)

    assert asyncio.run(flood()) == (4, 50)


def test_without_a_cluster_the_token_is_in_a_file_and_another_each_time(tmp_path: Path) -> None:
    path = tmp_path / "token"
    guard = FileGuard(path)
    token = path.read_text().strip()
    assert asyncio.run(guard.admits(token))
    assert not asyncio.run(guard.admits(token[:-1]))
    assert not asyncio.run(guard.admits("ünicode"))
    FileGuard(path)
    assert path.read_text().strip() != token


def test_a_file_that_cannot_be_written_admits_nobody_and_ends_nothing(tmp_path: Path) -> None:
    assert not asyncio.run(FileGuard(tmp_path / "no" / "token").admits(""))
