"""A cluster with k8slan in it, to play with: ``python -m tests.cluster up``, with ``--kubevirt`` for VMs in it.

Every other word goes to the harness: ``exec NODE -- COMMAND``, ``kubectl ARGUMENTS``, ``reboot NODE``, ``list`` and
``down`` act on it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from tests.cluster import guest, product
from tests.cluster.harness import Cluster
from tests.cluster.harness import __main__ as harness
from tests.cluster.harness.build import BuildError
from tests.cluster.harness.cluster import folder, names
from tests.cluster.harness.versions import TEST_IMAGE

_NAME = "dev"


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says."""
    if list(arguments) not in (["up"], ["up", "--kubevirt"]):
        return harness.main()
    if _NAME in names():
        sys.exit(f"there is one already: {folder(_NAME)} (python -m tests.cluster down)")
    started = time.monotonic()
    virtual = [word for word in arguments if word == "--kubevirt"]
    images = [product.image(_say), *([guest.disk_image(_say)] if virtual else ())]
    cluster = Cluster.up(_NAME, keep=True, images=images, kubevirt=bool(virtual), say=_say)
    _say("installing k8slan")
    try:
        product.install(cluster, *virtual)
        failed = ""
    except BuildError as error:  # there is a cluster all the same, in which one can look for the reason
        failed = str(error)
    print(
        f"{failed or 'two nodes with k8slan are up'} after {time.monotonic() - started:.0f} s\n"
        f"  export KUBECONFIG={cluster.kubeconfig} PATH={cluster.kubectl.executable.parent}:$PATH\n"
        f"  kubectl get pods -A -o wide                     (the nodes also have busybox: {TEST_IMAGE})\n"
        f"  .venv/bin/python -m tests.cluster exec worker1 -- ip -details address\n"
        f"  .venv/bin/python -m tests.cluster down          (or: make cluster ARGS=down)"
    )
    return 1 if failed else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
