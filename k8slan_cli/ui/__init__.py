"""The page of ``k8slan ui``: a lab's devices and LANs as they are at this moment, and what may be done to them.

::

    cluster ─┐                          ┌─► page.js, by server-sent events
    agents ──┴─► watching ─► document ──┘
    actions ◄── server ◄── page.js

``document`` is pure: what is seen in, JSON and the difference of two out. ``watching`` keeps it up to date in threads,
``actions`` does what a person asks for, ``server`` lets nobody else ask. All of it goes by the kubeconfig's rights.
"""
