"""NetworkAttachmentDefinitions in the API: what matters of those that are there, and writing k8slan's own."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from k8slan_cli.kube.client import MERGE, ApiError, Client
from k8slan_cli.kube.kinds import NADS, Document
from k8slan_cli.kube.watch import Key
from k8slan_cli.lan import names
from k8slan_cli.lan.model import GROUP, KIND
from k8slan_cli.plan import objects
from k8slan_cli.plan.objects import Nad

_PREFIX = "k8slan-"
_MULTUS = "is multus installed? it brings NetworkAttachmentDefinitions"
_VETH, _MAC, _SET, _LAN = names.veth_nad(""), names.mac_nad(""), names.set_nad(""), names.lan_nad("")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundNad:
    """What matters of a NAD that is there. ``owner`` is the LAN that controls it; "" means that none does."""

    config: str
    resource: str = ""
    owner: str = ""
    owner_uid: str = ""
    labelled: bool = False


def read(document: Document) -> FoundNad | None:
    """What matters of a NAD; None for one that neither belongs to a LAN nor has a name that one would want."""
    metadata = document["metadata"]
    owner: Document = next((o for o in metadata.get("ownerReferences") or () if o.get("controller")), {})
    ours = owner.get("kind") == KIND and str(owner.get("apiVersion")).partition("/")[0] == GROUP
    if not ours and not metadata["name"].startswith(_PREFIX):
        return None
    config = (document.get("spec") or {}).get("config")
    return FoundNad(
        config=config if isinstance(config, str) else "",
        resource=(metadata.get("annotations") or {}).get(objects.RESOURCE_ANNOTATION) or "",
        owner=sys.intern(owner["name"]) if ours else "",
        owner_uid=sys.intern(owner["uid"]) if ours else "",
        labelled=(metadata.get("labels") or {}).get(objects.MANAGED_BY) == objects.MANAGER,
    )


def wanted(nad: Nad) -> FoundNad:
    """What ``read`` makes of a NAD that needs no repair."""
    return FoundNad(
        config=nad.config, resource=nad.resource or "", owner=nad.owner, owner_uid=nad.owner_uid, labelled=True
    )


def claim(name: str) -> tuple[str, str]:
    """Which spoke's veth NAD goes with a NAD, and which LAN it belongs to; one of them at the most, "" for none."""
    for prefix in (_VETH, _MAC):
        if name.startswith(prefix):
            return _VETH + name.removeprefix(prefix), ""
    if name.startswith(_SET):
        return f"{_VETH}{name.removeprefix(_SET)}-0", ""
    return "", name.removeprefix(_LAN) if name.startswith(_LAN) else ""


async def create(client: Client, nad: Nad) -> Document:
    """Create a NAD; returns it as it is now.

    Raises:
        ApiError: it could not be done; status 409 if one of that name is there.

    """
    path = NADS.path(nad.namespace)
    try:
        return await client.call("POST", path, query=_MANAGER, body=objects.document(nad))
    except ApiError as error:
        if error.status == 404:
            raise ApiError(error.message, status=404, hint=_MULTUS) from error
        raise


async def repair(client: Client, nad: Nad, version: str) -> Document:
    """Make a NAD what it should be, if it is still the one of ``version``; returns it as it is now.

    Raises:
        ApiError: it could not be done; status 409 if it is another meanwhile.

    """
    document = objects.document(nad)
    metadata = document["metadata"] | {"resourceVersion": version}
    metadata["annotations"] = {objects.RESOURCE_ANNOTATION: nad.resource}  # None takes it away
    body = {"metadata": metadata, "spec": document["spec"]}
    path = NADS.path(nad.namespace, nad.name)
    return await client.call("PATCH", path, query=_MANAGER, body=body, content_type=MERGE)


async def delete(client: Client, key: Key, version: str) -> None:
    """Delete a NAD, if it is still the one of ``version``.

    Raises:
        ApiError: it could not be done; status 409 if it is another meanwhile.

    """
    body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"resourceVersion": version}}
    try:
        await client.call("DELETE", NADS.path(*key), body=body)
    except ApiError as error:
        if error.status != 404:
            raise


_MANAGER = {"fieldManager": "k8slan-controller"}
