"""The files of a node: what its binds, its startup configuration and its template name, read for it.

Nothing here opens a file: ``Files`` does, which the caller hands in. What it cannot read is a problem of the field that
names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from k8slan_cli.errors import K8slanError, near, yaml_fault
from k8slan_cli.lab import kinds
from k8slan_cli.lab.model import MAX_FILES, MAX_FILES_SIZE, VM, File
from k8slan_cli.lan import names

if TYPE_CHECKING:
    from k8slan_cli.lab.levels import Levels
    from k8slan_cli.lab.remarks import Remarks
    from k8slan_cli.lab.yaml_text import Path

Content = tuple[bytes, int]
"""What is in a file, and its mode."""
Files = Callable[[str], Mapping[str, Content]]
"""Reads a file, then its name is "", or all files of a folder, by their paths in it. Raises K8slanError."""

_OPTIONS = ("ro", "rw", "z", "Z")
"""Options of a bind that are known."""


class NodeFiles:
    """Reads what the fields of a lab's nodes name."""

    def __init__(self, lab: str, files: Files, remarks: Remarks) -> None:
        self._folder = f"clab-{lab}"
        self._files = files
        self._remarks = remarks

    def content(self, path: Path, name: str) -> bytes:
        """Return what is in the file that a field names; b"" if it is none."""
        found = self._read(path, name)
        if found and "" not in found:
            self._remarks.wrong(path, f"{name} is a folder")
        return found.get("", (b"", 0))[0]

    def binds(self, levels: Levels) -> tuple[list[File], list[str]]:
        """Return the files that binds name, by their place in the node, and the places of folders that are empty."""
        wanted = self._wanted(levels)
        if levels.kind == VM:
            return [], []
        files: dict[str, File] = {}
        size = 0
        for place, (path, source) in wanted.items():
            source = source.replace("__clabNodeDir__", f"{self._folder}/{levels.name}")
            source = source.replace("__clabDir__", self._folder)
            found = self._read(path, source) if source else {}
            size += sum(len(content) for content, _ in found.values())
            files |= {
                whole: File(place=whole, content=content, mode=mode)
                for name, (content, mode) in found.items()
                for whole in (f"{place}/{name}" if name else place,)
            }
            if size > MAX_FILES_SIZE or len(files) > MAX_FILES:
                most = f"{MAX_FILES} files at the most, of {MAX_FILES_SIZE} bytes together"
                self._remarks.wrong(path, f"a node has {most}: put it into the image")
                break
        return list(files.values()), [place for place, (_, source) in wanted.items() if not source]

    def startup_config(self, levels: Levels) -> str:
        """Return the startup configuration: the field itself if it has several lines, else the file that it names."""
        path, text = levels.last("startup_config")
        if text is None:
            return ""
        if "\n" in text:
            return str(text)
        if re.match(r"https?://", text):
            self._remarks.wrong(path, "is not fetched: save it beside the topology, and name the file")
            return ""
        return self.content(path, text).decode(errors="replace")

    def configuration(self, levels: Levels) -> list[File]:
        """Return the startup configuration, and the files that its kind wants beside it, where a node keeps them."""
        known, frr = kinds.known(levels.kind), kinds.is_frr(levels.kind)
        found = [File(place=place, content=text.encode()) for place, text in known.beside.items()]
        daemons: tuple[str, ...] = kinds.FRR_DAEMONS
        for path, extra in levels.all("extras"):
            for key, value in extra.items():
                if key == "frr" and frr:
                    daemons = self._daemons((*path, key), value)
                else:
                    self._remarks.warn((*path, key), "is not used: it is of a kind of containerlab's")
        if frr:
            found.append(File(place=kinds.DAEMONS_FILE, content=kinds.daemons(daemons).encode()))
        path, given = levels.last("startup_config")
        if given is not None:
            text = self.startup_config(levels)
            if known.config.endswith(".json"):
                self._json(path, text, levels.kind)
            if known.config:
                found.append(File(place=known.config, content=text.encode()))
            else:
                self._remarks.warn(
                    path, f"is not used: where {levels.kind} keeps its configuration is not known; use binds"
                )
        elif frr:
            found.append(File(place=known.config, content=b"frr defaults traditional\nlog stdout\n"))
        return found

    def _json(self, path: Path, text: str, kind: str) -> None:
        try:
            json.loads(text or "{}")
        except (ValueError, RecursionError) as error:
            self._remarks.wrong(
                path,
                f"is not JSON, which {kind} starts with: {error}. Enter commands in a node that is up without it, by "
                "k8slan lab exec NODE -t -- sr_cli; k8slan lab save then writes the file to name here",
            )

    def template(self, levels: Levels) -> Mapping[str, Any] | None:
        """Return a VM's KubeVirt manifest; what of it KubeVirt does not take, KubeVirt says."""
        path, name = levels.last("template")
        if name is None:
            return None
        try:
            found = yaml.safe_load(self.content(path, name))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            self._remarks.wrong(path, f"{name} is not YAML: {yaml_fault(error)}")
            return None
        try:
            namespace = (found.get("metadata") or {}).get("namespace")
            spec = found["spec"]["template"]["spec"]
            devices = spec["domain"].get("devices") or {}
            lists = [devices.get("interfaces"), devices.get("disks"), spec.get("networks"), spec.get("volumes")]
            named = all(isinstance(each["name"], str) for listed in lists for each in listed or ())
            if found["kind"] != "VirtualMachine" or not named:
                raise ValueError
        except (AttributeError, TypeError, KeyError, ValueError):
            what = "spec.template.spec.domain, and names for all interfaces, networks, disks and volumes"
            self._remarks.wrong(path, f"{name} is not one VirtualMachine with {what}")
            return None
        if namespace:
            self._remarks.warn(path, f"{name}'s namespace is not used: the VM is where the lab is")
        return dict(found)

    def _read(self, path: Path, name: str) -> Mapping[str, Content]:
        try:
            return self._files(name)
        except K8slanError as error:
            self._remarks.wrong(path, str(error))
            return {}

    def _wanted(self, levels: Levels) -> dict[str, tuple[Path, str]]:
        """What binds put at each place of a node, "" for an empty folder: the most special level has the last word."""
        wanted: dict[str, tuple[Path, str]] = {}
        for path, listed in levels.all("binds"):
            for position, text in enumerate(listed):
                here = (*path, position)
                source, _, rest = text.partition(":")
                place, _, options = rest.partition(":")
                if not rest:
                    source, place = "", source
                if not place.startswith("/") or ".." in place.split("/"):
                    self._remarks.wrong(
                        here, f"{names.shown(place)} is not where a file can be in a node: a path from /"
                    )
                elif unknown := [each for each in filter(None, options.split(",")) if each not in _OPTIONS]:
                    self._remarks.wrong(here, f"the option {unknown[0]!r} is not known")
                elif not place.strip("/"):
                    self._remarks.wrong(here, "a node has its image there")
                else:
                    if source and "rw" in options.split(","):
                        self._remarks.warn(
                            here, "rw is not used: files from outside can be read in a node, not written"
                        )
                    wanted[place.rstrip("/")] = (here, source)
        return wanted

    def _daemons(self, path: Path, value: Any) -> tuple[str, ...]:
        listed = value.get("daemons") if isinstance(value, dict) else None
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            self._remarks.wrong(path, "must have a list of daemons")
            return ()
        for position, name in enumerate(listed):
            if name not in (*kinds.FRR_DAEMONS, *kinds.FRR_ALWAYS):
                hint = near(name, kinds.FRR_DAEMONS)
                self._remarks.wrong(
                    (*path, "daemons", position),
                    f"{names.shown(name)} is no daemon of FRR" + (f"; {hint}" if hint else ""),
                )
        return tuple(listed)
