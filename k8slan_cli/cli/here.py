"""Where a command works: a cluster, and a namespace in it."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from k8slan_cli.cli.exits import UsageError
from k8slan_cli.lan import names
from k8slan_cli.lan.model import GROUP

if TYPE_CHECKING:
    from k8slan_cli.inventory.lans import Found
    from k8slan_cli.kube.apply import Cluster


_KINDS = tuple(f"{kind}{group}" for kind in ("lan", "lans") for group in ("", f".{GROUP}"))
"""What kubectl, and ``-o name``, put before the name of a LAN."""


def split(text: str) -> tuple[str, str]:
    """The namespace that a LAN's name names, or "", and the name: ``NAME``, ``NAMESPACE/NAME``, ``lan/NAME``."""
    kind, _, rest = text.partition("/")
    place, slash, name = (rest if rest and kind in _KINDS else text).partition("/")
    return (place, name) if slash else ("", place)


class Here:
    """Where a command works. Nothing is read or connected to before it is asked for."""

    def __init__(
        self,
        kubeconfig: str | None = None,
        context: str | None = None,
        namespace: str | None = None,
        as_user: str | None = None,
    ) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._as_user = as_user
        self._namespace = namespace

    @functools.cached_property
    def cluster(self) -> Cluster:
        """The cluster.

        Raises:
            MissingError: there is no usable kubeconfig, or it has no such context.

        """
        from k8slan_cli.kube import apply

        return apply.connect(self._kubeconfig, self._context, self._as_user)

    @functools.cached_property
    def namespace(self) -> str:
        """The namespace: the one given, else the context's own, else ``default``.

        Raises:
            UsageError: it cannot be a namespace.
            MissingError: as for ``cluster``.

        """
        name = self._namespace if self._namespace is not None else self.cluster.access.namespace
        if fault := names.label_fault(name):
            raise UsageError(f"the namespace {fault}")
        return name

    def lan(self, text: str) -> tuple[Here, str]:
        """Where a LAN is that the command line names, and its name, in the forms of ``split``.

        Raises:
            UsageError: it names none, or another namespace than ``--namespace``.

        """
        place, name = split(text)
        if not name:
            raise UsageError(f"{text!r} is no LAN: the name is empty")
        if not place:
            return self, name
        if self.given and place != self.namespace:
            raise UsageError(f"{text} is in namespace {place}, but -n says {self.namespace}")
        there = copy.copy(self)  # with the connection, if there is one
        there._namespace = place
        there.__dict__.pop("namespace", None)
        return there, name

    def lans(self, texts: Iterable[str]) -> list[Found]:
        """The LANs that the command line names, each once.

        Raises:
            AbsentError: one of them is not there.

        """
        from k8slan_cli.inventory import lans

        places = dict.fromkeys((there.namespace, name) for there, name in map(self.lan, texts))
        return [lans.one(self.cluster, *place) for place in places]

    @property
    def kubectl(self) -> list[str]:
        """The same place as options of kubectl."""
        options = {"kubeconfig": self._kubeconfig, "context": self._context, "as": self._as_user}
        given = [f"--{name}={value}" for name, value in options.items() if value is not None]
        return [*given, f"--namespace={self.namespace}"]

    @property
    def option(self) -> str:
        """The namespace as an option behind a command of an advice, "" if the user has named none."""
        return f" -n {self.namespace}" if self.given else ""

    @property
    def without_cluster(self) -> Here:
        """The same place for a command that asks no cluster: where there is no kubeconfig, namespace ``default``."""
        from k8slan_cli.kube.client import MissingError
        from k8slan_cli.lan.codec import DEFAULT_NAMESPACE

        found = copy.copy(self)
        try:
            found.namespace = self.namespace
        except MissingError:
            files = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube/config")
            if self._kubeconfig or self._context or any(Path(each).exists() for each in files.split(os.pathsep)):
                raise  # what is there says which namespace, and cannot be read
            found.namespace = DEFAULT_NAMESPACE
        return found

    @property
    def given(self) -> bool:
        """Whether the user has named a namespace."""
        return self._namespace is not None
