"""``k8slan doctor``: looks at all that LANs need, from the workstation to the wires between nodes, and says what to do.

Every check is a sentence. What a user may not see is said too, as a warning: it may be in order. Nothing is changed:
what has to be tried out is tried with a dry run, or by the agents in namespaces of their own.

``command`` has the order of things and what is printed, ``cluster`` what the API tells, ``nodes`` what the agents find.
"""
