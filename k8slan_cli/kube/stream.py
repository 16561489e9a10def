"""A WebSocket through the API server to a pod, for what streams: port-forward and exec.

The WebSocket is that of websocket-client, as the ``kubernetes`` package has it; the package's own streams drop
impersonation and wait without end for a pod that does not answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from k8slan_cli.kube.apply import Cluster
from k8slan_cli.kube.client import refusal

if TYPE_CHECKING:
    from websocket import WebSocket


def connect(cluster: Cluster, path: str, protocols: Sequence[str], *, what: str, seconds: float) -> WebSocket:
    """Connect to a path; ``what`` is what to call it, ``seconds`` how long that may take.

    Raises:
        MissingError: the API server does not answer, or this user may not do that.
        ApiError: there is no such pod, or it cannot be reached.

    """
    from websocket import WebSocketBadStatusException, WebSocketException, create_connection

    way, proxy = cluster.transport, urlsplit(cluster.transport.configuration.proxy or "")
    try:
        connected = create_connection(
            f"{way.url}{path}".replace("http", "ws", 1),
            timeout=seconds,
            header=[f"{name}: {value}" for name, value in way.headers()],
            subprotocols=list(protocols),
            suppress_origin=True,
            sslopt={"context": way.tls, "server_hostname": way.configuration.tls_server_name},
            sockopt=way.socket_options,
            http_proxy_host=proxy.hostname,
            http_proxy_port=proxy.port or 3128,
            http_no_proxy=(way.configuration.no_proxy or "-").split(","),  # without any it would ask the environment
            redirect_limit=0,
        )
    except WebSocketBadStatusException as error:
        raise refusal(error.status_code or 0, error.resp_body or b"", what) from error
    except (WebSocketException, OSError) as error:
        raise way.lost(error) from error
    connected.settimeout(None)
    return connected
