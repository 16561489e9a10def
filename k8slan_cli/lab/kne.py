"""KNE's topologies as labs: protobuf's text format, read into the fields that containerlab's reader takes.

So both have the same rules, kinds and warnings. Protobuf knows lines of what it cannot parse alone: what is wrong with
the meaning of a field is named by its path, as containerlab's file would have it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from k8slan_cli.errors import Invalid, Problem
from k8slan_cli.lab import containerlab, kinds
from k8slan_cli.lab.yaml_text import MAX_TEXT, Text

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from k8slan_cli.lab.files import Content, Files
    from k8slan_cli.lab.kne_pb2 import Config, Node, Topology
    from k8slan_cli.lab.model import Lab

ENDINGS = (".pb.txt", ".pbtxt", ".textproto", ".textpb")

_VENDORS = {
    "HOST": ("linux", "docker.io/library/alpine:latest"),
    "ALPINE": ("linux", "docker.io/library/alpine:latest"),
    "FRR": ("frr", ""),
    "ARISTA": ("arista_ceos", "ceos:latest"),
    "ARISTA_CEOS": ("arista_ceos", "ceos:latest"),
    "NOKIA": ("nokia_srlinux", "ghcr.io/nokia/srlinux:latest"),
    "NOKIA_SRL": ("nokia_srlinux", "ghcr.io/nokia/srlinux:latest"),
}
"""The kind of a vendor's nodes, and the image of those that name none, as KNE has it."""
_UNUSED = {
    "constraints": "use k8slan lab render, and edit what it prints",
    "host_constraints": "they are of the host",
    "model": "k8slan does not know the models of a vendor",
    "version": "name the image in config.image",
    "os": "the vendor says it",
    "interfaces": "interfaces are those of the links",
}
_CONFIG_UNUSED = {
    "entry_command": "use k8slan lab exec NODE -t -- COMMAND",
    "sleep": "nodes start all at once",
    "cert": "certificates are not made",
    "init_image": "interfaces are there before a node starts",
}
_SERVICE_UNUSED = dict.fromkeys(
    ("name", "inside_ip", "outside_ip", "node_port"),
    "a Service has an address of the cluster's own, and ports by number",
)


def read(text: str, subject: str, *, files: Files) -> Lab:
    """Read a file's text.

    Raises:
        Invalid: with what is wrong with it; ``subject`` is what to call the file.

    """
    found = _parsed(text, subject)
    known: dict[str, Content] = {}
    warnings: list[str] = []
    nodes: dict[str, Any] = {}
    problems = []
    for position, node in enumerate(found.nodes):
        if node.name in nodes:
            problems.append(Problem(field=f"nodes[{position}].name", message=f"{node.name!r} is there already"))
        nodes[node.name] = fields = _node(node, known)
        warnings += [f"nodes[{position}].{name}: is not used: {why}" for name, why in _unused(node, fields)]
    if problems:
        raise Invalid(subject, tuple(problems))
    links = [{"endpoints": [f"{link.a_node}:{link.a_int}", f"{link.z_node}:{link.z_int}"]} for link in found.links]
    value = {"name": found.name, "topology": {"nodes": nodes, "links": links}}

    def both(name: str) -> Mapping[str, Content]:
        return {"": known[name]} if name in known else files(name)

    return containerlab.translate(Text(value=value, places={}, unset={}), subject, files=both, warnings=warnings)


def name(text: str, subject: str) -> str:
    """Return the name of the lab of a file's text.

    Raises:
        Invalid: it is no topology.

    """
    return str(_parsed(text, subject).name)


def _parsed(text: str, subject: str) -> Topology:
    from google.protobuf import text_format

    from k8slan_cli.lab.kne_pb2 import Topology

    if len(text) > MAX_TEXT:
        raise Invalid(subject, (Problem(field="", message=f"is longer than {MAX_TEXT} characters"),))
    found = Topology()
    try:
        text_format.Parse(text, found)
    except (text_format.ParseError, UnicodeError, RecursionError) as error:
        raise Invalid(subject, (Problem(field="", message=f"is no topology of KNE: {error}"),)) from error
    return found


def _node(node: Node, known: dict[str, Content]) -> dict[str, Any]:
    """A node as containerlab's file would have it; ``known`` gets the files that are in the text."""
    from k8slan_cli.lab.kne_pb2 import Node as Message
    from k8slan_cli.lab.kne_pb2 import Vendor

    vendor = Vendor.Name(node.vendor) if node.vendor else Message.Type.Name(node.type)
    kind, image = _VENDORS.get(vendor, (vendor.lower(), ""))
    config = node.config
    fields: dict[str, Any] = {
        "kind": kind,
        "image": config.image or image or None,
        "entrypoint": shlex.join(config.command) or None,
        "cmd": shlex.join(config.args) or None,
        "env": dict(sorted(config.env.items())),
        "labels": dict(sorted(node.labels.items())),
        "ports": [
            f"{each.outside or each.inside or key}:{each.inside or key}" for key, each in sorted(node.services.items())
        ],
    }
    source = config.file
    if config.data:
        source = f"config.data of {node.name}"
        known[source] = (config.data, 0o644)
    if source and config.config_path and not kinds.known(kind).config:
        fields["binds"] = [f"{source}:{_place(config)}"]
    elif source:
        fields["startup-config"] = source
    return fields


def _place(config: Config) -> str:
    return "/".join(("", *f"{config.config_path}/{config.config_file}".strip("/").split("/")))


def _unused(node: Node, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields of a node that are set and mean nothing here."""
    messages: list[tuple[str, Message, Mapping[str, str]]] = [
        ("", node, _UNUSED),
        ("config.", node.config, _CONFIG_UNUSED),
        *((f"services[{key}].", each, _SERVICE_UNUSED) for key, each in sorted(node.services.items())),
    ]
    for before, message, unused in messages:
        for each, _ in message.ListFields():
            if each.name in unused:
                yield before + each.name, unused[each.name]
    for name in ("config_path", "config_file"):
        own = kinds.known(fields["kind"]).config
        if getattr(node.config, name) and "binds" not in fields and _place(node.config) != own:
            yield (
                f"config.{name}",
                f"a configuration goes to {own}" if own else "it takes config_path, and file or data",
            )
