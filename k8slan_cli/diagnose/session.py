"""Frames sent and received at one place, at a client's word: the half of a probe that is on a node.

A client has a session at each place that takes part, and tells one to expect a probe's frames and another to send
them (see probe/run.py). Both sides speak in lines of JSON.

From the client: ``{"expect": probe}``, ``{"forget": id}``, ``{"send": probe}``; the end of its words, or
``{"stop": true}``, ends the session. From here: ``{"ready": {"mac", "mtu"}}``, ``{"expecting": id}``,
``{"arrived": [[id, …arrival], …]}``, ``{"sent": {"id", "frames"}}``, ``{"error", "hint"}``, and ``{"end": true}`` last.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from k8slan_cli.diagnose import filters, protocol
from k8slan_cli.errors import K8slanError, KernelError
from k8slan_cli.probe.endpoint import Endpoint
from k8slan_cli.probe.frames import MARK, TAG_BYTES, difference, token_in
from k8slan_cli.probe.run import Arrival, Probe, Sent, sending

_PACE = 0.001
"""Seconds between frames: queues do not fill, and the LAN is not flooded."""
_LOOK_SECONDS = 1.0
_IDLE_SECONDS = 120.0
"""A session whose client has been silent for so long is over."""


def offsets(probes: Iterable[Probe]) -> set[int]:
    """Where in frames of ``probes`` their mark may be, in bytes.

    A tag that is lost or added on the way is still seen, and so is one that the kernel keeps beside the frame.
    """
    found = {probe.frame(key, 0).find(MARK) for probe in probes for key in probe.keys}
    shifts = (-2 * TAG_BYTES, -TAG_BYTES, 0, TAG_BYTES)
    return {offset + shift for offset in found for shift in shifts if offset + shift >= 0}


class _Sending:
    """A probe on its way out."""

    def __init__(self, endpoint: Endpoint, probe: Probe) -> None:
        self.probe = probe
        self.frames: Iterator[Sent] = sending(endpoint, probe)
        self.sent: list[Sent] = []
        self.due = time.monotonic()


class Session:
    """One place, one client, which ``begin`` begins to answer; ``alive`` says why the place is gone, if it is."""

    def __init__(self, begin: Callable[[str], socket.socket], endpoint: Endpoint, alive: Callable[[], str]) -> None:
        self._endpoint = endpoint
        self._alive = alive
        self._expected: dict[bytes, Probe] = {}
        self._sending: deque[_Sending] = deque()
        self._rest = b""
        self._listen_for_expected()
        self._client = begin(protocol.LINES)

    def run(self, mtu: int) -> None:
        """Hold the session until it ends.

        Raises:
            OSError: the client is gone.

        """
        self._tell(ready={"mac": self._endpoint.mac.hex(), "mtu": mtu})
        try:
            self._converse()
        except K8slanError as error:
            self._tell(error=error.message, hint=error.hint)
        self._tell(end=True)

    def _tell(self, **event: object) -> None:
        self._client.sendall(json.dumps(event, separators=(",", ":")).encode() + b"\n")

    def _listen_for_expected(self) -> None:
        """Have the kernel pass over all that cannot be a frame of a probe: the LAN may be as busy as it likes."""
        with socket.socket(fileno=os.dup(self._endpoint.fileno())) as same:
            filters.attach(same, filters.with_mark(MARK, offsets(self._expected.values())))

    def _converse(self) -> None:
        waiting = select.poll()
        waiting.register(self._client, select.POLLIN)
        waiting.register(self._endpoint.fileno(), select.POLLIN)
        heard = looked = time.monotonic()
        while True:
            left = self._sending[0].due - time.monotonic() if self._sending else _LOOK_SECONDS
            ready = [fd for fd, _ in waiting.poll(max(0.0, left) * 1000)]
            now = time.monotonic()
            if self._endpoint.fileno() in ready:
                self._receive()
            if self._client.fileno() in ready:
                heard = now
                if not self._obey():
                    return
            if self._sending and self._sending[0].due <= now:
                self._send(self._sending[0])
                heard = now
            if now - looked >= _LOOK_SECONDS:
                looked = now
                if words := self._alive():
                    raise K8slanError(words)
            if now - heard > _IDLE_SECONDS:
                raise K8slanError("nothing was asked for a long time")

    def _receive(self) -> None:
        arrived: list[list[Any]] = []
        down: KernelError | None = None
        try:
            for received in self._endpoint.receive():
                token = token_in(received.frame)
                for id_, probe in self._expected.items() if token else ():
                    if which := probe.which(token or b""):
                        changed = difference(probe.frame(*which), received.frame)
                        arrival = Arrival(*which, received.at, changed)
                        arrived.append([id_.hex(), *protocol.encode_arrival(arrival)])
                        break
        except KernelError as error:
            down = error
        if arrived:
            self._tell(arrived=arrived)
        if down:
            raise down

    def _send(self, current: _Sending) -> None:
        one = next(current.frames, None)
        if one is not None:
            current.sent.append(one)
            current.due = time.monotonic() + _PACE
            return
        self._sending.popleft()
        frames = [protocol.encode_sent(sent) for sent in current.sent]
        self._tell(sent={"id": current.probe.id.hex(), "frames": frames})

    def _obey(self) -> bool:
        """Take what the client says; false if that is the end."""
        data = self._client.recv(protocol.MAX_LINE)
        if not data:
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > protocol.MAX_LINE:
            raise K8slanError(f"a line of more than {protocol.MAX_LINE} bytes")
        return all(self._command(line) for line in lines)

    def _command(self, line: bytes) -> bool:
        try:
            command = json.loads(line)
        except (ValueError, RecursionError):
            raise K8slanError("a line that is not JSON") from None
        match command:
            case {"expect": document}:
                probe = protocol.decode_probe(document)
                if len(self._expected) >= protocol.MAX_PROBES:
                    raise K8slanError(f"a session expects {protocol.MAX_PROBES} probes at a time")
                self._expected[probe.id] = probe
                self._listen_for_expected()
                self._tell(expecting=probe.id.hex())
            case {"forget": str(id_)}:
                for known in [known for known in self._expected if known.hex() == id_]:
                    del self._expected[known]
                self._listen_for_expected()
            case {"send": document}:
                if len(self._sending) >= protocol.MAX_PROBES:
                    raise K8slanError(f"a session sends {protocol.MAX_PROBES} probes at a time")
                self._sending.append(_Sending(self._endpoint, protocol.decode_probe(document)))
            case {"stop": True}:
                return False
            case _:
                raise K8slanError("a line that asks for nothing that is known here")
        return True
