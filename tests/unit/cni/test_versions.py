"""Which version a request asked for. For odd texts, tests/node/test_cni_clients.py compares both clients."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slan_cli.cni import versions

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["cniVersion", "0.3.1"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.just("cniVersion"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), _JSON, max_size=4), st.sampled_from(versions.SUPPORTED), st.booleans())
def test_the_version_is_found_in_any_configuration(members: dict[str, object], version: str, first: bool) -> None:
    document = {"cniVersion": version} | members if first else members | {"cniVersion": version}
    assert versions.asked(json.dumps(document).encode()) == version
    assert versions.asked(json.dumps(document, indent=2, ensure_ascii=False).encode()) == version


@given(st.binary(max_size=60))
def test_whatever_comes_the_version_can_be_printed(stdin: bytes) -> None:
    version = versions.asked(stdin)
    assert version
    assert set(version) <= set("0123456789.")


@pytest.mark.parametrize(
    ("version", "minimum", "holds"),
    [("1.1.0", "1.1.0", True), ("1.0.0", "1.1.0", False), ("0.3.1", "0.4.0", False), ("1.0.0", "0.4.0", True)],
)
def test_versions_have_an_order(version: str, minimum: str, holds: bool) -> None:
    assert versions.at_least(version, minimum) is holds
