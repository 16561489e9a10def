"""Groups of commands that import a command only when it is called, or asked for its help.

What a group's own help says of its commands stands in a table beside their names, so that it needs none of them; a
test holds the table to what the commands say of themselves. The help is plain text, commands under the headings of
their panels: rich draws the same in frames, and takes 90 ms for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
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
            alone.command(name, cls=Plain, context_settings={**HELP, **(self.settings or {})})(found)
            found = alone
        return get_command(found)


EXAMPLES = "\n\nExamples:\n"
"""What stands before the examples at the end of a command's docstring, each after a line that says what it is for."""
_TYPE = re.compile("<([^>]*)>")
_EXTRA = re.compile(r"  \[([^\]]*)\]$|^\[([^\]]*)\]$")
"""What typer puts behind a parameter's help: ``[default: 60; x>=0; required]``."""


class Plain(TyperCommand):
    """A command whose help is in the words of manuals: ``NAME…``, ``-o table|json``, ``(default: 60)``."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The arguments, those in brackets that may be left out, then the options."""
        arguments = [each for each in self.get_params(ctx) if each.param_type_name == "argument"]
        return [*(_called(each) if each.required else f"[{_called(each)}]" for each in arguments), "[OPTIONS]"]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as the class above has it
        """Write what it does, wrapped, and its examples as they are."""
        text, _, examples = (self.help or "").partition(EXAMPLES)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text)
        if examples:
            with formatter.section("Examples"):
                for line in examples.rstrip().splitlines():
                    formatter.write(f"{line}\n")

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the lists of arguments and options."""
        rows: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for each in self.get_params(ctx):
            if record := each.get_help_record(ctx):
                rows[each.param_type_name].append(row(each, *record))
        for kind, found in rows.items():
            if found:
                with formatter.section(f"{kind.capitalize()}s"):
                    formatter.write_dl(found)


def _called(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def row(parameter: Any, left: str, right: str) -> tuple[str, str]:
    """A parameter's row, of the one that typer makes."""
    if parameter.param_type_name == "argument":
        left = _called(parameter)
    left = _TYPE.sub(lambda found: found[1] if "|" in found[1] else parameter.name.upper(), left)
    left = left.replace(" [=", "[=")  # a value that may be left out
    left = left.strip().removeprefix("/ ")  # a flag that has only its second half: --no-headers
    extra = _EXTRA.search(right)
    parts = (extra[1] or extra[2]).split("; ") if extra else []
    kept = [f"({part})" for part in parts if part.startswith("default: ") and not left.startswith("--no-")]
    if "/ --no-" in left:
        kept = [part.replace("default: ", "default: --") for part in kept]
    text = _EXTRA.sub("", right)
    if kept and text.endswith("."):
        return left, f"{text[:-1]} {kept[0]}."
    return left, "  ".join(filter(None, (text, *kept)))


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
        """The options of the group itself, without typer's own for completion: k8slan has a command for that."""
        found = [each for each in super().get_params(ctx) if not each.name.endswith("_completion")]
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
