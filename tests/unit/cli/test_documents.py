"""What is read of the files that a user names with -f."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from k8slan_cli.agent.sources import read_documents
from k8slan_cli.cli import documents
from k8slan_cli.errors import K8slanError
from tests.unit.cli.cluster import Workstation
from tests.unit.render.command import call


def test_files_and_folders_in_the_order_of_the_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "lans"
    folder.mkdir()
    for name, text in {"b.yaml": "a: 2", "a.yml": "a: 1\n---\n---\na: 1.5", "c.json": '{"a": 3}', "d.txt": "["}.items():
        (folder / name).write_text(text)
    alone = tmp_path / "alone"
    alone.write_text("a: 0")
    found = documents.read([str(alone), str(folder), str(alone)])
    assert [document["a"] for _, document in found] == [0, 1, 1.5, 2, 3]
    assert [place for place, _ in found][1:3] == [f"document 1 of {folder}/a.yml", f"document 2 of {folder}/a.yml"]


@pytest.mark.parametrize("kind", ["List", "LANList"])
def test_a_list_is_its_items(kind: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(json.dumps({"kind": kind, "items": [{"a": 1}, {"a": 2}]}))
    assert [document for _, document in documents.read([str(tmp_path / "f")])] == [{"a": 1}, {"a": 2}]
    assert read_documents((tmp_path / "f").read_text(), "f") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: [", "is not YAML: line 2, column 5: while parsing a flow node expected the node content"),
        ("a: b: c", "is not YAML: line 1, column 5: mapping values are not allowed here"),
        ("a: \x07", "is not YAML: unacceptable character"),
        ("kind: List", "holds no LAN"),
        ("kind: List\nitems: 7", "holds no LAN"),
        ("", "holds no LAN"),
    ],
)
def test_what_cannot_be_read_is_told_without_the_librarys_own_words(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(text)
    with pytest.raises(K8slanError) as error:
        documents.read([str(tmp_path / "f")])
    assert words in str(error.value)
    assert "<" not in str(error.value)


def test_a_folder_without_documents_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(K8slanError, match="has no file that ends in"):
        documents.read([str(tmp_path)])
    with pytest.raises(K8slanError, match=r"cannot be read: No such file or directory$"):
        documents.read([str(tmp_path / "none")])


API = "apiVersion: lan.k8slan.io/v1beta1\n"
COMMANDS = (["lan", "create"], ["lan", "delete"], ["render", "nads"])


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: LAN", "metadata: is missing"),
        ("kind: LAN\nmetadata: {}", "metadata.name: is missing"),
        ("kind: LAN\nmetadata: [a]", "metadata: must be a mapping, not a list"),
        ("kind: LAN\nmetadata: {name: 7}", "metadata.name: must be text, not a whole number"),
        ("kind: LAN\nmetadata: {name: a/b}", "metadata.name: 'a/b' is not a DNS name"),
        ("kind: Lan\nmetadata: {name: a}", "kind: is 'Lan', not LAN"),
        ("kind: Pod\nmetadata: {name: a}", "kind: is 'Pod', not LAN"),
        ("[a]", "is not a mapping"),
    ],
)
def test_a_document_that_is_no_lan_is_told_with_its_place(
    text: str, said: str, words: list[str], k8slan: Workstation, tmp_path: Path
) -> None:
    (tmp_path / "f.yaml").write_text(text if text.startswith("[") else API + text)
    where = ["--kubeconfig", str(k8slan.kubeconfig)] if words[0] == "lan" else []
    told = call(*words, "-f", str(tmp_path / "f.yaml"), *where, status=1).stderr
    assert f"document 1 of {tmp_path}/f.yaml" in told.splitlines()[0]
    assert f"  {said}" in told


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_all_problems_of_all_documents_are_told_at_once(words: list[str], k8slan: Workstation, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(API + "kind: LAN")
    files = [each for name in ("a", "b") for each in ("-f", str(tmp_path / name))]
    where = ["--kubeconfig", str(k8slan.kubeconfig)] if words[0] == "lan" else []
    told = call(*words, *files, *where, status=1).stderr
    assert told.startswith("k8slan: nothing is ")
    assert all(f"  document 1 of {tmp_path / name}: metadata: is missing\n" in told for name in ("a", "b"))


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\xff\x00")
    with pytest.raises(K8slanError, match=r"f is not YAML: it is no text$"):
        documents.read([str(tmp_path / "f")])


def test_a_lan_can_be_deleted_by_a_file_whatever_its_spec_is(k8slan: Workstation, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(API + "kind: LAN\nmetadata: {name: red, namespace:}\nspec: {vni: x, new: 1}")
    assert "LAN lab/red would be deleted" in k8slan("lan", "delete", "-f", str(tmp_path / "f"), "--dry-run").stdout
