"""Captured frames as pcapng: writing them, and putting several streams together. Pure: bytes in, bytes out.

Sockets and filters are not known here (diagnose/sniff.py), nor how the bytes travel (diagnose/client.py).
"""
