"""YAML with its lines: each field is found again where it was written, and what is no topology is refused."""

from __future__ import annotations

import pytest

from k8slan_cli.errors import Invalid
from k8slan_cli.lab import yaml_text


def test_a_field_is_where_it_was_written() -> None:
    text = yaml_text.read("a:\n  b: [x, {c: y}]\n", "f", {})
    assert text.value == {"a": {"b": ["x", {"c": "y"}]}}
    assert text.field(("a", "b", 1, "c")) == "a.b[1].c (2:11)"
    assert text.field(("a", "b")) == "a.b (2:3)"
    assert text.field(("a", "missing")) == "a.missing (1:1)"


def test_what_is_merged_keeps_the_place_of_its_origin() -> None:
    text = yaml_text.read("base: &b\n  image: one\nnode:\n  <<: *b\n  kind: linux\n", "f", {})
    assert text.value["node"] == {"image": "one", "kind": "linux"}
    assert text.field(("node", "image")) == "node.image (2:3)"


def test_all_is_text_as_it_was_written() -> None:
    assert yaml_text.read("{a: 010, b: yes, c: 1.10, d: 2020-01-01, e: , 5: x}", "f", {}).value == {
        "a": "010",
        "b": "yes",
        "c": "1.10",
        "d": "2020-01-01",
        "e": None,
        "5": "x",
    }


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("$ONE", "1"),
        ("x${ONE}y", "x1y"),
        ("${NONE:-other}", "other"),
        ("${NONE:=other}", "other"),
        ("${NONE-other}", "other"),
        ("${EMPTY-other}", ""),
        ("${EMPTY:-other}", "other"),
        ("${ONE:+set}", "set"),
        ("${NONE+set}", ""),
        ("$$ONE", "$ONE"),
        ("$5 and $", "$5 and $"),
    ],
)
def test_variables_are_replaced(written: str, value: str) -> None:
    text = yaml_text.read(f"a: '{written}'", "f", {"ONE": "1", "EMPTY": ""})
    assert text.value == {"a": value}
    assert not text.unset


def test_a_variable_that_is_not_set_is_named() -> None:
    text = yaml_text.read("a: x\nb: [$NONE, '${NONE}']\n", "f", {})
    assert text.value["b"] == ["", ""]
    assert text.unset == {"NONE": (2, 5)}


def test_an_alias_is_expanded_once() -> None:
    assert yaml_text.read("a: &a $$$$X\nb: *a\n", "f", {}).value == {"a": "$$X", "b": "$$X"}


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcd", "bcde", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("a: [", "line 1, column 5"),
        ("a: b: c", "line 1, column 5: mapping values are not allowed here"),
        ("a: 1\nb: 2\na: 3\n", "a (3:1): is there already, in line 1"),
        ("a: {b: 1, b: 2}", "a.b (1:11): is there already, in line 1"),
        ("&a [*a]", "a value contains itself"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("? [1]\n: 2\n", "line 1, column 3"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: \x00", "special characters are not allowed"),
        ("[" * 5000, "is nested too deeply"),
        (BOMB, "has more than 100000 values"),
        ("a: " + "x" * yaml_text.MAX_TEXT, "is longer than 1048576 characters"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        yaml_text.read(text, "f", {})
    assert words in str(refused.value)
