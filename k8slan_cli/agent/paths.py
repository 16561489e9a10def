"""Where the agent's files lie under its run directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    """The run directory's layout.

    ``netns`` is open to everybody's eyes, as ``ip netns`` would have it; all else is root's.
    """

    run: Path

    @property
    def netns(self) -> Path:
        """Where LAN namespaces are mounted."""
        return self.run / "netns"

    @property
    def private(self) -> Path:
        """The folder of the socket and the lock."""
        return self.run / "agent"

    @property
    def socket(self) -> Path:
        """The CNI socket."""
        return self.private / "cni.sock"

    @property
    def lock(self) -> Path:
        """Held by the one agent of this run directory."""
        return self.private / "lock"

    @property
    def token(self) -> Path:
        """The token of the diagnostics endpoint, where there is no cluster to know tokens."""
        return self.private / "token"

    @property
    def attachments(self) -> Path:
        """Records of attachments."""
        return self.run / "attachments"

    @property
    def lans(self) -> Path:
        """LANs as they were known last."""
        return self.run / "lans"

    @property
    def spool(self) -> Path:
        """DEL requests that came while no agent was there."""
        return self.run / "spool"

    @property
    def unreleased(self) -> Path:
        """Addresses that IPAM plugins have not taken back yet."""
        return self.run / "unreleased"

    def create(self) -> None:
        """Make the folders, root's own with mode 0700 even if they are there with another; only with the lock held."""
        self.run.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.netns.mkdir(mode=0o755, exist_ok=True)
        for folder in (self.private, self.attachments, self.lans, self.spool, self.unreleased):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
        for folder in (self.attachments, self.lans, self.spool, self.unreleased):
            for unfinished in folder.glob(".*"):
                unfinished.unlink(missing_ok=True)  # a write that was cut short
