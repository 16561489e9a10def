"""What agent and controller both answer: ``/healthz``, ``/readyz`` and ``/metrics``.

It is answered in the event loop, so that a loop which is stuck answers nothing, and the kubelet ends it.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from k8slan_cli.serve.server import Answer, Limits, Request, Server

_OTHER = "choose another --http"


def serve(address: str, registry: CollectorRegistry, ready: Callable[[], str], hint: str = _OTHER) -> Server:
    """Serve health and metrics; ``ready`` says what is missing, "" when nothing is.

    Raises:
        AddressTaken: another program has the port.
        K8slanError: the address is malformed, or not one of this machine.

    """

    async def answer(request: Request) -> Answer:
        match request.path:
            case "/healthz":
                return Answer.text("ok")
            case "/readyz":
                missing = ready()
                return Answer.text(missing or "ok", status=503 if missing else 200)
            case "/metrics":
                encode, media = choose_encoder(request.headers.get("accept", ""))
                return Answer(body=encode(registry), media=media)
        return Answer.text("there are /healthz, /readyz and /metrics", status=404)

    server = Server(address, answer, limits=Limits(), hint=hint)
    server.start()
    return server
