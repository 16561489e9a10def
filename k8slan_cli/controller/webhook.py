"""The admission webhook over HTTPS: takes AdmissionReviews (admission.k8s.io/v1), answers with the verdict.

Only HTTP, TLS and the form of the answer are here; what is right and wrong is ``verdict``'s. Every controller serves,
not only the one that leads. A new certificate is taken up without a pause: connections that are open keep the old one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import tempfile
from collections import Counter
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from k8slan_cli.controller.certs import Chain
from k8slan_cli.controller.verdict import Clashes, judge
from k8slan_cli.errors import K8slanError, Problem

log = logging.getLogger(__name__)

PATH = "/validate"
_MAX_BYTES = 8 << 20
"""An object has 1.5 MiB at the most, and a review holds two."""
_READ_SECONDS = 10.0


class Webhook:
    """Serves one address, ``HOST:PORT``, from the first certificate on."""

    def __init__(self, address: str, clashes: Clashes) -> None:
        """``clashes`` says what other LANs have of a LAN."""
        host, _, port = address.rpartition(":")
        if not port.isdigit():
            raise K8slanError(f"{address!r} is not HOST:PORT")
        self._host, self._port = host.strip("[]"), int(port)
        self._clashes = clashes
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._runner: web.AppRunner | None = None
        self.verdicts: Counter[str] = Counter()
        """How many reviews were answered: "allowed", "refused" or "malformed"."""

    @property
    def serving(self) -> bool:
        """Whether there is a certificate and reviews are answered."""
        return self._runner is not None

    @property
    def port(self) -> int:
        """The port, also if 0 was asked for."""
        return int(self._runner.addresses[0][1]) if self._runner else self._port

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
        if self._runner is None:
            await self._start()

    async def _start(self) -> None:
        app = web.Application(client_max_size=_MAX_BYTES)
        app.router.add_post(PATH, self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=3.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port, ssl_context=self._tls).start()
        except OSError as error:
            await runner.cleanup()
            raise K8slanError(f"cannot listen on {self._host}:{self._port}: {error.strerror}") from error
        self._runner = runner
        log.info("the webhook serves on %s:%d", self._host, self.port)

    async def close(self) -> None:
        """Answer what has come in, and stop."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(_READ_SECONDS):
                review = json.loads(await request.read())
            asked = review["request"]
            problems, uid = judge(asked, self._clashes), str(asked["uid"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self.verdicts["malformed"] += 1
            return web.Response(status=400, text=f"not an AdmissionReview: {type(error).__name__}\n")
        except TimeoutError:
            self.verdicts["malformed"] += 1
            return web.Response(status=408, text="too slow\n")
        self.verdicts["refused" if problems else "allowed"] += 1
        if problems:
            log.info("refused: %s %s/%s: %s", asked["operation"], asked.get("namespace"), asked.get("name"), problems)
        return web.json_response(_review(uid, problems))


def _review(uid: str, problems: tuple[Problem, ...]) -> Mapping[str, Any]:
    response: dict[str, Any] = {"uid": uid, "allowed": not problems}
    if problems:
        causes = [{"reason": "FieldValueInvalid", "message": p.message, "field": p.field} for p in problems]
        response["status"] = {
            "code": 422,
            "reason": "Invalid",
            "message": "; ".join(map(str, problems)),
            "details": {"causes": causes},
        }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
