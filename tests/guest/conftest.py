"""The node tests' guard and machine, for tests of what only another kernel has: Debian's for clouds, in a guest."""

from tests.node.conftest import machine, no_leaks

__all__ = ["machine", "no_leaks"]
