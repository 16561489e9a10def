"""The reference of LAN's fields, made from the CRD: what is written there is written nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jinja2

from k8slan_cli import shipped
from k8slan_cli.lan import codec, model, names
from k8slan_cli.plan import objects
from k8slan_cli.render import manifests
from k8slan_cli.render.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A field as a row of a table."""

    path: str
    type: str
    default: str = ""
    bounds: str = ""
    meaning: str = ""


def schema() -> Mapping[str, Any]:
    """The OpenAPI schema of the CRD."""
    [crd] = manifests.documents(manifests.render(manifests.Part.CRD, Settings()))
    found: Mapping[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def render() -> str:
    """The Markdown page."""
    properties = schema()["properties"]
    environment = jinja2.Environment(  # noqa: S701  # Markdown for a file of ours
        loader=jinja2.FileSystemLoader(shipped.folder("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    example = (shipped.folder("manifests") / "lan-example.yaml").read_text().strip()
    return environment.get_template("reference-lan.md.j2").render(
        api=model.API_VERSION,
        kind=model.KIND,
        example=example,
        description=properties["spec"]["description"],
        spec=list(_rows(properties["spec"], "")),
        rules=list(_rules(properties["spec"], "")),
        status=list(_rows(properties["status"], "")),
        beyond=_listed([f"`{name}`" for name in model.UNDERLAY_FIELDS if name in properties["spec"]["properties"]]),
        nads=_nads(),
    )


def _rows(found: Mapping[str, Any], prefix: str) -> Iterator[Row]:
    for name, field in found.get("properties", {}).items():
        yield Row(
            path=prefix + name,
            type=_type(field),
            default=_code(field["default"]) if "default" in field else "",
            bounds=_bounds(field),
            meaning=_cell(field.get("description", "")),
        )
        yield from _rows(field.get("items", {}), f"{prefix}{name}[].")


def _rules(found: Mapping[str, Any], path: str) -> Iterator[Row]:
    for rule in found.get("x-kubernetes-validations", ()):
        yield Row(path=path + rule.get("fieldPath", "").lstrip("."), type="", meaning=_cell(rule["message"]))
    for name, field in found.get("properties", {}).items():
        yield from _rules(field, f"{path}.{name}" if path else name)
    for suffix, key in (("[]", "items"), ("[node]", "additionalProperties")):
        if key in found:
            yield from _rules(found[key], path + suffix)


def _type(field: Mapping[str, Any]) -> str:
    match field["type"]:
        case "array":
            return f"list of {_type(field['items'])}"
        case "object":
            return "mapping of text" if "additionalProperties" in field else "object"
        case "string":
            return "text"
    return str(field["type"])


def _bounds(field: Mapping[str, Any]) -> str:
    found = [f"{field.get('minimum', '')}..{field.get('maximum', '')}"] if "maximum" in field else []
    inner = field.get("items", field.get("additionalProperties", {}))
    for keys, unit in (("maxItems", "entries"), ("maxProperties", "entries"), ("maxLength", "characters")):
        found += [f"≤ {holder[keys]} {unit}" for holder in (field, inner) if keys in holder]
    return ", ".join(found)


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _code(value: object) -> str:
    return f"`{manifests.to_yaml(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _nads() -> list[dict[str, str]]:
    """The NADs of an example, with the words that say what each kind is for."""
    document = {
        "apiVersion": model.API_VERSION,
        "kind": model.KIND,
        "metadata": {"name": "lan"},
        "spec": {"vni": 1, "spokes": ["spoke", "name-0"], "dynamic": True},
    }
    purposes = {
        names.mac_nad("spoke"): "a KubeVirt VM on a spoke",
        names.veth_nad("spoke"): "a pod on a spoke",
        names.set_nad(
            "name"
        ): "the pods of a StatefulSet, each on the spoke of its number, if there is a spoke `<name>-0`",
        names.lan_nad("lan"): "any number of pods, with `dynamic: true`",
    }
    return [
        {
            "name": nad.name.replace("-spoke", "-<spoke>")
            .replace("-lan-lan", "-lan-<lan>")
            .replace("-set-name", "-set-<name>"),
            "purpose": purposes[nad.name],
            "resource": f"`{nad.resource.replace('-spoke', '-<spoke>')}`" if nad.resource else "none",
        }
        for nad in objects.nads(codec.decode(document))
        if nad.name in purposes
    ]
