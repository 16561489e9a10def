"""The plugin for krew: its manifest has the shape that krew reads, and names the archive that was made."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import yaml

from k8slan_cli import __version__
from tests.unit.tools.program import ROOT, program

KREW = program("krew")
PLUGIN = ROOT / "tools/plugin/kubectl-k8slan"


def test_the_manifest_has_krews_shape() -> None:
    found = yaml.safe_load(KREW["manifest"]("https://example.org/k8slan.tar.gz", b"packed"))
    assert found["apiVersion"] == "krew.googlecontainertools.github.com/v1alpha2"
    assert (found["kind"], found["metadata"]) == ("Plugin", {"name": "k8slan"})
    spec = found["spec"]
    assert spec["version"] == f"v{__version__}"
    assert 0 < len(spec["shortDescription"]) <= 50
    [platform] = spec["platforms"]
    assert platform["uri"] == "https://example.org/k8slan.tar.gz"
    assert platform["sha256"] == hashlib.sha256(b"packed").hexdigest()
    assert platform["bin"] == PLUGIN.name


def test_an_address_cannot_break_out_of_its_place() -> None:
    address = 'https://example.org/"\nkind: Other'
    found = yaml.safe_load(KREW["manifest"](address, b""))
    assert found["kind"] == "Plugin"
    assert found["spec"]["platforms"][0]["uri"] == address


def test_the_same_files_give_the_same_archive_and_programs_stay_programs(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("words")
    files = {"b": tmp_path / "text", PLUGIN.name: PLUGIN}
    packed = KREW["archive"](files)
    assert packed == KREW["archive"](dict(reversed(files.items())))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        modes = {member.name: member.mode for member in archive}
    assert modes == {"b": 0o644, PLUGIN.name: 0o755}


def test_the_plugin_says_what_it_lacks(tmp_path: Path) -> None:
    """Nothing is left that a second call would take for an environment."""
    place = tmp_path / "store with a space"
    place.mkdir()
    own = place / PLUGIN.name
    own.write_bytes(PLUGIN.read_bytes())
    own.chmod(0o755)
    link = tmp_path / PLUGIN.name
    link.symlink_to(own)
    environ = {"PATH": "/usr/bin:/bin", "PYTHON": "absent-python"}
    done = subprocess.run([link], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("kubectl k8slan: needs Python 3.11 or newer with venv")
    assert not (place / "environment").exists()


def test_the_plugin_runs_from_its_environment(tmp_path: Path) -> None:
    own = tmp_path / PLUGIN.name
    own.write_bytes(PLUGIN.read_bytes())
    own.chmod(0o755)
    inner = tmp_path / "environment" / "bin" / PLUGIN.name
    inner.parent.mkdir(parents=True)
    inner.write_text('#!/bin/sh\necho "$0" "$@"\n')
    inner.chmod(0o755)
    (tmp_path / "environment/whole").touch()
    done = subprocess.run([own, "lan", "a b"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{inner} lan a b\n"
