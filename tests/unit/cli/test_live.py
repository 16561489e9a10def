"""What is shown again and again until Ctrl-C."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from k8slan_cli.cli import live
from k8slan_cli.kube import apply
from tests.support import scene
from tests.unit.cli.cluster import Workstation


def until_interrupted(*texts: str) -> Iterator[str]:
    yield from texts
    raise KeyboardInterrupt


def test_in_a_pipe_only_what_is_new_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    live.screens(until_interrupted("a", "a", "b"))
    assert capsys.readouterr().out == "a\n\nb\n"


def test_a_terminal_is_drawn_over_as_far_as_it_goes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LINES", "8")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    live.screens(until_interrupted("one\ntwo", "\n".join(map(str, range(20)))))
    first, second = capsys.readouterr().out.split("\x1b[J")[:2]
    assert first == "\x1b[2J\x1b[Hone\x1b[K\ntwo\x1b[K\n"
    assert second == "\x1b[H" + "".join(f"{number}\x1b[K\n" for number in range(6)) + "14 more lines\x1b[K\n"


def test_a_lan_is_looked_at_again_after_each_change(k8slan: Workstation) -> None:
    cluster = apply.connect(str(k8slan.kubeconfig))
    numbers = itertools.count()

    def waits() -> None:
        k8slan.put(scene.pod("late", "k8slan-veth-e2", node="", phase="Pending"))

    def fails() -> None:
        k8slan.api.put("/api/v1/namespaces/lab/events/why", {"metadata": {"name": "why"}})

    looks = live.after_changes(cluster, live.sources([("lab", "red")]), lambda: str(next(numbers)))
    assert next(looks) == "0"
    for number, change in enumerate((lambda: k8slan.pull("e1"), waits, fails), 1):
        change()
        assert next(looks) == str(number)
    looks.close()


def test_what_may_not_be_watched_is_an_error(k8slan: Workstation) -> None:
    k8slan.api.refuse |= dict.fromkeys(("/api/v1/namespaces/lab/pods", "/api/v1/namespaces/lab/events"), (403, "no"))
    looks = live.after_changes(apply.connect(str(k8slan.kubeconfig)), live.sources([("lab", "")]), lambda: "all")
    assert next(looks) == "all", "pods and events are not needed"
    looks.close()
    k8slan.api.refuse["/apis/lan.k8slan.io/v1beta1/namespaces/lab/lans"] = (403, "lans is forbidden")
    assert "forbidden" in k8slan("lan", "inspect", "red", "-w", status=1).stderr
    assert k8slan("lan", "graph", "-w", "-o", "svg", status=2).stderr.startswith("k8slan: -w is for pictures")
