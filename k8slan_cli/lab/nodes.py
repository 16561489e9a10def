"""A node of a topology file, from its fields on all levels to ``model.Node``: one function for what each field means.

A VM is read as a container first, so that its fields have the same rules, and then loses what only a container has.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from k8slan_cli.lab import kinds, schema, yaml_text
from k8slan_cli.lab.links import WORDS
from k8slan_cli.lab.model import BRIDGES, MAX_USER_DATA, VM, Node, Port
from k8slan_cli.lan import names

if TYPE_CHECKING:
    from k8slan_cli.lab.files import NodeFiles
    from k8slan_cli.lab.levels import Levels
    from k8slan_cli.lab.remarks import Remarks
    from k8slan_cli.lab.yaml_text import Path

_NO_PODS = {
    "host": "a node is a pod or a VM here, and not a host of the cluster",
    "ext-container": "what runs outside of the lab is not plugged into it: attach a pod by hand (k8slan lan example)",
    "k8s-kind": "a cluster in the lab is not made",
}
_MEMORY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
_PORT = re.compile(r"(?:([^:]*):)?([0-9]{1,5}):([0-9]{1,5})(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_ROOTS_OWN = re.compile(r"""(?:\S*sh\s+-\w*c\s+['"]?)?(?:\S*/)?(sysctl|mount)\s""")
"""A command that a container without privileges may not do, by itself or first in a shell's script."""
_WITHOUT = {
    "sysctl": "it may not write to /proc/sys. Write it into sysctls, or give --privileged",
    "mount": "it may not mount. Give --privileged, or cap-add: [SYS_ADMIN]",
}
_PULL = {"always": "Always", "never": "Never", "ifnotpresent": "IfNotPresent"}


def read(levels: Levels, files: NodeFiles, remarks: Remarks) -> Node | None:
    """Return a node; None for a bridge, which becomes a LAN, and for one that cannot be."""
    at, kind = levels.path, levels.kind
    if levels.name in WORDS:
        remarks.wrong(at, f"{levels.name} is a word of links, and no name for a node")
    elif ":" in levels.name:
        remarks.wrong(at, "the name must have no colon, which is between a node and its interface")
    elif not names.as_label(levels.name):
        remarks.wrong(at, "the name must have a letter or a digit")
    if not kind:
        remarks.wrong(at, "has no kind, and topology.defaults.kind gives none")
        return None
    kind_path = levels.last("kind")[0] or at
    if reason := _NO_PODS.get(kind):
        remarks.wrong(kind_path, f"{kind}: {reason}")
        return None
    _unused(levels, remarks)
    if kind in BRIDGES:
        return None
    if not levels.all("image") and not (kind == VM and levels.all("template")):
        remarks.wrong(at, "needs an image" + (", or a template" if kind == VM else ""))
    if kind not in kinds.KINDS and kind != VM:
        remarks.warn(kind_path, f"{kind} is not known here: it runs as a privileged container of its image")
    node = _container(levels, files, remarks)
    return _machine(node, levels, files, remarks) if kind == VM else node


def _container(levels: Levels, files: NodeFiles, remarks: Remarks) -> Node:
    known = kinds.known(levels.kind)
    privileged = known.privileged and levels.kind != VM
    bound, volumes = files.binds(levels)
    found = [*(files.configuration(levels) if levels.kind != VM else ()), *bound]
    env = dict(known.env) | _env(levels, files, remarks)
    command, args = (_words(*levels.last(field), remarks) for field in ("entrypoint", "cmd"))
    _network_mode(levels, remarks)
    _restart_policy(levels, remarks)
    capabilities = tuple(dict.fromkeys((*known.capabilities, *_capabilities(levels, remarks))))
    if not privileged and levels.kind != VM:
        _unprivileged(levels, capabilities, remarks)
    _, cpu = levels.last("cpu")
    return Node(
        name=levels.name,
        kind=levels.kind,
        image=levels.last("image")[1] or "",
        pull=_pull(levels, remarks),
        command=command,
        args=args or (() if command else kinds.args(levels.kind, env)),
        env=tuple(env.items()),
        after=tuple(_after(levels, remarks)),
        sysctls=_sysctls(levels, known, remarks),
        labels=tuple(_labels(levels, remarks)),
        files=tuple({file.place: file for file in found}.values()),
        volumes=tuple(volumes),
        ports=tuple(_ports(levels, remarks)),
        capabilities=() if privileged else capabilities,
        privileged=privileged,
        user=_user(levels, known, remarks),
        cpu=round((cpu or 0) * 1000),
        memory=_memory(levels, remarks),
    )


def _machine(node: Node, levels: Levels, files: NodeFiles, remarks: Remarks) -> Node:
    """A VM, without what only a container has."""
    template = files.template(levels)
    config = files.startup_config(levels)
    if len(config.encode()) > MAX_USER_DATA:
        remarks.wrong(levels.last("startup_config")[0], f"is longer than {MAX_USER_DATA} bytes: use a template")
    return replace(
        node, template=template, config=config, files=(), volumes=(), command=(), args=(), env=(), after=(), sysctls=()
    )


def _unused(levels: Levels, remarks: Remarks) -> None:
    """Warn of fields that such a node has no use for; the defaults are there for nodes of other kinds as well."""
    unused = schema.POD_UNUSED
    if levels.kind in BRIDGES:
        unused = schema.BRIDGE_UNUSED
    elif levels.kind == VM:
        unused = schema.TEMPLATE_UNUSED if levels.all("template") else schema.VM_UNUSED
    for path, fields in levels.levels:
        if levels.kind == VM or path != ("topology", "defaults"):
            remarks.idle(path, fields, unused)


def _unprivileged(levels: Levels, capabilities: Collection[str], remarks: Remarks) -> None:
    """Warn of what works in containerlab, where each container is privileged, and not with these capabilities."""
    may = "SYS_ADMIN" in capabilities
    for path, commands in levels.all("exec"):
        for position, command in enumerate(commands):
            found = _ROOTS_OWN.match(command)
            if found and not (may and found[1] == "mount"):
                why = _WITHOUT[found[1]]
                remarks.warn((*path, position), f"fails in a node of kind {levels.kind} that is not privileged: {why}")
    path, image = levels.last("image")
    if image and not may and "frr" in image.rpartition("/")[2]:
        hint = "Write kind: frr, or cap-add: [SYS_ADMIN], or give --privileged"
        remarks.warn(path, f"looks like FRR, which does not start in a node of kind {levels.kind}. {hint}")


def _network_mode(levels: Levels, remarks: Remarks) -> None:
    path, mode = levels.last("network_mode")
    if mode == "none":
        remarks.warn(path, "is not used: a pod always has eth0, on the cluster's pod network")
    elif mode not in (None, "bridge"):
        remarks.wrong(path, f"{mode!r}: a pod with another's network cannot be plugged into LANs")


def _restart_policy(levels: Levels, remarks: Remarks) -> None:
    path, policy = levels.last("restart_policy")
    if policy is not None and policy.lower() not in ("always", "unless-stopped"):
        remarks.warn(path, "is not used: a pod that ends is started again")


def _pull(levels: Levels, remarks: Remarks) -> str:
    path, policy = levels.last("image_pull_policy")
    if policy is None:
        return ""
    if policy.lower() not in _PULL:
        remarks.wrong(path, f"{policy!r} is not one of {', '.join(_PULL.values())}")
    return _PULL.get(policy.lower(), "")


def _words(path: Path, text: str | None, remarks: Remarks) -> tuple[str, ...]:
    """A command, taken apart as a shell would."""
    try:
        return tuple(shlex.split(text or ""))
    except ValueError as error:
        remarks.wrong(path, f"cannot be taken apart into words: {str(error).lower()}")
        return ()


def _after(levels: Levels, remarks: Remarks) -> Iterator[tuple[str, ...]]:
    seen: set[str] = set()
    for path, commands in levels.all("exec"):
        for position, command in enumerate(commands):
            if command not in seen:
                seen.add(command)
                if words := _words((*path, position), command, remarks):
                    yield words


def _env(levels: Levels, files: NodeFiles, remarks: Remarks) -> dict[str, str]:
    found: dict[str, str] = {}
    for path, listed in levels.all("env_files"):
        for position, name in enumerate(listed):
            text = files.content((*path, position), name)
            lines = (line.strip() for line in text.decode(errors="replace").splitlines())
            assignments = (line.partition("=") for line in lines if line and not line.startswith("#"))
            found |= {key.strip(): value.strip() for key, _, value in assignments}
    for path, pairs in levels.all("env"):
        for key, value in pairs.items():
            if key == "__IMPORT_ENVS":
                remarks.warn((*path, key), "is not used: name the variables, as ${NAME}")
            elif not re.fullmatch(r"[-._a-zA-Z][-._a-zA-Z0-9]*", key):
                remarks.wrong((*path, key), "cannot be the name of a variable")
            else:
                found[key] = value or ""
    return found


def _sysctls(levels: Levels, known: kinds.Kind, remarks: Remarks) -> tuple[tuple[str, str], ...]:
    found = dict(known.sysctls)
    for path, pairs in levels.all("sysctls"):
        for key, value in pairs.items():
            if not re.fullmatch(r"[a-z0-9_]+([./][A-Za-z0-9_-]+)+", key):
                remarks.wrong((*path, key), "is not the name of a sysctl")
            elif not key.startswith("net."):
                remarks.warn(
                    (*path, key), "is not set: it is not of the network, and so the node's that the pod runs on"
                )
            else:
                found[key] = value or ""
    return tuple(found.items())


def _labels(levels: Levels, remarks: Remarks) -> Iterator[tuple[str, str]]:
    found = {key: ((*path, key), value or "") for path, pairs in levels.all("labels") for key, value in pairs.items()}
    for key, (path, value) in found.items():
        if fault := names.label_key_fault(key) or names.label_value_fault(value):
            remarks.warn(path, f"is not used: {fault}")
        elif key in (names.LAB_LABEL, names.LAB_NODE_LABEL):
            remarks.wrong(path, "is k8slan's own label")
        else:
            yield key, value


def _ports(levels: Levels, remarks: Remarks) -> Iterator[Port]:
    seen: dict[tuple[int, str], Path] = {}
    for path, listed in levels.all("ports"):
        for position, text in enumerate(listed):
            here = (*path, position)
            found = _PORT.fullmatch(text)
            numbers = tuple(map(int, found.group(2, 3))) if found else ()
            if not found or not all(1 <= number <= 65535 for number in numbers):
                remarks.wrong(here, f"{names.shown(text)} is not OUTSIDE:INSIDE, with /udp or /tcp behind it")
                continue
            if found[1]:
                remarks.warn(
                    here, f"{names.shown(found[1])} is not used: a Service has an address of the cluster's own"
                )
            protocol = (found[4] or "tcp").upper()
            if (first := seen.setdefault((numbers[0], protocol), here)) != here:
                remarks.wrong(here, f"port {numbers[0]} is {yaml_text.written(first)} already")
            yield Port(outside=numbers[0], inside=numbers[1], protocol=protocol)


def _capabilities(levels: Levels, remarks: Remarks) -> Iterator[str]:
    for path, listed in levels.all("cap_add"):
        for position, name in enumerate(listed):
            short = name.upper().removeprefix("CAP_")
            if not re.fullmatch(r"[A-Z_]+", short):
                remarks.wrong((*path, position), f"{names.shown(name)} is not a capability")
            else:
                yield short


def _user(levels: Levels, known: kinds.Kind, remarks: Remarks) -> int | None:
    path, user = levels.last("user")
    if user is None:
        return known.user
    if user == "root":
        return 0
    if not re.fullmatch(r"[0-9]{1,9}", user):
        remarks.wrong(path, f"{names.shown(user)}: Kubernetes takes a user by its number")
        return None
    return int(user)


def _memory(levels: Levels, remarks: Remarks) -> int:
    path, text = levels.last("memory")
    if text is None:
        return 0
    if not (found := _MEMORY.fullmatch(text)):
        remarks.wrong(path, f"{names.shown(text)} is not a size such as 512mib or 1Gb")
        return 0
    size = float(found[1]) * float(1024 if found[3] else 1000) ** " kmgt".index(found[2].lower() or " ")
    if not 1 << 20 <= size <= 1 << 50:
        remarks.wrong(path, f"{text} is not at least 1MiB, and not more than 1PiB")
    return int(size)
