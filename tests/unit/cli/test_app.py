"""The command line as a whole: what its help says, what it imports, how options are read, and where it ends."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from k8slan_cli.__main__ import main
from k8slan_cli.cli import terminal
from k8slan_cli.cli.app import app
from k8slan_cli.cli.arguments import usual
from k8slan_cli.cli.lab.app import app as lab
from k8slan_cli.cli.lan.app import app as lan
from tests.unit.render.command import call

TOP, LAN, LAB = get_command(app), get_command(lan), get_command(lab)


def commands() -> Iterator[tuple[str, Any, Any]]:
    """Every command: its words, what the table says of it, and itself."""
    for before, group in (("", TOP), ("lan ", LAN), ("lab ", LAB)):
        for name, late in group.late.items():  # type: ignore[attr-defined]
            yield before + name, late, group.get_command(None, name)  # type: ignore[attr-defined, arg-type]


@pytest.mark.parametrize(("words", "late", "command"), [pytest.param(*c, id=c[0]) for c in commands()])
def test_the_table_says_what_the_command_says(words: str, late: Any, command: Any) -> None:
    first = " ".join(command.help.partition("\n\n")[0].split())
    assert late.words == first.partition(". ")[0].rstrip(".") + "."
    assert command.name == words.split()[-1]


@pytest.mark.parametrize(
    "words",
    [[], ["--help"], ["-h"], ["lan"], ["lan", "-h"], ["lab"], *[[*words.split(), "-h"] for words, _, _ in commands()]],
)
def test_help_fits_80_columns(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = call(*words, status=0 if words[-1:] in (["-h"], ["--help"]) else 2)
    text = done.stdout or done.stderr
    assert text.startswith("Usage: k8slan")
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "command"), [pytest.param(w, c, id=w) for w, _, c in commands() if w not in ("lan", "lab")]
)
def test_help_is_in_the_words_of_manuals(words: str, command: Any) -> None:
    text = call(*words.split(), "-h").stdout
    assert not re.search(r"<\w|list\[|\.\.\.|x>=|\{|\[default|\[required", text), text
    if " " in words:
        assert command.params
    said = {
        name for name, value in re.findall(r"--([a-z-]+) ([A-Z_]+)", text) if value == name.upper().replace("-", "_")
    }
    assert said <= {"file", "image", "mac", "name"}  # what others would say too; of most values their form is said
    for each in command.params:
        if each.param_type_name == "argument":
            assert each.metavar
            assert each.help
        assert not each.help or re.match("[A-Z/]|[a-z]+: ", each.help), each.help


def test_what_may_be_left_out_is_in_brackets() -> None:
    assert call("lan", "inspect", "-h").stdout.startswith("Usage: k8slan lan inspect NAME… [OPTIONS]\n")
    text = call("lan", "create", "-h").stdout
    assert text.startswith("Usage: k8slan lan create [NAME] [OPTIONS]\n")
    assert "(default: 60)" in text


def test_the_help_of_all_commands_is_under_their_headings() -> None:
    text = call("--help").stdout
    places = [
        text.index(word)
        for word in ("\nCommands:\n  lan  ", "\nIn a cluster:\n", "\nRun by the manifests:\n  controller")
    ]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("words", "unwanted"),
    [
        (
            ["--help"],
            {"rich", "pydantic", "yaml", "jinja2", "kubernetes", "aiohttp", "http.client", "pyroute2"},
        ),
        (
            ["lan", "list"],
            {
                "rich",
                "jinja2",
                "aiohttp",
                "asyncio",
                "h2",
                "cryptography",
                "fast_sugiyama",
                "pyroute2",
                "kubernetes.client.models.v1_pod",
                "kubernetes.config",
                "oauthlib",
                "pydantic",
                "dateutil",
            },
        ),
        (["doctor"], {"pyroute2"}),
        (["cni"], {"pyroute2", "asyncio", "yaml", "typer"}),
    ],
)
def test_nothing_costly_is_imported(words: list[str], unwanted: set[str], tmp_path: Path) -> None:
    """The cluster is one that does not answer."""
    script = (
        "import sys; from k8slan_cli.__main__ import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "sys.stderr.write(' '.join(sys.modules))"
    )
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "x", "context": {"cluster": "c"}}
    config = {"clusters": [cluster], "contexts": [context], "current-context": "x"}
    (tmp_path / "config").write_text(json.dumps(config))
    environment = os.environ | {"KUBECONFIG": str(tmp_path / "config")}
    done = subprocess.run(
        [sys.executable, "-c", script, *words], env=environment, capture_output=True, text=True, check=True
    )
    assert unwanted & set(done.stderr.split()) == set()


def test_a_command_that_is_not_there() -> None:
    done = call("lan", "lits", status=2)
    assert "No such command 'lits'" in done.stderr
    assert "Did you mean list?" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "-o", "cake"], "'cake' is not one of table, wide, json, yaml, name, jsonpath=PATH"),
        (["macs", "red", "-o", "cake"], "'cake' is not one of table, wide, json, yaml, jsonpath=PATH"),
        (["link", "a", "sideways"], "'up|down': 'sideways' is not one of up, down."),
        (["create", "x", "--mtu", "big"], "'big' is not a whole number."),
        (["create", "x", "--mtu", "1.5"], "'1.5' is not a whole number."),
        (["create", "x", "--timeout", "soon"], "'soon' is not a number."),
        (["create", "x", "--timeout", "-1"], "-1 is not at least 0."),
        (["create", "x", "--timeout", "nan"], "nan is not at least 0."),
        (["inspect"], "Missing argument 'NAME…'"),
        (["inspect", "foo/"], "'foo/' is no LAN: the name is empty"),
        (["delete"], "say which LANs: by NAME…, or else by --all, -l or -f"),
        (["delete", "a", "--all"], "say which LANs: by NAME…, or else by --all, -l or -f"),
        (["list", "a", "-A"], "names cannot be combined with -A, -l or -w"),
        (["edit", "a"], "k8slan lan edit-spokes NAME"),
        (["apply", "-f", "x"], "k8slan lan create -f FILE"),
        (["list", "--nonsense"], "No such option: --nonsense"),
        (["add-spoke"], "Missing argument 'NAME'"),
    ],
)
def test_a_command_line_that_is_wrong(words: list[str], said: str) -> None:
    assert said in call("lan", *words, status=2).stderr


def test_a_fault_of_our_own_is_said_in_two_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A parser of YAML that is broken stands for all that nobody has thought of."""
    monkeypatch.setitem(sys.modules, "yaml", object())
    monkeypatch.setattr(sys, "argv", ["k8slan", "lan", "list", "--kubeconfig", __file__])
    assert main() == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("k8slan: internal error: AttributeError: ")
    assert "--debug" in second
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--debug"])
    with pytest.raises(AttributeError):
        main()


# ---------------------------------------------------------------- streams


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script of a shell in which ``k8slan`` is this one."""
    return subprocess.run(
        ["bash", "-c", f'k8slan() {{ {sys.executable} -m k8slan_cli "$@"; }}; {script}'],
        env={key: value for key, value in os.environ.items() if key != "NO_COLOR"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


SHORT, LONG = "demo --help", "render all"


@pytest.mark.parametrize("words", [SHORT, "render rbac", LONG])
@pytest.mark.parametrize(("where", "why"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")])
def test_output_that_cannot_be_written_is_told_in_a_line(words: str, where: str, why: str) -> None:
    done = shell(f"k8slan {words} {where}")
    assert (done.returncode, done.stderr) == (1, f"k8slan: cannot write to standard output: {why}\n")


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-", "2>&- <&-"])
def test_errors_that_nobody_can_be_told_change_no_status(where: str) -> None:
    assert shell(f"k8slan nonsense {where}").returncode == 2
    assert shell(f"k8slan render nads -f /none {where}").returncode == 1
    done = shell(f"k8slan render rbac {where}")
    assert (done.returncode, done.stdout.partition("\n")[0] != "") == (0, True)


@pytest.mark.parametrize("words", [SHORT, LONG])
def test_a_reader_that_has_seen_enough_is_told_nothing(words: str) -> None:
    assert shell(f"k8slan {words} | head -1").stderr == ""


def test_an_encoding_without_arrows_has_the_nearest() -> None:
    script = "from k8slan_cli.cli.terminal import stand_before as s; s(); print('a → b … 2 µs 日')"
    done = shell(f'{sys.executable} -c "{script}"', PYTHONIOENCODING="ascii")
    assert done.stdout == "a -> b ... 2 us ?\n"


@pytest.mark.parametrize(("name", "words"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete --command")])
def test_completion_of_each_shell(name: str, words: str) -> None:
    assert words in call("completion", name).stdout
    assert "not one of bash, zsh, fish" in call("completion", "tcsh", status=2).stderr
    assert call("completion", status=2).stderr.endswith("Error: Missing argument 'bash|zsh|fish'.\n")
    assert "Invalid value for 'WHAT'" in call("render", "cake", status=2).stderr


def test_a_shell_is_told_what_goes_on() -> None:
    asked = "COMP_WORDS='k8slan lan cr' COMP_CWORD=2 _K8SLAN_COMPLETE=complete_bash k8slan"
    assert shell(asked).stdout == "create\n"
    behind = "COMP_WORDS='k8slan -n lab completion z' COMP_CWORD=4 _K8SLAN_COMPLETE=complete_bash k8slan"
    assert shell(behind).stdout == "zsh\n"


def test_who_interrupts_a_command_while_it_is_loaded_is_told_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(terminal, "stand_before", interrupt)
    monkeypatch.setattr(sys, "argv", ["k8slan", "lan", "list"])
    assert main() == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "command"),
    [pytest.param(name, each, id=name) for name, _, each in commands() if not hasattr(each, "list_commands")],
)
def test_the_help_of_every_command_has_examples_that_it_takes(name: str, command: Any) -> None:
    place = name.split()
    text = call(*place, "--help").stdout
    block = text.partition("\nExamples:\n")[2].partition("\n\nArguments:")[0].partition("\n\nOptions:")[0]
    lines = [line.strip() for line in block.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert lines, text
    for line in lines:
        _, found, rest = re.split(r" [|><] |\)$", line)[0].partition(f"k8slan {' '.join(place)}")
        if found:
            command.make_context(place[-1], usual([*place, *shlex.split(rest)])[len(place) :])
    assert not re.search(r"<\w+>|list\[|\[default|x>=|\(default: \(", text)


def test_what_is_no_kubeconfig_and_no_file(tmp_path: Path) -> None:
    assert f"{tmp_path} is a folder" in call("lan", "list", "--kubeconfig", str(tmp_path), status=3).stderr
    (tmp_path / "config").write_text("a: [")
    done = call("lan", "list", "--kubeconfig", str(tmp_path / "config"), status=3)
    assert "config is not YAML: line " in done.stderr
    assert "<" not in done.stderr
    assert "none cannot be read: No such file or directory\n" in call("render", "--check", "none", status=1).stderr
