"""What a cluster says of LANs, as pictures take it: for ``k8slan lan graph`` and the page of ``k8slan ui`` alike."""

from __future__ import annotations

from k8slan_cli.inventory import lans
from k8slan_cli.inventory.lans import Found
from k8slan_cli.inventory.occupancy import Users
from k8slan_cli.picture.topology import READY, UNKNOWN, Seen


def seen(item: Found, users: Users) -> Seen:
    """Return a valid LAN with who is on it, and how it is."""
    ready = item.ready
    return Seen(
        lan=lans.sound(item),
        on=users.of(item),
        state=UNKNOWN if ready is None else READY if ready.status else ready.reason,
        message=ready.message if ready and not ready.status else "",
        hidden=users.hidden,
    )
