"""One request to a node's agent: who answers is an agent, or another program that has its port."""

from __future__ import annotations

import json

import pytest

from k8slan_cli.diagnose.agents import _impatience
from k8slan_cli.diagnose.client import AgentError, Call, StrangerError


class Said:
    """A connection to something that answers in these words, and then no more."""

    def __init__(self, *words: bytes) -> None:
        self._words = list(words)
        self.closed = False

    def send(self, data: bytes) -> None:
        """Take a request, whatever it is."""
        assert data.startswith(b"POST /v1/node ")

    def receive(self) -> bytes:
        """Say the next words."""
        return self._words.pop(0) if self._words else b""

    def close(self) -> None:
        """Take note of it."""
        self.closed = True


def answer(status: int, body: bytes) -> bytes:
    return f"HTTP/1.1 {status} Some\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the agent does not answer as it should"),
        ((b"SSH-2.0-OpenSSH_9.2\r\n\r\n",), "what answers is no agent of k8slan"),
        ((answer(404, b"<html>"),), "the agent's answer is not JSON"),
        ((answer(404, b"404"),), "what answers is no agent of k8slan (HTTP status 404)"),
        ((answer(401, b'{"error": {"code": 5}}'),), "what answers is no agent of k8slan (HTTP status 401)"),
        ((answer(200, b"<html>"),), "the agent's answer is not JSON"),
    ],
)
def test_another_program_at_the_agents_port_is_told_from_an_agent(words: tuple[bytes, ...], message: str) -> None:
    wire = Said(*words)
    with pytest.raises(StrangerError) as found, _impatience(wire, "w1", 60):
        Call(wire, "/v1/node", "token", {}).document()
    assert found.value.message == f"node w1: {message}"
    assert "--agent-diagnostics-port" in found.value.hint


def test_what_an_agent_refuses_is_said_in_its_words() -> None:
    wire = Said(answer(403, json.dumps({"error": "the agent does not take this token", "hint": ""}).encode()))
    with pytest.raises(AgentError, match="does not take this token"):
        Call(wire, "/v1/node", "token", {})
    assert wire.closed
