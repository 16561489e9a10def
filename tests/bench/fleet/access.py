"""Who asks the API server: the one who may do all, and agents, each known by its account and its node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from k8slan_cli.kube import kubeconfig
from k8slan_cli.kube.kubeconfig import Access

SYSTEM = "k8slan-system"
ACCOUNTS = "system:serviceaccount:"
GROUPS = ("system:serviceaccounts", f"system:serviceaccounts:{SYSTEM}", "system:authenticated")


def as_admin(config: Path) -> Access:
    """The way in of the one who may do all."""
    return kubeconfig.load(str(config))


def as_agent(config: Path, node: str) -> Access:
    """The way in of a node's agent, as its token would have the API server know it."""
    account = [("User", f"{ACCOUNTS}{SYSTEM}:k8slan-node-agent"), *(("Group", group) for group in GROUPS)]
    account.append(("Extra-authentication.kubernetes.io%2Fnode-name", node))
    return replace(as_admin(config), headers=tuple((f"Impersonate-{name}", value) for name, value in account))
