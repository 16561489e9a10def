"""The demo's inside: nodes as network namespaces, real agents, real CNI calls, real frames; no Kubernetes.

``scene`` holds its values: what is played, and what is told of it. ``sandbox`` is the world it is played in, which
vanishes with its first process. ``lab`` plays it, ``picture`` draws it. What a person sees of it is in
``cli/demo.py``.
"""
