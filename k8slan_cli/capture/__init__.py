"""Captured frames as pcapng: writing them, and putting several streams together. Pure: bytes in, bytes out.

Sockets and filters are not known here (diagnose/sniff.py), nor how the bytes travel (diagnose/client.py).
"""

SNAPLEN = 262_144
"""Bytes of a frame that are kept unless fewer are asked for: more than any frame has."""
