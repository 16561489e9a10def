"""What is said of a kernel that lacks what frames are delayed, lost and limited by."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any, cast

import pytest

from k8slan_cli.diagnose import checks
from k8slan_cli.diagnose.protocol import OK, WARN
from k8slan_cli.errors import KernelError
from k8slan_cli.net import netlink, tc
from k8slan_cli.net.sockets import Netlink


class Kernel:
    """Has every link, and lacks kinds of queues, filters and devices; ``there`` is what is left there."""

    def __init__(self, *lacked: str, code: int = errno.ENOENT) -> None:
        self._lacked, self._code = lacked, code

    def ask(self, _message: Any, *, doing: str) -> list[Any]:  # noqa: ARG002 - as the real one has it
        """Answer as RTM_GETLINK is answered."""
        told = netlink.LinkMessage()
        told.update(index=1, flags=0, attrs=[])
        return [told]

    def apply(self, messages: Sequence[Any], *, doing: str, ignore: frozenset[int] = frozenset()) -> None:
        """Take all others."""
        for message in messages:
            told = {name: value for name, value, *_ in message["attrs"]}
            told |= dict(told.get("IFLA_LINKINFO", {"attrs": []})["attrs"])
            if told.get("TCA_KIND", told.get("IFLA_INFO_KIND")) in self._lacked and self._code not in ignore:
                raise KernelError(self._code, doing)


@pytest.mark.parametrize(
    ("lacked", "modules"),
    [
        ((), []),
        (("netem",), ["sch_netem"]),
        (("ifb",), ["ifb"]),
        (("clsact",), ["sch_ingress"]),
        (("u32",), ["cls_u32 and act_mirred"]),
        (("tbf", "netem", "ifb", "u32"), ["sch_tbf", "sch_netem", "ifb", "cls_u32 and act_mirred"]),
    ],
)
def test_each_module_that_is_lacking_is_named(lacked: tuple[str, ...], modules: list[str]) -> None:
    assert list(tc.lacking(cast("Netlink", Kernel(*lacked)), "port")) == modules


def test_it_is_a_warning_only_where_a_lan_needs_it() -> None:
    def said(*lacked: str, wanted: bool, code: int = errno.EOPNOTSUPP) -> tuple[str, str, str]:
        (check,) = checks._shaping(cast("Netlink", Kernel(*lacked, code=code)), wanted=wanted)
        return check.state, check.words, check.advice

    assert said(wanted=True)[0] == OK
    lacking = "the kernel lacks sch_netem, cls_u32 and act_mirred, for spec.links and spec.fragment"
    advice = "on the node: modprobe -a sch_netem cls_u32 act_mirred, now and at every start (/etc/modules-load.d)"
    assert said("netem", "u32", wanted=True) == (WARN, lacking, advice)
    assert said("netem", "u32", wanted=False) == (OK, f"{lacking}: no LAN here has these", "")
    assert said("tbf", wanted=False, code=errno.EPERM)[:2] == (WARN, "set up tbf")
