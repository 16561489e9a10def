"""Where a command works: a cluster, and a namespace in it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from k8slan_cli.cli.exits import UsageError
from k8slan_cli.lan import names

if TYPE_CHECKING:
    from k8slan_cli.kube.apply import Cluster


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

    @property
    def given(self) -> bool:
        """Whether the user has named a namespace."""
        return self._namespace is not None
