"""The test cluster from a shell: ``python -m tests.cluster.harness up|down|exec|kubectl|reboot|list|build``."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from tests.cluster.harness import build
from tests.cluster.harness.cluster import Cluster, folder, names
from tests.cluster.harness.kubevirt import images as virtual


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.harness", description=__doc__)
    parser.add_argument("--name", default="dev", help="the cluster's name (default: dev)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("build", help="build what is missing, start nothing")
    making.add_argument("--all", action="store_true", help="what any test takes as well: KubeVirt, helm and more")
    up = verbs.add_parser("up", help="start a cluster that stays")
    up.add_argument("--nodes", type=int, default=2)
    up.add_argument("--kubevirt", action="store_true", help="with KubeVirt in it, which takes longer")
    up.add_argument("--image", type=Path, action="append", default=[], help="image archive to load on every node")
    verbs.add_parser("down", help="remove it and all traces of it")
    verbs.add_parser("list", help="the clusters there are")
    reboot = verbs.add_parser("reboot", help="kill all that runs on a node, start it again")
    reboot.add_argument("node")
    run = verbs.add_parser("exec", help="run a command on a node, or on 'control'")
    run.add_argument("machine")
    run.add_argument("command", nargs=argparse.REMAINDER)
    kubectl = verbs.add_parser("kubectl", help="run kubectl as the cluster's administrator")
    kubectl.add_argument("arguments", nargs="*")
    words = sys.argv[1:]
    cut = words.index("kubectl") + 1 if "kubectl" in words else len(words)  # what follows is not for this parser
    wanted = parser.parse_args(words[:cut])
    match wanted.verb:
        case "build":
            build.everything(_say)
            if wanted.all:
                build.helm(_say)
                build.cnitool(_say)
                build.whereabouts(_say)
                virtual.archive(_say)
        case "up":
            _up(wanted.name, wanted.nodes, wanted.image, kubevirt=wanted.kubevirt)
        case "down":
            if wanted.name in names():
                Cluster.attach(wanted.name).down()
        case "list":
            print(*names(), sep="\n")
        case "reboot":
            node = Cluster.attach(wanted.name).node(wanted.node)
            node.reboot()
            node.wait_ready()
        case "exec":
            inside = Cluster.attach(wanted.name).machine(wanted.machine).inside(*_words(wanted.command))
            return subprocess.run(inside, check=False).returncode
        case "kubectl":
            command = Cluster.attach(wanted.name).kubectl.command(*_words(words[cut:]))
            return subprocess.run(command, check=False).returncode
    return 0


def _up(name: str, nodes: int, images: list[Path], *, kubevirt: bool) -> None:
    if name in names():
        sys.exit(f"there is a cluster {name!r} already: {folder(name)}")
    started = time.monotonic()
    cluster = Cluster.up(name, nodes=nodes, keep=True, images=images, kubevirt=kubevirt, say=_say)
    print(
        f"cluster {name!r} is up after {time.monotonic() - started:.1f} s\n"
        f"  export KUBECONFIG={cluster.kubeconfig}\n"
        f"  {cluster.kubectl.executable} get nodes\n"
        f"  python -m tests.cluster.harness exec worker1 -- ip address\n"
        f"  python -m tests.cluster.harness down"
    )


def _words(words: list[str]) -> list[str]:
    return words[1:] if words[:1] == ["--"] else words


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
