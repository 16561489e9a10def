"""What k8slan is made of: its own packages and none of development's, in the versions that are written down."""

from __future__ import annotations

import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.unit.tools.program import ROOT, program

SBOM = program("sbom")
DOCUMENT = {
    "metadata": {"component": {"bom-ref": "root", "name": "k8slan", "version": "1"}},
    "components": [
        {"bom-ref": "Own==1", "name": "Own", "version": "1"},
        {"bom-ref": "pytest==2", "name": "pytest", "version": "2"},
    ],
    "dependencies": [
        {"ref": "root", "dependsOn": ["Own==1"]},
        {"ref": "Own==1", "dependsOn": ["pytest==2"]},
        {"ref": "pytest==2"},
    ],
}


def test_packages_lead_to_those_that_they_need_and_to_no_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = SBOM["needed"](project["project"]["dependencies"])
    assert {"typer", "click", "pydantic-core", "multidict"} - found <= {"click"}
    direct = {canonicalize_name(Requirement(each).name) for each in project["project"]["dependencies"]}
    assert direct <= found
    assert not found & {"pytest", "mypy", "ruff", "hatchling", "setuptools", "pip"}
    assert not SBOM["needed"](["absent-package; python_version < '3'"])


def test_what_is_not_needed_is_taken_out_with_all_that_names_it() -> None:
    found = SBOM["only"](DOCUMENT, {"own"})
    assert [each["name"] for each in found["components"]] == ["Own"]
    assert found["dependencies"] == [{"ref": "root", "dependsOn": ["Own==1"]}, {"ref": "Own==1", "dependsOn": []}]


def test_versions_that_are_not_those_written_down_are_named() -> None:
    assert SBOM["differences"](DOCUMENT, "own==1\npytest==2\n") == []
    assert SBOM["differences"](DOCUMENT, "own==2\n") == [
        "Own is 1, and 2 in tools/constraints.txt",
        "pytest is 2, and absent in tools/constraints.txt",
    ]
