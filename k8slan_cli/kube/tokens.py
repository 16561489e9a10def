"""Whose a token is: TokenReview (Kubernetes API, authentication.k8s.io/v1)."""

from __future__ import annotations

from pathlib import Path

from k8slan_cli.kube.client import Client

_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"


_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def own_namespace(path: Path = _NAMESPACE, default: str = "k8slan-system") -> str:
    """The namespace of the pod that this runs in; ``default`` outside of a pod."""
    try:
        return path.read_text().strip()
    except OSError:
        return default


def service_account(namespace: str, name: str) -> str:
    """The user name of a service account."""
    return f"system:serviceaccount:{namespace}:{name}"


async def user_of(client: Client, token: str, audience: str) -> str:
    """The user that a token is of, if it is meant for ``audience``; "" if it is no good.

    Raises:
        ApiError: the API server could not be asked.

    """
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    }
    status = (await client.call("POST", _PATH, body=review, seconds=10)).get("status") or {}
    if not status.get("authenticated") or audience not in (status.get("audiences") or ()):
        return ""
    return str((status.get("user") or {}).get("username") or "")
