"""Groups of commands that import a command only when it is called, or asked for its help.

What a group's own help says of its commands stands in a table beside their names, so that it needs none of them; a
test holds the table to what the commands say of themselves. The help is plain text, commands under the headings of
their panels: rich draws the same in frames, and takes 90 ms for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from k8slan_cli.cli.values import read_ourselves

HELP = {"help_option_names": ["-h", "--help"]}


@dataclass(frozen=True, slots=True)
class Late:
    """A command: where it is (``module:name``, a function or a Typer), its first sentence, and its panel."""

    place: str
    words: str
    panel: str = "Commands"
    settings: Mapping[str, Any] | None = None

    def command(self, name: str) -> Any:
        """Import it."""
        module, _, attribute = self.place.partition(":")
        found = getattr(import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False, rich_markup_mode=None)
            alone.command(name, context_settings={**HELP, **(self.settings or {})})(found)
            found = alone
        return get_command(found)


class Panels(TyperGroup):
    """A group whose commands are those of ``late``, by their names.

    ``aliases`` are other names, which the help leaves out; ``instead`` are what people try, and what does it.
    """

    late: Mapping[str, Late] = {}
    aliases: Mapping[str, str] = {}
    instead: Mapping[str, str] = {}

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as the class above has it
        """The names of all."""
        return list(self.late)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, or None."""
        if cmd_name not in self.late:
            return None
        if cmd_name not in self.commands:
            self.add_command(self.late[cmd_name].command(cmd_name), cmd_name)
        command = self.commands[cmd_name]
        if ctx is not None:
            read_ourselves(command.get_params(ctx))  # --help is among these, which has the same names everywhere
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that words begin with; typer looks for near names only among those that are imported."""
        args = [self.aliases.get(args[0], args[0]), *args[1:]]
        if args[0] in self.instead and not ctx.resilient_parsing:
            ctx.fail(f"No such command {args[0]!r}. {self.instead[args[0]]}")
        if args[0] not in self.late and not args[0].startswith("-") and not ctx.resilient_parsing:
            from k8slan_cli.errors import near

            hint = near(args[0], self.late).capitalize()
            ctx.fail(f"No such command {args[0]!r}.{' ' + hint if hint else ''}")
        return super().resolve_command(ctx, args)

    def get_params(self, ctx: Any) -> Any:
        """The options of the group itself."""
        found = super().get_params(ctx)
        read_ourselves(found)
        return found

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as the class above has it
        """Write the lists."""
        panels: dict[str, list[tuple[str, str]]] = {}
        widest = max(map(len, self.late))
        for name, late in self.late.items():
            panels.setdefault(late.panel, []).append((name.ljust(widest), late.words))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)
