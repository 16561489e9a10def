"""What is read of the files that a user names with -f."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from k8slan_cli.agent.sources import read_documents
from k8slan_cli.cli import documents
from k8slan_cli.errors import K8slanError
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


def test_nads_are_rendered_of_lans_alone(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text("kind: Pod\nmetadata: {name: x}")
    done = call("render", "nads", "-f", str(tmp_path / "pod.yaml"), status=1)
    assert done.stderr == f"k8slan: document 1 of {tmp_path}/pod.yaml is a Pod, not a LAN\n"
