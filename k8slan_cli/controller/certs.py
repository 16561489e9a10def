"""The webhook's certificate: an authority of its own and a serving certificate, as values, and when to renew them.

Everything is in one Secret that all controllers read and the leader writes. An authority that is renewed leaves its
certificate behind in the bundle for as long as it is valid, so at no moment a controller serves what the API server
does not trust. Pure but for the randomness of keys: time comes in as an argument.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_EARLIER = timedelta(minutes=5)
"""Certificates are valid from a little before now: clocks differ."""
_KEYS = {"authority": "ca.crt", "authority_key": "ca.key", "certificate": "tls.crt", "key": "tls.key"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How long certificates are valid. One is renewed when a third of its time is left."""

    authority: timedelta = timedelta(days=3650)
    serving: timedelta = timedelta(days=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """All four in PEM. ``authority`` is a bundle: the first one signs, those after it are only trusted."""

    authority: bytes
    authority_key: bytes
    certificate: bytes
    key: bytes


def read(secret: Mapping[str, Any]) -> Chain | None:
    """The chain in a Secret; None if there is none (yet)."""
    data = secret.get("data") or {}
    try:
        return Chain(**{field: base64.b64decode(data[key], validate=True) for field, key in _KEYS.items()})
    except (KeyError, TypeError, binascii.Error):
        return None


def data(chain: Chain) -> dict[str, str]:
    """``data`` of the Secret."""
    return {key: base64.b64encode(getattr(chain, field)).decode() for field, key in _KEYS.items()}


def path(chain: Chain) -> str:
    """The path at which reviews are taken. It follows from a key that is in the Secret, so that nobody can guess it."""
    return f"/validate/{hashlib.sha256(b'path' + chain.authority_key).hexdigest()}"


def due(chain: Chain | None, names: tuple[str, ...], now: datetime) -> datetime:
    """When a chain has to be renewed: now, or later. ``names`` are the host names of the webhook."""
    if chain is None:
        return now
    try:
        authority, serving = _authorities(chain.authority)[0], _load(chain.certificate)
        serving.verify_directly_issued_by(authority)
        good = _fits(authority, chain.authority_key) and _fits(serving, chain.key) and _names(serving) == names
    except (ValueError, TypeError, IndexError, InvalidSignature, x509.ExtensionNotFound):
        return now  # unreadable, or not a chain
    return max(now, min(_renewal(authority), _renewal(serving))) if good else now


def renewed(chain: Chain | None, names: tuple[str, ...], now: datetime, policy: Policy) -> Chain:
    """A chain of which nothing is due; of the old one stays what is good."""
    old, key = _old_authority(chain)
    if key is None or _renewal(old[0]) <= now:
        key = _new_key()
        old = [_self_signed(key, now, policy.authority), *(c for c in old if c.not_valid_after_utc > now)]
    serving_key = _new_key()
    serving = _signed(old[0], key, serving_key, names, now, policy.serving)
    return Chain(
        authority=b"".join(_pem(certificate) for certificate in old),
        authority_key=_key_pem(key),
        certificate=_pem(serving),
        key=_key_pem(serving_key),
    )


def expires(chain: Chain) -> datetime:
    """When the serving certificate runs out."""
    return _load(chain.certificate).not_valid_after_utc


# ---------------------------------------------------------------- X.509


def _old_authority(chain: Chain | None) -> tuple[list[x509.Certificate], EllipticCurvePrivateKey | None]:
    """The authorities of a chain, and the key of the first; no key if there is none that can sign."""
    try:
        if chain and _fits((found := _authorities(chain.authority))[0], chain.authority_key):
            return found, _private(chain.authority_key)
    except (ValueError, TypeError, IndexError):
        pass
    return [], None


def _fits(certificate: x509.Certificate, key: bytes) -> bool:
    return certificate.public_key() == _private(key).public_key()


def _renewal(certificate: x509.Certificate) -> datetime:
    lasts = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - lasts / 3


def _self_signed(key: EllipticCurvePrivateKey, now: datetime, lasts: timedelta) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "k8slan-webhook-ca")])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - _EARLIER, now + lasts)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def _signed(
    authority: x509.Certificate,
    authority_key: EllipticCurvePrivateKey,
    key: EllipticCurvePrivateKey,
    names: tuple[str, ...],
    now: datetime,
    lasts: timedelta,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "k8slan-webhook")])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        x509.CertificateBuilder(
            authority.subject, subject, key.public_key(), x509.random_serial_number(), now - _EARLIER, now + lasts
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return tuple(extension.value.get_values_for_type(x509.DNSName))


def _load(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def _authorities(pem: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem)


def _private(pem: bytes) -> EllipticCurvePrivateKey:
    key = load_pem_private_key(pem, None)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise TypeError("not a key of ours")
    return key


def _new_key() -> EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
