"""``--dry-run``, as kubectl has it: the command alone says what it would do, or has the API server check it too."""

from __future__ import annotations

import enum
from typing import Annotated

import typer


class DryRun(enum.StrEnum):
    """What becomes of a change."""

    NONE = "none"
    """It is made."""
    CLIENT = "client"
    """Nothing of it is sent."""
    SERVER = "server"
    """It is sent for the API server to check and admit, and is not kept."""

    @property
    def changes(self) -> bool:
        """Whether anything is changed."""
        return self is DryRun.NONE

    @property
    def query(self) -> dict[str, str]:
        """What a request to the API server says of it."""
        return {"dryRun": "All"} if self is DryRun.SERVER else {}

    @property
    def options(self) -> dict[str, list[str]]:
        """What the body of a DELETE says of it: where there is one, the API server does not look at the query."""
        return {"dryRun": ["All"]} if self is DryRun.SERVER else {}

    @property
    def words(self) -> str:
        """What is said behind something that would be done; it is kubectl's."""
        return {"none": "", "client": " (dry run)", "server": " (server dry run)"}[self]


DryRunOption = Annotated[
    DryRun,
    typer.Option(
        "--dry-run",
        metavar="[=none|client|server]",
        help="Change nothing, and print what would be. client: send nothing; server, or no value: have the API "
        "server check it.",
        show_default=False,
    ),
]
