"""Frame classes, and what really sends and receives them.

``frames`` is pure: bytes of real frames, and what became of them on the way. ``endpoint`` is the effect: raw
Ethernet on an interface or on a tap device. ``run`` sends from one to the other and says what passed, and how fast.
"""
