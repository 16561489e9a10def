"""Help as plain text, commands under the headings of their panels: rich draws the same in frames, and takes 90 ms.

A group may also have commands that are imported when they are called, or asked for their own help: ``late``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from typer.core import TyperGroup

_PLAIN = "Commands"


class Panels(TyperGroup):
    """A group of commands whose help lists them by ``rich_help_panel``, each with its first sentence."""

    late: Mapping[str, tuple[str, str]] = {}
    """By the names of commands: the module that has it as ``app``, and its first sentence."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all."""
        return [*self.late, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, or None."""
        if cmd_name in self.late and cmd_name not in self.commands:
            from typer.main import get_command

            self.add_command(get_command(import_module(self.late[cmd_name][0]).app), cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as the class above has it
        """Write the lists."""
        panels = {_PLAIN: [(name, words) for name, (_, words) in self.late.items()]}
        for name, command in self.commands.items():
            if not command.hidden and name not in self.late:
                panel = getattr(command, "rich_help_panel", None) or _PLAIN
                panels.setdefault(panel, []).append((name, _first_sentence(command)))
        widest = max((len(name) for rows in panels.values() for name, _ in rows), default=0)
        for panel, rows in panels.items():
            if rows:
                with formatter.section(panel):
                    formatter.write_dl([(name.ljust(widest), words) for name, words in rows])


def _first_sentence(command: Any) -> str:
    text = " ".join((command.short_help or command.help or "").partition("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".") + "." if text else ""
