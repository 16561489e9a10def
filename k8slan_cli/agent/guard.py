"""Who may ask an agent: those with a token that a guard knows.

In a cluster it is a token of one service account, and the API server knows whose a token is. Without one it is a token
in a file that only root can read.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from k8slan_cli.agent.store import write_whole
from k8slan_cli.errors import StoreError

log = logging.getLogger(__name__)

_REMEMBER_SECONDS = 60.0
"""How long a token that was found good counts as good."""
_REMEMBERED = 256
_MAX_TOKEN = 16 << 10
_AT_ONCE = 4
"""So many questions to the API server at a time."""


class Guard(Protocol):
    """Knows a good token."""

    async def admits(self, token: str) -> bool:
        """Whether a token is good.

        Raises:
            K8slanError: that cannot be found out now.

        """


class FileGuard:
    """One token, in a file that only root reads; a new one each time the agent starts."""

    def __init__(self, path: Path) -> None:
        """Write the file. If that fails the token is unknown to clients, and the agent does the rest of its work."""
        self._token = secrets.token_hex(32)
        try:
            write_whole(path, self._token.encode() + b"\n")
        except StoreError as error:
            log.error("the diagnostics endpoint accepts no client: %s", error)

    async def admits(self, token: str) -> bool:
        """Whether it is the one."""
        return hmac.compare_digest(token.encode(), self._token.encode())


class ClusterGuard:
    """Tokens of one user, as the API server knows them; ``user_of`` asks it whose a token is."""

    def __init__(self, user_of: Callable[[str], Awaitable[str]], user: str) -> None:
        self._user_of = user_of
        self._user = user
        self._good: OrderedDict[bytes, float] = OrderedDict()
        self._turns = asyncio.Semaphore(_AT_ONCE)  # the API server is not flooded through an agent

    async def admits(self, token: str) -> bool:
        """Whether it is the user's; one that was good a moment ago is not asked about again."""
        if token.count(".") != 2 or len(token) > _MAX_TOKEN:
            return False  # a service account's token is a JWT
        digest = hashlib.sha256(token.encode()).digest()
        if self._remembers(digest):
            return True
        async with self._turns:
            if self._remembers(digest):
                return True
            if await self._user_of(token) != self._user:
                return False
        self._good[digest] = time.monotonic() + _REMEMBER_SECONDS
        while len(self._good) > _REMEMBERED:
            self._good.popitem(last=False)
        return True

    def _remembers(self, digest: bytes) -> bool:
        return self._good.get(digest, 0.0) > time.monotonic()
