"""The benchmark of a fleet, with a handful of nodes: it runs, and agents get what is theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.fleet import driven, labs, one
from tests.bench.fleet.server import Server


@pytest.mark.usefixtures("buildable")
def test_a_small_fleet_joins_one_lan_and_several(tmp_path: Path) -> None:
    server = Server(lambda _text: None)
    try:
        rows = [*driven(one.rows(server, tmp_path, 6)), *driven(labs.rows(server, tmp_path, 6, 12, 1.0))]
    finally:
        server.close()
    zero = {row.name: row.value for row in rows if row.limit == 0}
    assert set(zero.values()) == {0}, zero
    assert sum(row.name.startswith("12 LANs of 6 nodes") for row in rows)
