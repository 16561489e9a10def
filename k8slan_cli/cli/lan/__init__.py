"""``k8slan lan …``: the user's view of LANs, with nothing but the Kubernetes API and the user's own rights.

``app`` has the commands by their names; each is in a module of its own, made of a thin command and pure functions from
what the cluster says to what is printed. ``found`` reads LANs and their pods, ``text`` lays out what people read.
"""
