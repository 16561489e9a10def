"""KubeVirt in a test cluster: built from its Go modules, on images made of Debian's packages.

::

    programs   KubeVirt's programs and the files that it ships, from its module
    debian     the root file system of its images: a Debian with libvirt and qemu
    images     the archive of its images
    install    its operator, the KubeVirt object, and the wait until it can run VMs

Guests are emulated (TCG), so that no node needs /dev/kvm.
"""

from __future__ import annotations

from tests.cluster.harness.kubevirt.images import archive, built
from tests.cluster.harness.kubevirt.install import install

__all__ = ["archive", "built", "install"]
