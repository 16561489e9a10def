"""Records of attachments: what is new in them is read back, and those of version 0.1.0 are read without it."""

from __future__ import annotations

import json
from pathlib import Path

from k8slan_cli.agent.store import AttachmentRecords
from k8slan_cli.lan.model import LanRef
from k8slan_cli.plan.state import Attachment, AttachmentKind

WHOLE = Attachment(
    container="c1",
    ifname="eth1",
    lan=LanRef(namespace="lab", name="blue"),
    kind=AttachmentKind.VETH,
    port="ap",
    mac="02:00:00:00:00:01",
    mtu=1446,
    spoke="a",
    index=7,
    offload=False,
    pod="lab/a",
    pod_uid="uid-a",
    since="2026-01-01T00:00:00Z",
    complete=True,
)


def test_a_record_says_which_pod_and_since_when(tmp_path: Path) -> None:
    AttachmentRecords(tmp_path).put(WHOLE)
    assert list(AttachmentRecords(tmp_path)) == [WHOLE]


def test_a_record_of_version_0_1_0_is_read(tmp_path: Path) -> None:
    AttachmentRecords(tmp_path).put(WHOLE)
    (path,) = tmp_path.iterdir()
    old = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("pod_uid", "since")}
    path.write_text(json.dumps(old))
    (found,) = AttachmentRecords(tmp_path)
    assert (found.pod, found.pod_uid, found.since, found.key) == ("lab/a", "", "", WHOLE.key)


def test_a_record_that_somebody_has_written_into_is_passed_over(tmp_path: Path) -> None:
    AttachmentRecords(tmp_path).put(WHOLE)
    (path,) = tmp_path.iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "since": 7}))
    assert list(AttachmentRecords(tmp_path)) == []
