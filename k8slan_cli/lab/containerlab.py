"""containerlab's files as labs: the schema held against a text, defaults, kinds, groups and nodes merged, links joined.

All problems of a file are found before any is raised, each with its path, its line and its column. What is valid and
not done here is a warning.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from k8slan_cli.errors import Invalid, K8slanError, Problem, near, yaml_fault
from k8slan_cli.lab import kinds, schema, yaml_text
from k8slan_cli.lab.model import (
    BRIDGES,
    MAX_FILES,
    MAX_FILES_SIZE,
    MAX_USER_DATA,
    VM,
    End,
    File,
    Lab,
    Node,
    Port,
    Segment,
    Tunnel,
)
from k8slan_cli.lan import links, names
from k8slan_cli.lan.links import CLEAN, Impairment, Link
from k8slan_cli.lan.validate import MAX_SPOKES
from k8slan_cli.lan.vnis import MAX_VNI

if TYPE_CHECKING:
    from k8slan_cli.lab.schema import EndFields, LinkFields, NodeFields
    from k8slan_cli.lab.yaml_text import Path, Text

Content = tuple[bytes, int]
"""What is in a file, and its mode."""
Files = Callable[[str], Mapping[str, Content]]
"""Reads a file, then its name is "", or all files of a folder, by their paths in it. Raises K8slanError."""

MAX_NODES = 1000
_VXLAN_PORT = 14789
"""The UDP port that containerlab takes where none is given."""
_TYPES = ("veth", "mgmt-net", "macvlan", "host", "vxlan", "vxlan-stitch", "dummy")
_ALONE = {"mgmt-net", "macvlan", "host", "dummy"}
"""What a brief end may name instead of a node."""
_KERNELS_OWN = ("lo", "all", "default")
_NO_PODS = {
    "host": "a node is a pod or a VM here, and not a host of the cluster",
    "ext-container": "what runs outside of the lab is not plugged into it: attach a pod by hand (k8slan lan example)",
    "k8s-kind": "a cluster in the lab is not made",
}
TOO_MUCH = f"a node has {MAX_FILES} files at the most, of {MAX_FILES_SIZE} bytes together"
_MEMORY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
_PORT = re.compile(r"(?:[^:]*:)?([0-9]{1,5}):([0-9]{1,5})(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_PULL = {"always": "Always", "never": "Never", "ifnotpresent": "IfNotPresent"}
_MAC = re.compile(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")


def read(text: str, subject: str, *, files: Files, environment: Mapping[str, str]) -> Lab:
    """Read a file's text.

    Raises:
        Invalid: with all that is wrong with it; ``subject`` is what to call the file.

    """
    return translate(yaml_text.read(text, subject, environment), subject, files=files)


def name(text: str, subject: str, environment: Mapping[str, str]) -> str:
    """Return the name of the lab of a file's text, whatever else is wrong with it.

    Raises:
        Invalid: it is not YAML, or has no name.

    """
    found = yaml_text.read(text, subject, environment)
    named = found.value.get("name") if isinstance(found.value, dict) else None
    if not isinstance(named, str) or not named:
        raise Invalid(subject, (Problem(field=found.field(("name",)), message="is missing"),))
    return named


def translate(found: Text, subject: str, *, files: Files, warnings: Iterable[str] = ()) -> Lab:
    """Make a lab of a file's value; ``warnings`` are what is known already not to be used.

    Raises:
        Invalid: with all that is wrong with it.

    """
    try:
        whole = schema.FileFields.model_validate(found.value)
    except ValidationError as error:
        raise Invalid(subject, tuple(_shape(error, found))) from None
    reader = _Reader(found, whole, files, warnings)
    lab = reader.lab()
    if reader.problems:
        raise Invalid(subject, tuple(reader.problems))
    return lab


def _shape(error: ValidationError, text: Text) -> Iterator[Problem]:
    """What pydantic says of a shape, in our words, once for each field."""
    said: set[str] = set()
    for each in error.errors(include_url=False, include_context=False):
        path = tuple(step for step in each["loc"] if step not in ("str", "EndFields"))
        where = text.field(path)
        if where not in said:
            said.add(where)
            yield Problem(field=where, message=_WORDS.get(each["type"]) or _plain(each["msg"]))


_WORDS = {
    "missing": "is missing",
    "model_type": "must be fields with values",
    "dict_type": "must be fields with values",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
}


def _plain(message: str) -> str:
    return message.removeprefix("Input ").replace("should be", "must be")


@dataclass(slots=True)
class _Meeting:
    """Ends that hear each other, while links are still read."""

    name: str = ""
    ends: list[End] = field(default_factory=list)
    mtus: list[int] = field(default_factory=list)
    nics: list[str] = field(default_factory=list)
    tunnels: list[Tunnel] = field(default_factory=list)


class _Reader:
    """Goes through a file whose shape is right."""

    def __init__(self, text: Text, whole: schema.FileFields, files: Files, warnings: Iterable[str]) -> None:
        self.problems: list[Problem] = []
        self._text = text
        self._whole = whole
        self._topology = whole.topology
        self._files = files
        self._warnings = list(warnings)
        self._kinds: dict[str, str] = {}
        self._taken: dict[tuple[str, str], Path] = {}

    # ------------------------------------------------------------ saying what is wrong

    def _wrong(self, path: Path, message: str) -> None:
        self.problems.append(Problem(field=self._text.field(path), message=message))

    def _warn(self, path: Path, message: str) -> None:
        self._warnings.append(f"{self._text.field(path)}: {message}")

    def _extra(self, path: Path, fields: Any, unused: Mapping[str, str]) -> None:
        """Warn of fields that mean nothing here, and refuse those that nobody knows."""
        known = [info.alias or name for name, info in type(fields).model_fields.items()]
        for name in fields.model_extra or ():
            if name in unused:
                self._warn((*path, name), f"is not used: {unused[name]}")
            else:
                hint = near(name, known)
                self._wrong(
                    (*path, name), "is no field that is known" + (f": {hint}" if hint.startswith("did") else "")
                )

    # ------------------------------------------------------------ the lab

    def lab(self) -> Lab:
        """Read all of it; where there are problems, what comes back is not to be used."""
        topology, at = self._topology, ("topology",)
        self._extra((), self._whole, schema.FILE_UNUSED)
        self._extra(at, topology, {})
        if not names.lab(self._whole.name):
            self._wrong(("name",), "must have a letter or a digit")
        for variable, (line, column) in self._text.unset.items():
            self._warnings.append(f"({line}:{column}): the variable {variable} is not set, and so empty")
        levels: dict[Path, NodeFields] = {(*at, "defaults"): topology.defaults}
        for level in ("kinds", "groups", "nodes"):
            levels |= {(*at, level, name): found for name, found in getattr(topology, level).items()}
        for path, fields in levels.items():
            self._extra(path, fields, schema.NODE_UNUSED)
        if len(topology.nodes) > MAX_NODES:
            self._wrong((*at, "nodes"), f"has {len(topology.nodes)} nodes, {MAX_NODES} at the most")
            return Lab(name=self._whole.name)
        nodes = [self._node(name) for name in topology.nodes]
        segments = self._segments()
        return Lab(
            name=self._whole.name,
            nodes=tuple(node for node in nodes if node),
            segments=segments,
            warnings=tuple(dict.fromkeys(self._warnings)),
        )

    # ------------------------------------------------------------ nodes

    def _levels(self, name: str) -> list[tuple[Path, NodeFields]]:
        """What applies to a node, the most special last: defaults, its kind, its group, itself."""
        topology = self._topology
        own = topology.nodes[name]
        group_name = (
            own.group or topology.kinds.get(own.kind or "", schema.NodeFields()).group or topology.defaults.group
        )
        group = topology.groups.get(group_name or "")
        kind_name = own.kind or (group.kind if group else None) or topology.defaults.kind
        found: list[tuple[Path, NodeFields]] = [(("topology", "defaults"), topology.defaults)]
        if kind_name and (kind := topology.kinds.get(kind_name)):
            found.append((("topology", "kinds", kind_name), kind))
        if group_name and group:
            found.append((("topology", "groups", group_name), group))
        found.append((("topology", "nodes", name), own))
        self._kinds[name] = kind_name or ""
        return found

    def _node(self, name: str) -> Node | None:
        at: Path = ("topology", "nodes", name)
        levels = self._levels(name)
        kind = self._kinds[name]
        if name in _ALONE | {"vxlan"}:
            self._wrong(at, f"{name} is a word of links, and no name for a node")
        elif not names.as_label(name):
            self._wrong(at, "the name must have a letter or a digit")
        if not kind:
            self._wrong(at, "has no kind, and topology.defaults.kind gives none")
            return None
        if reason := _NO_PODS.get(kind):
            self._wrong(_of(levels, "kind") or at, f"{kind}: {reason}")
            return None
        if kind in BRIDGES:
            return None
        merged = _Merged(levels)
        if not merged.has("image") and not (kind == VM and merged.has("template")):
            self._wrong(at, "needs an image" + (", or a template" if kind == VM else ""))
        if kind not in kinds.KINDS and kind != VM:
            self._warn(
                _of(levels, "kind") or at, f"{kind} is not known here: it runs as a privileged container of its image"
            )
        node = self._container(name, kind, merged)
        return self._machine(node, merged) if kind == VM else node

    def _container(self, name: str, kind: str, merged: _Merged) -> Node:
        known = kinds.known(kind)
        privileged = known.privileged and kind != VM
        files, volumes = self._binds(name, merged)
        files += self._configuration(kind, merged) if kind != VM else []
        self._mode(merged)
        return Node(
            name=name,
            kind=kind,
            image=merged.one("image"),
            pull=self._pull(merged),
            command=self._words(merged, "entrypoint"),
            args=self._words(merged, "cmd"),
            env=self._env(merged),
            after=tuple(self._after(merged)),
            sysctls=self._sysctls(merged, known),
            labels=tuple(self._labels(merged)),
            files=tuple({file.place: file for file in files}.values()),
            volumes=tuple(volumes),
            ports=tuple(self._ports(merged)),
            capabilities=() if privileged else tuple(dict.fromkeys((*known.capabilities, *self._capabilities(merged)))),
            privileged=privileged,
            user=self._user(merged),
            cpu=round(merged.fields("cpu")[-1][1] * 1000) if merged.has("cpu") else 0,
            memory=self._memory(merged),
        )

    def _machine(self, node: Node, merged: _Merged) -> Node:
        """A VM: what only a container has is said not to be used."""
        for name in (
            "entrypoint",
            "cmd",
            "exec",
            "env",
            "env_files",
            "sysctls",
            "binds",
            "cap_add",
            "user",
        ):
            for path, _ in merged.fields(name):
                self._warn(path, "is not used: a VM has its own; startup-config becomes its cloud-init user data")
        template = self._template(merged)
        config = self._text_or_file(merged, "startup_config")
        if len(config.encode()) > MAX_USER_DATA:
            self._wrong(merged.fields("startup_config")[-1][0], f"is longer than {MAX_USER_DATA} bytes: use a template")
        return replace(
            node,
            template=template,
            config=config,
            files=(),
            volumes=(),
            command=(),
            args=(),
            env=(),
            after=(),
            sysctls=(),
        )

    def _mode(self, merged: _Merged) -> None:
        if not merged.has("network_mode"):
            return
        path, mode = merged.fields("network_mode")[-1]
        if mode == "none":
            self._warn(path, "is not used: a pod always has eth0, on the cluster's pod network")
        elif mode != "bridge":
            self._wrong(path, f"{mode!r}: a pod with another's network cannot be plugged into LANs")

    def _pull(self, merged: _Merged) -> str:
        if merged.has("restart_policy"):
            path, policy = merged.fields("restart_policy")[-1]
            if policy.lower() not in ("always", "unless-stopped"):
                self._warn(path, "is not used: a pod that ends is started again")
        if not merged.has("image_pull_policy"):
            return ""
        path, policy = merged.fields("image_pull_policy")[-1]
        if policy.lower() not in _PULL:
            self._wrong(path, f"{policy!r} is not one of {', '.join(_PULL.values())}")
        return _PULL.get(policy.lower(), "")

    def _words(self, merged: _Merged, name: str) -> tuple[str, ...]:
        if not merged.has(name):
            return ()
        path, text = merged.fields(name)[-1]
        return self._split(path, text)

    def _split(self, path: Path, text: str) -> tuple[str, ...]:
        try:
            return tuple(shlex.split(text))
        except ValueError as error:
            self._wrong(path, f"cannot be taken apart into words: {str(error).lower()}")
            return ()

    def _after(self, merged: _Merged) -> Iterator[tuple[str, ...]]:
        seen: set[str] = set()
        for path, commands in merged.fields("exec"):
            for position, command in enumerate(commands):
                if command not in seen:
                    seen.add(command)
                    if words := self._split((*path, position), command):
                        yield words

    def _env(self, merged: _Merged) -> tuple[tuple[str, str], ...]:
        found: dict[str, str] = {}
        for path, listed in merged.fields("env_files"):
            for position, name in enumerate(listed):
                text = self._content((*path, position), name)
                lines = (line.strip() for line in text.decode(errors="replace").splitlines())
                pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
                found |= {key.strip(): value.strip() for key, _, value in pairs}
        for path, pairs_ in merged.fields("env"):
            for key, value in pairs_.items():
                if key == "__IMPORT_ENVS":
                    self._warn((*path, key), "is not used: name the variables, as ${NAME}")
                elif not re.fullmatch(r"[-._a-zA-Z][-._a-zA-Z0-9]*", key):
                    self._wrong((*path, key), "cannot be the name of a variable")
                else:
                    found[key] = value or ""
        return tuple(found.items())

    def _sysctls(self, merged: _Merged, known: kinds.Kind) -> tuple[tuple[str, str], ...]:
        found: dict[str, str] = {}
        for path, pairs in merged.fields("sysctls"):
            for key, value in pairs.items():
                if not re.fullmatch(r"[a-z0-9_]+([./][A-Za-z0-9_-]+)+", key):
                    self._wrong((*path, key), "is not the name of a sysctl")
                elif not key.startswith("net."):
                    self._warn(
                        (*path, key), "is not set: it is not of the network, and so the node's that the pod runs on"
                    )
                else:
                    found[key] = value or ""
        return tuple((found | dict(known.sysctls)).items())

    def _labels(self, merged: _Merged) -> Iterator[tuple[str, str]]:
        found = {
            key: ((*path, key), value or "") for path, pairs in merged.fields("labels") for key, value in pairs.items()
        }
        for key, (path, value) in found.items():
            if fault := names.label_key_fault(key) or names.label_value_fault(value):
                self._warn(path, f"is not used: {fault}")
            elif key in (names.LAB_LABEL, names.LAB_NODE_LABEL):
                self._wrong(path, "is k8slan's own label")
            else:
                yield key, value

    def _capabilities(self, merged: _Merged) -> Iterator[str]:
        for path, listed in merged.fields("cap_add"):
            for position, name in enumerate(listed):
                short = name.upper().removeprefix("CAP_")
                if not re.fullmatch(r"[A-Z_]+", short):
                    self._wrong((*path, position), f"{names.shown(name)} is not a capability")
                else:
                    yield short

    def _user(self, merged: _Merged) -> int | None:
        if not merged.has("user"):
            return None
        path, user = merged.fields("user")[-1]
        if user == "root":
            return 0
        if not re.fullmatch(r"[0-9]{1,9}", user):
            self._wrong(path, f"{names.shown(user)}: Kubernetes takes a user by its number")
            return None
        return int(user)

    def _memory(self, merged: _Merged) -> int:
        if not merged.has("memory"):
            return 0
        path, text = merged.fields("memory")[-1]
        if not (found := _MEMORY.fullmatch(text)):
            self._wrong(path, f"{names.shown(text)} is not a size such as 512mib or 1Gb")
            return 0
        size = float(found[1]) * float(1024 if found[3] else 1000) ** " kmgt".index(found[2].lower() or " ")
        if not 1 << 20 <= size <= 1 << 50:
            self._wrong(path, f"{text} is not at least 1MiB, and not more than 1PiB")
        return int(size)

    def _ports(self, merged: _Merged) -> Iterator[Port]:
        seen: dict[tuple[int, str], Path] = {}
        for path, listed in merged.fields("ports"):
            for position, text in enumerate(listed):
                here = (*path, position)
                found = _PORT.fullmatch(text)
                numbers = tuple(map(int, found.group(1, 2))) if found else ()
                if not found or not all(1 <= number <= 65535 for number in numbers):
                    self._wrong(here, f"{names.shown(text)} is not OUTSIDE:INSIDE, with /udp or /tcp behind it")
                    continue
                protocol = (found[3] or "tcp").upper()
                if (first := seen.setdefault((numbers[0], protocol), here)) != here:
                    self._wrong(here, f"port {numbers[0]} is {yaml_text.written(first)} already")
                yield Port(outside=numbers[0], inside=numbers[1], protocol=protocol)

    # ------------------------------------------------------------ files

    def _read(self, path: Path, name: str) -> Mapping[str, Content]:
        try:
            return self._files(name)
        except K8slanError as error:
            self._wrong(path, str(error))
            return {}

    def _content(self, path: Path, name: str) -> bytes:
        found = self._read(path, name)
        if found and "" not in found:
            self._wrong(path, f"{name} is a folder")
        return found.get("", (b"", 0))[0]

    def _template(self, merged: _Merged) -> Mapping[str, Any] | None:
        """A VM's KubeVirt manifest; what of it KubeVirt does not take, KubeVirt says."""
        if not merged.has("template"):
            return None
        path, name = merged.fields("template")[-1]
        try:
            found = yaml.safe_load(self._content(path, name))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            self._wrong(path, f"{name} is not YAML: {yaml_fault(error)}")
            return None
        try:
            if found["kind"] != "VirtualMachine" or not isinstance(found["spec"]["template"]["spec"]["domain"], dict):
                raise ValueError
        except (TypeError, KeyError, ValueError):
            self._wrong(path, f"{name} is not one VirtualMachine with spec.template.spec.domain")
            return None
        return dict(found)

    def _text_or_file(self, merged: _Merged, name: str) -> str:
        """Return a field that is text if it has several lines, and names a file otherwise."""
        if not merged.has(name):
            return ""
        path, text = merged.fields(name)[-1]
        if "\n" in text:
            return str(text)
        if re.match(r"https?://", text):
            self._wrong(path, "is not fetched: save it beside the topology, and name the file")
            return ""
        return self._content(path, str(text)).decode(errors="replace")

    def _configuration(self, kind: str, merged: _Merged) -> list[File]:
        known = kinds.known(kind)
        found = [File(place=place, content=text.encode()) for place, text in known.beside.items()]
        extras = merged.fields("extras")
        daemons: tuple[str, ...] = kinds.FRR_DAEMONS
        for path, extra in extras:
            for key, value in extra.items():
                if key == "frr" and kinds.is_frr(kind):
                    daemons = self._daemons((*path, key), value)
                else:
                    self._warn((*path, key), "is not used: it is of a kind of containerlab's")
        if kinds.is_frr(kind):
            found.append(File(place=kinds.DAEMONS_FILE, content=kinds.daemons(daemons).encode()))
        if merged.has("startup_config"):
            text = self._text_or_file(merged, "startup_config")
            if known.config:
                found.append(File(place=known.config, content=text.encode()))
            else:
                self._warn(
                    merged.fields("startup_config")[-1][0],
                    f"is not used: where {kind} keeps its configuration is not known; use binds",
                )
        elif kinds.is_frr(kind):
            found.append(File(place=known.config, content=b"frr defaults traditional\nlog stdout\n"))
        return found

    def _daemons(self, path: Path, value: Any) -> tuple[str, ...]:
        listed = value.get("daemons") if isinstance(value, dict) else None
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            self._wrong(path, "must have a list of daemons")
            return ()
        for position, name in enumerate(listed):
            if name not in (*kinds.FRR_DAEMONS, *kinds.FRR_ALWAYS):
                hint = near(name, kinds.FRR_DAEMONS)
                self._wrong((*path, "daemons", position), f"{names.shown(name)} is no daemon of FRR; {hint}")
        return tuple(listed)

    def _binds(self, node: str, merged: _Merged) -> tuple[list[File], list[str]]:
        """The files that binds name, by their place in the node: the most special level has the last word."""
        wanted: dict[str, tuple[Path, str]] = {}
        for path, listed in merged.fields("binds"):
            for position, text in enumerate(listed):
                here = (*path, position)
                source, _, rest = text.partition(":")
                place, _, options = rest.partition(":")
                if not rest:
                    source, place = "", source
                if not place.startswith("/") or ".." in place.split("/"):
                    self._wrong(here, f"{names.shown(place)} is not where a file can be in a node: a path from /")
                elif unknown := [
                    each for each in filter(None, options.split(",")) if each not in ("ro", "rw", "z", "Z")
                ]:
                    self._wrong(here, f"the option {unknown[0]!r} is not known")
                elif not place.strip("/"):
                    self._wrong(here, "a node has its image there")
                else:
                    wanted[place.rstrip("/")] = (here, source)
        if self._kinds[node] == VM:
            return [], []
        files: dict[str, File] = {}
        folder = f"clab-{self._whole.name}"
        size = 0
        for place, (path, source) in wanted.items():
            source = source.replace("__clabNodeDir__", f"{folder}/{node}").replace("__clabDir__", folder)
            found = self._read(path, source) if source else {}
            size += sum(len(content) for content, _ in found.values())
            files |= {
                whole: File(place=whole, content=content, mode=mode)
                for name, (content, mode) in found.items()
                for whole in (f"{place}/{name}" if name else place,)
            }
            if size > MAX_FILES_SIZE or len(files) > MAX_FILES:
                self._wrong(path, f"{TOO_MUCH}: put it into the image")
                break
        return list(files.values()), [place for place, (_, source) in wanted.items() if not source]

    # ------------------------------------------------------------ links

    def _segments(self) -> tuple[Segment, ...]:
        meetings = {name: _Meeting(name=name) for name, kind in self._kinds.items() if kind in BRIDGES}
        joined: dict[str, str] = {}
        single: list[_Meeting] = []

        def of(hub: str) -> str:
            while hub in joined:
                hub = joined[hub]
            return hub

        for position, link in enumerate(self._topology.links):
            path: Path = ("topology", "links", position)
            self._extra(path, link, schema.LINK_UNUSED)
            found = self._link(path, link)
            if found is None:
                continue
            hubs, meeting = found
            if not hubs:
                single.append(meeting)
                continue
            first = of(hubs[0])
            whole = meetings.setdefault(first, _Meeting(name=first))
            _merge(whole, meeting)
            for hub in map(of, hubs[1:]):
                if hub != first:
                    _merge(whole, meetings.pop(hub, _Meeting()))
                    joined[hub] = first
        for name, meeting in list(meetings.items()):
            if not meeting.ends:
                meetings.pop(name)
                if name in self._topology.nodes:
                    self._warn(("topology", "nodes", name), "nothing is plugged into it: it becomes no LAN")
            elif len({(each.vni, each.port) for each in meeting.tunnels}) > 1:
                self._wrong(
                    ("topology", "nodes", name), "all VXLAN tunnels that meet here have to have one vni and udp-port"
                )
            elif len(meeting.ends) > MAX_SPOKES:
                self._wrong(
                    ("topology", "nodes", name), f"{len(meeting.ends)} ends meet here, {MAX_SPOKES} at the most"
                )
        return tuple(
            Segment(
                name=each.name,
                ends=tuple(each.ends),
                mtu=min(each.mtus, default=0),
                nics=tuple(dict.fromkeys(each.nics)),
                tunnels=tuple(dict.fromkeys(each.tunnels)),
            )
            for each in (*meetings.values(), *single)
        )

    def _link(self, path: Path, link: LinkFields) -> tuple[list[str], _Meeting] | None:
        """The bridges and their like that a link leads to, and what it adds there; None if it cannot be."""
        kind = link.type or "veth"
        if kind not in _TYPES:
            self._wrong((*path, "type"), f"{names.shown(kind)} is not one of {', '.join(_TYPES)}")
            return None
        meeting = _Meeting(mtus=[link.mtu] if link.mtu else [])
        impairment = self._impairment((*path, "impairment"), link)
        if kind == "veth":
            return self._veth(path, link, meeting, impairment)
        if link.endpoint is None or link.endpoints is not None:
            self._wrong(path, f"a link of type {kind} has one endpoint: endpoint")
            return None
        ends = [self._end((*path, "endpoint"), link.endpoint, impairment)]
        return self._alone(path, kind, link.host_interface or "", link, ends, meeting)

    def _veth(
        self, path: Path, link: LinkFields, meeting: _Meeting, impairment: Impairment
    ) -> tuple[list[str], _Meeting] | None:
        found = link.endpoints
        if found is None or len(found) != 2 or link.endpoint is not None:
            self._wrong((*path, "endpoints") if found is not None else path, "a link has two endpoints: endpoints")
            return None
        texts = [each if isinstance(each, str) else f"{each.node}:{each.interface}" for each in found]
        special = [text for text in texts if text.partition(":")[0] in {*_ALONE, "vxlan", "vxlan-stitch"}]
        if len(special) == 2:
            self._wrong((*path, "endpoints"), "at least one of the two has to be a node")
            return None
        ends = [
            self._end((*path, "endpoints", position), each, impairment, _at(link, position))
            for position, (each, text) in enumerate(zip(found, texts, strict=True))
            if text not in special
        ]
        if special:
            kind, _, device = special[0].partition(":")
            if kind.startswith("vxlan"):
                self._wrong((*path, "endpoints"), "write it in full: type, endpoint, remote and vni")
                return None
            return self._alone(path, kind, device, link, ends, meeting)
        return self._plugged(ends, meeting)

    def _alone(
        self, path: Path, kind: str, device: str, link: LinkFields, ends: list[End | str | None], meeting: _Meeting
    ) -> tuple[list[str], _Meeting] | None:
        """A link with a node at one end only."""
        if kind == "host":
            self._wrong(path, "a link to the host itself has no place in a cluster: take macvlan and a NIC of a host")
            return None
        if kind == "macvlan":
            if fault := names.interface_fault(device, names.MAX_DEVICE):
                self._wrong(path, f"host-interface {fault}")
                return None
            if link.mode not in (None, "bridge"):
                self._warn((*path, "mode"), "is not used: all that share a NIC hear each other, as in mode bridge")
            meeting.nics.append(device)
            return self._plugged(ends, meeting, f"macvlan:{device}")
        if kind == "mgmt-net":
            self._warn(path, "its ends share a LAN of their own, which is not the pods' network of eth0")
            return self._plugged(ends, meeting, "mgmt-net")
        if kind.startswith("vxlan"):
            if not self._remote(path, link):
                return None
            port = link.udp_port or _VXLAN_PORT
            meeting.tunnels.append(Tunnel(remote=str(link.remote), vni=link.vni or 0, port=port))
        return self._plugged(ends, meeting)

    def _remote(self, path: Path, link: LinkFields) -> bool:
        before = len(self.problems)
        try:
            ipaddress.ip_address(link.remote or "")
        except ValueError:
            self._wrong((*path, "remote"), f"{names.shown(link.remote or '')} is not an IP address")
        if link.vni is None or not 1 <= link.vni <= MAX_VNI:
            self._wrong((*path, "vni"), f"is not in 1..{MAX_VNI}")
        return len(self.problems) == before

    def _plugged(
        self, ends: Iterable[End | str | None], meeting: _Meeting, *more: str
    ) -> tuple[list[str], _Meeting] | None:
        found = list(ends)
        if None in found:
            return None
        meeting.ends += [end for end in found if isinstance(end, End)]
        return [*(end for end in found if isinstance(end, str)), *more], meeting

    def _end(
        self, path: Path, found: str | EndFields, impairment: Impairment, addresses: tuple[str, ...] = ()
    ) -> End | str | None:
        """An end at a node; of one at a bridge, its name; None if it cannot be."""
        mac = ""
        if isinstance(found, str):
            node, colon, interface = found.partition(":")
            if not colon:
                self._wrong(path, f"{names.shown(found)} is not NODE:INTERFACE")
                return None
        else:
            self._extra(path, found, schema.LINK_UNUSED)
            node, interface, mac = found.node, found.interface, found.mac or ""
            addresses = tuple(filter(None, (*addresses, found.ipv4, found.ipv6)))
        if node not in self._topology.nodes:
            hint = near(node, self._topology.nodes)
            self._wrong(path, f"there is no node {names.shown(node)}" + (f": {hint}" if hint else ""))
            return None
        first = self._taken.setdefault((node, interface), path)
        if first != path:
            self._wrong(path, f"{node}:{interface} is in use by {yaml_text.written(first)}")
            return None
        kind = self._kinds.get(node, "")
        if kind in BRIDGES:
            if impairment != CLEAN:
                self._warn(path, "the impairment acts on what comes from the other end alone")
            return node
        if fault := names.interface_fault(interface, names.MAX_DEVICE):
            self._wrong(path, f"the interface {fault}")
        elif interface == "eth0":
            self._wrong(path, "eth0 is a pod's interface on the cluster's pod network: take another, such as eth1")
        elif interface in _KERNELS_OWN:
            self._wrong(path, f"{interface!r} is a name that the kernel keeps for itself")
        if mac and not _MAC.fullmatch(mac):
            self._wrong(path, f"{names.shown(mac)} is not a MAC address")
        for address in addresses:
            self._address(path, address)
        if addresses and kind == VM:
            self._warn(path, "the addresses are not used: a VM's guest takes its own")
        return End(node=node, interface=interface, mac=mac.lower(), addresses=addresses, impairment=impairment)

    def _address(self, path: Path, text: str) -> None:
        try:
            ipaddress.ip_interface(text)
        except ValueError:
            self._wrong(
                path, f"{names.shown(text)} is not an address with the length of its network, such as 192.0.2.1/24"
            )

    def _impairment(self, path: Path, link: LinkFields) -> Impairment:
        if link.impairment is None:
            return CLEAN
        self._extra(path, link.impairment, {})
        values: dict[str, int] = {}
        for name in links.PROPERTIES:
            given = getattr(link.impairment, name)
            found = links.read(name, given) if given is not None else 0
            if isinstance(found, str):
                self._wrong((*path, name), found)
            else:
                values[name] = found
        wanted = Impairment(**values)
        for problem in links.faults("", Link(to_pod=wanted, from_pod=wanted)):
            self._wrong((*path, problem.field.rpartition(".")[2]), problem.message)
        return wanted


def _at(link: LinkFields, position: int) -> tuple[str, ...]:
    """The addresses that a brief link gives to one of its ends."""
    return tuple(each[position] for each in (link.ipv4, link.ipv6) if len(each) > position and each[position])


def _merge(whole: _Meeting, part: _Meeting) -> None:
    whole.ends += part.ends
    whole.mtus += part.mtus
    whole.nics += part.nics
    whole.tunnels += part.tunnels


def _of(levels: Iterable[tuple[Path, NodeFields]], name: str) -> Path:
    """The field that has the last word; () if none has one."""
    return next(iter(reversed(_Merged(levels).fields(name))), ((), None))[0]


class _Merged:
    """A node's fields on all levels that have them, the most special last."""

    def __init__(self, levels: Iterable[tuple[Path, NodeFields]]) -> None:
        self._levels = list(levels)

    def fields(self, name: str) -> list[tuple[Path, Any]]:
        """A field on each level where it is not empty, with its path."""
        alias = name.replace("_", "-")
        return [
            ((*path, alias), found)
            for path, each in self._levels
            if (found := getattr(each, name)) not in (None, (), {}, "")
        ]

    def has(self, name: str) -> bool:
        """Whether any level has it."""
        return bool(self.fields(name))

    def one(self, name: str) -> str:
        """What the most special level says, "" if none does."""
        found = self.fields(name)
        return str(found[-1][1]) if found else ""
