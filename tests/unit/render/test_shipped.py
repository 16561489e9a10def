"""Templates, manifests and the forwarder's source are found in a checkout and in an installed wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from k8slan_cli import shipped
from k8slan_cli.errors import K8slanError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", shipped.FOLDERS)
def test_a_checkout_has_them_at_its_top(name: str) -> None:
    assert shipped.folder(name) == ROOT / name


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "k8slan_cli")
    with pytest.raises(K8slanError, match="'templates' of k8slan is missing"):
        shipped.folder("templates")


def test_a_wheel_has_them_inside_and_renders_from_there(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    script = (
        "from k8slan_cli import shipped; from k8slan_cli.render import manifests, settings;"
        "print(*(shipped.folder(name) for name in shipped.FOLDERS));"
        "print(manifests.render_all(settings.Settings()), end='')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(installed)!r}); {script}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    folders, _, text = done.stdout.partition("\n")
    assert folders.split() == [str(installed / "k8slan_cli" / name) for name in shipped.FOLDERS]
    assert text == (ROOT / "manifests/all.yaml").read_text()
