"""Pods as far as they use LANs: what the controller keeps of them, which is little, for there may be very many."""

from __future__ import annotations

import sys
from dataclasses import replace

from k8slan_cli.kube.kinds import Document
from k8slan_cli.kube.watch import Key
from k8slan_cli.plan.attached import Pod, decode_pod

RUNNING = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
"""Field selector of the pods that may be attached to something: on a node, and not over."""
_PREFIX = "k8slan-"


def read(document: Document) -> Pod | None:
    """Return a pod with its networks of k8slan, without what changes as it lives; None if it has no such network."""
    pod = decode_pod(document)
    networks = tuple(replace(each, ips=()) for each in pod.networks if each.nad.name.startswith(_PREFIX))
    if not networks:
        return None
    return replace(pod, node=sys.intern(pod.node), phase="", deleting=False, networks=networks)


def nads(pod: Pod | None) -> frozenset[Key]:
    """Return all NADs that a pod asks for or has."""
    return frozenset((each.nad.namespace, each.nad.name) for each in pod.networks) if pod else frozenset()
