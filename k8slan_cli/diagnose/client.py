"""One request to a node's agent, over whatever way there is to it: the workstation's half.

The way is a ``Wire``: a port-forward through the API server (kube/portforward.py). Reading blocks,
so that a caller with several streams reads each in a thread of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from k8slan_cli.diagnose import protocol
from k8slan_cli.errors import K8slanError


class Wire(Protocol):
    """A connection to an agent. ``send`` and ``receive`` raise K8slanError if it breaks; threads may use both."""

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""

    def receive(self) -> bytes:
        """Receive at least one byte; empty at end of stream."""

    def close(self) -> None:
        """Give it up; a ``receive`` that waits in another thread ends."""


class AgentError(K8slanError):
    """The agent refused a request; ``status`` is HTTP's."""

    def __init__(self, message: str, *, hint: str = "", status: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class StrangerError(K8slanError):
    """What answers does not speak as an agent does: the port is another program's, most likely."""

    def __init__(self, message: str) -> None:
        hint = "has another program the agent's port? Events of the agent's pod say so, and k8slan install "
        super().__init__(message, hint=f"{hint}--agent-diagnostics-port chooses another. Or is it of another version?")


class Call:
    """A request that the agent has taken; a context, at whose end the connection is given up."""

    def __init__(self, wire: Wire, path: str, token: str, body: Mapping[str, Any]) -> None:
        """Ask, and wait for the head of the answer.

        Raises:
            AgentError: it is refused.
            StrangerError: what answers is no agent.
            K8slanError: there is no answer.

        """
        self._wire = wire
        data = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        try:
            wire.send(head.encode() + data)
            status, self._length, self._rest = self._head()
            if status != 200:
                found = self.document()
                if not isinstance(words := found.get("error"), str):
                    raise StrangerError(f"what answers is no agent of k8slan (HTTP status {status})")
                raise AgentError(words, hint=str(found.get("hint") or ""), status=status)
        except BaseException:
            wire.close()
            raise

    def __enter__(self) -> Call:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection up."""
        self._wire.close()

    def _head(self) -> tuple[int, int, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            part = self._wire.receive()
            if not part or len(data) > protocol.MAX_HEAD:
                raise StrangerError("the agent does not answer as it should")
            data += part
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
            raise StrangerError("what answers is no agent of k8slan")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "")
        return int(words[1]), int(length) if length.isdigit() else -1, rest

    def document(self) -> dict[str, Any]:
        """The answer, if it is one document.

        Raises:
            K8slanError: it is cut short, or none.

        """
        data = self._rest
        while 0 <= len(data) < self._length:
            part = self._wire.receive()
            if not part:
                raise K8slanError("the agent's answer is cut short")
            data += part
        try:
            found = json.loads(data[: self._length])
        except ValueError as error:
            raise StrangerError("the agent's answer is not JSON") from error
        return found if isinstance(found, dict) else {}

    def data(self) -> Iterator[bytes]:
        """The answer, if it is a stream of bytes, as it comes."""
        if self._rest:
            yield self._rest
        while part := self._wire.receive():
            yield part

    def events(self) -> Iterator[dict[str, Any]]:
        """The answer, if it is a session, up to its end.

        Raises:
            K8slanError: the agent says that something is wrong, or it is cut short.

        """
        rest = b""
        for data in self.data():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if "error" in event:
                    raise AgentError(event["error"], hint=event.get("hint", ""))
                if event.get("end"):
                    return
                yield event
        raise K8slanError("the connection to the agent broke off")

    def say(self, **command: object) -> None:
        """Say something in a session."""
        self._wire.send(json.dumps(command).encode() + b"\n")

    def stop(self) -> None:
        """Ask for the end of a stream."""
        self._wire.send(b'{"stop":true}\n')
