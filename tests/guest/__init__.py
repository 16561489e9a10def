"""Tests that run in another kernel: Debian's for clouds, in a guest.

It has what the machine's own may lack: netem, WireGuard, MACsec, 802.1Q devices, bonding, dummies; modules load by
themselves when ``ip`` or ``tc`` asks for them. The guest sees the machine's files, so the same Python and the same
checkout, and keeps what it writes to itself.

A file here is an ordinary one, written as those of tests/node are, with the same fixtures. ``conftest.py`` has it run
in the guest: ``machine.py`` boots it, once for all tests that were asked for, ``init`` is its first process, and
``inside.py`` runs pytest there and sends reports back.
"""
