"""Leader election: the rule as a table, then candidates against each other on a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from k8slan_cli.kube.client import ApiError
from k8slan_cli.kube.kinds import LEASES
from k8slan_cli.kube.lease import (
    DURATION,
    RENEW_AFTER,
    RENEW_BEFORE,
    Acquire,
    Election,
    LeaseState,
    Lost,
    Renew,
    Sight,
    Step,
    UplinkLeases,
    Wait,
    step,
)
from k8slan_cli.lan import names
from k8slan_cli.lan.model import LanRef
from tests.unit.kube.fake_api import FakeApi
from tests.unit.kube.fake_time import run as run_fast

PATH = LEASES.path("n", "l")
MINE, OTHERS, FREE = LeaseState(holder="me"), LeaseState(holder="you"), LeaseState(holder="")
LONG = LeaseState(holder="you", duration=60)


@pytest.mark.parametrize(
    ("sight", "now", "wanted"),
    [
        # not leading
        (Sight(), 100, Acquire()),
        (Sight(lease=FREE, since=100), 100, Acquire()),
        (Sight(lease=MINE, since=100), 100, Acquire()),
        (Sight(lease=OTHERS, since=100), 100, Wait(115)),
        (Sight(lease=OTHERS, since=100), 114.9, Wait(115)),
        (Sight(lease=OTHERS, since=100), 115, Acquire()),
        (Sight(lease=LONG, since=100), 159, Wait(160)),
        # leading
        (Sight(lease=MINE, since=100, renewed=100), 100, Wait(105)),
        (Sight(lease=MINE, since=100, renewed=100), 105, Renew()),
        (Sight(lease=MINE, since=100, renewed=100), 109.9, Renew()),
    ],
)
def test_step(sight: Sight, now: float, wanted: Step) -> None:
    assert step(sight, "me", now) == wanted


@pytest.mark.parametrize(
    ("sight", "now", "why"),
    [
        (Sight(lease=OTHERS, since=101, renewed=100), 101, "held by you"),
        (Sight(lease=FREE, since=101, renewed=100), 101, "held by no replica"),
        (Sight(lease=MINE, since=100, renewed=100), 110, "not be renewed"),
        (Sight(lease=None, renewed=100), 111, "not be renewed"),
    ],
)
def test_step_lost(sight: Sight, now: float, why: str) -> None:
    found = step(sight, "me", now)
    assert isinstance(found, Lost)
    assert why in found.why


def test_who_leads_stops_before_another_may_begin() -> None:
    assert RENEW_AFTER < RENEW_BEFORE < DURATION


# ---------------------------------------------------------------- candidates


class Candidate:
    """An election, and who led when."""

    def __init__(self, api: FakeApi, name: str, diary: list[tuple[str, str, float]]) -> None:
        self.election = Election(api, "n", "l", name)  # type: ignore[arg-type]
        self.name = name
        self.diary = diary
        self.task: asyncio.Task[None] = asyncio.create_task(self.election.run(self.lead))

    async def lead(self) -> None:
        """Lead until told otherwise."""
        time = asyncio.get_running_loop().time
        self.diary.append((self.name, "leads", time()))
        try:
            await asyncio.Event().wait()
        finally:
            self.diary.append((self.name, "ends", time()))

    async def stop(self) -> None:
        """As SIGTERM would."""
        self.task.cancel()
        await asyncio.wait({self.task})


Script = Callable[[Any, list[tuple[str, str, float]]], Awaitable[None]]


def play(script: Script) -> list[tuple[str, str, float]]:
    """Run a script; returns the diary, in which no two ever led at the same time."""
    diary: list[tuple[str, str, float]] = []

    async def main() -> None:
        await script(FakeApi(), diary)

    run_fast(main())
    leading: set[str] = set()
    for name, what, _ in diary:
        (leading.add if what == "leads" else leading.discard)(name)
        assert len(leading) <= 1, diary
    return diary


def test_one_leads_and_renews() -> None:
    async def script(api: FakeApi, diary: list[tuple[str, str, float]]) -> None:
        one, two = Candidate(api, "one", diary), Candidate(api, "two", diary)
        await asyncio.sleep(100)
        assert [entry[:2] for entry in diary] == [("one", "leads")]
        writes = len(api.writes())
        await asyncio.sleep(100)
        assert 19 <= len(api.writes()) - writes <= 21, "a renewal each five seconds, and nothing of who waits"
        await one.stop()
        await two.stop()

    play(script)


def test_a_clean_end_hands_over_at_once() -> None:
    async def script(api: FakeApi, diary: list[tuple[str, str, float]]) -> None:
        one, two = Candidate(api, "one", diary), Candidate(api, "two", diary)
        await asyncio.sleep(1)
        await one.stop()
        await asyncio.sleep(0.5)
        assert diary[-1][:2] == ("two", "leads")
        await two.stop()
        assert api.objects[PATH]["spec"]["holderIdentity"] == ""

    diary = play(script)
    assert diary[2][2] - diary[1][2] < 0.1


def test_a_lease_that_is_kept_at_the_end_is_the_successors_of_the_same_name() -> None:
    async def script(api: FakeApi, diary: list[tuple[str, str, float]]) -> None:
        one, two = Candidate(api, "one", diary), Candidate(api, "two", diary)
        await asyncio.sleep(1)
        assert [each.election.decided.is_set() for each in (one, two)] == [True, True]
        assert (one.election.leading, two.election.leading) == (True, False)
        one.election.keep = True
        await one.stop()
        await asyncio.sleep(13)
        assert api.objects[PATH]["spec"]["holderIdentity"] == "one"
        again = Candidate(api, "one", diary)
        await asyncio.sleep(30)
        assert [entry[:2] for entry in diary] == [("one", "leads"), ("one", "ends"), ("one", "leads")]
        await two.stop()
        await again.stop()

    play(script)


def test_a_leader_that_vanishes_is_followed_when_its_lease_has_run_out() -> None:
    async def script(api: FakeApi, diary: list[tuple[str, str, float]]) -> None:
        lease = {"spec": {"holderIdentity": "gone", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00Z"}}
        api.put(PATH, lease)
        two = Candidate(api, "two", diary)
        await asyncio.sleep(14.5)
        assert diary == []
        await asyncio.sleep(1)
        assert diary[0][:2] == ("two", "leads")
        assert api.objects[PATH]["spec"]["leaseTransitions"] == 1
        await two.stop()

    play(script)


def test_a_leader_cut_off_stops_before_the_other_begins(caplog: pytest.LogCaptureFixture) -> None:
    """It tries each second, and says once why it does."""

    async def script(api: FakeApi, diary: list[tuple[str, str, float]]) -> None:
        one = Candidate(api, "one", diary)
        await asyncio.sleep(1)
        two = Candidate(api, "two", diary)
        await asyncio.sleep(20)
        real = one.election._client

        class Cut:
            """Nothing comes through."""

            async def call(self, *_: object, **__: object) -> None:
                """Refuse."""
                raise ApiError("no answer")

        one.election._client = Cut()  # type: ignore[assignment]
        await asyncio.sleep(30)
        assert [entry[:2] for entry in diary] == [("one", "leads"), ("one", "ends"), ("two", "leads")]
        assert diary[2][2] - diary[1][2] > 3
        assert caplog.messages.count("lease: no answer") == 1
        one.election._client = real
        await two.stop()
        await asyncio.sleep(5)
        assert diary[-1][:2] == ("one", "leads")
        await one.stop()

    play(script)


def test_a_lease_taken_away_ends_the_leading_at_once() -> None:
    async def script(api: FakeApi, diary: list[tuple[str, str, float]]) -> None:
        one = Candidate(api, "one", diary)
        await asyncio.sleep(2)
        lease = api.objects[PATH]
        api.put(PATH, {**lease, "spec": {**lease["spec"], "holderIdentity": "thief"}})
        await asyncio.sleep(0.1)
        assert diary[-1][:2] == ("one", "ends")
        await asyncio.sleep(20)
        assert diary[-1][:2] == ("one", "leads")
        await one.stop()

    play(script)


def test_an_error_of_the_leading_ends_the_election_and_frees_the_lease() -> None:
    async def main() -> None:
        api: Any = FakeApi()

        async def lead() -> None:
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            await Election(api, "n", "l", "one").run(lead)
        assert api.objects[PATH]["spec"]["holderIdentity"] == ""

    run_fast(main())


def test_a_leader_whose_request_hangs_stops_in_time() -> None:
    """The request is answered by nobody and takes no notice of its own time; the lease's does not wait for it."""

    async def script(api: FakeApi, diary: list[tuple[str, str, float]]) -> None:
        one = Candidate(api, "one", diary)
        await asyncio.sleep(1)
        real = one.election._client

        class Hanging:
            """Refuses once, and then hangs."""

            asked = 0

            async def call(self, *_: object, **__: object) -> None:
                """Hang."""
                self.asked += 1
                if self.asked < 4:
                    await asyncio.sleep(1)
                    raise ApiError("no answer")
                await asyncio.Event().wait()

        one.election._client = Hanging()  # type: ignore[assignment]
        await asyncio.sleep(20)
        assert [entry[:2] for entry in diary] == [("one", "leads"), ("one", "ends")]
        assert diary[1][2] - diary[0][2] <= RENEW_BEFORE + 0.1
        one.election._client = real
        await one.stop()

    play(script)


def test_a_lease_that_cannot_be_watched_any_more_ends_the_election() -> None:
    """Not by the API server's fault, but by our own: a leader that would not hear is none."""

    async def main() -> None:
        api: Any = FakeApi()
        led = asyncio.Event()

        async def lead() -> None:
            led.set()
            await asyncio.Event().wait()

        election = asyncio.create_task(Election(api, "n", "l", "one").run(lead))
        await led.wait()
        api.send({"type": "MODIFIED", "object": "what no API server sends"})
        with pytest.raises(TypeError):
            await election

    run_fast(main())


def test_a_lease_that_cannot_be_seen_ends_the_election() -> None:
    async def main() -> None:
        api: Any = FakeApi()
        api.put(PATH, {"spec": "what no API server has"})

        async def lead() -> None:
            raise AssertionError

        with pytest.raises(AttributeError):
            await Election(api, "n", "l", "one").run(lead)

    run_fast(main())


def test_leases_of_lans_without_uplinks_are_removed_but_not_what_others_hold() -> None:
    async def body() -> None:
        api: Any = FakeApi()
        lans = {name: LanRef(namespace="lab", name=name) for name in ("kept", "mine", "free", "others")}
        for name, holder in (("kept", "n1"), ("mine", "n1"), ("free", ""), ("others", "n2")):
            lease = names.uplink_lease("lab", name)
            api.put(LEASES.path("n", lease), {"metadata": {"name": lease}, "spec": {"holderIdentity": holder}})
        api.put(LEASES.path("n", "k8slan-controller"), {"metadata": {"name": "k8slan-controller"}})
        await UplinkLeases(api, "n", "n1").remove_left([lans["kept"]])
        left = {names.uplink_lease("lab", name) for name in ("kept", "others")} | {"k8slan-controller"}
        assert {path.rpartition("/")[2] for path in api.objects} == left

    asyncio.run(body())
