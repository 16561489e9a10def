"""What a DEL leaves to be released when its IPAM plugin is missing: all that an ADD may have been given."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from k8slan_cli.agent.agent import Agent
from k8slan_cli.agent.attach import Attacher
from k8slan_cli.agent.passes import Self
from k8slan_cli.agent.paths import Paths
from k8slan_cli.agent.store import AttachmentRecords
from k8slan_cli.cni import request as cni
from k8slan_cli.errors import CniError
from k8slan_cli.lan.model import LanRef
from k8slan_cli.plan.state import Attachment, AttachmentKind

CONFIG = json.dumps({"cniVersion": "1.0.0", "name": "n", "type": "k8slan", "ipam": {"type": "absent"}})
ENVIRON = {
    "CNI_COMMAND": "DEL",
    "CNI_CONTAINERID": "c1",
    "CNI_IFNAME": "net1",
    "CNI_NETNS": "/gone",
    "CNI_PATH": "/nowhere",
}
GIVEN = Attachment(
    container="c1",
    ifname="net1",
    lan=LanRef(namespace="lab", name="blue"),
    kind=AttachmentKind.MACVTAP,
    port="ap",
    mac="02:00:00:00:00:01",
    mtu=1446,
    config=CONFIG,
    environ=tuple(ENVIRON.items()),
    complete=True,
)
REFUSED = "IPAM plugin absent is not in /nowhere"


def left_to_release(folder: Path, attachment: Attachment | None) -> tuple[list[str], list[str]]:
    """What the runtime is told by two DELs, and why addresses are still to be released afterwards."""
    paths = Paths(folder)
    paths.create()
    if attachment:
        AttachmentRecords(paths.attachments).put(attachment)
    request = cni.parse(ENVIRON, CONFIG.encode())
    assert isinstance(request, cni.Del)
    told: list[str] = []

    async def play() -> list[str]:
        agent = Agent(paths, Self(name="n1"))
        try:
            attacher = Attacher(agent, 0)
            for _ in range(2):
                try:
                    await attacher.delete(request)
                except CniError as error:
                    told.append(error.message)
            assert len(agent.attachments) == 0
            return [release.why for release in agent.unreleased]
        finally:
            await agent.close()

    return told, asyncio.run(play())


@pytest.mark.parametrize(
    "attachment",
    [
        pytest.param(GIVEN, id="a VM's, whose addresses are its guest's"),
        pytest.param(replace(GIVEN, kind=AttachmentKind.VETH, addresses=("198.51.100.7/24",)), id="a pod's"),
        pytest.param(replace(GIVEN, complete=False), id="of an ADD that was cut short"),
        pytest.param(None, id="of which there is no record any more"),
    ],
)
def test_what_may_have_been_given_is_left_to_be_released(tmp_path: Path, attachment: Attachment | None) -> None:
    told, why = left_to_release(tmp_path, attachment)
    assert len(told) == len(why) == 1
    assert told[0].startswith(REFUSED)
    assert why[0].startswith(REFUSED)


def test_an_attachment_that_had_no_ipam_has_nothing_to_release(tmp_path: Path) -> None:
    """Its network has been given a plugin since."""
    assert left_to_release(tmp_path, replace(GIVEN, config="", environ=())) == ([], [])
