"""What the kernel leaves to a NIC, and a veth has none: ethtool(8), by ioctl.

A frame that one pod sends to another on the same machine has no checksum yet, and may be larger than the MTU: a NIC
would see to both. A receiving kernel does not mind, but a program that reads frames as they come does.
"""

from __future__ import annotations

import errno

from k8slan_cli.errors import KernelError
from k8slan_cli.net import netns


def fill_checksums(fd: int, link: str) -> None:
    """Have checksums filled in, and frames cut to size, before they leave at a link in the namespace of ``fd``.

    Raises:
        KernelError: the kernel refused.

    """
    from pyroute2.ethtool.ioctl import IoctlEthtool, NoSuchDevice, NotSupportedError

    try:
        with netns.inside(fd):
            tool = IoctlEthtool(link)
            try:
                tool.set_offload_flag("tx-checksumming", 0)
            finally:
                tool.close()
    except (OSError, NotSupportedError, NoSuchDevice) as error:
        number = getattr(error, "errno", None) or errno.ENODEV
        raise KernelError(number, f"have checksums filled in at {link}: {error}") from error
