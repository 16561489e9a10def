"""The control plane: etcd, API server, controller manager, scheduler, on a machine of their own."""

from __future__ import annotations

import http.client
import signal
import ssl
from pathlib import Path

from tests.cluster.harness import network, pki
from tests.cluster.harness.machine import Machine

_ETCD = "http://127.0.0.1:2379"
_API_SERVER = "kube-apiserver"
_PROXY = "front-proxy-client"
_REST = ("kube-controller-manager", "kube-scheduler")


class Control:
    """The control plane's programs on a booted machine."""

    def __init__(self, machine: Machine, binaries: Path, certificates: Path, slot: int) -> None:
        self.machine = machine
        self._binaries = binaries
        self._pki = certificates
        self._slot = slot

    @property
    def url(self) -> str:
        """The API server, as the host reaches it."""
        return f"https://{network.api_from_host(self._slot)}:6443"

    def issue(self, authority: pki.Authority) -> None:
        """Make the certificates and kubeconfigs that the control plane's programs need, and the host's."""
        addresses = ("127.0.0.1", network.CONTROL, network.API, network.api_from_host(self._slot))
        hosts = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
        authority.server("apiserver", addresses, hosts)
        authority.signing_key()
        authority.client("kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"])
        pki.Authority(self._pki / "proxy").client("proxy", _PROXY)
        clients = {
            "admin": ("admin", ["system:masters"], self.url),
            "manager": ("system:kube-controller-manager", [], "https://127.0.0.1:6443"),
            "scheduler": ("system:kube-scheduler", [], "https://127.0.0.1:6443"),
        }
        for name, (user, groups, server) in clients.items():
            client = authority.client(name, user, groups)
            pki.kubeconfig(self._pki / f"{name}.kubeconfig", server, authority.certificate, client)

    def start_storage(self) -> None:
        """Start etcd, with its data in memory: they are as short-lived as the cluster.

        On a disk that others write to, its writes may have to wait for theirs, even though it syncs nothing.
        """
        self.machine.start(
            "etcd",
            "etcd",
            "--data-dir=/run/etcd",
            f"--listen-client-urls={_ETCD}",
            f"--advertise-client-urls={_ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )

    def start_api(self) -> None:
        """Start the API server; ``wait_api`` says when it serves."""
        self.machine.start(
            _API_SERVER,
            str(self._binaries / _API_SERVER),
            f"--etcd-servers={_ETCD}",
            f"--advertise-address={network.CONTROL}",
            f"--service-cluster-ip-range={network.SERVICES}",
            f"--tls-cert-file={self._pki}/apiserver.crt",
            f"--tls-private-key-file={self._pki}/apiserver.key",
            f"--client-ca-file={self._pki}/ca.crt",
            f"--service-account-key-file={self._pki}/tokens.pub",
            f"--service-account-signing-key-file={self._pki}/tokens.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--kubelet-client-certificate={self._pki}/kubelet-client.crt",
            f"--kubelet-client-key={self._pki}/kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP",  # nobody resolves the nodes' names
            "--authorization-mode=Node,RBAC",
            # API servers beside this one are told on whose behalf it asks, and know it by an authority of its own.
            f"--requestheader-client-ca-file={self._pki}/proxy/ca.crt",
            f"--requestheader-allowed-names={_PROXY}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={self._pki}/proxy/proxy.crt",
            f"--proxy-client-key-file={self._pki}/proxy/proxy.key",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--enable-aggregator-routing=true",  # webhooks by pod address: there is no kube-proxy
        )

    def stop_api(self) -> None:
        """End the API server on the spot, as a crash would."""
        self.machine.stop(_API_SERVER, signal.SIGKILL)

    def wait_api(self, seconds: float = 60) -> None:
        """Return when the API server serves; nothing but asking tells. Raises MachineError when it does not."""
        context = ssl.create_default_context(cafile=str(self._pki / "ca.crt"))
        context.load_cert_chain(self._pki / "admin.crt", self._pki / "admin.key")
        self.machine.until(lambda: self._serves(context), _API_SERVER, seconds)

    def _serves(self, context: ssl.SSLContext) -> bool:
        address = network.api_from_host(self._slot)
        connection = http.client.HTTPSConnection(address, 6443, timeout=2, context=context)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    def restart_rest(self) -> None:
        """End and start the controller manager and the scheduler.

        After an outage of the API server they would hear it again one kind of object after the other, within a minute.
        """
        for program in _REST:
            self.machine.stop(program)
        self.start_rest()

    def start_rest(self) -> None:
        """Start the controller manager and the scheduler; the API server has to serve."""
        manager, scheduler = _REST
        self.machine.start(
            manager,
            str(self._binaries / manager),
            f"--kubeconfig={self._pki}/manager.kubeconfig",
            f"--service-account-private-key-file={self._pki}/tokens.key",
            f"--root-ca-file={self._pki}/ca.crt",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--node-monitor-period=1s",  # a dead node is NotReady after seconds, not after most of a minute
            "--node-monitor-grace-period=10s",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        )
        self.machine.start(
            scheduler,
            str(self._binaries / scheduler),
            f"--kubeconfig={self._pki}/scheduler.kubeconfig",
            "--leader-elect=false",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        )
