"""``k8slan ui``: a page on this machine that shows LANs and who is on them as they are at this moment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from k8slan_cli.cli import completion, service
from k8slan_cli.cli.context import in_cluster
from k8slan_cli.cli.exits import UsageError
from k8slan_cli.cli.here import Here
from k8slan_cli.cli.lan.listing import All

if TYPE_CHECKING:
    from k8slan_cli.ui.server import Page
    from k8slan_cli.ui.watching import Scope


@in_cluster
def ui(
    here: Here,
    name: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME…",
            help="LANs (default: all of the namespace).",
            show_default=False,
            autocompletion=completion.lans,
        ),
    ] = None,
    everywhere: All = False,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Port (default: one that is free).", show_default=False)
    ] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
) -> None:
    """Show LANs and who is on them live, on a page of this machine; pull links, shape, capture and probe from there.

    Without a name it shows all LANs of the namespace. The page acts with your rights in the cluster, for as long as the
    command runs, and only for who has the address that it prints. Press Ctrl-C to stop.

    Examples:
      k8slan ui -n lab

      # Two LANs, for a browser that is open already
      k8slan ui red blue --port 8080 --no-browser
    """
    from k8slan_cli.diagnose.agents import Agents
    from k8slan_cli.ui.actions import Actions
    from k8slan_cli.ui.server import Page
    from k8slan_cli.ui.watching import Watching

    if name and everywhere:
        raise UsageError("-A shows all LANs: give no name beside it")
    scope = _scope(here, name or [], everywhere=everywhere)
    agents = Agents(here.cluster)
    with Watching(here.cluster, agents, scope) as watching:
        service.run(_serve(lambda: Page(watching.board, Actions(here.cluster, agents), port), browser))


def _scope(here: Here, names: list[str], *, everywhere: bool) -> Scope:
    from k8slan_cli.inventory import lans
    from k8slan_cli.kube.client import ApiError
    from k8slan_cli.ui.watching import Scope

    if not names:
        space = "" if everywhere else here.namespace
        try:
            lans.several(here.cluster, space)
        except ApiError as error:
            if error.status != 403:  # without a cluster, or k8slan in it, there is nothing to show
                raise
        return Scope(spaces=(space,))
    refs = frozenset(item.ref for item in here.lans(names))
    return Scope(spaces=tuple(sorted({ref.namespace for ref in refs})), refs=refs)


async def _serve(listen: Callable[[], Page], browser: bool) -> None:
    page = listen()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    page.start()
    typer.echo(f"{page.url}\nThe page is there until you press Ctrl-C.")
    try:
        with _opened(page.url) if browser else contextlib.nullcontext():
            await ended.wait()
    finally:
        await page.close()


@contextlib.contextmanager
def _opened(url: str) -> Iterator[None]:
    """Open the page in a browser, where there is a desktop.

    The browser is given a file that leads to the page: its command line, which others on this machine may see, would
    tell them the token.
    """
    import webbrowser

    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="k8slan-ui-") as folder:
        lead = Path(folder) / "open.html"
        lead.write_text(f'<!doctype html>\n<meta http-equiv="refresh" content="0; url={url}">\n')
        webbrowser.open(lead.as_uri())
        yield
