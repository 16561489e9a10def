"""The admission webhook, called by a real API server: verdicts, trust, and certificates that run out."""

from __future__ import annotations

import base64
import itertools
import signal
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from k8slan_cli.controller import certs
from k8slan_cli.controller.certs import Chain, Policy
from k8slan_cli.kube.kinds import LANS, SECRETS, WEBHOOKS
from k8slan_cli.render import manifests
from k8slan_cli.render.manifests import Part
from k8slan_cli.render.settings import Settings
from tests.cluster.bare import Api, ApiError, api, namespace, until
from tests.cluster.controllers import SYSTEM, Controller, Start, account, start

__all__ = ["account", "api", "namespace", "start"]

SECRET = SECRETS.path(SYSTEM, "k8slan-webhook")
CONFIGURATION = WEBHOOKS.path("", "k8slan")
_numbers = itertools.count(100000)
HOSTS = ("k8slan-webhook.k8slan-system.svc", "localhost")


class Hook:
    """The webhook as the API server is told of it, and controllers that serve it."""

    def __init__(self, api: Api, start: Start) -> None:
        self.api = api
        self._start = start
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        for document in manifests.documents(manifests.render(Part.WEBHOOK, Settings())):
            match document["kind"]:
                case "Secret":
                    api.call("POST", SECRETS.path(SYSTEM), document)
                case "ValidatingWebhookConfiguration":
                    # Nobody routes a Service here, and nothing else listens: refusing is what these tests are after.
                    hook = document["webhooks"][0]
                    hook["clientConfig"] = {"url": f"https://localhost:{self.port}/validate"}
                    hook["failurePolicy"] = "Fail"
                    api.call("POST", WEBHOOKS.path(), document)

    def controller(self, name: str = "one", port: int | None = None) -> Controller:
        """Start a controller that serves it."""
        address = f"--webhook=127.0.0.1:{port or self.port}"
        found = self._start(name, address, "--webhook-host=localhost")
        found.wait_ready()
        return found

    def chain(self) -> Chain | None:
        """What is in the Secret."""
        return certs.read(self.api.get(SECRET))

    def put_chain(self, chain: Chain) -> None:
        """Put a chain into the Secret and make it trusted."""
        self.api.patch(SECRET, {"data": certs.data(chain)})
        self.trust(chain.authority)

    def trust(self, authority: bytes) -> None:
        """Make the API server trust an authority."""
        bundle = base64.b64encode(authority).decode()
        config = {"name": "lans.lan.k8slan.io", "clientConfig": {"caBundle": bundle}}
        document = {
            "apiVersion": WEBHOOKS.api_version,
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "k8slan"},
            "webhooks": [config],
        }
        self.api.apply(CONFIGURATION, document)

    def trusted(self) -> bytes:
        """What the API server trusts."""
        return base64.b64decode(self.api.get(CONFIGURATION)["webhooks"][0]["clientConfig"].get("caBundle", ""))

    def certificate(self) -> bytes:
        """The certificate that is served now."""
        return ssl.get_server_certificate(("127.0.0.1", self.port), timeout=5).encode()

    def served(self, trusted: bytes) -> bool:
        """Whether what is served now is trusted by an authority."""
        tls = ssl.create_default_context(cadata=trusted.decode())
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as plain:
                tls.wrap_socket(plain, server_hostname="localhost").close()
        except OSError:
            return False
        return True


@pytest.fixture
def hook(api: Api, start: Start) -> Iterator[Hook]:
    """The webhook's manifest, gone afterwards."""
    found = Hook(api, start)
    yield found
    api.call("DELETE", CONFIGURATION)
    api.call("DELETE", SECRET)


def lan(api: Api, namespace: str, name: str, **spec: Any) -> Any:
    """Create a LAN."""
    body = {"apiVersion": "lan.k8slan.io/v1beta1", "kind": "LAN", "metadata": {"name": name}, "spec": spec}
    return api.call("POST", LANS.path(namespace), body)


def judged(api: Api, namespace: str, name: str) -> None:
    """Wait until the controller, which answers for the webhook, knows a LAN."""
    path = LANS.path(namespace, name)
    until(lambda: ((api.get(path) or {}).get("status") or {}).get("conditions"), "the controller knows it", 30)


def settled(hook: Hook, namespace: str) -> None:
    """Wait until the API server's word about the webhook has got round in it, and the webhook lets LANs in."""

    def lets_in() -> bool:
        number = next(_numbers)
        try:
            lan(hook.api, namespace, f"first{number}", vni=number, dynamic=True)
        except ApiError as error:
            if error.status != 500:  # that is: failed calling webhook
                raise
            return False
        return True

    until(lets_in, "the API server trusts the webhook", 30)


def test_a_lan_that_clashes_is_refused_at_once_with_all_problems(hook: Hook, api: Api, namespace: str) -> None:
    hook.controller()
    settled(hook, namespace)
    lan(api, namespace, "a", vni=5, ns="x", spokes=["e1", "e2"])
    judged(api, namespace, "a")
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": f"{namespace}-other"}})
    with pytest.raises(ApiError) as caught:
        lan(api, f"{namespace}-other", "b", vni=5, ns="x", spokes=["e3", "e2"])
    owner = f"{namespace}/a"
    problems = [
        ("spec.ns", f"x is in use by LAN {owner}"),
        ("spec.vni", f"5 is in use by LAN {owner}"),
    ]
    assert caught.value.status == 422
    assert "; ".join(f"{field}: {message}" for field, message in problems) in str(caught.value)
    causes = caught.value.body["details"]["causes"]
    assert [(cause["field"], cause["message"]) for cause in causes] == problems
    assert api.get(LANS.path(f"{namespace}-other", "b")) is None
    path = LANS.path(namespace, "a")
    lan(api, namespace, "c", vni=6, spokes=["e4"])
    judged(api, namespace, "c")
    with pytest.raises(ApiError, match="e4 is in use by LAN"):
        api.patch(path, {"spec": {"spokes": ["e1", "e4"]}})
    api.patch(path, {"spec": {"spokes": ["e1", "e5"]}})
    api.patch(path, {"metadata": {"labels": {"a": "b"}}})
    api.call("DELETE", path)
    until(lambda: api.get(path) is None, "deletion is not the webhook's business")


def test_one_that_the_schema_cannot_refuse_is_refused(hook: Hook, api: Api, namespace: str) -> None:
    hook.controller()
    settled(hook, namespace)
    with pytest.raises(ApiError, match=r"spec.spokes\[0\]: its device 'br0p' has the name of spec.bridge"):
        lan(api, namespace, "a", vni=7, bridge="br0p", spokes=["br0"])


def test_every_replica_serves_and_a_leader_that_goes_is_no_gap(hook: Hook, api: Api, namespace: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        other: int = free.getsockname()[1]
    one, two = hook.controller("one", other), hook.controller("two")  # the API server knows only the second one
    assert one.metric("k8slan_leader") + two.metric("k8slan_leader") == 1
    settled(hook, namespace)
    lan(api, namespace, "a", vni=8, dynamic=True)
    judged(api, namespace, "a")
    (one if one.metric("k8slan_leader") else two).end(signal.SIGTERM)
    if two.process.poll() is not None:
        two = hook.controller("three")
    with pytest.raises(ApiError, match="8 is in use"):
        lan(api, namespace, "b", vni=8, dynamic=True)
    assert two.metric('k8slan_webhook_reviews_total{verdict="refused"}') == 1


def test_a_certificate_that_ran_out_is_renewed_at_the_start(hook: Hook, namespace: str) -> None:
    old = certs.renewed(None, HOSTS, datetime.now(UTC) - timedelta(days=200), Policy())
    hook.put_chain(old)
    hook.controller()
    until(lambda: hook.chain() != old and hook.served(hook.trusted()), "the new one is served and trusted")
    assert hook.trusted() == old.authority, "the authority is good for years"
    settled(hook, namespace)


def test_a_certificate_is_renewed_while_it_serves(hook: Hook, api: Api, namespace: str) -> None:
    controller = hook.controller()
    settled(hook, namespace)
    pid = controller.process.pid
    before = hook.chain()
    assert before is not None
    # Another one comes into the Secret, as another leader would write it: it is taken up without a restart.
    after = certs.renewed(before, HOSTS, datetime.now(UTC), Policy())
    api.patch(SECRET, {"data": certs.data(after)})
    until(lambda: hook.certificate() == after.certificate, "the new certificate is served")
    assert controller.process.pid == pid
    assert controller.process.poll() is None
    settled(hook, namespace)


def test_an_authority_that_runs_out_is_followed_without_a_gap(hook: Hook, namespace: str) -> None:
    old = certs.renewed(None, HOSTS, datetime.now(UTC) - timedelta(days=3000), Policy())
    hook.put_chain(old)
    hook.controller()
    until(lambda: hook.trusted().endswith(old.authority) and hook.trusted() != old.authority, "both are trusted")
    settled(hook, namespace)


def test_trust_that_somebody_took_away_comes_back(hook: Hook, namespace: str) -> None:
    hook.controller()
    settled(hook, namespace)
    hook.trust(certs.renewed(None, HOSTS, datetime.now(UTC), Policy()).authority)
    chain = hook.chain()
    assert chain is not None
    until(lambda: hook.trusted() == chain.authority, "the right authority is trusted again")
    settled(hook, namespace)
