"""``k8slan render``: manifests as text, and the options that it shares with ``k8slan install``."""

from __future__ import annotations

import contextlib
import enum
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from k8slan_cli.cli import completion
from k8slan_cli.cli.exits import UsageError
from k8slan_cli.cli.files import writing
from k8slan_cli.errors import Invalid, K8slanError, Problem
from k8slan_cli.render import settings as values
from k8slan_cli.render.settings import Settings


class What(enum.StrEnum):
    """What ``k8slan render`` can print."""

    ALL = "all"
    NAMESPACE = "namespace"
    CRD = "crd"
    VTEP_CRD = "crd-vtep"
    RBAC = "rbac"
    WEBHOOK = "webhook"
    NETWORK_POLICY = "network-policy"
    CONTROLLER = "controller"
    NODE_AGENT = "node-agent"
    MONITOR = "monitor"
    NADS = "nads"
    CHART = "chart"
    REFERENCE = "reference"
    METRICS = "metrics"
    DASHBOARD = "dashboard"
    ALERTS = "alerts"


# ---------------------------------------------------------------- settings as options


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` an option for each field of ``Settings``, and the finished value as its argument ``settings``.

    An option that is not given keeps the distribution's default. ``settings`` is a function without arguments, which
    raises with all that is wrong with the options.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name != "settings"]
    known = ", ".join(values.DISTRIBUTIONS)
    distribution = inspect.Parameter(
        "distribution",
        inspect.Parameter.KEYWORD_ONLY,
        default="kubernetes",
        annotation=Annotated[
            str,
            typer.Option(
                metavar="NAME",
                help=f"Where it runs: {known}.",
                rich_help_panel=_PANEL,
                autocompletion=completion.words(*values.DISTRIBUTIONS),
            ),
        ],
    )
    options = [distribution, *(_option(name) for name in _names())]

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in _names()}
        preset = given.pop("distribution")
        command(settings=lambda: build(preset, chosen), **given)

    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    wrapper.__signature__ = signature.replace(parameters=[*keyword, *options])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {}
    return wrapper


_PANEL = "Installation"


def _names() -> Iterator[str]:
    return (field.name for field in fields(Settings))


def _option(name: str) -> inspect.Parameter:
    default = getattr(Settings(), name)
    kind: Any = type(default) if isinstance(default, bool | int | str) else str
    flag = values.option(name)
    flags = (f"{flag}/--no-{flag[2:]}",) if kind is bool else (flag,)
    shown = _shown(default)
    help_text = f"{values.HELP[name].removesuffix('.')} (default: {shown})." if shown else values.HELP[name]
    info = typer.Option(
        *flags,
        metavar=values.METAVARS.get(name.rpartition("_")[2]),
        help=help_text,
        show_default=False,
        rich_help_panel=_PANEL,
    )
    hint: Any = list[str] | None if name in values.REPEATED else kind | None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[hint, info])


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if not isinstance(default, tuple):
        return str(default)
    return ",".join(str(item) if isinstance(item, values.Toleration) else "=".join(item) for item in default)


def build(distribution: str, chosen: dict[str, Any]) -> Settings:
    """The settings of a distribution, with what was given on the command line instead; None was not given.

    Raises:
        Invalid: with every option that cannot work.

    """
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in chosen.items():
        if value is None or value == []:
            continue
        try:
            found[name] = _typed(name, value)
        except ValueError as error:
            problems.append(Problem(field=values.option(name), message=str(error)))
    if problems:
        raise Invalid("settings", tuple(problems))
    return values.check(replace(values.preset(distribution), **found))


def _typed(name: str, value: Any) -> object:
    if name.endswith("_tolerations"):
        return tuple(map(values.toleration, value))
    if name in values.REPEATED:
        return tuple(value)
    default = getattr(Settings(), name)
    return values.pairs(value) if isinstance(default, tuple) else value


# ---------------------------------------------------------------- the command


@with_settings
def render(
    settings: Callable[[], Settings],
    what: Annotated[
        What, typer.Argument(metavar="WHAT", help="What to render: all manifests, some of them, or nads.")
    ] = What.ALL,
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file", "-f", metavar="FILE", help="For nads: a file, a folder or - (stdin) of LANs; repeatable."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Write files to it instead of printing.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write nothing; fail if this file is not what would be rendered."),
    ] = None,
) -> None:
    """Print the manifests of k8slan, or the NetworkAttachmentDefinitions of a LAN.

    chart writes a Helm chart, made of the same templates; the options are its default values.

    Exit status: 0 done, 1 wrong settings, a wrong LAN document, or a file that --check found stale.

    Examples:
      k8slan render all --image registry.example/k8slan:0.1.0 > k8slan.yaml

      # The NADs of LANs, for agents without a cluster
      k8slan render nads -f lan.yaml
    """
    if what is What.NADS and not file:
        raise UsageError("nads needs the LAN they are for", hint="k8slan render nads -f lan.yaml")
    if what is What.CHART and (check or not output):
        raise UsageError("chart is several files, and needs a folder for them", hint="k8slan render chart -o FOLDER")
    files = dict(_files(what, settings(), file or ()))
    text = "---\n".join(files.values())
    if check:
        _compare(text, check)
    elif output:
        _write(files, output)
    else:
        sys.stdout.write(text)


def _files(what: What, settings: Settings, file: Sequence[str]) -> Iterator[tuple[str, str]]:
    """File names and their text. Numbers keep the order in which ``kubectl apply -f FOLDER`` has to go."""
    from k8slan_cli.cli import documents
    from k8slan_cli.plan import objects
    from k8slan_cli.render import manifests, reference

    if what is What.NADS:
        for lan in documents.lans(documents.drafts(file), "rendered"):
            yield f"{lan.ref.namespace}.{lan.ref.name}.yaml", manifests.render_nads(objects.nads(lan))
    elif what is What.REFERENCE:
        yield "reference-lan.md", reference.render()
    elif what in (What.METRICS, What.DASHBOARD, What.ALERTS):
        from k8slan_cli.render import metrics

        name, made = {
            What.METRICS: ("reference-metrics.md", metrics.reference),
            What.DASHBOARD: ("dashboard.json", metrics.dashboard),
            What.ALERTS: ("alerts.yaml", metrics.alerts),
        }[what]
        yield name, made()
    elif what is What.CHART:
        from k8slan_cli.kube import kinds
        from k8slan_cli.render import chart

        yield from chart.files(settings, kinds.MIN_MINOR).items()
    elif what is What.ALL:
        for number, part in enumerate(manifests.parts(settings)):
            yield f"{number}0-{part}.yaml", manifests.render(part, settings)
    else:
        yield f"{what}.yaml", manifests.render(manifests.Part(what), settings)


def _write(files: dict[str, str], folder: Path) -> None:
    try:
        for place in {(folder / name).parent for name in files}:
            place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise K8slanError(f"{folder} cannot be written: {error.strerror}") from None
    with contextlib.ExitStack() as stack:  # they take their places when all of them are written
        for name, text in files.items():
            stack.enter_context(writing(folder / name)).write(text.encode())
    for name in files:
        typer.echo(f"wrote {folder / name}", err=True)


def _compare(text: str, path: Path) -> None:
    import difflib

    try:
        found = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise K8slanError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if found == text:
        typer.echo(f"{path} is up to date", err=True)
        return
    diff = difflib.unified_diff(found.splitlines(), text.splitlines(), str(path), "rendered", lineterm="", n=1)
    typer.echo("\n".join(diff), err=True)
    raise K8slanError(f"{path} is stale", hint="render it again and commit it")
