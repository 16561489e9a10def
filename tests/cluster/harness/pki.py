"""The cluster's certificates: an authority, the API server's, and one for every client, each with its own rights."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID = datetime.timedelta(days=30)


class Authority:
    """A certificate authority whose key never leaves memory; certificates and keys go into a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("k8slan-test", ())
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._write("ca", builder.sign(self._key, hashes.SHA256()), None)
        self.certificate = folder / "ca.crt"

    def server(self, name: str, addresses: Iterable[str], hosts: Iterable[str]) -> tuple[Path, Path]:
        """Certificate and key of a server that is reached by these addresses and host names."""
        names = [x509.DNSName(host) for host in hosts]
        alternatives = [*names, *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses)]
        return self._issue(name, (), ExtendedKeyUsageOID.SERVER_AUTH, name, alternatives)

    def client(self, file: str, user: str, groups: Iterable[str] = ()) -> tuple[Path, Path]:
        """Certificate and key of a client, whom the API server knows as ``user`` in ``groups``."""
        return self._issue(user, tuple(groups), ExtendedKeyUsageOID.CLIENT_AUTH, file, [])

    def signing_key(self) -> tuple[Path, Path]:
        """Public and private key of service account tokens."""
        key = ec.generate_private_key(ec.SECP256R1())
        public, private = self.folder / "tokens.pub", self.folder / "tokens.key"
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, kind))
        _write_key(private, key)
        return public, private

    def _issue(
        self,
        user: str,
        groups: tuple[str, ...],
        usage: x509.ObjectIdentifier,
        file: str,
        alternatives: list[x509.GeneralName],
    ) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(user, groups), self._name, key.public_key())
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return self._write(file, builder.sign(self._key, hashes.SHA256()), key)

    def _write(
        self, file: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey | None
    ) -> tuple[Path, Path]:
        paths = self.folder / f"{file}.crt", self.folder / f"{file}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        if key is not None:
            _write_key(paths[1], key)
        return paths


def kubeconfig(path: Path, server: str, authority: Path, client: tuple[Path, Path]) -> Path:
    """Write a kubeconfig that stands alone (JSON, which is YAML too) and return its path."""

    def data(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    user = {"client-certificate-data": data(client[0]), "client-key-data": data(client[1])}
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": data(authority)}}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
        "current-context": "test",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(document))
    return path


def _name(user: str, groups: tuple[str, ...]) -> x509.Name:
    organisations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organisations, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - datetime.timedelta(minutes=5),
        not_valid_after=now + _VALID,
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
