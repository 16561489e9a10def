"""What the controller writes of VTEPs, whose only other writer is their node's agent: marks, and their end.

An agent says all of a VTEP but ``status.lost``. That is the controller's, by server-side apply of this one field, and
so is the end of a VTEP whose node is gone, with its agent. The uid goes with each of these writes: they are about the
object that was looked at, and not about one of the same name that the node has made since.
"""

from __future__ import annotations

from typing import Any

from k8slan_cli.kube.client import ApiError, Client, apply
from k8slan_cli.kube.kinds import VTEPS
from k8slan_cli.kube.lans import CONTROLLER, strip
from k8slan_cli.kube.watch import Key
from k8slan_cli.lan import names
from k8slan_cli.lan.vtep import Vtep
from k8slan_cli.lan.vtep_codec import HELD


def key(vtep: Vtep) -> Key:
    """Return namespace and name of a VTEP's object."""
    return vtep.lan.namespace, names.vtep(vtep.lan.name, vtep.node)


async def mark(client: Client, vtep: Vtep, *, lost: bool) -> dict[str, Any]:
    """Say of a VTEP that its node is lost, or take that back; return the VTEP as it is now.

    It is taken back of the very version that was looked at: an agent that has not heard of it may be writing claims.

    Raises:
        ApiError: it could not be done.

    """
    namespace, name = key(vtep)
    version = {} if lost else {"resourceVersion": str(vtep.version)}
    document = {
        "apiVersion": VTEPS.api_version,
        "kind": VTEPS.name,
        "metadata": {"name": name, "namespace": namespace, "uid": vtep.uid, **version},
        "status": {"lost": lost},
    }
    return await apply(client, VTEPS.path(namespace, name), document, CONTROLLER)


async def remove(client: Client, vtep: Vtep) -> None:
    """Delete a VTEP whose node is gone, though it has ports.

    Raises:
        ApiError: it could not be done.

    """
    path = VTEPS.path(*key(vtep))
    try:
        await client.call("DELETE", path, body={"preconditions": {"uid": vtep.uid}})
    except ApiError as error:
        if error.status == 404:
            return
        raise
    await strip(client, path, vtep.uid, "metadata", "finalizers", "", frozenset({HELD}))
