"""Manifests from templates.

Whatever a template prints with ``{{ }}`` is written as one YAML value on one line, quoted as it needs: a value can
neither break out of its place nor become another type, and no template can forget to quote. So a template joins text
with ``~`` inside the braces, never beside them. An unknown name is an error.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import jinja2
import yaml

from k8slan_cli import __version__, shipped
from k8slan_cli.lan import links, model, names, validate, vnis, vtep, vtep_codec
from k8slan_cli.plan import objects
from k8slan_cli.render.settings import Settings, Toleration


class Part(enum.StrEnum):
    """What can be rendered by itself, in the order in which a cluster wants it."""

    NAMESPACE = "namespace"
    CRD = "crd"
    VTEP_CRD = "crd-vtep"
    RBAC = "rbac"
    WEBHOOK = "webhook"
    NETWORK_POLICY = "network-policy"
    CONTROLLER = "controller"
    NODE_AGENT = "node-agent"
    MONITOR = "monitor"


SWITCHES = {Part.WEBHOOK: "webhook", Part.NETWORK_POLICY: "network_policy", Part.MONITOR: "service_monitor"}
"""The setting that says whether a part is there; the others always are."""


def parts(settings: Settings) -> tuple[Part, ...]:
    """The parts of an installation, in the order in which they are applied."""
    return tuple(part for part in Part if part not in SWITCHES or getattr(settings, SWITCHES[part]))


def render(part: Part, settings: Settings) -> str:
    """The YAML documents of one part."""
    return _template(part).render(settings=settings, **constants())


def render_all(settings: Settings) -> str:
    """The YAML documents of an entire installation."""
    return "---\n".join(render(part, settings) for part in parts(settings))


def render_nads(nads: Iterable[objects.Nad]) -> str:
    """The YAML documents of a LAN's NetworkAttachmentDefinitions."""
    return _template("nads").render(nads=[objects.document(nad) for nad in nads])


def documents(text: str) -> list[dict[str, Any]]:
    """The objects in rendered text."""
    return [document for document in yaml.load_all(text, Loader=_Loader) if document]


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def constants() -> dict[str, Any]:
    """What templates need to know of the model, so that a bound is written in one place."""
    return {
        "version": __version__,
        "kept": False,  # whether CRDs are marked to outlive what they came with
        "model": {
            "group": model.GROUP,
            "version": model.VERSION,
            "kind": model.KIND,
            "vtep": vtep.VTEP_KIND,
            "finalizer": names.FINALIZER_PREFIX,
            "uplink_lease": names.LEASE_PREFIX,
            "any": model.ANY,
            "underlay_fields": list(model.UNDERLAY_FIELDS),
            "port": model.DEFAULT_PORT,
            "bridge": model.DEFAULT_BRIDGE,
            "vxlan": model.DEFAULT_VXLAN,
            "fragmented_mtu": model.FRAGMENTED_MTU,
            "forms": [str(form) for form in names.Forms],
        },
        "quantities": links.QUANTITIES,
        "bounds": {
            "interface": names.MAX_INTERFACE,
            "device": names.MAX_DEVICE,
            "netns": names.MAX_NETNS,
            "vni": vnis.MAX_VNI,
            "remotes": validate.MAX_REMOTES,
            "uplinks": validate.MAX_UPLINKS,
            "vlan": validate.MAX_VLAN,
            "namespaces": validate.MAX_NAMESPACES,
            "spokes": validate.MAX_SPOKES,
            "links": links.MAX_LINKS,
            "limit": links.MAX_LIMIT,
            "tolerated": validate.TOLERATED_SPOKES,
            "resources": 2 * validate.TOLERATED_SPOKES,
            "resource": len(names.RESOURCE_DOMAIN) + 1 + names.MAX_LABEL,
            "min_mtu": validate.MIN_MTU,
            "max_mtu": validate.MAX_MTU,
            "ports": validate.MAX_SPOKES + 1,
            "vtep_message": vtep_codec.MAX_MESSAGE,
            "uplink_message": vtep_codec.MAX_UPLINK_MESSAGE,
        },
    }


# ---------------------------------------------------------------- Jinja


class _Dumper(yaml.SafeDumper):
    """Flow style on one line; plain text stays plain, all other text is quoted, with escapes where it needs any."""


# What every YAML reader, 1.1 or 1.2, takes for text: nothing that begins like a number, nothing like a truth value.
_PLAIN = re.compile(r"(?!(?i:y|n|yes|no|on|off|true|false|null)$)[A-Za-z/][A-Za-z0-9._/-]*")

# JSON is easier to read without a backslash before each of its quotes.
_SINGLE = re.compile(r"(?=.*[\"\\])[!-~]([ -~]*[!-~])?")


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if _PLAIN.fullmatch(text) else "'" if _SINGLE.fullmatch(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(value: object) -> str:
    """``value`` as YAML on one line."""
    if isinstance(value, jinja2.Undefined):
        str(value)  # raises, with the name that is missing
    text = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, width=1 << 31, sort_keys=False, allow_unicode=False
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _tolerations(settings: Settings, component: str) -> list[dict[str, str]]:
    found = settings.agent_tolerations if component == "agent" else settings.controller_tolerations
    return [toleration(item) for item in found]


def toleration(item: Toleration) -> dict[str, str]:
    """A toleration as a pod has it."""
    operator = "Equal" if item.value else "Exists"
    return {k: v for k, v in {"key": item.key, "operator": operator, **asdict(item)}.items() if v}


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(**reading(), finalize=to_yaml)  # noqa: S701  # HTML's escaping has no place in YAML
    environment.filters["mapping"] = dict
    environment.filters["tolerations"] = _tolerations
    return environment


def reading() -> dict[str, Any]:
    """How templates are read: what a Jinja environment for them is made with."""
    return {
        "loader": jinja2.FileSystemLoader(shipped.folder("templates")),
        "undefined": jinja2.StrictUndefined,
        "autoescape": False,
        "trim_blocks": True,
        "lstrip_blocks": True,
        "keep_trailing_newline": True,
    }


def _template(name: str) -> jinja2.Template:
    return _environment().get_template(f"{name}.yaml.j2")
