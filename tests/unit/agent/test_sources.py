"""LANs of files: what is taken of a document that was written for a cluster, or read from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from k8slan_cli.agent.sources import read_folder
from k8slan_cli.lan.model import Snapshot
from k8slan_cli.lan.validate import MAX_SPOKES

METADATA = {"name": "blue", "namespace": "lab"}


def read(folder: Path, spec: dict[str, Any], **more: Any) -> Snapshot:
    found = {"apiVersion": "lan.k8slan.io/v1beta1", "kind": "LAN", "metadata": METADATA, "spec": spec, **more}
    (folder / "blue.yaml").write_text(yaml.safe_dump(found))
    return read_folder(folder)


def said(snapshot: Snapshot) -> list[str]:
    return [str(problem) for problems in snapshot.broken.values() for problem in problems]


def test_what_a_cluster_says_of_a_lan_is_no_part_of_its_file(tmp_path: Path) -> None:
    """As ``kubectl get lan -o yaml`` writes it: a uid would keep other namespaces out, where there are none."""
    theirs = {"uid": "u", "resourceVersion": "7", "generation": 2, "deletionTimestamp": "2026-01-02T00:00:00Z"}
    metadata = METADATA | {"creationTimestamp": "2026-01-01T00:00:00Z"}
    spec = {"vni": 7, "spokes": ["a"]}
    status = {
        "vni": 7,
        "attached": 1,
        "names": "long",
        "granted": {"ns": "x"},
        "nodes": [{"name": "n1", "vtep": "192.0.2.1"}],
    }
    dumped = read(tmp_path, spec, metadata=metadata | theirs, status=status, peers=["192.0.2.2"])
    written = read(tmp_path, spec, metadata=metadata, peers=["192.0.2.2"])
    assert dumped == written
    ((lan, _),) = dumped.lans.values()
    assert lan.admits("elsewhere")
    assert lan.created


def test_a_vni_that_a_cluster_has_allotted_is_none_of_a_file(tmp_path: Path) -> None:
    assert said(read(tmp_path, {"spokes": ["a"]}, status={"vni": 7})) == [
        "spec.vni: is missing: in a cluster alone is one allotted"
    ]


def test_a_file_has_no_more_spokes_than_a_bridge_has_ports(tmp_path: Path) -> None:
    spokes = [f"s{number}" for number in range(MAX_SPOKES + 1)]
    assert said(read(tmp_path, {"vni": 7, "spokes": spokes})) == ["spec.spokes: has 1023 spokes, 1022 at the most"]
    assert len(read(tmp_path, {"vni": 7, "spokes": spokes[:-1]}).lans) == 1
