"""What a shell offers at TAB: the names of what is there now. Silent, and quick to give up: an error is no names."""

from __future__ import annotations

import enum
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8slan_cli.cli.here import Here
from k8slan_cli.errors import K8slanError

if TYPE_CHECKING:
    from k8slan_cli.kube.kinds import Kind

_SECONDS = 2.0


class Shell(enum.StrEnum):
    """The shells that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="Your shell.")]) -> None:
    """Print what completes k8slan's commands at TAB in a shell.

    Examples:
      # bash, in ~/.bashrc
      source <(k8slan completion bash)

      # zsh, in ~/.zshrc
      source <(k8slan completion zsh)

      # fish
      k8slan completion fish > ~/.config/fish/completions/k8slan.fish
    """
    from typer._completion_shared import get_completion_script

    typer.echo(get_completion_script(prog_name="k8slan", complete_var="_K8SLAN_COMPLETE", shell=shell.value))


Offer = tuple[str, str]
"""A word, and what it is."""


def _here(ctx: typer.Context) -> Here:
    given = ctx.params
    return Here(given.get("kubeconfig"), given.get("context"), given.get("namespace"), given.get("as_user"))


def _offered(words: Callable[[], Iterable[Offer]], incomplete: str) -> list[Offer]:
    try:
        return sorted(offer for offer in words() if offer[0].startswith(incomplete))
    except K8slanError:
        return []


def _objects(here: Here, kind: Kind, namespace: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = here.cluster.call("GET", kind.path(namespace), seconds=_SECONDS)["items"]
    return found


def _lans(here: Here) -> Iterator[tuple[str, dict[str, Any]]]:
    from k8slan_cli.kube import kinds

    for found in _objects(here, kinds.LANS, here.namespace):
        yield found["metadata"]["name"], found.get("spec") or {}


def words(*known: str) -> Callable[[str], list[str]]:
    """Return what completes one of a few words."""
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]


def lans(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """The LANs of the namespace."""
    return _offered(lambda: ((name, f"VNI {spec.get('vni')}") for name, spec in _lans(_here(ctx))), incomplete)


def spokes(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """The spokes of the LAN that the command line names before."""

    def words() -> Iterator[Offer]:
        there, wanted = _here(ctx).lan(ctx.params.get("name") or "")
        yield from ((spoke, "") for name, spec in _lans(there) if name == wanted for spoke in spec.get("spokes") or ())

    return _offered(words, incomplete)


def places(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Where a pod can be plugged in: ``LAN/SPOKE`` for each spoke, ``LAN`` for a dynamic one."""

    def words() -> Iterator[Offer]:
        for name, spec in _lans(_here(ctx)):
            yield from ((f"{name}/{spoke}", "spoke") for spoke in spec.get("spokes") or ())
            if spec.get("dynamic"):
                yield name, "dynamic"

    return _offered(words, incomplete)


def nodes(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """The nodes, each as the beginning of ``NODE=DEVICE``."""
    from k8slan_cli.kube import kinds

    return _offered(
        lambda: ((f"{found['metadata']['name']}=", "") for found in _objects(_here(ctx), kinds.NODES)), incomplete
    )


def pods(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """The pods and VMs of the namespace that are on its LANs, by its VTEPs."""
    from k8slan_cli.kube import kinds
    from k8slan_cli.lan import vtep_codec

    def words() -> Iterator[Offer]:
        here, on = _here(ctx), dict[str, list[str]]()
        for vtep in filter(None, map(vtep_codec.decode, _objects(here, kinds.VTEPS, here.namespace))):
            for port in vtep.ports:
                if port.pod and port.pod.namespace == here.namespace:
                    name = port.vm.name if port.vm else port.pod.name
                    on.setdefault(name, []).append(f"{vtep.lan.name} {port.spoke}".rstrip())
        yield from ((name, ", ".join(places)) for name, places in on.items())

    return _offered(words, incomplete)


def lans_and_pods(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """The LANs of the namespace, and the pods and VMs on them."""
    return sorted([*lans(ctx, incomplete), *pods(ctx, incomplete)])


def links(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """The spokes of the namespace's LANs, and the pods and VMs on these."""

    def words() -> Iterator[Offer]:
        for name, spec in _lans(_here(ctx)):
            yield from ((spoke, f"spoke of {name}") for spoke in spec.get("spokes") or ())

    return sorted([*_offered(words, incomplete), *pods(ctx, incomplete)])


def frame_classes(ctx: typer.Context, incomplete: str) -> list[Offer]:  # noqa: ARG001 - as typer calls it
    """The classes of frames that a probe sends."""
    from k8slan_cli.probe.frames import CLASSES

    return _offered(lambda: ((each.key, each.title) for each in CLASSES), incomplete)


def namespaces(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """The namespaces."""
    from k8slan_cli.kube import kinds

    return _offered(
        lambda: ((found["metadata"]["name"], "") for found in _objects(_here(ctx), kinds.NAMESPACES)), incomplete
    )


def contexts(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """The contexts of the kubeconfig."""
    from k8slan_cli.kube import kubeconfig

    return _offered(lambda: ((name, "") for name in kubeconfig.read(ctx.params.get("kubeconfig")).contexts), incomplete)


def for_kubectl() -> int:
    """Answer kubectl, which runs ``kubectl_complete-k8slan`` with the words so far, the last of them unfinished.

    One offer a line, what it is after a tab, and at last how to go on: 4 is cobra's "no file names".
    """
    from k8slan_cli.cli import terminal
    from k8slan_cli.cli.app import app

    terminal.stand_before()
    *words, unfinished = sys.argv[1:] or [""]
    os.environ |= {
        "_K8SLAN_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": f"{shlex.join(['k8slan', *words])} {shlex.quote(unfinished) if unfinished else ''}",
    }
    try:
        app(prog_name="k8slan")
    finally:
        sys.stdout.write(":4\n")
    return 0
