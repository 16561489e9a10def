"""What the documents tell readers to type: every command is one that there is, with options that it takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from k8slan_cli.cli.app import app
from k8slan_cli.cli.arguments import usual
from k8slan_cli.cli.lab import source
from k8slan_cli.kube import kinds
from k8slan_cli.plan.objects import PLUGINS
from k8slan_cli.render import manifests
from k8slan_cli.render.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"^```(?:console|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
USAGE = ("[OPTIONS]", "COMMAND")  # what the reference has of each command


def typed() -> Iterator[Any]:
    """Every simple command of every page."""
    for page in PAGES:
        for block in BLOCK.findall(page.read_text()):
            for line in block.splitlines():
                if not line.startswith("$ ") or any(word in line for word in USAGE):
                    continue
                for part in re.split(r" (?:\||&&|[0-9]?>{1,2}|<) ", line[2:]):
                    yield pytest.param(part, id=f"{page.stem}: {part}")


@pytest.mark.parametrize("command", list(typed()))
def test_a_command_of_a_page_is_one_that_there_is(command: str) -> None:
    words = [word for word in shlex.split(command, comments=True) if not re.fullmatch(r"[A-Z_]+=.*", word)]
    if words[:1] == ["make"]:
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:2]) <= set(targets)
    if words[:1] == ["k8slan"]:
        _taken(get_command(app), usual(words[1:]))


def _taken(command: Any, words: list[str]) -> None:
    """Read a command line, and do nothing."""
    if hasattr(command, "list_commands"):
        name, below, rest = command.resolve_command(command.make_context("k8slan", [], resilient_parsing=True), words)
        assert below is not None, name
        _taken(below, rest)
    else:
        command.make_context(command.name, words)


def test_the_lab_of_the_readme_is_the_one_that_comes_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    file = ROOT / "manifests/lab-example.clab.yml"
    assert f"```yaml\n{file.read_text()}```" in (ROOT / "README.md").read_text()
    assert {node.name for node in source.read(str(file)).nodes} == {"r1", "r2", "r3"}
    assert capsys.readouterr().err == ""


def test_uninstalling_by_hand_leaves_nothing() -> None:
    text = (ROOT / "docs/operating.md").read_text()
    for found in map(kinds.ref, manifests.documents(manifests.render_all(Settings()))):
        if not found.namespace and found.kind != kinds.NAMESPACES:
            assert f"{found.kind.plural}" in text, found
    assert "kubectl delete namespace k8slan-system" in text
    assert all(name in text for name in PLUGINS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_yaml_of_a_page_can_be_read(page: Path) -> None:
    for text in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        assert list(yaml.safe_load_all(text))
