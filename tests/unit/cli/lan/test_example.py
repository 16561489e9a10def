"""Which NetworkAttachmentDefinition an example names: one that the LAN has, whatever forms of names are chosen."""

from __future__ import annotations

import pytest

from k8slan_cli.cli.exits import UsageError
from k8slan_cli.cli.lan.example import Workload, socket_of
from k8slan_cli.lan.model import Lan, LanRef
from k8slan_cli.lan.names import Forms
from k8slan_cli.plan.objects import nads


@pytest.mark.parametrize("forms", Forms)
@pytest.mark.parametrize(
    ("what", "spoke"),
    [
        (Workload.POD, "web-0"),
        (Workload.DEPLOYMENT, "web-0"),
        (Workload.VM, "web-0"),
        (Workload.STATEFULSET, "web"),
        (Workload.POD, ""),
        (Workload.STATEFULSET, ""),
    ],
)
def test_an_example_is_plugged_into_what_is_there(forms: Forms, what: Workload, spoke: str) -> None:
    lan = Lan(
        ref=LanRef(namespace="lab", name="red"),
        netns="n",
        bridge="b",
        vxlan="v",
        vni=7,
        spokes=("web-0", "web-1"),
        dynamic=True,
        forms=forms,
    )
    plugin = "k8slanmacvtap" if what is Workload.VM else "k8slanveth"
    (nad,) = (nad for nad in nads(lan) if nad.name == socket_of(lan, spoke, what).nad)
    assert f'"type":"{plugin}"' in nad.config


@pytest.mark.parametrize(
    ("bare", "hint"), [({"b"}, "take red/a"), ({"a", "b"}, "see --max-resources of k8slan install")]
)
def test_no_vm_is_plugged_into_a_spoke_without_a_resource(bare: set[str], hint: str) -> None:
    lan = Lan(
        ref=LanRef(namespace="lab", name="red"),
        netns="n",
        bridge="b",
        vxlan="v",
        vni=7,
        spokes=("a", "b"),
        bare=frozenset(bare),
    )
    with pytest.raises(UsageError, match="no VM can be on spoke b of LAN lab/red") as refused:
        socket_of(lan, "b", Workload.VM)
    assert refused.value.hint == hint
    assert socket_of(lan, "b", Workload.POD).nad == "k8slan-veth-b"
