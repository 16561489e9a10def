"""The admission webhook over HTTPS: takes AdmissionReviews (admission.k8s.io/v1), answers with the verdict.

Only TLS and the form of the answer are here; what is right and wrong is ``verdict``'s. Every controller serves, not
only the one that leads. A new certificate is taken up without a pause: connections that are open keep the old one.

Anybody in the cluster can connect. Reviews are taken at a path that the API server alone is told of (``certs.path``);
of other requests no body is read. A body is bounded to what a review can need, and is judged in a thread: the loop that
keeps the controller's lease has its turn meanwhile. Of two threads a large body takes one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import ssl
import tempfile
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from k8slan_cli.controller import certs
from k8slan_cli.controller.certs import Chain
from k8slan_cli.controller.verdict import Clashes, judge
from k8slan_cli.errors import K8slanError, Problem
from k8slan_cli.lan.model import Lan
from k8slan_cli.serve.server import Answer, Limits, Request, Server, split

log = logging.getLogger(__name__)

_LIMITS = Limits(
    body=4 << 20,  # an object has 1.5 MiB at the most (etcd's limit), and a review holds two
    request=3.0,  # by then the API server has given up (timeoutSeconds in templates/webhook.yaml.j2)
    answer=3.0,
)
_TOLD = 100
"""So many of an object's problems are told: a request with a million problems gets an answer of some kilobytes."""


class Webhook:
    """Serves one address, ``HOST:PORT``, from the first certificate on."""

    def __init__(self, address: str, clashes: Clashes) -> None:
        """``clashes`` says what other LANs, and nodes, have of a LAN."""
        split(address)
        self._address = address
        self._clashes = clashes
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._path = ""
        self._server: Server | None = None
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="webhook")
        self._large = asyncio.Lock()
        self.verdicts: Counter[str] = Counter()
        """How many reviews were answered: "allowed", "refused" or "malformed"."""

    @property
    def serving(self) -> bool:
        """Whether there is a certificate and reviews are answered."""
        return self._server is not None

    @property
    def port(self) -> int:
        """The port, also if 0 was asked for."""
        return self._server.port if self._server else split(self._address)[1]

    async def use(self, chain: Chain) -> None:
        """Serve with a certificate from now on.

        Raises:
            K8slanError: the certificate is no good, or the address is taken.

        """
        try:
            with tempfile.NamedTemporaryFile(prefix="k8slan-", suffix=".pem") as file:  # 0600
                file.write(chain.key + chain.certificate)
                file.flush()
                self._tls.load_cert_chain(file.name)
        except ssl.SSLError as error:
            raise K8slanError(f"the webhook's certificate cannot be used: {error}") from error
        self._path = certs.path(chain)
        if self._server is None:
            self._server = Server(
                self._address,
                self._answer,
                limits=_LIMITS,
                tls=self._tls,
                hint="choose another --webhook",
                admits=self._admits,
            )
            self._server.start()
            log.info("the webhook serves on %s", self._server.address)

    async def close(self) -> None:
        """Answer what has come in, and stop."""
        if self._server:
            await self._server.close()
            self._server = None
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _admits(self, method: str, path: str) -> bool:
        return method == "POST" and hmac.compare_digest(path.encode(), self._path.encode())

    async def _answer(self, request: Request) -> Answer:
        loop = asyncio.get_running_loop()

        async def in_loop(lan: Lan) -> tuple[Problem, ...]:
            return self._clashes(lan)

        def clashes(lan: Lan) -> tuple[Problem, ...]:
            """Ask in the loop, which what is known of LANs belongs to."""
            return asyncio.run_coroutine_threadsafe(in_loop(lan), loop).result(_LIMITS.answer)

        async with self._large if len(request.body) > _LIMITS.large else contextlib.nullcontext():
            problems, answer = await loop.run_in_executor(self._threads, _judged, request.body, clashes)
        self.verdicts["malformed" if answer.status != 200 else "refused" if problems else "allowed"] += 1
        return answer


def _judged(body: bytes, clashes: Clashes) -> tuple[tuple[Problem, ...], Answer]:
    """In a thread: what is wrong with an AdmissionReview's object, and the answer to it."""
    try:
        asked = json.loads(body)["request"]
        problems, uid = judge(asked, clashes), str(asked["uid"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return (), Answer.text(f"not an AdmissionReview: {type(error).__name__}", status=400)
    if problems:
        told = "; ".join(map(str, problems[:_TOLD]))
        log.info("refused: %s %s/%s: %s", asked["operation"], asked.get("namespace"), asked.get("name"), told)
    return problems, Answer(body=json.dumps(_review(uid, problems)).encode(), media="application/json")


def _review(uid: str, problems: tuple[Problem, ...]) -> Mapping[str, Any]:
    response: dict[str, Any] = {"uid": uid, "allowed": not problems}
    if problems:
        told = problems[:_TOLD]
        causes = [{"reason": "FieldValueInvalid", "message": p.message, "field": p.field} for p in told]
        more = [f"and {len(problems) - _TOLD} more"] if len(problems) > _TOLD else []
        response["status"] = {
            "code": 422,
            "reason": "Invalid",
            "message": "; ".join([*map(str, told), *more]),
            "details": {"causes": causes},
        }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
