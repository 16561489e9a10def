"""Devices in characters, as Mermaid and as DOT."""

from __future__ import annotations

import re

import pytest

from k8slan_cli.picture.devices import dot, heading, mermaid
from k8slan_cli.picture.devices.text import draw
from k8slan_cli.picture.topology import Topology
from tests.unit.picture.labs import LABS, Lab, star

BUSY = LABS["busy"].topology


def lines(topology: Topology, *, width: int = 100, unicode: bool = True) -> list[str]:
    return [row.text for row in draw(topology, heading(topology, "lab"), width=width, unicode=unicode)]


def test_a_lab_in_characters() -> None:
    lab = Lab().device("fw", kind="vm").device("late", state="waiting")
    lab.lan("s1", "spine", "leaf1").lan("s2", lab.end("spine", impairment="delay 20ms"), "leaf2")
    lab.lan("dmz", lab.end("leaf1"), lab.end("fw", link="down", note="link down"))
    lab.lan("blue", "leaf1", "leaf2", lab.end("late", link="waiting")).lan("empty", state="Invalid")
    assert "\n".join(lines(lab.topology)) == (
        "lab: 5 devices, 5 LANs\n"
        "\n"
        "fw (VM) ─ eth1 ╳╳ dmz, link down ╳╳ eth2 leaf1\n"
        "spine   ┬ eth1 ── s1 ────────────── eth1 leaf1\n"
        "        └ eth2 ── s2, delay 20ms ── eth1 leaf2\n"
        "\n"
        "blue ┳ eth3 ─── leaf1\n"
        "     ┣ eth2 ─── leaf2\n"
        "     ┗ eth1 ┄┄┄ late (waiting)\n"
        "\n"
        "empty Invalid (no attachments)"
    )


@pytest.mark.parametrize("name", LABS)
@pytest.mark.parametrize("width", [40, 80, 200])
def test_it_fits_and_is_ascii_where_it_has_to(name: str, width: int) -> None:
    topology = LABS[name].topology
    assert max(map(len, lines(topology, width=width))) <= width
    assert all(line.isascii() for line in lines(topology, width=width, unicode=False))


def test_lines_that_are_not_well_are_told_apart() -> None:
    states = {row.text.split()[-1]: row.state for row in draw(BUSY, "", width=120) if row.state != "up"}
    assert states == {"(VM)": "down", "host3": "ill", "(waiting)": "waiting"}


def test_many_on_a_bus_stand_beside_each_other() -> None:
    lab = star(f"pod{number}" for number in range(40))
    wide, narrow = lines(lab.topology, width=100), lines(lab.topology, width=24)
    assert len(wide) < 12 < 40 < len(narrow)
    assert all(sum(line.count(f"pod{number}") for line in wide) >= 1 for number in range(40))


def test_mermaid_has_every_end() -> None:
    text = mermaid.write(BUSY, "lab")
    assert text.startswith('---\ntitle: "lab"\n---\nflowchart LR\n')
    numbers = {device.name: number for number, device in enumerate(BUSY.devices)}
    assert f'  d{numbers["fw"]}[["fw<br>VM · worker1"]]' in text
    assert f'd{numbers["spine1"]} ---|"eth5 (delay 20ms to pod) – eth1"| d{numbers["fw"]}' in text
    assert f'd{numbers["leaf1"]} x--x|"eth3 – eth2 (link down)"| d{numbers["fw"]}' in text
    assert f'd{numbers["late"]} -.-|"eth1"| l' in text
    assert '"eth3 – eth1 (loss 1%)<br>sick NodesDegraded"' in text
    assert text.count("|") == 2 * sum(1 if segment.line else len(segment.ends) for segment in BUSY.lans)


def test_dot_has_every_end_and_quotes() -> None:
    text = dot.write(BUSY, 'a "lab"')
    assert text.startswith("graph lans {\n")
    assert 'label="a \\"lab\\""' in text
    assert '"lab/leaf1" -- "lab/fw" [taillabel="eth3", headlabel="eth2", tooltip="lab/dmz", label="link down"' in text
    assert '"lab/late" -- "lan:lab/blue" [taillabel="eth1", color="gray", style="dotted"]' in text
    assert len(re.findall(" -- ", text)) == sum(1 if s.line else len(s.ends) for s in BUSY.lans)
