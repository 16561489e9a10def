"""Every make target works as the first one in a fresh clone: it makes all that it needs itself.

What a target leaves is removed before the next one, but for the virtual environment. Of that, the next target finds
what ``k8slan`` itself needs and no more, as far as tools/setup can tell: a target that takes more has to ask for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agents import CHECKOUT, PLUGINS
from tests.support.netns import command
from tests.support.require import require

SECONDS = 300.0


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clone of this checkout, with what is not committed yet."""
    for tool in ("git", "make", "cc", "iperf3", PLUGINS / "bridge"):
        require("node", shutil.which(tool) is not None, f"needs {tool} (tools/setup make test installs it)")
    require("node", (CHECKOUT / ".git").exists(), "needs a checkout that git knows")
    path = tmp_path_factory.mktemp("make") / "clone"
    settings = path.with_name("gitconfig")
    settings.write_text("[safe]\n\tdirectory = *\n")  # the checkout may be another user's
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", str(settings))
        command("git", "clone", "--quiet", str(CHECKOUT), str(path))
        if changes := command("git", "-C", str(CHECKOUT), "diff", "HEAD", "--binary"):
            command("git", "-C", str(path), "apply", "--index", text=changes)
        yield path
    shutil.rmtree(path)


def first(clone: Path, *words: str) -> str:
    """Run make as the first thing in the clone, but for the environment; returns all that it said."""
    command("git", "-C", str(clone), "clean", "-xfdq", "-e", ".venv")
    stamp = clone / ".venv" / ".setup-dev"
    if stamp.exists():
        stamp.rename(stamp.with_name(".setup-run"))
    return run(clone, *words)


def run(clone: Path, *words: str) -> str:
    """Run make as a user would, whatever make has started this."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYTEST", "ARGS"))
    }
    done = subprocess.run(
        ["make", *words],
        cwd=clone,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    said = f"make {' '.join(words)}: exit {done.returncode}\n{done.stdout}"
    assert "Traceback" not in said, said
    # A benchmark's figures may fall short on a machine that does something else; all of them are there.
    assert done.returncode == 0 or words[0] == "bench", said
    return said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("demo",), "classes of frames passed"),  # the first one of all, and the only one with no environment yet
        (("bench", "ARGS=cni --calls 10"), "CNI DEL p95 / Go bridge plugin"),
        (("test", "ARGS=tests/unit/support"), " passed"),
        (("sbom",), "wrote dist/k8slan-"),
        (("krew", "ARGS=https://example.org/k8slan.tar.gz"), "wrote dist/k8slan.yaml"),
        (("check", "ARGS=package layers forwarder generated docs"), "ok    package"),
        (("cluster", "ARGS=list"), ""),
        (("bench-cluster", "ARGS=--list"), "What k8slan costs in a cluster"),
        (("reference",), ""),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_target_is_the_first(clone: Path, words: tuple[str, ...], said: str) -> None:
    assert said in first(clone, *words)
    if words[0] != "demo":
        assert (clone / ".venv" / ".setup-dev").exists(), f"tools/setup {words[0]} does not install what tests need"


def test_fuzz_is_the_first(clone: Path) -> None:
    require("node", shutil.which("clang") is not None, "needs clang (tools/setup fuzz installs it)")
    assert "number_of_executed_units: 1000" in first(clone, "fuzz", "RUNS=1000", "ARGS=--collect-only -q")


def test_the_forwarder_alone_needs_no_environment(clone: Path) -> None:
    first(clone, "-C", "cni_plugins")
    built = clone / "cni_plugins" / "build" / "k8slan-cni"
    done = subprocess.run([built], env={"CNI_COMMAND": "VERSION"}, input=b"{}", capture_output=True, check=False)
    assert b"supportedVersions" in done.stdout


def test_help_names_every_target(clone: Path) -> None:
    said = first(clone, "help")
    makefile = (clone / "Makefile").read_text()
    targets = makefile.partition(".PHONY: help ")[2].partition("\n")[0].split()
    assert targets
    assert [target for target in targets if f"make {target} " not in said] == []


def test_upgrade_begins_with_no_environment(clone: Path) -> None:
    """Only what it would do: the newest packages of others are not what is tested here."""
    assert "NEWEST=1 tools/setup test" in first(clone, "--dry-run", "upgrade")


def test_clean_leaves_a_clone_as_it_was(clone: Path) -> None:
    first(clone, "check", "ARGS=lint layers package")
    run(clone, "-C", "cni_plugins")
    for _ in range(2):  # also where there is nothing
        run(clone, "clean")
        assert command("git", "-C", str(clone), "clean", "-xdn") == ""
