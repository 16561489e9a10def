"""kubectl as tests want it: answers as values, waiting as watching."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Object = dict[str, Any]
"""A Kubernetes object as the API gives it."""

_WATCH_SECONDS = 20.0
"""How long ``until`` relies on one watch."""
DEAF: list[str] = []
"""What watches did not tell of, and was there when it was asked for anew."""


class KubectlError(Exception):
    """kubectl failed; ``message`` is what it said."""

    def __init__(self, command: Sequence[str], message: str) -> None:
        super().__init__(f"kubectl {' '.join(command)}: {message}")
        self.message = message


class Kubectl:
    """One cluster, seen by one user, from the host."""

    def __init__(self, executable: Path, kubeconfig: Path, namespace: str = "default") -> None:
        self.executable = executable
        self.kubeconfig = kubeconfig
        self.namespace = namespace

    def within(self, namespace: str) -> Kubectl:
        """The same for another namespace."""
        return Kubectl(self.executable, self.kubeconfig, namespace)

    def command(self, *arguments: str) -> list[str]:
        """The whole command line."""
        return [
            str(self.executable),
            f"--kubeconfig={self.kubeconfig}",
            f"--namespace={self.namespace}",
            *arguments,
        ]

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl and return what it printed. Raises KubectlError."""
        try:
            done = subprocess.run(
                self.command(*arguments), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise KubectlError(arguments, f"no answer in {timeout:.0f} s") from None
        if done.returncode != 0:
            raise KubectlError(arguments, done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def get(self, *arguments: str) -> Object:
        """An object, or a list object, as a value. Raises KubectlError, also if it does not exist."""
        answer: Object = json.loads(self("get", "-o", "json", *arguments))
        return answer

    def items(self, *arguments: str) -> list[Object]:
        """The objects of a list."""
        items: list[Object] = self.get(*arguments)["items"]
        return items

    def exists(self, *arguments: str) -> bool:
        """Whether there is such an object."""
        return bool(self("get", "-o", "name", "--ignore-not-found", *arguments).strip())

    def apply(self, *documents: Mapping[str, Any] | str, timeout: float = 60) -> None:
        """Apply documents, given as values or as YAML text, in their order, server-side."""
        texts = (each if isinstance(each, str) else json.dumps(each) for each in documents)
        self("apply", "--server-side", "--force-conflicts", "-f", "-", stdin="\n---\n".join(texts), timeout=timeout)

    def create(self, *documents: Mapping[str, Any] | str) -> None:
        """Create documents; an error if one exists. Faster than ``apply`` for many."""
        texts = (each if isinstance(each, str) else json.dumps(each) for each in documents)
        self("create", "-f", "-", stdin="\n---\n".join(texts))

    def delete(self, *arguments: str, timeout: float = 60) -> None:
        """Delete and wait until it is gone; nothing happens if it does not exist."""
        self("delete", "--ignore-not-found", f"--timeout={timeout:.0f}s", *arguments, timeout=timeout + 5)

    def wait(self, *arguments: str, timeout: float = 60) -> None:
        """``kubectl wait``."""
        self("wait", f"--timeout={timeout:.0f}s", *arguments, timeout=timeout + 5)

    def wait_created(self, kind: str, name: str, timeout: float = 60) -> None:
        """Return when there is an object of a name; kubectl's own ``wait`` knows this since 1.31 only."""
        self.until(kind, f"--field-selector=metadata.name={name}", holds=lambda _: True, timeout=timeout, what="there")

    def established(self, *crds: str) -> None:
        """Wait until CustomResourceDefinitions are served; kubectl's ``wait`` fails at one that has no conditions."""

        def served(crd: Object) -> bool:
            conditions = crd.get("status", {}).get("conditions") or []
            return any((each["type"], each["status"]) == ("Established", "True") for each in conditions)

        for crd in crds:
            self.until("crd", f"--field-selector=metadata.name={crd}", holds=served, what="established")

    def watch(self, *arguments: str, timeout: float) -> Iterator[Object]:
        """Each state of the selected objects, the present ones first, until ``timeout`` seconds are over.

        A deleted object comes once more, with ``deleted: true`` beside its metadata.
        """
        deadline = time.monotonic() + timeout
        command = self.command("get", "-o", "json", "--watch", "--output-watch-events", *arguments)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
            assert watching.stdout is not None
            assert watching.stderr is not None
            try:
                for event in _documents(watching.stdout.fileno(), deadline):
                    yield event["object"] | ({"deleted": True} if event["type"] == "DELETED" else {})
                if time.monotonic() < deadline:
                    raise KubectlError(arguments, watching.stderr.read().decode().strip() or "the watch ended")
            finally:
                watching.kill()

    def until(self, *arguments: str, holds: Callable[[Object], bool], timeout: float = 60, what: str = "") -> Object:
        """The first state of a selected object for which ``holds`` is true.

        ``what`` says in words what is waited for. Raises TimeoutError with the last state seen. It is asked for anew
        now and then.
        """
        deadline, seen = time.monotonic() + timeout, list[Object]()
        while (left := deadline - time.monotonic()) > 0:
            before = len(seen)
            for found in self.watch(*arguments, timeout=min(left, _WATCH_SECONDS)):
                if holds(found):
                    if 0 < before == len(seen):
                        DEAF.append(" ".join(arguments))
                    return found
                seen.append(found)
        wanted = what or "the state waited for"
        last = seen[-1] if seen else {}
        last.get("metadata", {}).pop("managedFields", None)
        raise TimeoutError(f"{' '.join(arguments)}: not {wanted} in {timeout:.0f} s, last seen: {json.dumps(last)}")


def _documents(descriptor: int, deadline: float) -> Iterator[Object]:
    """The JSON documents that come in on a descriptor, one after the other, until its end or the deadline."""
    decoder = json.JSONDecoder()
    buffer = b""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        if not poll.poll(left * 1000):
            return
        part = os.read(descriptor, 1 << 16)
        if not part:
            return
        buffer += part
        if not buffer.rstrip().endswith(b"}"):
            continue
        text = buffer.decode().lstrip()
        while text:
            try:
                document, end = decoder.raw_decode(text)
            except json.JSONDecodeError:
                break
            yield document
            text = text[end:].lstrip()
        buffer = text.encode()
