"""docs/labs.md names every field that is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from k8slan_cli.lab import kinds, schema

DOCUMENT = (Path(__file__).parents[3] / "docs" / "labs.md").read_text()
MODELS = (schema.NodeFields, schema.LinkFields, schema.EndFields, schema.ImpairmentFields, schema.FileFields)
TABLES = (schema.NODE_UNUSED, schema.LINK_UNUSED, schema.FILE_UNUSED, kinds.KINDS)
FIELDS = {info.alias or name for model in MODELS for name, info in model.model_fields.items()}


@pytest.mark.parametrize("name", sorted((FIELDS | {name for table in TABLES for name in table}) - {"topology"}))
def test_a_field_is_in_the_document(name: str) -> None:
    assert f"`{name}`" in DOCUMENT or f"`{name}:" in DOCUMENT or f"`type: {name}" in DOCUMENT
