"""``k8slan demo``: a LAN over nodes made on this machine alone, built, drawn and proved in a few seconds.

Here is what a person sees of it, and the promise that nothing stays: the demo lives in a sandbox (demo/sandbox.py),
and however this command ends, that ends with it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from k8slan_cli.errors import K8slanError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from k8slan_cli.demo.scene import Built, DemoOptions, Probed
    from k8slan_cli.probe.run import ClassResult

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def demo(
    nodes: Annotated[int, typer.Option(metavar="N", min=2, max=8, help="How many nodes.")] = 2,
    ipv6: Annotated[
        bool, typer.Option("--ipv6", help="Join the nodes by IPv6, with link-local addresses only.")
    ] = False,
    multicast: Annotated[
        bool, typer.Option("--multicast", help="Let the underlay's multicast find the other nodes, instead of a list.")
    ] = False,
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="Print the picture as Mermaid on stdout, and all else on stderr.")
    ] = False,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write the picture as SVG too.")
    ] = None,
    commands: Annotated[
        list[str] | None,
        typer.Option(
            "--exec", metavar="COMMAND", help="Run a shell command inside before the probe: break something and see."
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it up, and say how to look inside.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Remove what --keep has left up.")] = False,
) -> None:
    """Build a LAN over nodes made on this machine, without Kubernetes, and send every class of frame through it.

    Nodes, pods and a VM are processes and namespaces of their own, with real agents and CNI calls.

    Nothing of it stays, not even after kill -9. Exit status 1 if any class of frame does not pass.

    Examples:
      k8slan demo --nodes 3 --svg lan.svg

      # Leave it up, and remove it later
      k8slan demo --keep
      k8slan demo --down
    """
    with _interruptible():
        from k8slan_cli.cli import tables

        out = tables.console(stderr=mermaid)
        if down:
            _down(out)
            return
        if svg and not svg.parent.is_dir():
            raise K8slanError(f"--svg: there is no folder {svg.parent}")
        from secrets import token_hex

        from k8slan_cli.demo.scene import DemoOptions

        options = DemoOptions(
            nodes=nodes, ipv6=ipv6, multicast=multicast, keep=keep, commands=tuple(commands or ()), spare=token_hex(2)
        )
        passed = _play(_Show(out, svg, mermaid=mermaid), options)
    raise typer.Exit(0 if passed else 1)


def _play(show: _Show, options: DemoOptions) -> bool:
    """Play it and show it; whether every class of frames passed."""
    from k8slan_cli.demo import lab
    from k8slan_cli.demo.sandbox import sandbox

    with sandbox(lambda teller: lab.play(options, teller)) as world, show:
        for value in world.values():
            show.show(value)
    passed = show.conclude()
    if world.stays:
        show.explain(world.pid, user=world.user)
    return passed


def _down(out: Console) -> None:
    from k8slan_cli.demo import sandbox

    removed = sum(map(sandbox.remove, sandbox.kept()))
    out.print(f"removed: {removed} kept demo{'s' if removed > 1 else ''}" if removed else "no demo is kept up")


class _InterruptedError(BaseException):
    """A signal asks the command to end. No Exception, so that nothing on the way mistakes it for one of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn a signal that ends a command into an exception, so that the sandbox is ended first; then exit 128 + it."""

    def interrupt(number: int, _frame: object) -> None:
        raise _InterruptedError(number)

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wishes it
            signal.signal(number, interrupt)
    try:
        yield
    except _InterruptedError as interrupted:
        raise SystemExit(128 + interrupted.number) from None


# ---------------------------------------------------------------- what a person sees


class _Show:
    """Shows what the inside tells, as it comes; a context in which a line at the bottom says what goes on."""

    def __init__(self, out: Console, svg: Path | None, *, mermaid: bool) -> None:
        from k8slan_cli.cli.tables import draws_boxes

        self._out = out
        self._svg = svg
        self._mermaid = mermaid
        self._unicode = draws_boxes(out)
        spinner = "dots" if self._unicode else "line"
        self._status = out.status("starting", spinner=spinner) if out.is_terminal else None
        self._probed: list[Probed] = []
        self._unable: list[str] = []
        self._over = False

    def __enter__(self) -> None:
        if self._status:
            self._status.start()

    def __exit__(self, *exc: object) -> None:
        if self._status:
            self._status.stop()

    def show(self, value: object) -> None:
        """Show one value.

        Raises:
            K8slanError: it tells of a failure.

        """
        from k8slan_cli.demo import sandbox, scene

        match value:
            case scene.Doing():
                if self._status:
                    self._status.update(value.words)
            case scene.Done():
                self._line(value.words, value.seconds)
            case scene.Called():
                guest = value.guest
                words = f"CNI {value.verb:3}  {guest.plugin:13}  {guest.spoke} {guest.interface} on {guest.node}"
                self._line(words, value.seconds)
            case scene.Remark():
                self._say(f"! {value.words}", "yellow")
            case scene.Unable():
                self._unable.append(value.spoke)
                advice = "only root of this machine may open it: sudo k8slan demo"
                self._say(f"! {value.spoke} takes no part in the probe: {value.why} ({advice})", "yellow")
            case scene.Ran():
                self._line(value.command)
                if value.output:
                    self._say(value.output, "dim")
            case scene.Built():
                self._draw(value)
            case scene.Probed():
                self._probed.append(value)
            case scene.Over():
                self._over = True
            case sandbox.Failed():
                if value.trace:
                    self._say(value.trace, "dim")
                self._results()
                raise K8slanError(value.words, hint=value.hint)

    def _say(self, text: str, style: str = "") -> None:
        self._out.print(self._readable(text), style=style, markup=False)

    def _readable(self, text: str) -> str:
        """The text, without what the terminal's encoding lacks."""
        return text if self._unicode else text.encode("ascii", "replace").decode()

    def _line(self, words: str, seconds: float | None = None) -> None:
        from rich.text import Text

        tick = "✓" if self._unicode else "ok"
        line = Text.assemble((f"{tick} ", "green"), self._readable(words))
        if seconds is not None:
            took = f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds:.2f} s"
            line.append(took.rjust(max(10, 79 - line.cell_len)), style="dim")
        self._out.print(line)

    def _draw(self, built: Built) -> None:
        from k8slan_cli.cli import files
        from k8slan_cli.demo.picture import topology
        from k8slan_cli.picture import mermaid, svg, text

        drawn = topology(built)
        if self._mermaid:
            typer.echo(mermaid.write(drawn), nl=False)
        else:
            width = self._out.width if self._out.is_terminal else max(self._out.width, 80)
            self._say("")
            for line in text.draw(drawn, width=width, unicode=self._unicode):
                self._say(line, "bold" if line.startswith("LAN ") else "")
            self._say("")
        if self._svg:
            files.write(self._svg, svg.write(drawn))
            self._line(f"the picture is in {self._svg}")

    # ------------------------------------------------------------ the end

    def conclude(self) -> bool:
        """Show what became of the frames; whether all passed.

        Raises:
            K8slanError: the play did not come to its end.

        """
        self._results()
        if not self._over:
            raise K8slanError("the demo's first process was killed")
        failed = [(p, r) for p in self._probed for r in p.results if not r.ok]
        classes = len(self._probed[0].results)
        frames = sum(r.sent for p in self._probed for r in p.results)
        if failed:
            broken = len({r.key for _, r in failed})
            self._say(f"{broken} of {classes} classes of frames did not pass", "bold red")
        else:
            ways = len(self._probed)
            self._say(f"all {classes} classes of frames passed on {ways} ways ({frames} frames)", "bold green")
        if self._unable:
            self._say(f"not tried: the ways to and from {', '.join(self._unable)}", "bold yellow")
        return not failed

    def _results(self) -> None:
        from rich.text import Text

        from k8slan_cli.cli.tables import table
        from k8slan_cli.probe.frames import CLASSES

        if not self._probed:
            return
        arrow = "→" if self._unicode else "to"
        grid = table(self._out)
        grid.add_column("frames")
        for probed in self._probed:
            pair = probed.pair
            heading = "\n".join((*pair.kind.split(), f"{pair.src} {arrow}", pair.dst))
            grid.add_column(heading, justify="right", no_wrap=True)
        by_key = [{r.key: r for r in probed.results} for probed in self._probed]
        for kind in CLASSES:
            grid.add_row(self._readable(kind.title), *(_cell(results[kind.key]) for results in by_key))
        self._out.print(grid)
        self._say("median microseconds on the way; passed is only what arrives unchanged, once", "dim")
        why = {c.key: c for c in CLASSES}
        for probed in self._probed:
            for result in probed.results:
                if not result.ok:
                    way = f"{probed.pair.src} {arrow} {probed.pair.dst}"
                    words = f"{why[result.key].title}, {way}: {result.detail or result.verdict}"
                    reason = f" ({why[result.key].why})"
                    self._out.print(Text.assemble(self._readable(words), (self._readable(reason), "dim")))

    def explain(self, pid: int, *, user: bool) -> None:
        """Say how to look at what is kept, and how to remove it."""
        enter = f"nsenter -t {pid} -U --preserve-credentials -m -n -p" if user else f"nsenter -t {pid} -m -n -p"
        for line in (
            "",
            "It is still there. A shell inside, where ip and bridge know all of it by name:",
            f"  {enter}",
            "  ip netns                              nodes, pods, and the LAN's part of each node (node1-lan)",
            "  bridge -n node1-lan fdb show          where the LAN has learned MAC addresses",
            "  ip netns exec pod1 ping -c3 10.18.0.3",
            "  cat /run/node1/agent.log              what the agent of node1 has done",
            "Remove it with",
            "  k8slan demo --down",
        ):
            self._say(line)


def _cell(result: ClassResult) -> Text:
    from rich.text import Text

    if result.ok:
        return Text(f"{result.latency:.0f}" if result.latency is not None else "passed", style="green")
    return Text(result.verdict, style="bold red")
